"""The types of a Bayesian game that occur as the players of one game, in which each counts with her probability."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_array, everybody, read_only
from fedshap.costs import Cost
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential
from fedshap.mechanisms.base import costs_of
from fedshap.payoffs import Payoff
from fedshap.shapley.expansion import Expansion


class Players:
    """The types that occur as the players of one game, in which each counts with her probability."""

    def __init__(self, payoff: Payoff, cost_types: Sequence[Cost], prior: Array, capacity: PerAgent) -> None:
        n, count = payoff.n_agents, len(cost_types)
        self.payoff, self.cost_types, self.shape = payoff, cost_types, (n, count)
        chances = np.array([prior.sum(axis=tuple(j for j in range(n) if j != i)) for i in range(n)]).ravel()
        types = np.array(np.nonzero(prior)).T  # (Z, n): the combinations that occur
        self.weights = prior[tuple(types.T)]  # (Z,)
        occurs = np.flatnonzero(chances > 0.0)
        self.agents, self.types = occurs // count, occurs % count
        self.chances = chances[occurs]
        place = np.full(n * count, -1)
        place[occurs] = np.arange(len(occurs))
        self.places: NDArray[np.intp] = place[np.arange(n) * count + types]  # (Z, n): which player plays in each
        #: One combination of types, of which mechanisms need to know no costs.
        self.free = Game(payoff, cost_types[0], capacity)
        self.game = Game(_Expected(self), _TypeCosts(self), capacity[self.agents])

    def expected(self, values: Array) -> Array:
        """What each player expects, times her probability: (..., Z, n) -> (..., m)."""
        weighted = values * self.weights[:, None]
        found = np.zeros((*values.shape[:-2], len(self.agents)))
        np.add.at(np.moveaxis(found, -1, 0), self.places, np.moveaxis(weighted, (-2, -1), (0, 1)))
        return found

    def table(self, values: PerAgent) -> Array:
        """One number for each player as a table of agents and types, NaN where a type never occurs."""
        found = np.full(self.shape, np.nan)
        found[self.agents, self.types] = values
        return read_only(found)


class _Expected(Payoff):
    """What each player expects of the model, times her probability."""

    def __init__(self, players: Players) -> None:
        self.players, self.inner = players, players.payoff
        self.n_agents, self.concave = len(players.agents), self.inner.concave

    def values(self, s: ArrayLike) -> PerAgent:
        return self.players.expected(self.inner.values(self._profile(s)[..., self.players.places]))

    def gains(self, s: ArrayLike) -> PerAgent:
        return self.players.expected(self.inner.gains(self._profile(s)[..., self.players.places]))

    def total_gain(self, s: ArrayLike) -> Array:
        return self.gains(s).sum(axis=-1)

    def jacobian(self, s: ArrayLike) -> Jacobian:
        s = self._profile(s)
        slopes = self.inner.jacobian(s[..., self.players.places]) * self.players.weights[:, None, None]
        found = np.zeros((*s.shape[:-1], self.n_agents, self.n_agents))
        for z, who in enumerate(self.players.places):
            found[..., who[:, None], who] += slopes[..., z, :, :]
        return found

    @cached_property
    def units(self) -> PerAgent | None:
        units = self.inner.units
        return None if units is None else read_only(units[self.players.agents])


class _TypeCosts(Cost):
    """What each player's contribution costs her, times her probability."""

    def __init__(self, players: Players) -> None:
        self.players, self.n_agents = players, len(players.agents)
        self.parts = [(np.flatnonzero(players.types == t), t) for t in np.unique(players.types)]
        costs = players.cost_types
        self.costs = [costs[t].of(players.agents[who]) for who, t in self.parts]

    def values(self, s: ArrayLike) -> PerAgent:
        return self._each("values", s)

    def derivatives(self, s: ArrayLike) -> PerAgent:
        return self._each("derivatives", s)

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        return self._each("second_derivatives", s)

    def _each(self, name: str, s: ArrayLike) -> PerAgent:
        s = as_array("s", s)
        found = np.empty_like(s)
        for (who, _), cost in zip(self.parts, self.costs, strict=True):
            found[..., who] = getattr(cost, name)(s[..., who])
        return found * self.players.chances


class Interim(Mechanism):
    """A mechanism as the players see it who do not know each other's types."""

    def __init__(self, players: Players, mechanism: Mechanism) -> None:
        self.players, self.mechanism = players, mechanism
        self.smooth = mechanism.smooth

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return self.players.expected(self.mechanism.payments(self.players.free, self._plays(game, s)))

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        return self.players.expected(self.mechanism.received(self.players.free, self._plays(game, s)))

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        plays, free = self._plays(game, s), self.players.free
        earned = self.mechanism.marginal_utilities(free, plays) + free.cost.derivatives(plays)
        return self.players.expected(earned) - game.cost.derivatives(game.profile(s))

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        plays, free = self._plays(game, s), self.players.free
        earned = np.zeros_like(x)
        for m, k in enumerate(everybody(game.n_agents, agents)):
            who = self.players.agents[k : k + 1]
            for z in np.flatnonzero(self.players.places[:, who[0]] == k):
                utilities = self.mechanism.deviation_utilities(free, plays[z], x[m : m + 1], who)
                earned[m] += self.players.weights[z] * (utilities + costs_of(free, x[m : m + 1], who))[0]
        return earned - costs_of(game, x, agents)

    def potential(self, game: Game) -> Potential | None:
        inner = self.mechanism.potential(self.players.free)
        return None if inner is None else _ExpectedPotential(game, self.players, inner)

    def _plays(self, game: Game, s: ArrayLike) -> Profile:
        """What is played in each combination of types, shape (..., Z, n)."""
        return game.profile(s)[..., self.players.places]


class _ExpectedPotential(Potential):
    """``E P(sigma(theta)) - sum_i E c_i(sigma_i(theta_i), theta_i)``."""

    def __init__(self, game: Game, players: Players, inner: Potential) -> None:
        super().__init__(game)
        self.players, self.inner = players, inner

    @property
    def concave(self) -> bool | None:
        return self.inner.concave

    def value(self, s: Profile) -> float:
        plays, free = s[self.players.places], self.players.free
        heights = [self.inner.value(play) + float(free.costs(play).sum()) for play in plays]
        return float(self.players.weights @ heights - self.game.costs(s).sum())

    def gradient(self, s: Profile) -> PerAgent:
        return self.expansion(s).gradient

    def expansion(self, s: Profile) -> Expansion:
        players, cost, m = self.players, self.game.cost, len(s)
        value, gradient, curvature = 0.0, np.zeros(m), np.zeros((m, m))
        for who, weight in zip(players.places, players.weights, strict=True):
            play, free = s[who], players.free
            here = self.inner.expansion(play)
            bend = free.cost.second_derivatives(np.maximum(play, 1e-8 * (free.units + play.mean())))
            value += weight * (here.value + float(free.costs(play).sum()))
            gradient[who] += weight * (here.gradient + free.cost.derivatives(play))
            curvature[np.ix_(who, who)] += weight * (here.matrix() - np.diag(bend))
        bend = cost.second_derivatives(np.maximum(s, 1e-8 * (self.game.units + s.mean())))
        costs = float(cost.values(s).sum())
        level = Expansion.of_matrix(value - costs, gradient - cost.derivatives(s), curvature + np.diag(bend))
        return Expansion(level.value, level.gradient, level.own, level.shared, magnitude=abs(value) + costs)
