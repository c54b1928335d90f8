"""No money changes hands: ``M^0``."""

from __future__ import annotations

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, PerAgent
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, costs_of
from fedshap.mechanisms.markets import Markets


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

    def least_reciprocity(self, game: Game) -> float:
        return 1.0 / game.n_agents if game.payoff.common else 0.0  # phi_i <= n f

    def markets(self, game: Game) -> Markets | None:
        return Markets.of(game)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        return game.payoff.own_gains(game.profile(s), x, agents) - costs_of(game, x, agents)
