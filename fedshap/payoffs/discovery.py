"""Random discovery: what samples of different agents show of a common space of instances."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_probabilities, everybody, read_only
from fedshap.payoffs.base import Payoff
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture, Shares


class RandomDiscovery(Payoff):
    r"""Linear payoffs of random discovery.

    .. math:: a_i(s) = (Q Q^{\top} s)_i

    Parameters
    ----------
    probabilities : array_like
        ``Q``, shape (n, m), entries in [0, 1]: how likely a sample of agent i shows instance x.

    Notes
    -----
    Example 5 of the paper (Blum et al., 2021). Linear, hence concave, but not bounded.

    Examples
    --------
    >>> RandomDiscovery([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]).values([2.0, 0.0, 1.0])
    array([1.5, 1. , 2. ])
    """

    concave = True

    def __init__(self, probabilities: ArrayLike) -> None:
        self.probabilities = as_probabilities(probabilities)
        self.n_agents = len(self.probabilities)
        self.weights = read_only(self.probabilities @ self.probabilities.T)

    def values(self, s: ArrayLike) -> PerAgent:
        return self._profile(s) @ self.weights

    def gains(self, s: ArrayLike) -> PerAgent:
        return self.values(s)

    def total_gain(self, s: ArrayLike) -> Array:
        return self.total(s)

    def gain_noise(self, s: ArrayLike) -> float:
        return 0.0

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        return np.broadcast_to(self.weights.sum(axis=0), self._profile(s).shape).copy()

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        return np.broadcast_to(np.diag(self.weights), self._profile(s).shape).copy()

    def average_slopes(self, s: ArrayLike) -> PerAgent:
        return self.total_gradient(s)

    def average_own_slopes(self, s: ArrayLike) -> PerAgent:
        return self.total_gradient(s)

    def own_gains(self, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        s, who = self._profile(s), everybody(self.n_agents, agents)
        others = self.weights.copy()
        np.fill_diagonal(others, 0.0)
        return (others @ s)[who, None] + np.diag(self.weights)[who, None] * x

    def mixture(self, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
        return self._mixture

    @cached_property
    def units(self) -> None:
        """Linear payoffs have no scale."""
        return None

    @cached_property
    def _mixture(self) -> Mixture:
        return Mixture(
            constant=0.0,
            linear=self.weights.sum(axis=0),
            coefficients=np.zeros(0),
            rates=np.zeros((0, self.n_agents)),
            classes=np.arange(self.n_agents),
            shares=Shares(self.weights, np.zeros((self.n_agents, 0))),
        )

    def jacobian(self, s: ArrayLike) -> Jacobian:
        s = self._profile(s)
        return np.broadcast_to(self.weights, (*s.shape[:-1], *self.weights.shape)).copy()
