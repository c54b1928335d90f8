"""Many names: what an agent gains who takes part as several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import Array, ArrayLike, PerAgent, Profile
from fedshap._validation import as_array, as_count, as_instance
from fedshap.costs import Cost
from fedshap.equilibrium import find_equilibrium
from fedshap.game import Game
from fedshap.mechanisms import Mechanism
from fedshap.payoffs.regrouped import Regrouped

_DECADES = np.geomspace(1e-6, 1e9, 181)
_FINER = 8  # times that the search around the best contribution is refined


@dataclass(frozen=True, eq=False, repr=False)
class Names(Record):
    """What an agent has under several names.

    Attributes
    ----------
    agent, k : int
        Who, and under how many names.
    received, utility : float
        What she receives in all if she gives what she gave, and that less her cost.
    best_contribution, best_utility : float
        What she would give if she chose anew, everybody else staying put, and her utility then.
    received_alone, utility_alone : float
        ``received`` and ``utility`` under one name.
    """

    agent: int
    k: int
    received: float
    utility: float
    best_contribution: float
    best_utility: float
    received_alone: float
    utility_alone: float

    @property
    def gain(self) -> float:
        """What the names alone are worth to her, without giving more or less."""
        return self.received - self.received_alone


def names(game: Game, mechanism: Mechanism, agent: int, k: int, s: ArrayLike | None = None) -> Names:
    r"""What an agent receives who appears under ``k`` names, and what she could make of it.

    Each name brings ``1/k`` of her data and bears ``1/k`` of her cost; all others stay as they are. The mechanism plays
    the game of ``n + k - 1`` players: it does not know that some are one. Her payoff counts once: each name is told to
    have ``1/k`` of it, so that the surplus is what it was, and names are alike.

    Parameters
    ----------
    game, mechanism
        The game and the mechanism.
    agent : int
        Who, 0..n-1.
    k : int
        Number of names, at least 1.
    s : array_like, optional
        Contributions, shape (n,); an equilibrium under the mechanism if left out.

    Returns
    -------
    Names
        What she receives in all, for what she gave and at her best contribution.

    Raises
    ------
    ValueError
        If an argument is out of range, or the agent gains by giving without bound.

    Notes
    -----
    Names share equally: an agent might gain more by other splits. False-name manipulations of the Shapley value are
    known from weighted voting and from open combinatorial auctions; `AumannShapleyPayment` excludes them here.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> fair = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions
    >>> for rule in (fs.ShapleyPayment(), fs.AumannShapleyPayment()):
    ...     [round(names(game, rule, 0, k, fair).best_utility, 4) for k in (1, 2, 4)]
    [0.8942, 1.1275, 1.3092]
    [1.3535, 1.3535, 1.3535]
    """
    as_instance("game", game, Game)
    as_instance("mechanism", mechanism, Mechanism)
    k = as_count("k", k)
    agent = as_count("agent", agent, minimum=0)
    if agent >= game.n_agents:
        raise ValueError(f"agent must lie in 0..{game.n_agents - 1}; got {agent}")
    profile = find_equilibrium(game, mechanism).contributions if s is None else game.one_profile(s)
    split = _Split(game, mechanism, agent, k, profile)
    here = np.array([profile[agent]])
    received, alone = (float(each.received(here)[0]) for each in (split, _Split(game, mechanism, agent, 1, profile)))
    best = split.best()
    cost = float(game.costs(profile)[agent])
    return Names(
        agent, k, received, received - cost, best, float(split.utilities(np.array([best]))[0]), alone, alone - cost
    )


class _Split:
    """One agent's receipts and utilities under several names, others staying put."""

    def __init__(self, game: Game, mechanism: Mechanism, agent: int, k: int, s: Profile) -> None:
        self.game, self.mechanism, self.agent, self.k, self.s = game, mechanism, agent, k, s
        self.owners = np.append(np.arange(game.n_agents), np.full(k - 1, agent))
        self.hers = self.owners == agent

    def received(self, x: Array) -> Array:
        """What her names receive in all if she gives ``x`` in all, (P,) -> (P,)."""
        return self.mechanism.received(self._many, self._profiles(x))[:, self.hers].sum(axis=-1)

    def utilities(self, x: Array) -> Array:
        rows = np.tile(self.s, (len(x), 1))
        rows[:, self.agent] = x
        return self.received(x) - self.game.cost.values(rows)[:, self.agent]

    def best(self) -> float:
        """Where her utility is highest: a grid over her interval, evenly and by decades, then ever finer ones."""
        unit, low = float(self.game.units[self.agent]), float(self.game.minimum[self.agent])
        high, here = float(self.game.capacity[self.agent]), float(self.s[self.agent])
        far = min(high, max(4.0 * here, 16.0 * unit))
        x = np.hstack([here, low, unit * _DECADES, np.linspace(low, far, 33), high if np.isfinite(high) else far])
        x = np.unique(np.clip(x, low, high))
        best = here
        for refinement in range(1 + _FINER):
            place = int(self.utilities(x).argmax())
            if refinement == 0 and place == len(x) - 1 and np.isinf(high):
                raise ValueError(f"agent {self.agent} gains from contributing without bound: give the game a capacity")
            best = float(x[place])
            x = np.union1d(np.linspace(x[max(place - 1, 0)], x[min(place + 1, len(x) - 1)], 17), best)
        return best

    @property
    def _many(self) -> Game:
        """The game that the mechanism sees."""
        if self.k == 1:
            return self.game
        game, parts = self.game, np.where(self.hers, 1.0 / self.k, 1.0)
        return Game(
            Regrouped(game.payoff, self.owners, parts),
            _SharedCost(game.cost, self.owners, parts),
            game.capacity[self.owners] * parts,
            minimum=game.minimum[self.owners] * parts,
        )

    def _profiles(self, x: Array) -> Array:
        rows = np.tile(self.s[self.owners], (len(x), 1))
        rows[:, self.hers] = x[:, None] / self.k
        return np.minimum(rows, self._many.capacity)


class _SharedCost(Cost):
    """A part of an agent's cost for a part of her data: ``c(x / part) part``."""

    def __init__(self, cost: Cost, owners: NDArray[np.intp], parts: Array) -> None:
        self.cost, self.owners, self.parts = cost.of(owners), owners, parts
        self.n_agents = len(owners)

    def values(self, s: ArrayLike) -> PerAgent:
        return self.cost.values(as_array("s", s) / self.parts) * self.parts

    def derivatives(self, s: ArrayLike) -> PerAgent:
        return self.cost.derivatives(as_array("s", s) / self.parts)
