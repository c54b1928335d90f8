"""The certificate: how much any single agent gains by deviating."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, PerAgent
from fedshap.equilibrium.few_points import best_deviations
from fedshap.equilibrium.steps import UNBOUNDED
from fedshap.game import Game
from fedshap.mechanisms import Mechanism


def regret(game: Game, mechanism: Mechanism, s: ArrayLike, *, agents: ArrayLike | None = None) -> float:
    """The most that any single agent gains by deviating from ``s``.

    Every agent's utility is searched over her interval of contributions, by values alone: a grid from 1e-9 to her
    capacity (or 1e12), twelve points to a decade, and evenly around what she gives; then eight finer grids around the
    best point. For utilities that are concave in the own contribution this finds the maximum; for others it can only
    miss peaks narrower than the grid. Where utilities are dear, with coalitions of more than eight agents to be
    enumerated, some forty points on all scales and close to what she gives take the place of the grid, and parabolas
    that of the finer ones.

    Parameters
    ----------
    game : Game
        The game.
    mechanism : Mechanism
        The mechanism played.
    s : array_like
        Contributions, shape (n,).
    agents : array_like of int, optional
        Whose deviations to search; all agents if left out.

    Returns
    -------
    float
        At least 0, in payoff units; infinite if some agent gains without bound.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> round(fs.regret(game, fs.NoPayment(), [0.0, 0.0, 0.0]), 4)  # agent 0 would move to 2.1623
    0.4675
    """
    s = game.one_profile(s)
    who = np.arange(game.n_agents) if agents is None else _checked_agents(agents, game.n_agents)
    utilities = partial(mechanism.deviation_utilities, game, s, agents=who)
    if mechanism.dear(game):
        scale, upper = game.payoff.scale, game.upper[who]
        gain, peak = best_deviations(utilities, s[who], upper, scale)
        return float(np.where(np.isinf(upper) & (peak >= UNBOUNDED * scale), np.inf, gain).max())
    x = _deviations(s[who], game.upper[who])
    gain, at_peak = np.zeros(len(who)), x[:, :1]
    for _ in range(9):
        # What she has now is evaluated beside every grid, by the same rules: their rounding is no gain.
        here, values = np.split(utilities(np.hstack([s[who, None], x])), [1], axis=1)
        peak = values.argmax(axis=1)[:, None]
        gain = np.maximum(gain, (np.take_along_axis(values, peak, axis=1) - here)[:, 0])
        at_peak = np.take_along_axis(x, peak, axis=1)
        low = np.max(x, axis=1, where=x < at_peak, initial=0.0)[:, None]
        high = np.min(x, axis=1, where=x > at_peak, initial=np.inf)[:, None]
        x = low + (np.where(np.isfinite(high), high, at_peak) - low) * np.linspace(0.0, 1.0, 17)
    still_rising = ~np.isfinite(game.upper[who]) & (at_peak[:, 0] >= UNBOUNDED)
    return float(np.where(still_rising, np.inf, gain).max())


def _checked_agents(agents: ArrayLike, n_agents: int) -> NDArray[np.intp]:
    who = np.asarray(agents)
    if who.ndim != 1 or who.size == 0 or not np.issubdtype(who.dtype, np.integer):
        raise ValueError(f"agents must be a list of at least one integer; got {agents!r}")
    if who.min() < 0 or who.max() >= n_agents:
        raise ValueError(f"agents must lie in 0..{n_agents - 1}; got {agents!r}")
    return who.astype(np.intp)


def _deviations(s: PerAgent, upper: PerAgent) -> Array:
    """Contributions to try for each agent, shape (m, P): twelve to a decade, up to her capacity or to 1e12; and,
    evenly, up to four times what she gives."""
    reach = np.minimum(upper, UNBOUNDED)
    geometric = np.minimum(np.geomspace(1e-9, UNBOUNDED, 253), reach[:, None])
    even = np.minimum(np.maximum(4.0 * s, 16.0), reach)[:, None] * np.linspace(0.0, 1.0, 33)
    return np.sort(np.hstack([even, geometric, s[:, None]]), axis=1)
