"""What every payoff offers."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from fedshap._types import Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_profile


class Payoff(ABC):
    """Base class of all payoffs.

    Attributes
    ----------
    n_agents : int
        Number of agents ``n``.
    concave : bool or None
        Whether every ``a_i`` is concave in ``s`` on the whole orthant; None if unknown.
    """

    n_agents: int
    concave: bool | None = None

    @abstractmethod
    def values(self, s: ArrayLike) -> PerAgent:
        """Payoffs ``a_i(s)``, shape (..., n), for contributions ``s`` >= 0 of shape (..., n)."""

    @abstractmethod
    def jacobian(self, s: ArrayLike) -> Jacobian:
        """Derivatives ``d a_i / d s_j`` at ``[..., i, j]``, shape (..., n, n)."""

    def total(self, s: ArrayLike) -> Array:
        """The surplus ``A(s) = sum_i a_i(s)``, shape (...)."""
        return self.values(s).sum(axis=-1)

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        """Derivatives ``d A / d s_j``, shape (..., n)."""
        return self.jacobian(s).sum(axis=-2)

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        """Each agent's derivative in her own contribution, ``d a_i / d s_i``, shape (..., n)."""
        return np.diagonal(self.jacobian(s), axis1=-2, axis2=-1).copy()

    def own_values(self, s: ArrayLike, x: Array) -> Array:
        """Payoff of agent i were she alone to contribute ``x[i, p]``: ``s`` (n,), ``x`` (n, P) -> (n, P)."""
        rows = np.empty_like(x)
        for i in range(self.n_agents):
            profiles = np.tile(self._profile(s), (x.shape[1], 1))
            profiles[:, i] = x[i]
            rows[i] = self.values(profiles)[:, i]
        return rows

    def _profile(self, s: ArrayLike) -> Profile:
        return as_profile("s", s, self.n_agents)
