"""Totals at which the markets of all groups clear: bisection in each, one group after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._scalar import FARTHEST
from fedshap._types import Array, PerAgent, Profile, Progress
from fedshap.equilibrium.options import DEFAULT_OPTIONS
from fedshap.equilibrium.steps import without_bound
from fedshap.mechanisms.markets import Markets

Fill = Callable[[PerAgent, PerAgent, float], PerAgent]


def clear(
    markets: Markets, start: Profile, progress: Progress = None, sweeps: int = DEFAULT_OPTIONS.market_sweeps
) -> tuple[Profile, int] | None:
    """Contributions at which every group's market clears, and the sweeps it took; None if sweeps do not settle.

    One group after the other, given the totals of the rest; totals that keep drifting in one direction are
    extrapolated to where they are heading.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=[2.0, 5.0, 5.0])
    >>> s, sweeps = clear(fs.NoPayment().markets(game), np.zeros(3))
    >>> s.round(6)  # the cheapest agent gives all she has, and the price 1/(1+S)^2 is below the next one's cost
    array([2., 0., 0.])
    """
    totals = np.array([start[group.members].sum() for group in markets.groups])
    drift = np.zeros_like(totals)
    for sweep in range(1, sweeps + 1):
        previous, last_drift = totals.copy(), drift
        for c in markets.inhabited:
            totals[c] = _market_total(markets, c, totals)[0]
        drift = totals - previous
        largest = float(totals.max())
        change = float(np.abs(drift).max()) / largest if largest > 0.0 else 0.0
        if progress is not None:
            progress(sweep, change)
        if change <= 1e-14:
            return _profile(markets, totals, len(start)), sweep
        if sweep % 4 == 0:
            totals = _extrapolated(totals, drift, last_drift)
    return None


def _market_total(markets: Markets, c: int, totals: Array) -> tuple[float, float]:
    """The total of group c at which its market clears given the others', and the next larger number.

    Supply falls as the total rises, since the price does: bisection finds where it falls below the total. Where the
    most that agents are content to give never does, the least decides: they are indifferent.
    """
    group = markets.groups[c]
    if group.share == 0.0 and np.isinf(group.upper).any() and markets.price(c, totals) > 0.0:
        raise without_bound(int(group.members[np.isinf(group.upper).argmax()]))  # others bear all that she costs
    for end in (1, 0):
        found = _one_market(markets, c, totals, end)
        if found is not None:
            return found
    raise without_bound(int(group.members[0]))


def _one_market(markets: Markets, c: int, totals: Array, end: int) -> tuple[float, float] | None:
    """Where the least (``end`` 0) or the most (1) that agents are content to give falls below the total."""
    group, trial = markets.groups[c], totals.copy()

    def supply(total: float) -> float:
        trial[c] = total
        return float(group.supply(markets.price(c, trial))[end].sum())

    return _crossing(supply, float(totals[c]), float(group.lower.sum()), float(group.upper.sum()), markets.units[c])


def _crossing(
    supply: Callable[[float], float], guess: float, floor: float, capacity: float, unit: float
) -> tuple[float, float] | None:
    """Where supply falls below the total, as two neighbouring numbers; None if it never does."""
    if supply(floor) <= floor:
        return floor, floor
    if np.isfinite(capacity) and supply(capacity) >= capacity:
        return capacity, capacity
    bracket = _bracket(supply, min(guess if guess > floor else floor + unit, capacity), floor, capacity, unit)
    if bracket is None:
        return None
    low, high = bracket
    while low < (middle := low + (high - low) / 2.0) < high:
        low, high = (middle, high) if supply(middle) >= middle else (low, middle)
    return low, high


def _bracket(
    supply: Callable[[float], float], guess: float, floor: float, capacity: float, unit: float
) -> tuple[float, float] | None:
    """Two totals between which supply falls below the total, as close around a guess as a few trials find them."""
    above = supply(guess) >= guess
    low, high = (guess, capacity) if above else (floor, guess)
    width = 1e-9
    while True:
        trial = guess * (1.0 + width if above else 1.0 / (1.0 + width))
        if trial >= capacity or trial <= max(floor, unit / FARTHEST):
            return low, high
        if trial > FARTHEST * unit:
            return None
        if (supply(trial) >= trial) != above:
            return (low, trial) if above else (trial, high)
        low, high = (trial, high) if above else (low, trial)
        width *= 30.0


def _profile(markets: Markets, totals: Array, n_agents: int, fill: Fill | None = None) -> Profile:
    """Everybody's contribution: all of it where her marginal cost is below the price, a share where it is the price."""
    s = np.zeros(n_agents)
    for c in markets.inhabited:
        group = markets.groups[c]
        low, high = _market_total(markets, c, totals)
        at = totals.copy()
        at[c] = high
        least = group.supply(markets.price(c, at))[0]
        at[c] = low
        most = group.supply(markets.price(c, at))[1]
        s[group.members] = (fill or _filled)(least, most, totals[c])
    return s


