r"""Mechanisms: what each agent receives on top of, or instead of, the full payoff (Def. 3.1 of the paper).

Under a mechanism with payments ``p`` the utility of agent i is ``u_i(s) = a_i(s) + p_i(s) - c_i(s_i)``. Besides
payments and utilities a mechanism tells a solver three things, so that the solver need not know which mechanism is
played: marginal utilities, the utilities of unilateral deviations and, if the game has one, a potential.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, PerAgent, Profile
from fedshap._validation import as_interval, everybody, read_only
from fedshap.deviations import deviation_values, shapley_expansion
from fedshap.game import Game
from fedshap.shapley import shapley_gradient, shapley_potential, shapley_values
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

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        return game.payoff.own_values(game.profile(s), x, agents) - _costs(game, x, agents)


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

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        payoffs = game.payoff.own_values(game.profile(s), x, agents)
        of_others = self._of_others(game.costs(s))[everybody(game.n_agents, agents), None]
        return payoffs - (1.0 - self.beta) * _costs(game, x, agents) - self.beta * of_others

    @staticmethod
    def _of_others(costs: PerAgent) -> PerAgent:
        """Mean cost of the other agents, shape (..., n)."""
        n = costs.shape[-1]
        if n < 2:
            raise ValueError("CostSharing needs at least two agents: there is nobody to share costs with")
        return (costs.sum(axis=-1, keepdims=True) - costs) / (n - 1)


class AccuracyShaping(Mechanism):
    r"""Accuracy shaping: who contributes more gets a better model; no money changes hands.

    Agent i receives the smaller of the full payoff ``a_i(s)`` and of a curve in her own contribution,

    .. math:: h_i(x) = a_i(x e_i) \;\text{ for } x \le x_i^0, \qquad
              h_i(x) = a_i(x_i^0 e_i) + c_i(x) - c_i(x_i^0) + \varepsilon (x - x_i^0) \;\text{ beyond},

    where ``x_i^0`` is what she would contribute alone. The payment is the difference to ``a_i(s)``: never positive.

    Parameters
    ----------
    epsilon : float
        Reward per data point beyond the costs, > 0.

    Notes
    -----
    Karimireddy et al. (2022), with linear costs the mechanism of the paper's Example 7; the form with general convex
    costs keeps its defining property, that beyond ``x_i^0`` every data point is worth its cost plus epsilon until
    the full payoff is reached. The server must know the costs. Needs a known concave payoff.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> AccuracyShaping(1e-9).received(game, [1.0, 1.0, 1.0]).round(4)  # alone: 2.16, 1 and 0.58
    array([0.5   , 0.5   , 0.5351])
    """

    smooth = False  # a kink where the curve meets the full payoff, and equilibria lie there

    def __init__(self, epsilon: float = 1e-9) -> None:
        self.epsilon = as_interval("epsilon", epsilon, 0.0, np.inf)

    def __repr__(self) -> str:
        return f"AccuracyShaping(epsilon={self.epsilon:g})"

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return self.received(game, s) - game.payoff.values(game.profile(s))

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        return np.minimum(game.payoff.values(s), self._curve(game, s)[0])

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        curve, slope = self._curve(game, s)
        shaped = curve < game.payoff.values(s)
        return np.where(shaped, slope, game.payoff.own_gradient(s)) - game.cost.derivatives(s)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        who = everybody(game.n_agents, agents)
        columns = np.zeros((x.shape[1], game.n_agents))
        columns[:, who] = x.T
        curve = self._curve(game, columns)[0][:, who].T
        payoffs = game.payoff.own_values(game.profile(s), x, agents)
        return np.minimum(payoffs, curve) - _costs(game, x, agents)

    def solo_optima(self, game: Game) -> PerAgent:
        """What each agent would contribute alone, ``argmax_x a_i(x e_i) - c_i(x)``, shape (n,)."""
        if not game.payoff.concave:
            raise ValueError(
                "AccuracyShaping needs concave payoffs: the curve starts where an agent alone stops contributing; "
                "say concave=True in CustomPayoff if yours is"
            )
        return _solo_optima(game)

    def _curve(self, game: Game, x: Array) -> tuple[PerAgent, PerAgent]:
        """The curve ``h_i`` at own contributions ``x``, shape (..., n), and its slope."""
        start = self.solo_optima(game)
        value, slope = _solo(game, np.minimum(x, start))
        beyond = game.cost.values(x) - game.cost.values(start) + self.epsilon * (x - start)
        marginal_cost = game.cost.derivatives(x)
        # Below her solo optimum an agent wants to go on. Rounding in a payoff's slope must not say otherwise.
        slope = np.maximum(slope, marginal_cost + min(self.epsilon, 1e-12))
        return np.where(x > start, value + beyond, value), np.where(x >= start, marginal_cost + self.epsilon, slope)


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
        return deviation_values(game, s, x, agents) - _costs(game, x, agents)

    def potential(self, game: Game) -> Potential:
        return Potential(game)


def own_optimum(marginal: Callable[[float], float], upper: float, start: float = 1.0) -> float:
    """Where in [0, upper] one agent stops: where her marginal utility changes sign, from + to -.

    If it does so more than once, the place that she reaches uphill from ``start``, or zero.

    Raises
    ------
    ValueError
        If ``upper`` is infinite and the marginal utility is still non-negative at 1e12.

    Examples
    --------
    >>> round(own_optimum(lambda x: 1.0 / (1.0 + x) ** 2 - 0.25, np.inf), 9), own_optimum(lambda x: -1.0, 5.0)
    (1.0, 0.0)
    """
    from scipy.optimize import root_scalar  # takes half a second to import: only those who solve games pay it

    low, high = 0.0, min(start, upper) or min(1.0, upper)
    if marginal(high) < 0.0 and marginal(0.0) <= 0.0:
        return 0.0
    while marginal(high) >= 0.0:
        if high == upper:
            return upper
        if high > 1e12:
            raise ValueError(
                "an agent gains from contributing without bound: give the game a finite capacity, or the agent "
                "a cost that outgrows her payoff"
            )
        low, high = high, min(4.0 * high, upper)
    return float(root_scalar(marginal, bracket=(low, high), xtol=1e-18, rtol=1e-15).root) if low < high else low


def _costs(game: Game, x: Array, agents: Agents) -> Array:
    """Costs of ``agents[m]`` at ``x[m, p]``, shape (m, P)."""
    return game.cost.of(everybody(game.n_agents, agents)).values(x.T).T


@lru_cache(maxsize=16)
def _solo_optima(game: Game) -> PerAgent:
    """What each agent would contribute alone, shape (n,); games are frozen, so it is computed once for each."""

    def marginal(agent: int, x: float) -> float:
        profile = np.zeros(game.n_agents)
        profile[agent] = x
        return float((game.payoff.own_gradient(profile) - game.cost.derivatives(profile))[agent])

    return read_only(np.array([own_optimum(partial(marginal, i), game.upper[i]) for i in range(game.n_agents)]))


def _solo(game: Game, x: Array) -> tuple[PerAgent, PerAgent]:
    """Payoff ``a_i(x_i e_i)`` of every agent training alone, and its slope; ``x`` and both have shape (..., n)."""
    alone = x[..., None] * np.eye(game.n_agents)  # (..., n, n): row i has agent i's contribution only
    values = np.diagonal(game.payoff.values(alone), axis1=-2, axis2=-1)
    slopes = np.diagonal(game.payoff.own_gradient(alone), axis1=-2, axis2=-1)
    return values, slopes
