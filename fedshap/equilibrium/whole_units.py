"""Contributions in whole units: pure equilibria on the grid of integers, and the most that anybody gains on it.

Where a mechanism has a potential, every move that pays its agent raises it, so that moves come to an end, at a profile
which no single agent can improve (Rosenthal, 1973; Monderer and Shapley, 1996). That is an equilibrium on the grid. It
need not be the highest point of the potential there. Without a potential, moves may go round in circles.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile
from fedshap.equilibrium.options import DEFAULT_OPTIONS, SolverOptions
from fedshap.equilibrium.stakes import Certificate, costs_elsewhere, stakes
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential

_LARGEST = 2.0**50  # beyond, whole units are no longer told apart
_SCANNED = 4096  # choices of an agent up to which all of them are looked at
_NEXT = np.array([-1.0, 1.0])
_STEPS = np.array([-16.0, -4.0, -1.0, 1.0, 4.0, 16.0])
_AT_A_TIME = 250_000  # deviations evaluated at once
_ROUNDING = 1e3  # times the relative rounding of payoffs: smaller gains are none


def whole_bounds(game: Game) -> tuple[PerAgent, PerAgent]:
    """The least and the most whole units of each agent, shape (n,); the most may be infinite.

    Raises
    ------
    ValueError
        If an agent has no whole number between her minimum and her capacity.
    """
    lower, upper = np.ceil(game.minimum), np.floor(game.capacity)
    if (lower > upper).any():
        agent = int(np.argmax(lower > upper))
        raise ValueError(
            f"integer=True needs a whole number between minimum and capacity; agent {agent} has none between "
            f"{game.minimum[agent]:g} and {game.capacity[agent]:g}"
        )
    return lower, upper


def settle_whole(
    game: Game, mechanism: Mechanism, s: Profile, options: SolverOptions = DEFAULT_OPTIONS
) -> tuple[Profile, int, bool]:
    """A profile in whole units near ``s`` from which nobody gains by moving, the rounds it took, and whether it is one.

    With a potential, many agents move at once as long as that raises it by a tenth of what they hope for, else half as
    many, down to one. Without, one agent moves at a time, she who gains most, until a profile comes back.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> settle_whole(game, fs.ShapleyPayment(), np.array([3.5889, 1.4472, 0.7863]))
    (array([4., 1., 1.]), 1, True)
    """
    potential, (lower, upper) = mechanism.potential(game), whole_bounds(game)
    s = _rounded(potential, s, lower, upper)
    seen, everybody = {s.tobytes()}, np.arange(game.n_agents)
    most = options.sweeps * (1 if potential is not None else game.n_agents)
    for iteration in range(1, most + 1):
        noise = _noise(game, s)
        gains, best = _best_near(game, mechanism, s, everybody, _STEPS)
        if gains.max() <= noise:
            gains, best = best_whole(game, mechanism, s, everybody)  # and far away?
        if gains.max() <= noise:
            return s, iteration, True
        gains = np.where(gains > noise, gains, 0.0)
        if potential is not None:
            s = _moved_together(potential, s, gains, best)
        else:
            s = np.where(everybody == gains.argmax(), best, s)
            if s.tobytes() in seen:
                return s, iteration, False
            seen.add(s.tobytes())
    return s, most, False


def certify_whole(game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp]) -> Certificate:
    """The most that any of some agents gains by giving another number of whole units, and what is at stake.

    ``s`` must be whole, within the agents' bounds. Exact where an agent's utility has one peak, as it has with concave
    payoffs; otherwise where nobody has more than 4096 choices, all of which are looked at. For the rest it is a search.
    """
    _refuse_parts(game, s)
    gains, best = best_whole(game, mechanism, s, who)
    x = np.where(np.isfinite(best), best, s[who])[:, None]
    most = float(gains.max())
    most = most if most > _noise(game, s) else 0.0
    return Certificate(most, max(most, stakes(game, s), costs_elsewhere(game, x, who)))


def _refuse_parts(game: Game, s: Profile) -> None:
    lower, _ = whole_bounds(game)
    wrong = (s != np.round(s)) | (s < lower)
    if wrong.any():
        agent = int(wrong.argmax())
        raise ValueError(
            f"s must be whole units, at least the minimum, where integer=True; agent {agent} gives {s[agent]:g}"
        )


def best_whole(game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp]) -> tuple[PerAgent, PerAgent]:
    """What each of some agents gains by her best whole number, at least 0, and which that is; both of shape (m,).

    Where payoffs are concave, who gains nothing by one unit more or less is where she wants to be. For the others steps
    of 1, 2, 4, ... away from what she gives, to the ends of her choices; then, between the neighbours of the best one,
    ever finer grids of 17 numbers until they are all there are. Where payoffs are not known to be concave and nobody
    has more than 4096 choices, all of them.
    """
    if game.payoff.concave is True:
        gains, best = _best_near(game, mechanism, s, who, _NEXT)
        some = gains > 0.0
        if some.any():
            gains[some], best[some] = _best_anywhere(game, mechanism, s, who[some])
        return gains, best
    return _best_anywhere(game, mechanism, s, who)


def _best_anywhere(game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp]) -> tuple[PerAgent, PerAgent]:
    """As `best_whole`, whatever the utilities."""
    lower, upper = (bound[who, None] for bound in whole_bounds(game))
    high = np.minimum(upper, _LARGEST)
    span = float((upper - lower).max())
    everything = game.payoff.concave is not True and span <= _SCANNED
    gains, best = np.zeros(len(who)), s[who].copy()
    for part in _parts(len(who), int(span) + 1 if everything else 120):
        if everything:
            x = np.minimum(lower[part] + np.arange(span + 1.0), high[part])
            gains[part], best[part] = _best_of(game, mechanism, s, who[part], x)[:2]
        else:
            gains[part], best[part] = _bracketed(game, mechanism, s, who[part], lower[part], high[part])
    endless = np.isinf(upper[:, 0]) & (best >= _LARGEST)
    return np.where(endless, np.inf, gains), best


def _bracketed(
    game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp], low: Array, high: Array
) -> tuple[PerAgent, PerAgent]:
    """As `best_whole`, by grids around the best number."""
    steps = np.exp2(np.arange(np.ceil(np.log2(max(float((high - low).max()), 1.0))) + 1.0))
    x = np.clip(s[who, None] + np.concatenate([-steps[::-1], [0.0], steps]), low, high)
    x = np.hstack([low, x, high])
    gains, best = np.zeros(len(who)), s[who].copy()
    while True:
        gain, at, left, right = _best_of(game, mechanism, s, who, x)
        gains, best = np.where(gain > gains, gain, gains), np.where(gain > gains, at, best)
        if max((at - left).max(), (right - at).max()) <= 1.0:
            return gains, best
        x = np.round(left[:, None] + (right - left)[:, None] * np.linspace(0.0, 1.0, 17))


def _best_of(
    game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp], x: Array
) -> tuple[PerAgent, PerAgent, PerAgent, PerAgent]:
    """Of numbers x (m, P): the gain by the best one, which it is, and the numbers tried next to it on either side."""
    here, values = np.split(mechanism.deviation_utilities(game, s, np.hstack([s[who, None], x]), agents=who), [1], 1)
    peak = values.argmax(axis=1)[:, None]
    best = np.take_along_axis(x, peak, axis=1)
    gain = (np.take_along_axis(values, peak, axis=1) - here)[:, 0]
    left = np.max(x, axis=1, where=x < best, initial=0.0)
    right = np.min(x, axis=1, where=x > best, initial=np.inf)
    best = best[:, 0]
    left = np.where((x < best[:, None]).any(axis=1), left, best)
    return np.maximum(gain, 0.0), best, left, np.where(np.isfinite(right), right, best)


def _best_near(
    game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp], steps: Array
) -> tuple[PerAgent, PerAgent]:
    """As `best_whole`, but for a few steps only."""
    lower, upper = (bound[who, None] for bound in whole_bounds(game))
    gains, best = np.zeros(len(who)), s[who].copy()
    for part in _parts(len(who), len(steps)):
        x = np.clip(s[who[part], None] + steps, lower[part], upper[part])
        gain, at = _best_of(game, mechanism, s, who[part], x)[:2]
        gains[part], best[part] = gain, np.where(gain > 0.0, at, best[part])
    return gains, best


def _moved_together(potential: Potential, s: Profile, gains: PerAgent, best: Profile) -> Profile:
    """As many agents as raise the potential by a tenth of their own gains take their best numbers, at least one."""
    order = np.argsort(-gains, kind="stable")
    movers = order[: np.count_nonzero(gains > 0.0)]
    before = potential.value(s)
    while True:
        moved = s.copy()
        moved[movers] = best[movers]
        if len(movers) == 1 or potential.value(moved) - before >= 0.1 * float(gains[movers].sum()):
            return moved
        movers = movers[: len(movers) // 2]


def _rounded(potential: Potential | None, s: Profile, lower: PerAgent, upper: PerAgent) -> Profile:
    """The nearest whole numbers, or those that keep the running total, whichever has the larger potential."""
    nearest = np.clip(np.round(s), lower, upper)
    if potential is None:
        return nearest
    kept = np.clip(np.diff(np.round(np.cumsum(s)), prepend=0.0), lower, upper)
    return max(nearest, kept, key=potential.value)


def _noise(game: Game, s: Profile) -> float:
    """A gain that is rounding."""
    return _ROUNDING * game.payoff.precision * stakes(game, s)


def _parts(count: int, width: int) -> Iterator[slice]:
    size = max(1, _AT_A_TIME // width)
    return (slice(first, first + size) for first in range(0, count, size))
