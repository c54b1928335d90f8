r"""Integrals over random coalitions of an exponential mixture, for any number of agents.

Let ``R_q`` contain each agent independently with probability q. The expectation of an exponential over the random
coalition is a product,

.. math:: E\, e^{-\lambda^{\top} s[R_q]} = \prod_j f_j(q), \qquad f_j(q) = (1-q) + q\, e^{-\lambda_j s_j},

and Shapley values, their own-gradients, the potential and its Hessian are integrals of such products over q in
[0, 1] (Owen, 1972). An agent enters the product through a smooth function of her contribution that all agents of
her class share. With many agents, `compress` therefore replaces a class by a few hundred weighted points, the
integrals are evaluated there, and the results interpolated back: time and memory are linear in n.

Index conventions: ``r`` runs over terms, ``q`` over nodes of the rule in q, ``k`` over points, ``i, j`` over agents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile
from fedshap._validation import read_only
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture
from fedshap.shapley.compression import DIRECT, compress, each_agent
from fedshap.shapley.expansion import Expansion

_CHUNK = 2_000_000  # entries of one (r, q, k) block: about 16 MB, which stays near the processor's cache


@dataclass(frozen=True, eq=False)
class Block:
    """One chunk of terms: the rule in q, the product over all agents, and the factors at K points.

    Attributes
    ----------
    coefficients, reach : Array
        ``c_r`` and the end of the interval in q, shape (r,).
    q, weights, product : Array
        Nodes, weights and ``prod_j f_j(q)`` over all agents, shape (r, q).
    rates, decay, joining : Array
        At the points: ``rates``, ``exp(-rates x)`` and ``1 - exp(-rates x)``, shape (r, k).
    """

    coefficients: Array
    reach: Array
    q: Array
    weights: Array
    product: Array
    rates: Array
    decay: Array
    joining: Array

    @cached_property
    def inverse(self) -> Array:
        """``1 / f_k(q)``, shape (r, q, k). Written as a sum, for ``1 - q (1 - e^{-x})`` would cancel; f >= 1-q > 0."""
        return 1.0 / ((1.0 - self.q)[:, :, None] + self.q[:, :, None] * self.decay[:, None, :])

    @cached_property
    def others(self) -> Array:
        """``int_0^1 prod_{j != k} f_j dq``, shape (r, k)."""
        return ((self.weights * self.product)[:, None, :] @ self.inverse)[:, 0]

    @property
    def pull(self) -> Array:
        """Derivative of what joining takes away, ``rates exp(-rates x)``, shape (r, k)."""
        return self.rates * self.decay

    def potential(self, mass: Array) -> float:
        """Contribution to the potential; ``mass`` are the points' weights, shape (k,)."""
        missing = -np.expm1(np.log1p(-self.q[:, :, None] * self.joining[:, None, :]) @ mass)  # 1 - prod_j f_j
        integral = (self.weights * missing / self.q).sum(axis=1) - np.log(self.reach)
        return float(self.coefficients @ integral)


