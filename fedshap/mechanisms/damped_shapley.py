"""A part of the way from no payments to Shapley shares: ``M^r``."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, PerAgent, Profile
from fedshap._validation import as_interval
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, costs_of
from fedshap.mechanisms.markets import Markets
from fedshap.mechanisms.no_payment import NoPayment
from fedshap.mechanisms.potential import Potential, after_costs
from fedshap.mechanisms.shapley_payment import ShapleyPayment
from fedshap.mechanisms.welfare import surplus_expansion
from fedshap.shapley import shapley_gradient, shapley_potential, shapley_values
from fedshap.shapley.deviations import deviation_values, enumerated, shapley_expansion
from fedshap.shapley.expansion import Expansion


class DampedShapley(Mechanism):
    r"""``M^r``: the payments of `ShapleyPayment`, times ``r``.

    .. math:: p_i(s) = r\,\bigl(\varphi_i(s) - a_i(s)\bigr)

    Parameters
    ----------
    r : float
        Part of the payments that is made, in [0, 1]: 0 is `NoPayment`, 1 is `ShapleyPayment`.

    Notes
    -----
    The payments add up to ``-r A(0)``: they balance the budget where ``A(0) = 0``. An agent receives
    ``r phi_i + (1 - r) a_i``, so that

    - payoffs and Shapley values that are not negative make the mechanism r-reciprocal at every profile. No more can be
      said in general: who has nothing of her own data, and gives them to others, receives exactly ``r phi_i``.
    - With a common payoff ``f`` and ``f(0) >= 0`` it is ``(r + (1 - r) / n)``-reciprocal, since ``phi_i <= n f``;
      with equality where one agent alone contributes and ``f(0) = 0``.
    - With a common payoff the game has the exact potential ``r P + (1 - r) f - sum_i c_i``, with ``P`` from
      `shapley_potential`: it always has an equilibrium, and with a concave payoff and convex costs the equilibria are
      its maximisers. For ``r > 0`` it is solved as M^Shap is, for any number of agents.
    - Else a potential exists only if ``a_i`` and ``a_j`` have the same second derivative in ``s_i`` and ``s_j``, for
      all pairs; none is assumed, and best responses search for an equilibrium.

    Less reciprocity leaves more welfare: among equal agents with a common payoff of the total ``m`` the optimum is an
    equilibrium for ``r = (n - 1) f'(m) / (D - f'(m))``, with ``D = sum_k f'(k m / n)`` over k = 1..n.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> half = DampedShapley(0.5)
    >>> half.payments(game, [3.0, 1.0, 0.0]).round(4)
    array([ 0.3875,  0.0125, -0.4   ])
    >>> found = fs.find_equilibrium(game, half)
    >>> found.contributions.round(4), round(fs.reciprocity(game, half, found.contributions), 3)
    (array([2.8336, 0.8556, 0.3085]), 0.781)
    >>> best = fs.welfare_optimum(game).welfare
    >>> fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    >>> [round(float(game.welfare(each.contributions)) / best, 3) for each in (found, fair)]
    [0.888, 0.761]
    """

    def __init__(self, r: float) -> None:
        self.r = as_interval("r", r, 0.0, 1.0, closed_low=True)

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return self._mixed(lambda: ShapleyPayment().payments(game, s), lambda: NoPayment().payments(game, s))

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        return self._mixed(lambda: shapley_values(game, s), lambda: game.payoff.values(game.profile(s)))

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        earned = self._mixed(lambda: shapley_gradient(game, s), lambda: game.payoff.own_gradient(s))
        return earned - game.cost.derivatives(s)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        earned = self._mixed(
            lambda: deviation_values(game, s, x, agents),
            lambda: game.payoff.own_gains(game.profile(s), x, agents),
        )
        return earned - costs_of(game, x, agents)

    def dear(self, game: Game) -> bool:
        return self.r > 0.0 and ShapleyPayment().dear(game)

    def potential(self, game: Game) -> Potential | None:
        if self.r == 1.0:
            return Potential(game)
        return DampedPotential(game, self.r) if self.r > 0.0 and game.payoff.common else None

    def least_reciprocity(self, game: Game) -> float:
        return self.r + (1.0 - self.r) * NoPayment().least_reciprocity(game)

    def markets(self, game: Game) -> Markets | None:
        return NoPayment().markets(game) if self.r == 0.0 else None

    def _mixed(self, shapley: Callable[[], Array], own: Callable[[], Array]) -> Array:
        """``r`` of one and ``1 - r`` of the other; what has no part in it is not worked out."""
        if self.r == 0.0:
            return own()
        return shapley() if self.r == 1.0 else self.r * shapley() + (1.0 - self.r) * own()


class DampedPotential(Potential):
    """The exact potential of `DampedShapley` for a common payoff, ``r P + (1 - r) (f - f(0)) - sum_i c_i``."""

    def __init__(self, game: Game, r: float) -> None:
        super().__init__(game)
        self.r, self._part = r, (1.0 - r) / game.n_agents  # of the surplus n f

    @property
    def concave(self) -> bool | None:
        return self.game.payoff.concave

    def value(self, s: Profile) -> float:
        common = self._part * float(self.game.payoff.total_gain(s))
        return self.r * float(shapley_potential(self.game, s)) + common - float(self.game.costs(s).sum())

    def gradient(self, s: Profile) -> PerAgent:
        common = self._part * self.game.payoff.total_gradient(s)
        return self.r * shapley_gradient(self.game, s) + common - self.game.cost.derivatives(s)

    def expansion(self, s: Profile) -> Expansion:
        fair = shapley_expansion(self.game, s)
        common = surplus_expansion(self.game, s, integrate=not enumerated(self.game))
        surplus = Expansion(
            value=self.r * fair.value + self._part * common.value,
            gradient=self.r * fair.gradient + self._part * common.gradient,
            own=self.r * fair.own + self._part * common.own,
            shared=np.hstack([np.sqrt(self.r) * fair.shared, np.sqrt(self._part) * common.shared]),
        )
        return after_costs(self.game, s, surplus)
