"""What every mechanism offers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, PerAgent, Profile
from fedshap._validation import everybody
from fedshap.clearing import Clearing
from fedshap.deviations import shapley_expansion
from fedshap.game import Game
from fedshap.shapley import shapley_potential
from fedshap.summation import Expansion


class Mechanism(ABC):
    """Base class of all mechanisms. Profiles ``s`` have shape (..., n) unless said otherwise."""

    #: Whether marginal utilities are continuous, as Newton steps need.
    smooth: bool = True

    @abstractmethod
    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        """Payments ``p_i(s)`` to the agents, shape (..., n); negative where an agent pays."""

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        """What the mechanism gives each agent before costs, ``a_i(s) + p_i(s)``, shape (..., n)."""
        return game.payoff.values(game.profile(s)) + self.payments(game, s)

    def utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        """Utilities ``u_i(s) = a_i(s) + p_i(s) - c_i(s_i)``, shape (..., n)."""
        return self.received(game, s) - game.costs(s)

    @abstractmethod
    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        """Own derivatives ``d u_i / d s_i``, shape (..., n)."""

    @abstractmethod
    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        """Utility of ``agents[m]`` were she alone to contribute ``x[m, p]``: ``s`` (n,), ``x`` (m, P) -> (m, P).

        All agents, in order, if ``agents`` is None.
        """

    def potential(self, game: Game) -> Potential | None:
        """The exact potential of the game among the agents; None if none is known."""
        return None

    def clearing(self, game: Game) -> Clearing | None:
        """The game as markets of its groups, where it is one; None otherwise."""
        return None


@dataclass(frozen=True, eq=False)
class Potential:
    """An exact potential: every unilateral change of ``u_i`` equals the change of ``value``.

    Both methods take one profile of shape (n,).
    """

    game: Game

    def value(self, s: Profile) -> float:
        """``Phi(s) = P(s) - sum_i c_i(s_i)``."""
        return float(shapley_potential(self.game, s) - self.game.costs(s).sum())

    def expansion(self, s: Profile) -> Expansion:
        """Value, gradient and curvature at ``s``: the gradient holds the own-gradients of all utilities."""
        surplus, cost = shapley_expansion(self.game, s), self.game.cost
        # Some convex costs have infinite curvature at zero; a little way off they have not.
        bend = cost.second_derivatives(np.maximum(s, 1e-8 * (1.0 + s.mean())))
        return Expansion(
            value=surplus.value - float(self.game.costs(s).sum()),
            gradient=surplus.gradient - cost.derivatives(s),
            own=surplus.own + bend,
            shared=surplus.shared,
        )


def costs_of(game: Game, x: Array, agents: Agents) -> Array:
    """Costs of ``agents[m]`` at ``x[m, p]``, shape (m, P)."""
    return game.cost.of(everybody(game.n_agents, agents)).values(x.T).T
