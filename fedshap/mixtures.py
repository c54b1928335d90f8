r"""Exponential mixtures: surpluses whose Shapley values are one-dimensional integrals.

Many surpluses are a constant, a linear form and a mixture of exponentials of non-negative linear forms,

.. math:: A(s) = C + \sum_j \ell_j s_j - \sum_r c_r \exp\Bigl(-\sum_j \lambda_{rj} s_j\Bigr),
          \qquad c_r, \lambda_{rj} \ge 0,

where coefficients depend on an agent only through her class: all agents of a group share them. `fedshap.summation`
integrates over random coalitions of such a surplus; this module says which payoffs have the form, and finds the
coefficients of a power law.

Index conventions: ``r`` runs over the R terms of the mixture, ``c`` over the C classes of agents, ``j`` over agents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache, singledispatch

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, Profile
from fedshap._validation import as_profile, read_only
from fedshap.payoffs import Payoff, PowerLaw, RandomCoverage, RandomDiscovery

TOLERANCE = 1e-14
"""Truncation and discretisation error allowed to the exponential sum of a power law."""


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
    """

    constant: float
    linear: Array
    coefficients: Array
    rates: Array
    classes: NDArray[np.intp]

    def value(self, s: Profile) -> float:
        """``A(s)`` for one profile of shape (n,)."""
        sums = np.bincount(self.classes, weights=s, minlength=len(self.linear))  # (C,)
        return float(self.constant + self.linear @ sums - self.coefficients @ np.exp(-self.rates @ sums))


@lru_cache(maxsize=128)
def power_law_rule(beta: float, largest: float, tolerance: float = TOLERANCE) -> tuple[Array, Array]:
    r"""Exponential sum for a power law: ``(1+z)^-beta = (1 - sum_k w_k) + sum_k w_k exp(-t_k z)``.

    From ``(1+z)^-beta = 1/Gamma(beta) int exp(beta x - (1+z) e^x) dx`` by the trapezoidal rule in x = log t, whose
    relative error is ``2 |Gamma(beta + 2 pi i / h)| / Gamma(beta)``; the step h is chosen from that formula for
    the power law and its first two derivatives. What lies left of the smallest node counts as t = 0, so that the
    power law is met to an absolute and its derivatives to a relative error of about ``tolerance``.

    Parameters
    ----------
    beta : float
        Exponent, > 0.
    largest : float
        The rule serves every argument z in [0, largest].
    tolerance : float
        Absolute error of the value, relative error of the derivatives, before rounding.

    Returns
    -------
    nodes, weights : Array
        ``t_k`` and ``w_k``, each of shape (K,).

    Examples
    --------
    >>> t, w = power_law_rule(0.5, 100.0)
    >>> z = np.array([0.0, 1.0, 99.0])
    >>> sum_of_exponentials = 1.0 - w.sum() + np.exp(-np.outer(z, t)) @ w
    >>> bool(abs(sum_of_exponentials - (1.0 + z) ** -0.5).max() < 1e-13)
    True
    """
    step = 1.0
    while max(_aliasing(beta + order, step) for order in range(3)) > tolerance:
        step *= 0.97
    left = np.log(tolerance) / (beta + 1.0) - np.log1p(largest) - 1.0
    right = np.log(-np.log(tolerance) + 12.0)
    x = step * np.arange(np.floor(left / step), np.ceil(right / step) + 1.0)
    nodes = np.exp(x)
    return read_only(nodes), read_only(step * np.exp(beta * x - nodes - math.lgamma(beta)))


def _aliasing(exponent: float, step: float) -> float:
    """Relative error of the trapezoidal rule of this step for ``int exp(exponent x - e^x) dx``."""
    from scipy.special import loggamma  # slow to import: only those who need a rule pay it

    return float(2.0 * np.exp(loggamma(exponent + 2j * np.pi / step).real - math.lgamma(exponent)))


@singledispatch
def mixture(payoff: Payoff, s: Profile) -> Mixture:
    """The exponential mixture of a payoff's surplus, valid for all contributions up to ``s``, shape (n,).

    Raises
    ------
    TypeError
        If the payoff has no such form here; see `has_mixture`.

    Examples
    --------
    >>> import fedshap as fs
    >>> s = np.array([1.0, 2.0, 3.0])
    >>> payoff = fs.PowerLaw(3, beta=0.5)
    >>> bool(abs(mixture(payoff, s).value(s) - payoff.total(s)) < 1e-13)
    True
    """
    raise TypeError(f"no exponential mixture is known for {type(payoff).__name__}")


def has_mixture(payoff: Payoff) -> bool:
    """Whether `mixture` covers this payoff."""
    return mixture.dispatch(type(payoff)) is not mixture.dispatch(Payoff)


@mixture.register
def _(payoff: PowerLaw, s: Profile) -> Mixture:
    sums = as_profile("s", s, payoff.n_agents) @ payoff.membership  # (T,)
    largest = max(1.0, float((payoff.weights @ sums).max()))
    # Rounded up to a power of ten, so that a solver's steps share one cached rule.
    nodes, weights = power_law_rule(payoff.beta, 10.0 ** np.ceil(np.log10(largest)))
    scale = payoff.alpha * payoff.group_sizes  # (T,)
    n_groups = len(payoff.weights)
    return Mixture(
        constant=float(payoff.n_agents - scale.sum() * (1.0 - weights.sum())),
        linear=np.zeros(n_groups),
        coefficients=(scale[:, None] * weights).ravel(),
        rates=(payoff.weights[:, None, :] * nodes[:, None]).reshape(-1, n_groups),
        classes=payoff.groups,
    )


@mixture.register
def _(payoff: RandomCoverage, s: Profile) -> Mixture:
    return Mixture(
        constant=float(payoff.n_agents),
        linear=np.zeros(payoff.n_agents),
        coefficients=0.5 * payoff.probabilities.sum(axis=0),
        rates=payoff.rates.T.copy(),
        classes=np.arange(payoff.n_agents),
    )


@mixture.register
def _(payoff: RandomDiscovery, s: Profile) -> Mixture:
    return Mixture(
        constant=0.0,
        linear=payoff.weights.sum(axis=0),
        coefficients=np.zeros(0),
        rates=np.zeros((0, payoff.n_agents)),
        classes=np.arange(payoff.n_agents),
    )
