"""Prices for data, the same under any number of names: payments by the value of Aumann and Shapley."""

from __future__ import annotations

import numpy as np

from fedshap._types import ArrayLike, PerAgent, Profile
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism
from fedshap.payoffs import Payoff


class AumannShapleyPayment(Mechanism):
    r"""Every data point is paid what it adds on average on the way from nothing to ``s``.

    .. math:: p_i(s) = \varphi^{AS}_i(s) - a_i(s), \qquad
              \varphi^{AS}_i(s) = s_i \int_0^1 \partial_i A(q s)\, dq

    Notes
    -----
    - The payments add up to ``-A(0)``, as those of M^Shap do.
    - Data that are worth the same have the same price, whoever gives them: who appears under several names receives
      what she would under one (`names`). Sprumont (2005) shows in his model of integer demands that with Additivity and
      Dummy no other rule has this property (No Merging or Splitting).
    - With a common payoff ``f`` of the total ``m``, ``phi^AS_i = s_i n (f(m) - f(0)) / m``: the agents are oligopolists
      of Cournot who face the inverse demand ``n (f(m) - f(0)) / m``.
    - For a `LearningCurve` with a concave curve what an agent receives is concave in what she gives: with
      ``h(z) = (f(z) - f(0)) / z`` it is a sum of ``s_i h(z)``, and ``z h'' + 2 h' = f'' <= 0`` with ``h' <= 0`` gives
      ``2 h' + s_i h'' <= 2 h' (1 - s_i / z) <= 0``, ``z`` counted in her data. An equilibrium exists.
    - It is not approximately reciprocal: beside one who gives very much, the price of everybody's data is next to
      nothing, and the Shapley value of who gives little is not.

    No potential is known; equilibria are found by best responses. Formulas for `LearningCurve`, `PowerLaw`,
    `RandomCoverage` and `RandomDiscovery`; other payoffs by quadrature and differences.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> AumannShapleyPayment().received(game, [3.0, 1.0, 0.0])  # 3 f(4) = 2.4, shared in proportion
    array([1.8, 0.6, 0. ])
    >>> fs.find_equilibrium(game, AumannShapleyPayment()).contributions.round(3)
    array([6.483, 1.993, 0.   ])
    """

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return _values(game, s) - game.payoff.values(game.profile(s))

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        return _values(game, s)

    def least_reciprocity(self, game: Game) -> float:
        return 0.0

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        earned = game.payoff.average_own_slopes(s)
        return super().marginal_utilities(game, s) if earned is None else earned - game.cost.derivatives(s)

    def marginals_by_formula(self, game: Game) -> bool:
        return self.has_marginals and type(game.payoff).average_own_slopes is not Payoff.average_own_slopes

    def marginal_utility(self, game: Game, s: Profile, agent: int) -> float:
        if self.has_marginals and game.payoff.has_gradient:
            return float(self.marginal_utilities(game, s)[agent])
        return super().marginal_utility(game, s, agent)


def _values(game: Game, s: ArrayLike) -> PerAgent:
    s = game.profile(s)
    return np.where(s > 0.0, s * game.payoff.average_slopes(s), 0.0)
