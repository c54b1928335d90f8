"""Best responses, for mechanisms without a potential. Does not judge its own result; the certificate does."""

from __future__ import annotations

import numpy as np

from fedshap._scalar import own_optimum
from fedshap._types import Profile, Progress
from fedshap.equilibrium.options import DEFAULT_OPTIONS
from fedshap.equilibrium.steps import moved, tell
from fedshap.game import Game
from fedshap.mechanisms import Mechanism


def best_responses(
    game: Game,
    mechanism: Mechanism,
    start: Profile,
    progress: Progress = None,
    sweeps: int = DEFAULT_OPTIONS.sweeps,
) -> tuple[Profile, int]:
    """Best responses, one agent at a time, until nobody moves; extrapolation and Newton steps in between for speed.

    Assumes what concave payoffs guarantee: that each marginal utility changes sign at most once, from + to -.
    """
    s, sweep, drift = start, 0, np.zeros_like(start)
    still = _stillness(game, mechanism)
    for sweep in range(1, sweeps + 1):
        previous, last_drift = s, drift
        for agent in range(game.n_agents):
            s = moved(s, agent, _best_response(game, mechanism, s, agent))
        drift = s - previous
        tell(progress, sweep, drift, s)
        if np.abs(drift).max() <= still * s.max():
            break
        if sweep % 5 == 0 and sweep < sweeps:  # what is handed over has been responded to
            s = _extrapolate(s, drift, last_drift, game)
            s = _newton_polish(game, mechanism, s) if mechanism.smooth else s
    return s, sweep


def _stillness(game: Game, mechanism: Mechanism) -> float:
    """Moves, relative to the largest contribution, that are rounding: of formulas, or of differences (ten digits)."""
    if not mechanism.marginals_by_formula(game):
        return 1e-8
    return 1e-13 if game.payoff.has_gradient and game.cost.has_derivatives else 1e-9


def _best_response(game: Game, mechanism: Mechanism, s: Profile, agent: int) -> float:
    return own_optimum(
        lambda x: mechanism.marginal_utility(game, moved(s, agent, x), agent),
        game.capacity[agent],
        s[agent],
        lower=game.minimum[agent],
        unit=game.units[agent],
    )


def _extrapolate(s: Profile, drift: Profile, last_drift: Profile, game: Game) -> Profile:
    """Go where sweeps that keep their direction are heading: to their limit, or until some agent meets a bound.

    Agents with nearly equal costs and a common payoff replace one another by a tiny amount per sweep.
    """
    length, last_length = float(np.linalg.norm(drift)), float(np.linalg.norm(last_drift))
    if last_length == 0.0 or float(drift @ last_drift) < 0.99 * length * last_length:
        return s
    ratio = length / last_length
    moving = np.abs(drift) > 1e-6 * length
    room = np.where(drift > 0.0, game.capacity - s, s - game.minimum)[moving] / np.abs(drift[moving])
    sweeps = min(float(room.min()), ratio / (1.0 - ratio) if ratio < 1.0 else np.inf, 1e12)
    return np.clip(s + sweeps * drift, game.minimum, game.capacity)


def _newton_polish(game: Game, mechanism: Mechanism, s: Profile) -> Profile:
    """One Newton step on the agents strictly inside their bounds, if it leaves smaller marginal utilities."""
    marginal = mechanism.marginal_utilities(game, s)
    inside = np.flatnonzero((s > game.minimum) & (s < game.capacity))
    if inside.size == 0:
        return s
    steps = np.minimum(1e-6 * np.maximum(s[inside], game.units[inside]), s[inside] / 2.0)
    columns = []
    for j, h in zip(inside, steps, strict=True):
        behind = mechanism.marginal_utilities(game, moved(s, int(j), s[j] - h))
        columns.append((marginal - behind)[inside] / h)
    # Each agent's own condition in her own payoff and data units, so that no agent's size hides another's.
    units = game.units[inside]
    jacobian = np.array(columns).T * units
    weights = 1.0 / np.maximum(np.abs(jacobian).max(axis=1), 1e-300)
    step = units * np.linalg.lstsq(weights[:, None] * jacobian, -weights * marginal[inside], rcond=1e-10)[0]
    trial = s.copy()
    trial[inside] += step
    if (trial < game.minimum).any() or (trial > game.capacity).any():
        return s
    better = np.abs(mechanism.marginal_utilities(game, trial)[inside]).max() < np.abs(marginal[inside]).max()
    return trial if better else s
