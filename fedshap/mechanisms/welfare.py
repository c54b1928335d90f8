"""Welfare as a hill: what it is to second order, for the solvers that climb potentials."""

from __future__ import annotations

import numpy as np

from fedshap._types import Array, Jacobian, PerAgent, Profile
from fedshap.game import Game
from fedshap.mechanisms.potential import Potential
from fedshap.payoffs.differences import differences
from fedshap.payoffs.mixtures import Mixture
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.mixtures import mixture_of

_LEAST_OWN = 1e-7


class Welfare(Potential):
    r"""Welfare ``W(s) = A(s) - sum_i c_i(s_i)``: the potential of a game in which everybody receives the surplus.

    Where the surplus is an exponential mixture, its Hessian is minus a sum over terms,

    .. math:: \nabla^2 A = -\sum_r c_r e^{-\lambda_r^{\top} s} \lambda_r \lambda_r^{\top},

    which depends on agents through their classes alone: value, slopes and curvature take time linear in ``n``. Else
    the curvature is made of differences of slopes.

    Parameters
    ----------
    game : Game
        Payoffs, costs and capacities.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> welfare = Welfare(game)
    >>> welfare.value(np.ones(3)), welfare.gradient(np.ones(3)).round(4)  # 3 * 3/4 - 0.75; 3/16 less the rates
    (1.5, array([ 0.0875, -0.0625, -0.2125]))
    """

    @property
    def concave(self) -> bool | None:
        """Whether welfare is known to be concave: mixtures are, whatever a payoff says of itself."""
        return True if self.integrable else self.game.payoff.concave

    @property
    def integrable(self) -> bool:
        """Whether the payoff brings an exponential mixture that is its surplus, not merely fitted to it."""
        payoff = self.game.payoff
        return not payoff.fitted_mixture and payoff.mixture(np.zeros(self.game.n_agents)) is not None

    def value(self, s: Profile) -> float:
        return float(self.game.welfare(s))

    def slopes(self, s: Profile) -> PerAgent:
        """What a data point of each agent adds to the surplus, ``d A / d s_j``, shape (n,)."""
        if not self.integrable:
            return self.game.payoff.total_gradient(s)
        mixture = mixture_of(self.game.payoff, s)
        return _mixture_slopes(mixture, _remaining(mixture, s))

    def gradient(self, s: Profile) -> PerAgent:
        return self.slopes(s) - self.game.cost.derivatives(s)

    def expansion(self, s: Profile) -> Expansion:
        cost = self.game.cost
        # Some convex costs have infinite curvature at zero; a little way off they have not.
        bend = cost.second_derivatives(np.maximum(s, 1e-8 * (self.game.units + s.mean())))
        surplus, costs = float(self.game.surplus(s)), float(self.game.costs(s).sum())
        rest = {"value": surplus - costs, "magnitude": abs(surplus) + costs}
        if self.integrable:
            mixture = mixture_of(self.game.payoff, s)
            left = _remaining(mixture, s)
            slopes = _mixture_slopes(mixture, left) - cost.derivatives(s)
            shared = _mixture_curvature(mixture, left)
            return Expansion(gradient=slopes, own=_not_flat(bend, shared), shared=shared, **rest)
        level = Expansion.of_matrix(0.0, self.gradient(s), np.diag(bend) - _hessian(self.game, s))
        own = _not_flat(level.own, level.shared)
        return Expansion(gradient=level.gradient, own=own, shared=level.shared, **rest)


def surplus_expansion(game: Game, s: Profile, *, integrate: bool) -> Expansion:
    """What the data bring, ``A(s) - A(0)``, to second order at one profile.

    Parameters
    ----------
    game : Game
        Only its payoff matters.
    s : Array
        Contributions, shape (n,).
    integrate : bool
        Whether to use the exponential mixture of the payoff, in time linear in ``n``; else differences of slopes.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> two = [surplus_expansion(game, np.ones(3), integrate=each).matrix()[0, 1] for each in (True, False)]
    >>> np.round(two, 6)  # 6 / (1 + m)^3
    array([0.09375, 0.09375])
    """
    gain, nothing = float(game.payoff.total_gain(s)), np.zeros(game.n_agents)
    if not integrate:
        return Expansion.of_matrix(gain, game.payoff.total_gradient(s), -_hessian(game, s))
    mixture = mixture_of(game.payoff, s)
    left = _remaining(mixture, s)
    return Expansion(gain, _mixture_slopes(mixture, left), nothing, _mixture_curvature(mixture, left))


def _hessian(game: Game, s: Profile) -> Jacobian:
    """Second derivatives of the surplus, (n, n), by differences."""
    payoff = game.payoff
    hessian = differences(payoff.total_gradient, s, payoff.difference_steps(s, 2), payoff.precision)
    return (hessian + hessian.T) / 2.0


def _not_flat(own: PerAgent, shared: Array) -> PerAgent:
    """Own curvatures, at least a small part of the shared one: without any, where costs are linear, the steps of those
    who stand in for one another have no length. The steps that follow make up for what it shortens."""
    return np.maximum(own, _LEAST_OWN * np.square(shared).sum(axis=1))


def _remaining(mixture: Mixture, s: Profile) -> Array:
    """What each term still holds back, ``c_r exp(-rates_r . s)``, shape (R,)."""
    sums = np.bincount(mixture.classes, weights=s, minlength=len(mixture.linear))
    return mixture.coefficients * np.exp(-mixture.rates @ sums)


def _mixture_slopes(mixture: Mixture, remaining: Array) -> PerAgent:
    """``d A / d s_j``, shape (n,)."""
    return (mixture.linear + remaining @ mixture.rates)[mixture.classes]


def _mixture_curvature(mixture: Mixture, remaining: Array) -> Array:
    """``V``, shape (n, d), with minus the Hessian ``V V^T``: a column for each term, or for each class if fewer."""
    terms = mixture.rates.T * np.sqrt(remaining)  # (C, R)
    if terms.shape[1] > terms.shape[0]:
        values, vectors = np.linalg.eigh(terms @ terms.T)
        terms = vectors * np.sqrt(np.maximum(values, 0.0))
    return np.ascontiguousarray(terms[mixture.classes])
