"""Totals at which the markets of all groups clear: bisection in each, one group after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._types import Array, PerAgent, Profile, Progress
from fedshap.mechanisms.markets import Markets

_SWEEPS = 1000  # over the groups before giving up


def clear(clearing: Markets, start: Profile, progress: Progress = None) -> tuple[Profile, int] | None:
    """Contributions at which every group's market clears, and the sweeps it took; None if sweeps do not settle.

    One group after the other, given the totals of the rest; totals that keep drifting in one direction are
    extrapolated to where they are heading.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=[2.0, 5.0, 5.0])
    >>> s, sweeps = clear(fs.NoPayment().clearing(game), np.zeros(3))
    >>> s.round(6)  # the cheapest agent gives all she has, and the price 1/(1+S)^2 is below the next one's cost
    array([2., 0., 0.])
    """
    totals = np.array([start[group.members].sum() for group in clearing.groups])
    drift = np.zeros_like(totals)
    for sweep in range(1, _SWEEPS + 1):
        previous, last_drift = totals.copy(), drift
        for c in clearing.inhabited:
            totals[c] = _market_total(clearing, c, totals)[0]
        drift = totals - previous
        moved = float(np.abs(drift).max()) / max(float(totals.max()), 1e-300)
        if progress is not None:
            progress(sweep, moved)
        if moved <= 1e-14:
            return _profile(clearing, totals, len(start)), sweep
        if sweep % 4 == 0:
            totals = _extrapolated(totals, drift, last_drift)
    return None


def _market_total(clearing: Markets, c: int, totals: Array) -> tuple[float, float]:
    """The total of group c at which its market clears given the others', and the next larger number.

    Supply falls as the total rises, since the price does: bisection finds where it falls below the total.
    """
    group = clearing.groups[c]
    trial = totals.copy()

    def most(total: float) -> float:
        trial[c] = total
        return float(group.supply(clearing.price(c, trial))[1].sum())

    capacity = float(group.upper.sum())
    if most(0.0) <= 0.0:
        return 0.0, 0.0
    if np.isfinite(capacity) and most(capacity) >= capacity:
        return capacity, capacity
    low, high = _bracket(most, float(totals[c]), capacity)
    while low < (middle := low + (high - low) / 2.0) < high:
        low, high = (middle, high) if most(middle) >= middle else (low, middle)
    return low, high


def _bracket(most: Callable[[float], float], guess: float, capacity: float) -> tuple[float, float]:
    """Two totals between which supply falls below the total, as close around a guess as a few trials find them."""
    guess = min(max(guess, 1e-9), capacity)
    above = most(guess) >= guess
    low, high = (guess, capacity) if above else (0.0, guess)
    width = 1e-9
    while True:
        trial = guess * (1.0 + width if above else 1.0 / (1.0 + width))
        if trial >= capacity or trial < 1e-300:
            return low, high
        if trial > 1e15:
            raise ValueError("agents gain from contributing without bound: give the game a finite capacity")
        if (most(trial) >= trial) != above:
            return (low, trial) if above else (trial, high)
        low, high = (trial, high) if above else (low, trial)
        width *= 30.0


def _profile(clearing: Markets, totals: Array, n_agents: int) -> Profile:
    """Everybody's contribution: all of it where her marginal cost is below the price, a share where it is the price."""
    s = np.zeros(n_agents)
    for c in clearing.inhabited:
        group = clearing.groups[c]
        low, high = _market_total(clearing, c, totals)
        at = totals.copy()
        at[c] = high
        least = group.supply(clearing.price(c, at))[0]
        at[c] = low
        most = group.supply(clearing.price(c, at))[1]
        s[group.members] = _filled(least, most, totals[c])
    return s


def _filled(least: PerAgent, most: PerAgent, total: float) -> PerAgent:
    """Contributions between ``least`` and ``most`` that add up to ``total``: the open ones share the rest evenly."""
    rest, room = total - least.sum(), most - least
    open_ones = room > 0.0
    if rest <= 0.0 or not open_ones.any():
        return least
    if np.isinf(room).any():  # an equal level among all; nobody below her room, since one room has no end
        room = np.where(open_ones, np.minimum(room, rest / np.isinf(room).sum()), 0.0)
    return least + room * min(1.0, rest / room.sum())


def _extrapolated(totals: Array, drift: Array, last_drift: Array) -> Array:
    """Where sweeps that shrink by a fixed ratio end."""
    length, last_length = float(np.linalg.norm(drift)), float(np.linalg.norm(last_drift))
    if last_length == 0.0 or length >= last_length or float(drift @ last_drift) < 0.99 * length * last_length:
        return totals
    return np.maximum(totals + drift * length / (last_length - length), 0.0)