def ends_of_markets(markets: Markets, s: Profile) -> tuple[Profile, Profile] | None:
    """The equilibria of smallest and largest total, given one; None where theory does not say which they are.

    Where totals are unique they are one total, split between those who are indifferent in the two extreme ways.
    """
    totals = np.array([s[group.members].sum() for group in markets.groups])
    if markets.unique and all(_strict(markets, c, totals) for c in markets.inhabited):
        return _profile(markets, totals, len(s), _from_the_first), _profile(markets, totals, len(s), _from_the_last)
    if len(markets.groups) > 1 or markets.curves.weights[0, 0] == 0.0:
        return None
    group = next(iter(markets.groups))
    least, most = (_one_market(markets, 0, totals, end) for end in (0, 1))
    if least is None or most is None:
        supply = group.supply(markets.price(0, totals))
        return supply if np.isinf(supply[1]).any() else None
    smallest = _profile(markets, np.array(least[:1]), len(s), _from_the_first)
    return smallest, _profile(markets, np.array(most[:1]), len(s), _from_the_last)


def _strict(markets: Markets, c: int, totals: Array) -> bool:
    """Whether the group's price changes with its total, on either side of the equilibrium."""
    prices = []
    for factor in (1.0 - 1e-6, 1.0, 1.0 + 1e-6):
        at = totals.copy()
        at[c] = factor * totals[c] if totals[c] > 0.0 else (factor - 1.0 + 1e-6) * markets.units[c]
        prices.append(markets.price(c, at))
    return prices[2] < prices[1] and (prices[1] < prices[0] or totals[c] == 0.0)


def _from_the_first(least: PerAgent, most: PerAgent, total: float) -> PerAgent:
    """Contributions between ``least`` and ``most`` that add up to ``total``: each gives all she may before the next."""
    room = np.minimum(most - least, max(total, 0.0))
    before = np.concatenate([[0.0], np.cumsum(room)[:-1]])
    return least + np.clip(total - least.sum() - before, 0.0, room)


def _from_the_last(least: PerAgent, most: PerAgent, total: float) -> PerAgent:
    return _from_the_first(least[::-1], most[::-1], total)[::-1]


def _filled(least: PerAgent, most: PerAgent, total: float) -> PerAgent:
    """Contributions between ``least`` and ``most`` that add up to ``total``: the open ones share the rest evenly.

    Nobody gives more than her room; what she cannot take is shared by the others.
    """
    rest, room = total - float(least.sum()), most - least
    if rest <= 0.0 or not (room > 0.0).any():
        return least
    order = np.argsort(room)
    filled = room[order]
    # If the k agents with the least room are full, the others share what is left of the rest.
    before = np.concatenate([[0.0], np.cumsum(np.where(np.isfinite(filled), filled, 0.0))[:-1]])
    level = (rest - before) / np.arange(len(room), 0, -1)
    open_ones = np.flatnonzero(level <= filled)
    share = np.minimum(room, level[open_ones[0]] if len(open_ones) else np.inf)
    return least + share


def _extrapolated(totals: Array, drift: Array, last_drift: Array) -> Array:
    """Where sweeps that shrink by a fixed ratio end."""
    length, last_length = float(np.linalg.norm(drift)), float(np.linalg.norm(last_drift))
    if last_length == 0.0 or length >= last_length or float(drift @ last_drift) < 0.99 * length * last_length:
        return totals
    return np.maximum(totals + drift * length / (last_length - length), 0.0)
