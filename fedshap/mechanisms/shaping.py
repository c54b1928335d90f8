"""A mechanism that moves no money: who gives more gets a better model."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np

from fedshap._scalar import own_optimum
from fedshap._types import Agents, Array, ArrayLike, PerAgent
from fedshap._validation import as_interval, everybody, read_only
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, costs_of


class AccuracyShaping(Mechanism):
    r"""Accuracy shaping: who contributes more gets a better model; no money changes hands.

    Agent i receives the smaller of the full payoff ``a_i(s)`` and of a curve in her own contribution,

    .. math:: h_i(x) = a_i(x e_i) \;\text{ for } x \le x_i^0, \qquad
              h_i(x) = a_i(x_i^0 e_i) + c_i(x) - c_i(x_i^0) + \varepsilon (x - x_i^0) \;\text{ beyond},

    where ``x_i^0`` is what she would contribute alone. The payment is the difference to ``a_i(s)``: never positive.

    Parameters
    ----------
    epsilon : float, optional
        Reward per data point beyond the costs, > 0, in payoff units per data point. Left out, a billionth of the mean
        marginal cost where agents stop alone.

    Notes
    -----
    Karimireddy et al. (2022), with linear costs the mechanism of the paper's Example 7; the form with general convex
    costs keeps its defining property, that beyond ``x_i^0`` every data point is worth its cost plus epsilon until
    the full payoff is reached. The server must know the costs. Needs a known concave payoff.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> AccuracyShaping().received(game, [1.0, 1.0, 1.0]).round(4)  # alone: 2.16, 1 and 0.58
    array([0.5   , 0.5   , 0.5351])
    """

    smooth = False  # a kink where the curve meets the full payoff, and equilibria lie there

    def __init__(self, epsilon: float | None = None) -> None:
        self.epsilon = None if epsilon is None else as_interval("epsilon", epsilon, 0.0, np.inf)

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        curve, full = self._curve(game, s)[0], game.payoff.values(s)
        nothing = game.payoff.values(np.zeros(game.n_agents))
        return np.where(curve < game.payoff.gains(s), np.minimum(nothing + curve, full), full)

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        curve, slope = self._curve(game, s)
        shaped = curve < game.payoff.gains(s)
        return np.where(shaped, slope, game.payoff.own_gradient(s)) - game.cost.derivatives(s)

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        who = everybody(game.n_agents, agents)
        columns = np.zeros((x.shape[1], game.n_agents))
        columns[:, who] = x.T
        # Both are counted from the payoff without data, so that its rounding is not added to small gains.
        curve = self._curve(game, columns)[0][:, who].T
        gains = game.payoff.own_gains(game.profile(s), x, agents)
        return np.minimum(gains, curve) - costs_of(game, x, agents)

    def solo_optima(self, game: Game) -> PerAgent:
        """What each agent would contribute alone, ``argmax_x a_i(x e_i) - c_i(x)``, shape (n,)."""
        if not game.payoff.concave:
            raise ValueError(
                "AccuracyShaping needs concave payoffs: the curve starts where an agent alone stops contributing; "
                "say concave=True in CustomPayoff if yours is"
            )
        return _solo_optima(game)

    def _curve(self, game: Game, x: Array) -> tuple[PerAgent, PerAgent]:
        """The curve ``h_i - a_i(0)`` at own contributions ``x``, shape (..., n), and its slope."""
        start = self.solo_optima(game)
        epsilon = self._reward(game, start)
        value, slope = _solo(game, np.minimum(x, start))
        beyond = game.cost.values(x) - game.cost.values(start) + epsilon * (x - start)
        marginal_cost = game.cost.derivatives(x)
        # Below her solo optimum an agent wants to go on. Rounding in a payoff's slope must not say otherwise.
        slope = np.maximum(slope, marginal_cost + np.minimum(epsilon, 1e-12 * marginal_cost))
        return np.where(x > start, value + beyond, value), np.where(x >= start, marginal_cost + epsilon, slope)

    def _reward(self, game: Game, start: PerAgent) -> float:
        """``epsilon``, or what stands for it in the units of this game."""
        if self.epsilon is not None:
            return self.epsilon
        return 1e-9 * float(game.cost.derivatives(start).mean())


def _alone(game: Game, marginal: Callable[[float], float], agent: int) -> float:
    unit = float(game.units[agent])
    return own_optimum(marginal, game.capacity[agent], unit, lower=game.minimum[agent], unit=unit)


@lru_cache(maxsize=16)
def _solo_optima(game: Game) -> PerAgent:
    """What each agent would contribute alone, shape (n,); games are frozen, so it is computed once for each."""

    def marginal(agent: int, x: float) -> float:
        profile = np.zeros(game.n_agents)
        profile[agent] = x
        return float((game.payoff.own_gradient(profile) - game.cost.derivatives(profile))[agent])

    return read_only(np.array([_alone(game, partial(marginal, i), i) for i in range(game.n_agents)]))


def _solo(game: Game, x: Array) -> tuple[PerAgent, PerAgent]:
    """Gain ``a_i(x_i e_i) - a_i(0)`` of every agent alone, and its slope; ``x`` and both have shape (..., n)."""
    alone = x[..., None] * np.eye(game.n_agents)  # (..., n, n): row i has agent i's contribution only
    values = np.diagonal(game.payoff.gains(alone), axis1=-2, axis2=-1)
    slopes = np.diagonal(game.payoff.own_gradient(alone), axis1=-2, axis2=-1)
    return values, slopes
