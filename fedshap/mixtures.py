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
        q, weights = unit_interval_rule(len(s))
        for rows in self._chunks(len(s), len(q)):
            gained = -np.expm1(-self.rates[rows] * s)  # (r, n)
            factors = _factors(self.rates[rows] * s, q)  # (r, q, n)
            # 1 - prod_j f_j = sum_j (1 - f_j) prod_{k<j} f_k is a sum of non-negative terms: nothing cancels.
            before = np.ones_like(factors)
            np.cumprod(factors[:, :, :-1], axis=2, out=before[:, :, 1:])
            total += np.einsum("r,q,rn,rqn->", self.coefficients[rows], weights, gained, before, optimize=True)
        return total

    def hessian(self, s: Profile) -> Array:
        """Second derivatives of the potential, shape (n, n): symmetric, the ``G`` of Sec. 4.2 without costs."""
        n = len(s)
        hessian = np.zeros((n, n))
        diagonal = np.zeros(n)
        q, weights = unit_interval_rule(n)
        for rows in self._chunks(n, len(q)):
            decay = self.rates[rows] * np.exp(-self.rates[rows] * s)  # (r, n)
            factors = _factors(self.rates[rows] * s, q)
            product = factors.prod(axis=2)  # (r, q)
            scaled = decay[:, None, :] / factors  # (r, q, n)
            mass = self.coefficients[rows][:, None] * weights * product
            flat = scaled.reshape(-1, n)
            hessian -= (flat * (mass * q).reshape(-1, 1)).T @ flat
            diagonal -= np.einsum("rq,rqn,rn->n", mass, 1.0 / factors, self.rates[rows] * decay, optimize=True)
        np.fill_diagonal(hessian, diagonal)
        return hessian

    def _others(self, s: Profile) -> Iterator[tuple[slice, Array]]:
        """Yield ``int_0^1 prod_{j != i} f_j dq`` for every i, shape (r, n), chunk by chunk of terms r."""
        q, weights = unit_interval_rule(len(s))
        for rows in self._chunks(len(s), len(q)):
            factors = _factors(self.rates[rows] * s, q)
            product = factors.prod(axis=2) * weights  # (r, q)
            np.divide(product[:, :, None], factors, out=factors)  # f_j >= 1 - q > 0
            yield rows, factors.sum(axis=1)

    def _chunks(self, n: int, n_nodes: int) -> Iterator[slice]:
        step = max(1, _CHUNK // (n * n_nodes))
        for first in range(0, len(self.coefficients), step):
            yield slice(first, first + step)


def _factors(exponents: Array, q: Array) -> Array:
    """``f_j(q) = (1-q) + q e^{-x_j}``, shape (r, q, n). Written as a sum: ``1 - q (1 - e^{-x})`` would cancel."""
    return (1.0 - q)[:, None] + q[:, None] * np.exp(-exponents)[:, None, :]


@lru_cache(maxsize=32)
def unit_interval_rule(n_agents: int) -> tuple[Array, Array]:
    """Nodes and weights on [0, 1] for products over ``n_agents`` agents, each of shape (Q,).

    Up to 48 agents: Gauss-Legendre with ceil(n/2) nodes, exact for polynomials of degree n-1. Beyond, the
    product can fall like exp(-q n): 24 nodes on each of the panels [0, 2^-m], [2^-m, 2^-m+1], ..., [1/2, 1] with
    2^-m about 16/n, so that on every panel it either falls by at most e^16 or no longer counts.

    Examples
    --------
    >>> q, weights = unit_interval_rule(5)
    >>> len(q), round(float(weights @ q**4), 12)
    (3, 0.2)
    """
    if n_agents <= 48:
        edges, n_nodes = np.array([0.0, 1.0]), max(1, -(-n_agents // 2))
    else:
        edges = np.append(0.0, 2.0 ** -np.arange(np.ceil(np.log2(n_agents / 16.0)), -1.0, -1.0))
        n_nodes = 24
    x, w = np.polynomial.legendre.leggauss(n_nodes)
    width = np.diff(edges)[:, None]
    nodes = (edges[:-1, None] + width * (x + 1.0) / 2.0).ravel()
    return read_only(nodes), read_only((width * w / 2.0).ravel())


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
