"""Random coverage: an instance that somebody has shown is worth something once."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_probabilities, everybody, read_only
from fedshap.payoffs.base import Payoff
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture, Shares


class RandomCoverage(Payoff):
    r"""Payoffs of random coverage: an instance is worth something to an agent once.

    .. math:: a_i(s) = 1 - \frac12 \sum_x q_{ix} \prod_j (1 - q_{jx})^{s_j}

    Parameters
    ----------
    probabilities : array_like
        ``Q``, shape (n, m), entries in [0, 1), each row summing to at most 1: how likely a sample of agent i
        shows instance x. A probability of 1 is refused: the payoff would jump at zero contribution.

    Notes
    -----
    Example 6, Eq. (13) of the paper (Blum et al., 2021). Note ``a_i(0) = 1/2`` for rows that sum to 1.

    Examples
    --------
    >>> coverage = RandomCoverage([[0.5, 0.5], [0.9, 0.1], [0.25, 0.75]])
    >>> coverage.values([0.0, 0.0, 0.0]), coverage.values([1.0, 0.0, 2.0]).round(4)
    (array([0.5, 0.5, 0.5]), array([0.9219, 0.8719, 0.9531]))
    """

    concave = True

    def __init__(self, probabilities: ArrayLike) -> None:
        self.probabilities = as_probabilities(probabilities, below=1.0)
        self.n_agents = len(self.probabilities)
        if (self.probabilities.sum(axis=1) > 1.0 + 1e-9).any():
            row = int(np.argmax(self.probabilities.sum(axis=1)))
            total = self.probabilities[row].sum()
            raise ValueError(f"each row of probabilities must sum to at most 1; row {row} sums to {total:g}")
        #: Exponential rates ``-log(1 - q_jx)``, shape (n, m).
        self.rates = read_only(-np.log1p(-self.probabilities))

    def _missed(self, s: ArrayLike) -> Array:
        """Probability that nobody sampled x, shape (..., m)."""
        return np.exp(-self._profile(s) @ self.rates)

    def _seen(self, s: ArrayLike) -> Array:
        """Probability that somebody sampled x, shape (..., m)."""
        return -np.expm1(-self._profile(s) @ self.rates)

    def values(self, s: ArrayLike) -> PerAgent:
        return 1.0 - 0.5 * self._missed(s) @ self.probabilities.T

    def jacobian(self, s: ArrayLike) -> Jacobian:
        weighted = 0.5 * self.probabilities * self._missed(s)[..., None, :]  # (..., n, m)
        return weighted @ self.rates.T

    def gains(self, s: ArrayLike) -> PerAgent:
        return self._seen(s) @ self.probabilities.T / 2.0

    def total_gain(self, s: ArrayLike) -> Array:
        return self._seen(s) @ self.probabilities.sum(axis=0) / 2.0

    def gain_noise(self, s: ArrayLike) -> float:
        return 0.0

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        return 0.5 * (self._missed(s) * self.probabilities.sum(axis=0)) @ self.rates.T

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        return 0.5 * self._missed(s) @ (self.probabilities * self.rates).T

    def average_slopes(self, s: ArrayLike) -> PerAgent:
        return (self.probabilities.sum(axis=0) / 2.0 * _average(self._profile(s) @ self.rates)) @ self.rates.T

    def average_own_slopes(self, s: ArrayLike) -> PerAgent:
        s = self._profile(s)
        z = s @ self.rates
        bend = np.divide(np.exp(-z) - _average(z), z, out=z / 3.0 - 0.5, where=z > 1e-4)  # of (1 - e^-z) / z
        bends = self.probabilities.sum(axis=0) / 2.0 * bend
        return self.average_slopes(s) + s * (bends @ np.square(self.rates).T)

    def own_gains(self, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        s, who = self._profile(s), everybody(self.n_agents, agents)
        gains = np.empty_like(x)
        for m, agent in enumerate(who):
            others = np.delete(s, agent) @ np.delete(self.rates, agent, axis=0)  # (instances,)
            gains[m] = -np.expm1(-others - np.outer(x[m], self.rates[agent])) @ self.probabilities[agent] / 2.0
        return gains

    def mixture(self, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
        return self._mixture

    @cached_property
    def units(self) -> PerAgent:
        slopes, curvatures = self.rates @ self.probabilities.sum(axis=0), self.rates**2 @ self.probabilities.sum(axis=0)
        return read_only(np.divide(slopes, curvatures, out=np.ones(self.n_agents), where=curvatures > 0.0))

    @cached_property
    def _mixture(self) -> Mixture:
        return Mixture(
            constant=float(self.n_agents),
            linear=np.zeros(self.n_agents),
            coefficients=0.5 * self.probabilities.sum(axis=0),
            rates=self.rates.T.copy(),
            classes=np.arange(self.n_agents),
            shares=Shares(np.zeros((self.n_agents, self.n_agents)), 0.5 * self.probabilities),
        )


def _average(z: Array) -> Array:
    """``int_0^1 e^(-q z) dq = (1 - e^-z) / z``."""
    return np.divide(-np.expm1(-z), z, out=np.ones_like(z), where=z > 0.0)
