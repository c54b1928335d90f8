"""What every mechanism offers."""

from __future__ import annotations

from abc import abstractmethod

from fedshap._records import Record
from fedshap._types import Agents, Array, ArrayLike, PerAgent
from fedshap._validation import everybody
from fedshap.game import Game
from fedshap.mechanisms.markets import Markets
from fedshap.mechanisms.potential import Potential


class Mechanism(Record):
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

    def dear(self, game: Game) -> bool:
        """Whether utilities are so dear to evaluate that solvers and certificates should count their evaluations."""
        return False

    def potential(self, game: Game) -> Potential | None:
        """The exact potential of the game among the agents; None if none is known."""
        return None

    def clearing(self, game: Game) -> Markets | None:
        """The game as markets of its groups, where it is one; None otherwise."""
        return None


def costs_of(game: Game, x: Array, agents: Agents) -> Array:
    """Costs of ``agents[m]`` at ``x[m, p]``, shape (m, P)."""
    return game.cost.of(everybody(game.n_agents, agents)).values(x.T).T
