"""What every mechanism offers, and what follows from its payments alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedshap._differences import difference
from fedshap._records import Record, overrides
from fedshap._types import Agents, Array, ArrayLike, PerAgent, Profile
from fedshap._validation import everybody
from fedshap.game import Game
from fedshap.mechanisms.markets import Markets
from fedshap.mechanisms.potential import Potential

_AT_A_TIME = 1_000_000  # contributions of moved profiles that are evaluated at once: 8 MB for each array of that size

Rule: TypeAlias = Callable[[Any, Game, ArrayLike], PerAgent]


class Mechanism(Record):
    """Base class of all mechanisms. Profiles ``s`` have shape (..., n) unless said otherwise.

    A mechanism of your own needs ``payments``, vectorised over the leading axes, or ``received``; the rest has
    numerical defaults. What a parent class works out by formula from payments that you override is not inherited.

    Examples
    --------
    >>> import fedshap as fs
    >>> class Prize(fs.Mechanism):
    ...     def payments(self, game, s):  # a prize of 1, shared in proportion to what is given
    ...         s = game.profile(s)
    ...         total = s.sum(axis=-1, keepdims=True)
    ...         return np.where(total > 0.0, s / np.where(total > 0.0, total, 1.0), 1.0 / game.n_agents)
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> found = fs.find_equilibrium(game, Prize())
    >>> found.contributions.round(4), found.regret < 1e-9
    (array([2.9826, 0.817 , 0.    ]), True)
    """

    #: Whether marginal utilities are continuous, as Newton steps need.
    smooth: bool = True

    _shortcuts = {"utilities": ("payments", "received")} | dict.fromkeys(
        ("marginal_utilities", "deviation_utilities", "potential", "markets", "least_reciprocity"),
        ("payments", "received", "utilities"),
    )

    def __init_subclass__(cls, **settings: Any) -> None:
        if overrides(cls, "received", "payments"):
            setattr(cls, "payments", _payments_from(cls.received))  # noqa: B010 - a method of the class made here
        elif overrides(cls, "payments", "received"):
            setattr(cls, "received", _received_from(cls.payments))  # noqa: B010
        super().__init_subclass__(**settings)

    @abstractmethod
    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        """Payments ``p_i(s)`` to the agents, shape (..., n); negative where an agent pays."""

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        """What the mechanism gives each agent before costs, ``a_i(s) + p_i(s)``, shape (..., n)."""
        return game.payoff.values(game.profile(s)) + self.payments(game, s)

    def utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        """Utilities ``u_i(s) = a_i(s) + p_i(s) - c_i(s_i)``, shape (..., n)."""
        return self.received(game, s) - game.costs(s)

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        """Own derivatives ``d u_i / d s_i``, shape (..., n).

        By differences of `deviation_utilities`, to about ten digits, unless overridden; one-sided where nothing is
        given and at the capacity, infinite where the utility jumps or rises like a root.
        """
        profiles = game.profile(s)
        rows = [self._differences(game, row, np.arange(game.n_agents)) for row in profiles.reshape(-1, game.n_agents)]
        return np.array(rows).reshape(profiles.shape)

    def marginal_utility(self, game: Game, s: Profile, agent: int) -> float:
        """One agent's ``d u_i / d s_i`` at one profile: what best responses ask for again and again."""
        if self.marginals_by_formula(game):
            return float(self.marginal_utilities(game, s)[agent])
        return float(self._differences(game, s, np.array([agent]))[0])

    @property
    def has_marginals(self) -> bool:
        """Whether marginal utilities come from a formula, not from differences."""
        return type(self).marginal_utilities is not Mechanism.marginal_utilities

    def marginals_by_formula(self, game: Game) -> bool:
        """Whether marginal utilities of this game come from a formula, not from differences."""
        return self.has_marginals

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        """Utility of ``agents[m]`` were she alone to contribute ``x[m, p]``: ``s`` (n,), ``x`` (m, P) -> (m, P).

        All agents, in order, if ``agents`` is None. A constant for each agent may be left out. By `utilities` of the
        moved profiles unless overridden, which must then give for many profiles at once what it gives for each.
        """
        profile, who = game.one_profile(s), np.repeat(everybody(game.n_agents, agents), x.shape[1])
        found, moves, size = np.empty(x.size), x.ravel(), max(1, _AT_A_TIME // game.n_agents)
        for first in range(0, x.size, size):
            some = slice(first, first + size)
            places = np.arange(len(who[some])), who[some]
            moved = np.tile(profile, (len(who[some]), 1))
            moved[places] = moves[some]
            found[some] = self._rowwise(game, moved)[places]
        return found.reshape(x.shape)

    def dear(self, game: Game) -> bool:
        """Whether utilities are so dear to evaluate that solvers and certificates should count their evaluations."""
        return False

    def potential(self, game: Game) -> Potential | None:
        """The exact potential of the game among the agents; None if none is known."""
        return None

    def markets(self, game: Game) -> Markets | None:
        """The game as markets of its groups, where it is one; None otherwise."""
        return None

    def least_reciprocity(self, game: Game) -> float:
        """A number below which no agent's ``(a_i + p_i) / phi_i`` is known to fall, whatever is contributed; minus
        infinity where none is known. For payoffs that are non-negative and do not fall with data."""
        return -np.inf

    def _rowwise(self, game: Game, profiles: Array) -> Array:
        """Utilities of many profiles, of which the last is evaluated alone, too: a forgotten ``axis=-1`` shows."""
        together, alone = self.utilities(game, profiles), self.utilities(game, profiles[-1])
        name = type(self).__name__
        if np.isnan(together).any():
            row = profiles[np.isnan(together).any(axis=1)][0]
            raise ValueError(f"payments of {name} must be numbers; some are NaN at s={row}")
        if not np.allclose(together[-1], alone, rtol=1e-9, atol=1e-9 * float(np.abs(together).max())):
            raise ValueError(
                f"payments of {name} must be vectorised over the leading axes: for many profiles at once they are "
                "others than for each of them alone; give sums axis=-1"
            )
        return together

    def _differences(self, game: Game, s: Profile, agents: NDArray[np.intp]) -> PerAgent:
        """Marginal utilities of some agents: of what they receive by differences, less their marginal costs."""

        def received(x: Array) -> Array:
            return self.deviation_utilities(game, s, x, agents) + costs_of(game, x, agents)

        slopes = difference(received, s[agents], game.capacity[agents], level=_rounding_level(game, s, agents))
        return slopes - game.cost.derivatives(s)[agents]


# Each of the two rests on the other of the same class, not of a subclass: so ``super()`` means in both what it says.


def _payments_from(received: Rule) -> Rule:
    """Payments of a mechanism that says only what it gives: what that is beyond the payoff."""

    def payments(self: Mechanism, game: Game, s: ArrayLike) -> PerAgent:
        return received(self, game, s) - game.payoff.values(game.profile(s))

    return payments


def _received_from(payments: Rule) -> Rule:
    """What a mechanism gives that says only what it pays."""

    def received(self: Mechanism, game: Game, s: ArrayLike) -> PerAgent:
        payoffs, paid = game.payoff.values(game.profile(s)), payments(self, game, s)
        if np.shape(paid) != payoffs.shape:
            name = type(self).__name__
            raise ValueError(
                f"payments of {name} must have the shape of s, {payoffs.shape}; they have {np.shape(paid)}"
            )
        return payoffs + paid

    return received


def _rounding_level(game: Game, s: Profile, agents: NDArray[np.intp]) -> PerAgent:
    """Size of the numbers whose rounding payoffs carry, by how far those of tiny steps of her own are off the slope.

    It may be far above the payoff itself: ``1 - 1 / (1 + x)`` is small near 0, and is rounded as 1 is.
    """
    steps = np.where(s[agents] > 0.0, s[agents], game.units[agents])[:, None] * 4.0 ** np.arange(-60.0, 31.0)
    x = np.minimum(s[agents, None] + steps, game.capacity[agents, None])
    change = game.payoff.own_gains(s, x, agents) - game.payoff.own_gains(s, s[agents, None], agents)
    off = np.abs(change - game.payoff.own_gradient(s)[agents, None] * (x - s[agents, None]))
    first = (change != 0.0).argmax(axis=1)[:, None]  # the step first noticed; to 64 times it, all is rounding
    return off.max(axis=1, where=np.arange(steps.shape[1]) <= first + 3, initial=0.0) / 1e-16


def costs_of(game: Game, x: Array, agents: Agents) -> Array:
    """Costs of ``agents[m]``, all of them if None, at ``x[m, p]``, shape (m, P)."""
    cost = game.cost if agents is None else game.cost.of(agents)
    return cost.values(x.T).T
