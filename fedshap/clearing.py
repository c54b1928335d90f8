r"""Games among groups as markets that clear.

Where payoffs are learning curves of weighted sums and an agent bears a fixed share of her own costs (`NoPayment`: all
of them; `CostSharing`: what is not shared), her marginal payoff is the same for all agents of her group,

.. math:: p_c(S) = w_{cc}\, f'\bigl((W S)_c\bigr),

where ``S_t`` is the total contribution of group t. It is a price: each agent supplies data up to where her marginal
cost meets it. An equilibrium is a vector of totals, of as many numbers as there are groups, at which each group's
supply is its total. Within a group agents are filled in the order of their marginal costs.

Index conventions: ``c`` and ``t`` run over the T groups, ``i`` over agents.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile, Progress
from fedshap.costs import Cost
from fedshap.game import Game
from fedshap.payoffs import LearningCurve

_SWEEPS = 1000  # over the groups before giving up
_MINORS = 12  # groups up to which all principal minors are computed


@dataclass(frozen=True, eq=False)
class Group:
    """The agents of one group."""

    members: NDArray[np.intp]
    cost: Cost
    upper: PerAgent
    share: float

    def supply(self, price: float) -> tuple[PerAgent, PerAgent]:
        """Least and most that each member is content to give at a price."""
        if self.share == 0.0:  # others bear all costs: any price above zero is worth everything
            everything = self.upper if price > 0.0 else np.zeros_like(self.upper)
            return everything, self.upper
        low, high = self.cost.supply(price / self.share)
        return np.minimum(low, self.upper), np.minimum(high, self.upper)


@dataclass(frozen=True, eq=False)
class Clearing:
    """A game as markets of its groups.

    Attributes
    ----------
    payoff : LearningCurve
        Concave.
    groups : tuple of Group
        One for each group of the payoff.
    """

    payoff: LearningCurve
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, game: Game, share: float = 1.0) -> Clearing | None:
        """The markets of a game whose agents bear a share of their own costs; None if it has none.

        Every agent a group of her own makes no market.
        """
        payoff = game.payoff
        if not isinstance(payoff, LearningCurve) or not payoff.concave or len(payoff.weights) == game.n_agents > 1:
            return None
        members = [np.flatnonzero(payoff.groups == c) for c in range(len(payoff.weights))]
        groups = (Group(who, game.cost.of(who), game.upper[who], share) for who in members)
        return cls(payoff, tuple(groups))

    def price(self, group: int, totals: Array) -> float:
        """What a data point of a group earns its owner, given the totals (T,) of all groups."""
        weights = self.payoff.weights[group]
        return float(weights[group] * self.payoff.slope(np.array([weights @ totals]))[0])

    @property
    def unique(self) -> bool:
        """Whether equilibria are known to agree in the totals of all groups: if ``W`` is a P-matrix.

        Of two equilibria with totals S and S', some group c would have ``(S - S')_c (W (S - S'))_c > 0``: it supplies
        more at a lower price, which increasing marginal costs exclude. All principal minors are computed for up to 12
        groups; beyond, a positive definite symmetric part is asked for, which is sufficient.
        """
        weights = self.payoff.weights[np.ix_(self._inhabited, self._inhabited)]
        count = len(weights)
        if count > _MINORS:
            return bool(np.linalg.eigvalsh(weights + weights.T).min() > 0.0)
        subsets = itertools.chain.from_iterable(itertools.combinations(range(count), k + 1) for k in range(count))
        return all(np.linalg.det(weights[np.ix_(subset, subset)]) > 0.0 for subset in subsets)

    @property
    def _inhabited(self) -> list[int]:
        return [c for c, group in enumerate(self.groups) if len(group.members)]


def clear(clearing: Clearing, start: Profile, progress: Progress = None) -> tuple[Profile, int] | None:
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
        for c in clearing._inhabited:
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


def _market_total(clearing: Clearing, c: int, totals: Array) -> tuple[float, float]:
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


def _profile(clearing: Clearing, totals: Array, n_agents: int) -> Profile:
    """Everybody's contribution: all of it where her marginal cost is below the price, a share where it is the price."""
    s = np.zeros(n_agents)
    for c in clearing._inhabited:
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
