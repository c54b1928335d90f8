"""How equilibria are found: maximisation of a potential over the box, or best responses.

Neither judges its own result; `fedshap.equilibrium.regret` does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fedshap._types import Array, ArrayLike, PerAgent, Profile, Progress
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential, own_optimum
from fedshap.summation import Expansion

UNBOUNDED = 1e12
"""A contribution beyond this is taken for one without bound."""


def initial_profile(game: Game, start: ArrayLike | None) -> Profile:
    """``start`` as one profile of the game; ``min(1, capacity / 2)`` for every agent if None."""
    if start is None:
        return np.minimum(1.0, game.upper / 2.0)
    return game.one_profile(start, name="start")


def maximise(potential: Potential, start: Profile, progress: Progress = None) -> tuple[Profile, int]:
    """Maximise the potential over the box: sequential quadratic programming with backtracking.

    Each step maximises the second-order expansion over the box exactly. Its Hessian is diagonal plus low rank, so
    that a step costs time linear in the number of agents, and agents change between bound and interior in any number
    at once. An unbounded agent may grow by a factor of ten or so in a step.
    """
    upper = potential.game.upper
    steep = np.isinf(potential.game.cost.second_derivatives(np.zeros_like(start)))
    s, here = start, potential.expansion(start)
    for iteration in range(1, 201):
        reach = 10.0 * (s + s.mean() + 1.0)
        # Where curvature is infinite at zero, no expansion says how to come back from there: approach it gradually.
        lower = np.where(steep & (s > 1e-12), -0.9, -1.0) * s
        step = _maximise_expansion(here, lower, np.minimum(upper - s, reach))
        promised = float(here.gradient @ step)
        s, here = _backtrack(potential, s, here, step)
        _tell(progress, iteration, step, s)
        if s.max() > UNBOUNDED:
            raise ValueError(
                f"agent {int(s.argmax())} gains from contributing without bound: give the game a finite capacity, "
                "or the agent a cost that outgrows her payoff"
            )
        # The step was taken all the same: where its gain drowns in rounding, it still squares the error of s.
        if promised <= 1e-15 * (1.0 + abs(here.value)):
            return s, iteration
    return s, 200


def _maximise_expansion(here: Expansion, lower: PerAgent, upper: PerAgent) -> PerAgent:
    """The step d that maximises ``g.d - sum_i own_i d_i^2 / 2 - |shared^T d|^2 / 2`` over lower <= d <= upper.

    Given prices ``a = shared^T d`` of the common part, every agent's best step is her own affair:
    ``d_i = clip((g_i - shared_i . a) / own_i)``. The prices solve a convex problem of a few unknowns, here by a
    semismooth Newton method.
    """
    own = np.maximum(here.own, 1e-14 * float(np.max(here.own, initial=1e-200)))
    shared = np.ascontiguousarray(here.shared.T)  # (d, n): sums along the last axis are pairwise, hence exact enough

    def respond(prices: Array) -> tuple[PerAgent, Array]:
        """Everybody's step at these prices, and by how much the prices miss it: the gradient of the dual."""
        step = np.clip((here.gradient - prices @ shared) / own, lower, upper)
        return step, prices - (shared * step).sum(axis=1)

    def slope(prices: Array, direction: Array, size: float) -> float:
        """Derivative of the dual along a direction."""
        return float(direction @ respond(prices + size * direction)[1])

    prices = np.zeros(len(shared))
    step, gap = respond(prices)
    for _ in range(200):
        free = (step > lower) & (step < upper)
        inside, flexible = shared[:, free], 1.0 / own[free]
        # Rounding of an agent's net gradient moves her step by that much over her curvature.
        blur = 4e-16 * (np.abs(here.gradient[free]) + np.abs(prices) @ np.abs(inside)) * flexible
        if np.linalg.norm(gap) <= np.linalg.norm(1e-13 * np.abs(shared) @ np.abs(step) + np.abs(inside) @ blur):
            break
        direction = np.asarray(np.linalg.solve(np.eye(len(prices)) + (inside * flexible) @ inside.T, -gap), dtype=float)
        size = _flat_point(partial(slope, prices, direction))
        prices = prices + size * direction
        step, gap = respond(prices)
    return step


