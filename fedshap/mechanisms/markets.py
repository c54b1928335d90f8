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
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent
from fedshap.costs import Cost
from fedshap.game import Game
from fedshap.payoffs.base import GroupCurves

_MINORS = 12  # groups up to which all principal minors are computed


@dataclass(frozen=True, eq=False)
class Group:
    """The agents of one group."""

    members: NDArray[np.intp]
    cost: Cost
    lower: PerAgent
    upper: PerAgent
    share: float

    def supply(self, price: float) -> tuple[PerAgent, PerAgent]:
        """Least and most that each member is content to give at a price."""
        if self.share == 0.0:  # others bear all costs: any price above zero is worth everything
            everything = self.upper if price > 0.0 else self.lower
            return everything, self.upper
        low, high = self.cost.supply(price / self.share)
        return np.clip(low, self.lower, self.upper), np.clip(high, self.lower, self.upper)


@dataclass(frozen=True, eq=False)
class Markets:
    """A game as markets of its groups.

    Attributes
    ----------
    curves : GroupCurves
        Of the payoff; concave.
    groups : tuple of Group
        One for each group of the payoff.
    units : tuple of float
        A total of each group that is neither little nor much.
    """

    curves: GroupCurves
    groups: tuple[Group, ...]
    units: tuple[float, ...]

    @classmethod
    def of(cls, game: Game, share: float = 1.0) -> Markets | None:
        """The markets of a game whose agents bear a share of their own costs; None if it has none.

        Every agent a group of her own makes no market.
        """
        curves = game.payoff.markets()
        if curves is None or len(curves.weights) == game.n_agents > 1:
            return None
        members = [np.flatnonzero(curves.groups == c) for c in range(len(curves.weights))]
        # A group without members has no costs either, and nobody asks for them.
        costs = (game.cost.of(who) if len(who) else game.cost for who in members)
        groups = (
            Group(who, cost, game.minimum[who], game.capacity[who], share)
            for who, cost in zip(members, costs, strict=True)
        )
        units = (float(game.units[who].max(initial=0.0)) or 1.0 for who in members)
        return cls(curves, tuple(groups), tuple(units))

    def price(self, group: int, totals: Array) -> float:
        """What a data point of a group earns its owner, given the totals (T,) of all groups."""
        weights = self.curves.weights[group]
        return float(weights[group] * self.curves.slope(np.array([weights @ totals]))[0])

    @property
    def unique(self) -> bool:
        """Whether equilibria are known to agree in the totals of all groups: if ``W`` is a P-matrix.

        Of two equilibria with totals S and S', some group c would have ``(S - S')_c (W (S - S'))_c > 0``: it supplies
        more at a lower price, which increasing marginal costs exclude. All principal minors are computed for up to 12
        groups; beyond, a positive definite symmetric part is asked for, which is sufficient.
        """
        weights = self.curves.weights[np.ix_(self.inhabited, self.inhabited)]
        count = len(weights)
        if count > _MINORS:
            return bool(np.linalg.eigvalsh(weights + weights.T).min() > 0.0)
        subsets = itertools.chain.from_iterable(itertools.combinations(range(count), k + 1) for k in range(count))
        return all(np.linalg.det(weights[np.ix_(subset, subset)]) > 0.0 for subset in subsets)

    @property
    def inhabited(self) -> list[int]:
        return [c for c, group in enumerate(self.groups) if len(group.members)]
