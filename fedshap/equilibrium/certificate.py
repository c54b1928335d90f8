"""The certificate: how much any single agent gains by deviating, and how much there is to gain."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedshap._scalar import FARTHEST
from fedshap._types import Array, ArrayLike, PerAgent, Profile
from fedshap._validation import as_flag, as_instance
from fedshap.equilibrium.few_points import BEYOND, best_deviations
from fedshap.equilibrium.options import DEFAULT_OPTIONS, SolverOptions
from fedshap.equilibrium.stakes import Certificate, costs_elsewhere, stakes
from fedshap.equilibrium.whole_units import certify_whole
from fedshap.game import Game
from fedshap.mechanisms import Mechanism
from fedshap.payoffs.agreement import check_gains


def regret(
    game: Game, mechanism: Mechanism, s: ArrayLike, *, agents: ArrayLike | None = None, integer: bool = False
) -> float:
    """The most that any single agent gains by deviating from ``s``.

    Every agent's utility is searched over her interval of contributions, by values alone: a grid from 1e-9 to 1e9
    units of the game (`Game.units`), no further than her capacity, twelve points to a decade, and evenly around what
    she gives; then eight finer grids around the best point. Without a capacity the grid is followed outwards while
    the utility rises. For utilities that are concave in the own contribution this finds the maximum; for others it
    can only miss peaks narrower than the grid. Where utilities are dear, with coalitions of more than eight agents to
    be enumerated, some forty points on all scales and close to what she gives take the place of the grid, and
    parabolas that of the finer ones.

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
    integer : bool
        Whether agents give whole units, and deviate to whole units: exact where a utility has one peak, as with concave
        payoffs, and where nobody has more than 4096 choices; else a search.

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
    >>> round(fs.regret(game, fs.NoPayment(), [0, 0, 0], integer=True), 4)  # to 2: 1 - 1/3 - 0.2
    0.4667
    """
    s = as_instance("game", game, Game).one_profile(s)
    as_instance("mechanism", mechanism, Mechanism)
    who = np.arange(game.n_agents) if agents is None else _checked_agents(agents, game.n_agents)
    return (certify_whole if as_flag("integer", integer) else certify)(game, mechanism, s, who).regret


def certify(
    game: Game,
    mechanism: Mechanism,
    s: Profile,
    who: NDArray[np.intp],
    options: SolverOptions = DEFAULT_OPTIONS,
) -> Certificate:
    """Search the deviations of some agents.

    At stake is the most that the data are worth to any agent, or cost her, at ``s`` or at her best deviation, or what
    she gains by it. Payoffs and costs without any data do not count: they change nothing.
    """
    check_gains(game.payoff, s, who)
    gain, at_peak = (_at_few_points if mechanism.dear(game) else _on_grids)(game, mechanism, s, who, options)
    most = float(gain.max())
    return Certificate(most, max(most, stakes(game, s), costs_elsewhere(game, at_peak, who)))


def _at_few_points(
    game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp], options: SolverOptions
) -> tuple[PerAgent, Array]:
    """What each agent gains by her best deviation, (m,), and where that is, (m, 1)."""
    gain, peak = best_deviations(game, mechanism, s, who)
    endless = np.isinf(game.capacity[who]) & (peak >= BEYOND * game.units[who])
    return np.where(endless, np.inf, gain), peak[:, None]


def _on_grids(
    game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp], options: SolverOptions
) -> tuple[PerAgent, Array]:
    """As `_at_few_points`, by ever finer grids."""
    utilities = partial(mechanism.deviation_utilities, game, s)
    x = _deviations(s[who], game, who, options.grid)
    gain, at_peak, endless = np.zeros(len(who)), x[:, :1], np.zeros(len(who), dtype=bool)
    for refinement in range(1 + options.refinements):
        # What she has now is evaluated beside every grid, by the same rules: their rounding is no gain.
        here, values = np.split(utilities(np.hstack([s[who, None], x]), agents=who), [1], axis=1)
        if refinement == 0:
            x, values, endless = _followed(game, utilities, who, x, values)
        peak = values.argmax(axis=1)[:, None]
        gain = np.maximum(gain, (np.take_along_axis(values, peak, axis=1) - here)[:, 0])
        at_peak = np.take_along_axis(x, peak, axis=1)
        low = np.max(x, axis=1, where=x < at_peak, initial=0.0)[:, None]
        high = np.min(x, axis=1, where=x > at_peak, initial=np.inf)[:, None]
        low = np.maximum(low, game.minimum[who, None])
        x = low + (np.where(np.isfinite(high), high, at_peak) - low) * np.linspace(0.0, 1.0, 17)
    return np.where(endless, np.inf, gain), at_peak


def _followed(
    game: Game, utilities: Callable[..., Array], who: NDArray[np.intp], x: Array, values: Array
) -> tuple[Array, Array, NDArray[np.bool_]]:
    """Follow agents without a capacity whose utility rises up to the end of their grid.

    Returns grids that reach beyond their peaks, the utilities there, and who still rises at the end of the world.
    """
    rising = np.flatnonzero(np.isinf(game.capacity[who]))
    while True:
        best = np.take_along_axis(x[rising], values[rising].argmax(axis=1)[:, None], axis=1)[:, 0]
        rising = rising[best == x[rising, -1]]
        if not rising.size or (x[rising, -1] > FARTHEST * game.units[who[rising]]).any():
            break
        x, values = x.copy(), values.copy()
        x[rising] = x[rising, -1:] * np.geomspace(1e-1, 1e24, x.shape[1])
        values[rising] = utilities(x[rising], agents=who[rising])
    endless = np.zeros(len(who), dtype=bool)
    endless[rising] = True
    return x, values, endless


def _checked_agents(agents: ArrayLike, n_agents: int) -> NDArray[np.intp]:
    who = np.asarray(agents)
    if who.ndim != 1 or who.size == 0 or not np.issubdtype(who.dtype, np.integer):
        raise ValueError(f"agents must be a list of at least one integer; got {agents!r}")
    if who.min() < 0 or who.max() >= n_agents:
        raise ValueError(f"agents must lie in 0..{n_agents - 1}; got {agents!r}")
    return who.astype(np.intp)


def _deviations(s: PerAgent, game: Game, who: NDArray[np.intp], density: int) -> Array:
    """Contributions to try for each agent, shape (m, P): geometrically over 18 decades around her unit, up to her
    capacity; and, evenly, up to four times what she gives."""
    units, most = game.units[who, None], game.capacity[who, None]
    geometric = units * np.geomspace(1e-9, 1e9, 18 * density + 1)
    even = np.minimum(np.maximum(4.0 * s[:, None], 16.0 * units), most) * np.linspace(0.0, 1.0, 33)
    last = np.where(np.isfinite(most), most, geometric[:, -1:])
    return np.sort(np.clip(np.hstack([even, geometric, s[:, None], last]), game.minimum[who, None], most))
