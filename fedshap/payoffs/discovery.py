"""Random discovery: what samples of different agents show of a common space of instances."""

from __future__ import annotations

import numpy as np

from fedshap._types import ArrayLike, Jacobian, PerAgent
from fedshap._validation import as_probabilities, read_only
from fedshap.payoffs.base import Payoff


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

    def jacobian(self, s: ArrayLike) -> Jacobian:
        s = self._profile(s)
        return np.broadcast_to(self.weights, (*s.shape[:-1], *self.weights.shape)).copy()
