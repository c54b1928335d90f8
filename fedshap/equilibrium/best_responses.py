"""Best responses, for mechanisms without a potential. Does not judge its own result; the certificate does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._scalar import own_optimum
from fedshap._types import PerAgent, Profile, Progress
from fedshap.equilibrium.steps import moved, tell
from fedshap.game import Game
from fedshap.mechanisms import Mechanism


def best_responses(game: Game, mechanism: Mechanism, start: Profile, progress: Progress = None) -> tuple[Profile, int]:
    """Best responses, one agent at a time, until nobody moves; extrapolation and Newton steps in between for speed.

    Assumes what concave payoffs guarantee: that each marginal utility changes sign at most once, from + to -.
    """
    s, sweep, drift = start, 0, np.zeros_like(start)
    still = 1e-13 if mechanism.has_marginals else 1e-8  # differences are good to ten digits
    for sweep in range(1, 501):
        previous, last_drift = s, drift
        for agent in range(game.n_agents):
            s = moved(s, agent, own_optimum(_own_marginal(game, mechanism, s, agent), game.upper[agent], s[agent]))
        drift = s - previous
        tell(progress, sweep, drift, s)
        if np.abs(drift).max() <= still * s.max():
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
    return lambda x: mechanism.marginal_utility(game, moved(s, agent, x), agent)


def _newton_polish(game: Game, mechanism: Mechanism, s: Profile) -> Profile:
    """One Newton step on the agents strictly inside their bounds, if it leaves smaller marginal utilities."""
    marginal = mechanism.marginal_utilities(game, s)
    inside = np.flatnonzero((s > 0.0) & (s < game.upper))
    if inside.size == 0:
        return s
    steps = np.minimum(1e-6 * np.maximum(s[inside], 1.0), s[inside] / 2.0)
    columns = []
    for j, h in zip(inside, steps, strict=True):
        behind = mechanism.marginal_utilities(game, moved(s, int(j), s[j] - h))
        columns.append((marginal - behind)[inside] / h)
    jacobian = np.array(columns).T
    step = np.linalg.lstsq(jacobian, -marginal[inside], rcond=1e-10)[0]
    trial = s.copy()
    trial[inside] += step
    if (trial < 0.0).any() or (trial > game.upper).any():
        return s
    better = np.abs(mechanism.marginal_utilities(game, trial)[inside]).max() < np.abs(marginal[inside]).max()
    return trial if better else s
