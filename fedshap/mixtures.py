r"""Exponential mixtures, and integrals over random coalitions of them.

Many surpluses are a constant, a linear form and a mixture of exponentials of non-negative linear forms,

.. math:: A(s) = C + \ell^{\top} s - \sum_r c_r \exp(-\lambda_r^{\top} s), \qquad c_r, \lambda_r \ge 0.

Let ``R_q`` contain each agent independently with probability q. Then the expectation of an exponential over the
random coalition is a product,

.. math:: E\, e^{-\lambda^{\top} s[R_q]} = \prod_j f_j(q), \qquad f_j(q) = (1-q) + q\, e^{-\lambda_j s_j},

and Shapley values are integrals of such products over q in [0, 1] (Owen, 1972). They are polynomials in q, so a
Gauss-Legendre rule gives them exactly.

Index conventions: ``r`` runs over the R terms of the mixture, ``q`` over the nodes of the rule, ``i, j`` over agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, singledispatch

import numpy as np
from scipy.special import gammaln, loggamma

from fedshap._types import Array, Profile
from fedshap._validation import as_profile, read_only
from fedshap.payoffs import Payoff, PowerLaw, RandomCoverage, RandomDiscovery

TOLERANCE = 1e-14
"""Truncation and discretisation error allowed to the exponential sum of a power law."""

_NODES = 32  # of the rule in q; see coalition_rule

_CHUNK = 2_000_000  # entries of one (r, q, n) block: about 16 MB, which stays near the processor's cache


@dataclass(frozen=True, eq=False)
class Mixture:
    """A surplus ``A(s) = constant + linear . s - sum_r coefficients[r] exp(-rates[r] . s)``.

    Parameters
    ----------
    constant : float
        ``C``.
    linear : Array
        Linear part, shape (n,).
    coefficients : Array
        ``c_r >= 0``, shape (R,).
    rates : Array
        ``lambda_rj >= 0``, shape (R, n).
    """

    constant: float
    linear: Array
    coefficients: Array
    rates: Array

    def value(self, s: Profile) -> float:
        """``A(s)`` for one profile of shape (n,)."""
        return float(self.constant + self.linear @ s - self.coefficients @ np.exp(-self.rates @ s))

    def shapley_values(self, s: Profile) -> Array:
        """Shapley values, shape (n,): each agent's expected marginal contribution, integrated over q."""
        return self.deviation_values(s, s[:, None])[:, 0]

    def deviation_values(self, s: Profile, x: Array) -> Array:
        """Shapley value of agent i were she alone to contribute ``x[i, p]`` instead of ``s[i]``; shape (n, P)."""
        result = self.linear[:, None] * x
        for rows, others in self._others(s):
            gained = -np.expm1(-self.rates[rows][:, :, None] * x)  # 1 - e^{-lambda x}, (r, n, P)
            result += np.einsum("rn,rnp->np", self.coefficients[rows][:, None] * others, gained)
        return result

    def own_gradient(self, s: Profile) -> Array:
        """Derivative of each agent's Shapley value in her own contribution, shape (n,)."""
        gradient = self.linear.copy()
        for rows, others in self._others(s):
            decay = self.rates[rows] * np.exp(-self.rates[rows] * s)
            gradient += self.coefficients[rows] @ (decay * others)
        return gradient

    def potential(self, s: Profile) -> float:
        """Potential ``int_0^1 (E[A(s[R_q])] - A(0)) / q dq``: its derivatives are the own-gradients."""
        total = float(self.linear @ s)
        for rows in self._chunks(len(s)):
            joining = -np.expm1(-self.rates[rows] * s)  # (r, n)
            q, weights, reach = coalition_rule(joining)
            missing = -np.expm1(np.log1p(-q[:, :, None] * joining[:, None, :]).sum(axis=2))  # 1 - prod_j f_j
            integral = (weights * missing / q).sum(axis=1) - np.log(reach)
            total += float(self.coefficients[rows] @ integral)
        return total

    def hessian(self, s: Profile) -> Array:
        """Second derivatives of the potential, shape (n, n): symmetric, the ``G`` of Sec. 4.2 without costs."""
        n = len(s)
        hessian = np.zeros((n, n))
        diagonal = np.zeros(n)
        for rows in self._chunks(n):
            q, weights, factors = _factors(self.rates[rows] * s)
            decay = self.rates[rows] * np.exp(-self.rates[rows] * s)  # (r, n)
            mass = self.coefficients[rows][:, None] * weights * factors.prod(axis=2)  # (r, q)
            scaled = (decay[:, None, :] / factors).reshape(-1, n)
            hessian -= (scaled * (mass * q).reshape(-1, 1)).T @ scaled
            others = (mass[:, :, None] / factors).sum(axis=1)  # (r, n)
            diagonal -= (self.rates[rows] * decay * others).sum(axis=0)
        np.fill_diagonal(hessian, diagonal)
        return hessian

    def _others(self, s: Profile) -> Iterator[tuple[slice, Array]]:
        """Yield ``int_0^1 prod_{j != i} f_j dq`` for every i, shape (r, n), chunk by chunk of terms r."""
        for rows in self._chunks(len(s)):
            _, weights, factors = _factors(self.rates[rows] * s)
            product = factors.prod(axis=2) * weights  # (r, q)
            np.divide(product[:, :, None], factors, out=factors)  # f_j >= 1 - q > 0
            yield rows, factors.sum(axis=1)

    def _chunks(self, n: int) -> Iterator[slice]:
        step = max(1, _CHUNK // (n * _NODES))
        for first in range(0, len(self.coefficients), step):
            yield slice(first, first + step)


def _factors(exponents: Array) -> tuple[Array, Array, Array]:
    """Nodes and weights, (r, q), and ``f_j(q) = (1-q) + q e^{-x_j}``, (r, q, n), for exponents ``x``, (r, n).

    The factor is written as a sum of two positive terms: ``1 - q (1 - e^{-x})`` would cancel.
    """
    q, weights, _ = coalition_rule(-np.expm1(-exponents))
    return q, weights, (1.0 - q)[:, :, None] + q[:, :, None] * np.exp(-exponents)[:, None, :]


def coalition_rule(joining: Array) -> tuple[Array, Array, Array]:
    """Nodes and weights in q for products ``prod_j (1 - q m_j)``, one rule for each term.

    The product is at most ``exp(-q sum_j m_j)``, so nothing of it is left beyond ``reach = 40 / sum_j m_j`` (or 1).
    On [0, reach] it is a polynomial of degree n with the sum of its ``reach * m_j`` at most 40, which Gauss-Legendre
    with 32 nodes integrates to rounding error, whatever n; ceil(n/2) nodes are exact.

    Parameters
    ----------
    joining : Array
        ``m_j`` in [0, 1], shape (r, n): how much of its term agent j takes away by joining.

    Returns
    -------
    q, weights : Array
        Each of shape (r, Q).
    reach : Array
        Upper end of the interval, shape (r,).

    Examples
    --------
    >>> m = np.array([[1.0, 0.5, 0.25], [0.0, 0.0, 0.0]])
    >>> q, weights, reach = coalition_rule(m)
    >>> products = (1.0 - q[:, :, None] * m[:, None, :]).prod(axis=2)
    >>> ((weights * products).sum(axis=1) * 96).round(9)  # 37/96 and 1, by hand
    array([37., 96.])
    """
    reach = np.minimum(1.0, 40.0 / np.maximum(joining.sum(axis=1), 1e-300))
    x, w = _legendre(min(_NODES, max(1, -(-joining.shape[1] // 2))))
    return reach[:, None] * x, reach[:, None] * w, reach


@lru_cache(maxsize=_NODES)
def _legendre(count: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(count)
    return read_only((x + 1.0) / 2.0), read_only(w / 2.0)


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
    return read_only(nodes), read_only(step * np.exp(beta * x - nodes - gammaln(beta)))


def _aliasing(exponent: float, step: float) -> float:
    """Relative error of the trapezoidal rule of this step for ``int exp(exponent x - e^x) dx``."""
    return float(2.0 * np.exp(loggamma(exponent + 2j * np.pi / step).real - gammaln(exponent)))


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
    forms = payoff.weights[:, payoff.groups]  # (T, n)
    largest = max(1.0, float((forms @ as_profile("s", s, payoff.n_agents)).max()))
    # Rounded up to a power of ten, so that a solver's steps share one cached rule.
    nodes, weights = power_law_rule(payoff.beta, 10.0 ** np.ceil(np.log10(largest)))
    scale = payoff.alpha * payoff.group_sizes  # (T,)
    return Mixture(
        constant=float(payoff.n_agents - scale.sum() * (1.0 - weights.sum())),
        linear=np.zeros(payoff.n_agents),
        coefficients=(scale[:, None] * weights).ravel(),
        rates=(forms[:, None, :] * nodes[:, None]).reshape(-1, payoff.n_agents),
    )


@mixture.register
def _(payoff: RandomCoverage, s: Profile) -> Mixture:
    return Mixture(
        constant=float(payoff.n_agents),
        linear=np.zeros(payoff.n_agents),
        coefficients=0.5 * payoff.probabilities.sum(axis=0),
        rates=payoff.rates.T.copy(),
    )


@mixture.register
def _(payoff: RandomDiscovery, s: Profile) -> Mixture:
    return Mixture(
        constant=0.0,
        linear=payoff.weights.sum(axis=0),
        coefficients=np.zeros(0),
        rates=np.zeros((0, payoff.n_agents)),
    )