def _flat_point(slope: Callable[[float], float]) -> float:
    """Where the slope of a convex function, negative at 0, has shrunk to a hundredth; 1 is tried first."""
    start = slope(0.0)
    low, high, size = 0.0, np.inf, 1.0
    for _ in range(100):
        there = slope(size)
        if abs(there) <= 0.01 * abs(start):
            break
        low, high = (size, high) if there < 0.0 else (low, size)
        size = 2.0 * size if np.isinf(high) else (low + high) / 2.0
    return size


def _backtrack(potential: Potential, s: Profile, here: Expansion, step: PerAgent) -> tuple[Profile, Expansion]:
    """Halve the step until the potential rises by a fraction of what its gradient promises; stay if it never does."""
    noise = 1e-15 * (1.0 + abs(here.value)) * np.sqrt(len(s))
    size = 1.0
    while size > 1e-12:
        trial = np.clip(s + size * step, 0.0, potential.game.upper)
        there = potential.expansion(trial)
        if there.value >= here.value + 1e-4 * float(here.gradient @ (trial - s)) - noise:
            return trial, there
        size /= 2.0
    return s, here


def best_responses(game: Game, mechanism: Mechanism, start: Profile, progress: Progress = None) -> tuple[Profile, int]:
    """Best responses, one agent at a time, until nobody moves; extrapolation and Newton steps in between for speed.

    Assumes what concave payoffs guarantee: that each marginal utility changes sign at most once, from + to -.
    """
    s, sweep, drift = start, 0, np.zeros_like(start)
    for sweep in range(1, 501):
        previous, last_drift = s, drift
        for agent in range(game.n_agents):
            s = _moved(s, agent, own_optimum(_own_marginal(game, mechanism, s, agent), game.upper[agent], s[agent]))
        drift = s - previous
        _tell(progress, sweep, drift, s)
        if np.abs(drift).max() <= 1e-13 * s.max():
            break
        if sweep % 5 == 0:
            s = _extrapolate(s, drift, last_drift, game.upper)
            s = _newton_polish(game, mechanism, s) if mechanism.smooth else s
    return s, sweep


def _extrapolate(s: Profile, drift: Profile, last_drift: Profile, upper: PerAgent) -> Profile:
    """Go where sweeps that keep their direction are heading: to their limit, or until some agent meets a bound.

    Agents with nearly equal costs and a common payoff replace one another by a tiny amount per sweep.
    """
    length, last_length = float(np.linalg.norm(drift)), float(np.linalg.norm(last_drift))
    if last_length == 0.0 or float(drift @ last_drift) < 0.99 * length * last_length:
        return s
    ratio = length / last_length
    moving = np.abs(drift) > 1e-6 * length
    room = np.where(drift > 0.0, upper - s, s)[moving] / np.abs(drift[moving])
    sweeps = min(float(room.min()), ratio / (1.0 - ratio) if ratio < 1.0 else np.inf, 1e12)
    return np.clip(s + sweeps * drift, 0.0, upper)


def _own_marginal(game: Game, mechanism: Mechanism, s: Profile, agent: int) -> Callable[[float], float]:
    return lambda x: float(mechanism.marginal_utilities(game, _moved(s, agent, x))[agent])


def _newton_polish(game: Game, mechanism: Mechanism, s: Profile) -> Profile:
    """One Newton step on the agents strictly inside their bounds, if it leaves smaller marginal utilities."""
    marginal = mechanism.marginal_utilities(game, s)
    inside = np.flatnonzero((s > 0.0) & (s < game.upper))
    if inside.size == 0:
        return s
    steps = np.minimum(1e-6 * np.maximum(s[inside], 1.0), s[inside] / 2.0)
    columns = []
    for j, h in zip(inside, steps, strict=True):
        behind = mechanism.marginal_utilities(game, _moved(s, int(j), s[j] - h))
        columns.append((marginal - behind)[inside] / h)
    jacobian = np.array(columns).T
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


def _tell(progress: Progress, iteration: int, move: Profile, s: Profile) -> None:
    if progress is not None:
        progress(iteration, float(np.abs(move).max()) / max(float(s.max()), 1e-300))