class CoalitionIntegrals:
    """Integrals over random coalitions of one mixture at one profile.

    Parameters
    ----------
    mixture : Mixture
        The surplus.
    s : Array
        Contributions, shape (n,).
    direct : bool, optional
        Whether every agent is her own point; by default with at most `DIRECT` agents.
    tolerance : float
        Relative error to aim at: the numbers of nodes follow from it.

    Examples
    --------
    >>> import fedshap as fs
    >>> from fedshap.shapley.mixtures import mixture_of
    >>> s = np.linspace(0.0, 2.0, 1000)
    >>> surplus = mixture_of(fs.PowerLaw(1000), s)
    >>> compressed, each = CoalitionIntegrals(surplus, s), CoalitionIntegrals(surplus, s, direct=True)
    >>> len(each.points.positions) // len(compressed.points.positions)
    4
    >>> bool((abs(compressed.values() - each.values()) <= 1e-12 * each.values()).all())
    True
    """

    def __init__(
        self, mixture: Mixture, s: Profile, *, direct: bool | None = None, tolerance: float = TOLERANCE
    ) -> None:
        self.mixture, self.s, self.tolerance = mixture, s, tolerance
        direct = len(s) <= DIRECT if direct is None else direct
        self.points = each_agent(mixture, s) if direct else compress(mixture, s, tolerance)
        self._linear = mixture.linear[mixture.classes]

    def values(self) -> PerAgent:
        """Shapley values, shape (n,): each agent's expected marginal contribution, integrated over q."""
        x = self.points.positions
        per_unit = np.zeros(len(x))
        for block in self._blocks():
            # (1 - e^{-rate x}) / x: interpolating the value per data point keeps small contributions exact.
            gained = np.divide(block.joining, x, out=block.rates.copy(), where=x > 0.0)
            per_unit += block.coefficients @ (gained * block.others)
        return (self._linear + self.points.spread(per_unit)) * self.s

    def own_gradient(self) -> PerAgent:
        """Derivative of each agent's Shapley value in her own contribution, shape (n,)."""
        slope = np.zeros(len(self.points.positions))
        for block in self._blocks():
            slope += block.coefficients @ (block.rates * block.decay * block.others)
        return self._linear + self.points.spread(slope)

    def potential(self) -> float:
        """Potential ``int_0^1 (E[A(s[R_q])] - A(0)) / q dq``: its derivatives are the own-gradients."""
        mass = self.points.weights
        return float(self._linear @ self.s) + sum(block.potential(mass) for block in self._blocks())

    def expansion(self) -> Expansion:
        """Value, gradient and curvature of the potential in one pass."""
        count = len(self.points.positions)
        value, slope, own = float(self._linear @ self.s), np.zeros(count), np.zeros(count)
        shared = np.zeros((count, count))
        for block in self._blocks():
            value += block.potential(self.points.weights)
            slope += block.coefficients @ (block.pull * block.others)
            # d/dx of e^{-rate x} / f(x) is -rate e^{-rate x} (1 - q) / f^2.
            measure = block.weights * block.product
            alone = ((measure * (1.0 - block.q))[:, None, :] @ block.inverse**2)[:, 0]
            own += block.coefficients @ (block.rates * block.pull * alone)
            scale = np.sqrt(block.coefficients[:, None] * measure * block.q)
            rows = (scale[:, :, None] * block.inverse * block.pull[:, None, :]).reshape(-1, count)
            shared += rows.T @ rows
        gradient = self._linear + self.points.spread(slope)
        return Expansion(value, gradient, self.points.spread(own), self.points.spread(_square_root(shared)))

    def deviation_values(self, x: Array, agents: NDArray[np.intp]) -> Array:
        """Shapley value of ``agents[m]`` were she alone to contribute ``x[m, p]`` instead; shape (m, p)."""
        classes = self.mixture.classes[agents]
        result = self.mixture.linear[classes][:, None] * x
        for block in self._blocks(self.s[agents], classes):
            gained = -np.expm1(-block.rates[:, :, None] * x)  # (r, m, p)
            result += np.einsum("rm,rmp->mp", block.coefficients[:, None] * block.others, gained)
        return result

    def _blocks(self, x: Array | None = None, classes: NDArray[np.intp] | None = None) -> Iterator[Block]:
        """Evaluate the integrands at contributions ``x`` of agents of these classes, a chunk of terms at a time.

        By default at the points themselves.
        """
        mass = self.points
        if x is None or classes is None:
            x, classes = mass.positions, mass.classes
        nodes = coalition_nodes(len(self.s), self.tolerance)
        step = max(1, _CHUNK // (nodes * max(len(x), len(mass.positions), 1)))
        for first in range(0, len(self.mixture.coefficients), step):
            rates = self.mixture.rates[first : first + step]
            joining = -np.expm1(-rates[:, mass.classes] * mass.positions)
            q, weights, reach = coalition_rule(joining @ mass.weights, len(self.s), self.tolerance)
            at_points = rates[:, classes]
            yield Block(
                coefficients=self.mixture.coefficients[first : first + step],
                reach=reach,
                q=q,
                weights=weights,
                product=_product(q, joining, mass.weights),
                rates=at_points,
                decay=np.exp(-at_points * x),
                joining=-np.expm1(-at_points * x),
            )


def _product(q: Array, joining: Array, weights: Array) -> Array:
    """``prod_j f_j(q)`` over all agents, shape (r, q)."""
    taken = q[:, :, None] * joining[:, None, :]
    if (weights == 1.0).all():
        return np.subtract(1.0, taken, out=taken).prod(axis=2)
    return np.exp(np.log1p(np.negative(taken, out=taken)) @ weights)


def coalition_rule(joining: Array, n_agents: int, tolerance: float = TOLERANCE) -> tuple[Array, Array, Array]:
    """Nodes and weights in q for products ``prod_j (1 - q m_j)``, one rule for each term.

    The product is at most ``exp(-q sum_j m_j)``, so that less than the tolerance of it is left beyond
    ``reach = (8 - log tolerance) / sum_j m_j`` (or 1). On [0, reach] it is a polynomial of degree n whose
    ``reach * m_j`` have a bounded sum, which Gauss-Legendre integrates with `coalition_nodes` nodes, whatever n.

    Parameters
    ----------
    joining : Array
        ``sum_j m_j`` with ``m_j`` in [0, 1], shape (r,): how much of its term agent j takes away by joining.
    n_agents : int
        Number of factors n.
    tolerance : float
        Relative error to aim at.

    Returns
    -------
    q, weights : Array
        Each of shape (r, Q).
    reach : Array
        Upper end of the interval, shape (r,).

    Examples
    --------
    >>> m = np.array([[1.0, 0.5, 0.25], [0.0, 0.0, 0.0]])
    >>> q, weights, reach = coalition_rule(m.sum(axis=1), n_agents=3)
    >>> products = (1.0 - q[:, :, None] * m[:, None, :]).prod(axis=2)
    >>> ((weights * products).sum(axis=1) * 96).round(9)  # 37/96 and 1, by hand
    array([37., 96.])
    """
    reach = np.minimum(1.0, _exponent(tolerance) / np.maximum(joining, 1e-300))
    x, w = _legendre(coalition_nodes(n_agents, tolerance))
    return reach[:, None] * x, reach[:, None] * w, reach


def coalition_nodes(n_agents: int, tolerance: float) -> int:
    """Number of nodes in q: enough for ``exp(-x)`` on the whole reach, and no more than ceil(n/2), which are exact."""
    return min(int(np.ceil(0.65 * _exponent(tolerance))), -(-n_agents // 2))


def _exponent(tolerance: float) -> float:
    """Exponent at which products of everyone else, which lack at most one factor, have fallen below the tolerance."""
    return 8.0 - np.log(tolerance)


@lru_cache(maxsize=64)
def _legendre(count: int) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(count)
    return read_only((x + 1.0) / 2.0), read_only(w / 2.0)


def _square_root(matrix: Array) -> Array:
    """``V`` with ``V V^T = matrix``, shape (K, d), without the directions that carry nothing."""
    eigenvalues, vectors = np.linalg.eigh(matrix)
    kept = eigenvalues > 1e-12 * max(float(eigenvalues[-1]), 1e-300) if len(eigenvalues) else eigenvalues > 0.0
    return vectors[:, kept] * np.sqrt(eigenvalues[kept])
