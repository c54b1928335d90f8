"""How equilibria are found: maximisation of a potential over the box, or best responses.

Neither judges its own result; `fedshap.equilibrium.regret` does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._types import ArrayLike, Jacobian, PerAgent, Profile
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential, own_optimum

UNBOUNDED = 1e12
"""A contribution beyond this is taken for one without bound."""


def initial_profile(game: Game, start: ArrayLike | None) -> Profile:
    """``start`` as one profile of the game; ``min(1, capacity / 2)`` for every agent if None."""
    if start is None:
        return np.minimum(1.0, game.upper / 2.0)
    s = game.profile(start)
    if s.shape != (game.n_agents,):
        raise ValueError(f"start must have shape ({game.n_agents},); got {s.shape}")
    return s


def maximise(potential: Potential, start: Profile) -> tuple[Profile, int]:
    """Maximise the potential over the box by projected Newton steps with backtracking.

    Agents at a bound whose gradient points outside stay there; the others take a Newton step together. Where the
    potential is not concave, curvatures are made negative first, so that each step is one of ascent.
    """
    upper = potential.game.upper
    s, value, iteration = start, potential.value(start), 0
    for iteration in range(1, 201):
        gradient = potential.gradient(s)
        free = ~((s <= 0.0) & (gradient <= 0.0) | (s >= upper) & (gradient >= 0.0))
        if not free.any():
            return s, iteration
        direction = np.zeros_like(s)
        direction[free] = _newton_direction(potential.hessian(s)[np.ix_(free, free)], gradient[free])
        s_next, value_next = _backtrack(potential, s, value, gradient, direction)
        if s_next.max() > UNBOUNDED:
            agent = int(s_next.argmax())
            raise ValueError(
                f"agent {agent} gains from contributing without bound: give the game a finite capacity, or the "
                "agent a cost that outgrows her payoff"
            )
        moved = np.abs(s_next - s).max()
        s, value = s_next, value_next
        if moved <= 1e-13 * max(1.0, float(s.max())):
            break
    return s, iteration


def _newton_direction(hessian: Jacobian, gradient: PerAgent) -> PerAgent:
    """Solve ``-H d = g`` with the eigenvalues of H made negative and kept away from zero."""
    eigenvalues, vectors = np.linalg.eigh(np.nan_to_num(hessian, posinf=1e12, neginf=-1e12))
    curvature = np.maximum(np.abs(eigenvalues), 1e-13 * max(np.abs(eigenvalues).max(), 1e-300))
    return vectors @ ((vectors.T @ gradient) / curvature)


def _backtrack(
    potential: Potential, s: Profile, value: float, gradient: PerAgent, direction: PerAgent
) -> tuple[Profile, float]:
    """Halve the projected step until the potential rises by a fraction of what its gradient promises."""
    noise = 1e-15 * (1.0 + abs(value))
    size = 1.0
    while size > 1e-12:
        trial = np.clip(s + size * direction, 0.0, potential.game.upper)
        trial_value = potential.value(trial)
        if trial_value >= value + 1e-4 * float(gradient @ (trial - s)) - noise:
            return trial, trial_value
        size /= 2.0
    return s, value


def best_responses(game: Game, mechanism: Mechanism, start: Profile) -> tuple[Profile, int]:
    """Best responses, one agent at a time, until nobody moves; Newton steps in between for speed.

    Assumes what concave payoffs guarantee: that each marginal utility changes sign at most once, from + to -.
    """
    s, sweep = start, 0
    for sweep in range(1, 501):
        previous = s.copy()
        for agent in range(game.n_agents):
            s = _moved(s, agent, own_optimum(_own_marginal(game, mechanism, s, agent), game.upper[agent]))
        if np.abs(s - previous).max() <= 1e-13 * max(1.0, float(s.max())):
            break
        if sweep % 5 == 0:
            s = _newton_polish(game, mechanism, s)
    return s, sweep


def _own_marginal(game: Game, mechanism: Mechanism, s: Profile, agent: int) -> Callable[[float], float]:
    return lambda x: float(mechanism.marginal_utilities(game, _moved(s, agent, x))[agent])


def _newton_polish(game: Game, mechanism: Mechanism, s: Profile) -> Profile:
    """One Newton step on the agents strictly inside their bounds, if it leaves smaller marginal utilities."""
    marginal = mechanism.marginal_utilities(game, s)
    inside = np.flatnonzero((s > 0.0) & (s < game.upper))
    if inside.size == 0:
        return s
    steps = 1e-6 * np.maximum(s[inside], 1.0)
    shifted = [mechanism.marginal_utilities(game, _moved(s, int(j), s[j] - h)) for j, h in zip(inside, steps, strict=True)]
    jacobian = np.array([(marginal - other)[inside] / h for other, h in zip(shifted, steps, strict=True)]).T
    step = np.linalg.lstsq(jacobian, -marginal[inside], rcond=1e-10)[0]
    trial = s.copy()
    trial[inside] += step
    if (trial < 0.0).any() or (trial > game.upper).any():
        return s
    better = np.abs(mechanism.marginal_utilities(game, trial)[inside]).max() < np.abs(marginal[inside]).max()
    return trial if better else s


def _moved(s: Profile, agent: int, value: float) -> Profile:
    """``s`` with one agent's contribution replaced."""
    moved = s.copy()
    moved[agent] = value
    return moved
