"""Shares of the costs: the baseline ``M^BG``."""

from __future__ import annotations

from fedshap._types import Agents, Array, ArrayLike, PerAgent
from fedshap._validation import as_interval, everybody
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, costs_of
from fedshap.mechanisms.markets import Markets


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

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        costs = game.costs(s)
        return self.beta * (costs - self._of_others(costs))

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        return game.payoff.own_gradient(s) - (1.0 - self.beta) * game.cost.derivatives(s)

    def markets(self, game: Game) -> Markets | None:
        return Markets.of(game, share=1.0 - self.beta)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        payoffs = game.payoff.own_gains(game.profile(s), x, agents)
        of_others = self._of_others(game.costs(s))[everybody(game.n_agents, agents), None]
        return payoffs - (1.0 - self.beta) * costs_of(game, x, agents) - self.beta * of_others

    @staticmethod
    def _of_others(costs: PerAgent) -> PerAgent:
        """Mean cost of the other agents, shape (..., n)."""
        n = costs.shape[-1]
        if n < 2:
            raise ValueError("CostSharing needs at least two agents: there is nobody to share costs with")
        return (costs.sum(axis=-1, keepdims=True) - costs) / (n - 1)
