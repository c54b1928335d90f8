r"""Exponential mixtures: surpluses whose Shapley values are one-dimensional integrals.

Many surpluses are a constant, a linear form and a mixture of exponentials of non-negative linear forms,

.. math:: A(s) = C + \sum_j \ell_j s_j - \sum_r c_r \exp\Bigl(-\sum_j \lambda_{rj} s_j\Bigr),
          \qquad c_r, \lambda_{rj} \ge 0,

where coefficients depend on an agent only through her class: all agents of a group share them. A payoff says in
`Payoff.mixture` whether its surplus has the form.

Index conventions: ``r`` runs over the R terms of the mixture, ``c`` over the C classes of agents, ``j`` over agents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, Profile


@dataclass(frozen=True, eq=False)
class Shares:
    """A mixture agent by agent: what the data are worth to each agent of class c,

    ``a(s) - a(0) = sum_d linear[c, d] S_d + sum_r coefficients[c, r] (1 - exp(-rates[r] . S))``,

    with ``S_d`` the total contribution of class d and the rates of the mixture.

    Parameters
    ----------
    linear : Array
        Shape (C, C).
    coefficients : Array
        Shape (C, R), non-negative.
    """

    linear: Array
    coefficients: Array


@dataclass(frozen=True, eq=False)
class Mixture:
    """A surplus ``A(s) = constant + linear . s - sum_r coefficients[r] exp(-rates[r] . s)``.

    Parameters
    ----------
    constant : float
        ``C``.
    linear : Array
        Linear part of each class, shape (C,).
    coefficients : Array
        ``c_r >= 0``, shape (R,).
    rates : Array
        ``lambda_rc >= 0`` of each class, shape (R, C).
    classes : array of int
        Class of each agent, shape (n,), 0..C-1.
    error : float
        Largest relative error of its slopes: 0 for payoffs that have the form as they stand.
    shares : Shares, optional
        The payoffs of single agents in the same form, where agents of a class have the same.
    """

    constant: float
    linear: Array
    coefficients: Array
    rates: Array
    classes: NDArray[np.intp]
    error: float = 0.0
    shares: Shares | None = None

    def value(self, s: Profile) -> float:
        """``A(s)`` for one profile of shape (n,)."""
        sums = self._sums(s)
        return float(self.constant + self.linear @ sums - self.coefficients @ np.exp(-self.rates @ sums))

    def gain(self, s: Profile) -> float:
        """``A(s) - A(0)`` for one profile of shape (n,), without the rounding of two surpluses."""
        sums = self._sums(s)
        return float(self.linear @ sums - self.coefficients @ np.expm1(-self.rates @ sums))

    def own_gains(self, s: Profile) -> Array:
        """``a(s) - a(0)`` of an agent of each class, shape (C,)."""
        assert self.shares is not None
        sums = self._sums(s)
        return self.shares.linear @ sums - self.shares.coefficients @ np.expm1(-self.rates @ sums)

    def _sums(self, s: Profile) -> Array:
        """Contribution of each class, shape (C,)."""
        return np.bincount(self.classes, weights=s, minlength=len(self.linear)).astype(float)
