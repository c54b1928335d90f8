"""Mechanisms that move money: none at all, shares of the costs, Shapley shares of the surplus."""

from __future__ import annotations

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, PerAgent
from fedshap._validation import as_interval, everybody
from fedshap.clearing import Clearing
from fedshap.deviations import deviation_values
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, Potential, costs_of
from fedshap.shapley import shapley_gradient, shapley_values


class NoPayment(Mechanism):
    """``M^0``: everyone receives the model and no money changes hands.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> NoPayment().utilities(game, [3.0, 0.0, 0.0]).round(4)
    array([0.45, 0.75, 0.75])
    """

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return np.zeros_like(game.profile(s))

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        return game.payoff.own_gradient(s) - game.cost.derivatives(s)

    def clearing(self, game: Game) -> Clearing | None:
        return Clearing.of(game)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        return game.payoff.own_values(game.profile(s), x, agents) - costs_of(game, x, agents)


class CostSharing(Mechanism):
    r"""``M^BG``: agents share a fraction of their costs with each other.

    .. math:: p_i(s) = \beta\Bigl(c_i(s_i) - \frac{1}{n-1}\sum_{j \ne i} c_j(s_j)\Bigr)

    Parameters
    ----------
    beta : float
        Fraction of the costs that is shared, in (0, 1]. For a common payoff ``beta = 1 - 1/n`` makes equilibria
        maximise welfare.

    Notes
    -----
    Murhekar et al. (2023), the baseline of the paper's Sec. 5. The payments add up to zero.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> CostSharing(2 / 3).payments(game, [3.0, 0.0, 0.0])
    array([ 0.2, -0.1, -0.1])
    """

    def __init__(self, beta: float) -> None:
        self.beta = as_interval("beta", beta, 0.0, 1.0)

    def __repr__(self) -> str:
        return f"CostSharing(beta={self.beta:g})"

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        costs = game.costs(s)
        return self.beta * (costs - self._of_others(costs))

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        return game.payoff.own_gradient(s) - (1.0 - self.beta) * game.cost.derivatives(s)

    def clearing(self, game: Game) -> Clearing | None:
        return Clearing.of(game, share=1.0 - self.beta)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        payoffs = game.payoff.own_values(game.profile(s), x, agents)
        of_others = self._of_others(game.costs(s))[everybody(game.n_agents, agents), None]
        return payoffs - (1.0 - self.beta) * costs_of(game, x, agents) - self.beta * of_others

    @staticmethod
    def _of_others(costs: PerAgent) -> PerAgent:
        """Mean cost of the other agents, shape (..., n)."""
        n = costs.shape[-1]
        if n < 2:
            raise ValueError("CostSharing needs at least two agents: there is nobody to share costs with")
        return (costs.sum(axis=-1, keepdims=True) - costs) / (n - 1)


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

    def potential(self, game: Game) -> Potential:
        return Potential(game)
