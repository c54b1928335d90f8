"""Shapley shares of the surplus: ``M^Shap``."""

from __future__ import annotations

from fedshap._types import Agents, Array, ArrayLike, PerAgent
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, costs_of
from fedshap.mechanisms.potential import Potential
from fedshap.shapley import shapley_gradient, shapley_values
from fedshap.shapley.deviations import deviation_values, enumerated

FEW = 8
"""Most agents whose coalitions are enumerated without a thought."""


class ShapleyPayment(Mechanism):
    r"""``M^Shap``: everyone ends up with exactly her Shapley share of the surplus.

    .. math:: p_i(s) = \varphi_i(s) - a_i(s)

    Notes
    -----
    Def. 4.1, Eq. (7). The payments add up to ``-A(0)``, so they balance the budget where ``A(0) = 0``. The game is
    an exact potential game: its equilibria are what no agent can improve of ``P(s) - sum_i c_i(s_i)``, with ``P``
    from `shapley_potential`. The payments need no knowledge of costs.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> ShapleyPayment().payments(game, [3.0, 1.0, 0.0]).round(4)
    array([ 0.775,  0.025, -0.8  ])
    """

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return shapley_values(game, s) - game.payoff.values(s)

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        return shapley_values(game, s)

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        return shapley_gradient(game, s) - game.cost.derivatives(s)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        return deviation_values(game, s, x, agents) - costs_of(game, x, agents)

    def dear(self, game: Game) -> bool:
        return enumerated(game) and game.n_agents > FEW

    def least_reciprocity(self, game: Game) -> float:
        return 1.0

    def potential(self, game: Game) -> Potential:
        return Potential(game)
