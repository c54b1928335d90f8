"""What every payoff offers."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_profile, everybody


class Payoff(Record):
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

    def total_slopes(self, s: Array, agents: NDArray[np.intp]) -> Array:
        """Derivative of the surplus in one contribution a row, ``d A / d s_agents[r]`` at ``s[r]``: (R, n) -> (R,)."""
        return self.total_gradient(s)[np.arange(len(s)), agents]

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        """Each agent's derivative in her own contribution, ``d a_i / d s_i``, shape (..., n)."""
        return np.diagonal(self.jacobian(s), axis1=-2, axis2=-1).copy()

    def own_values(self, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        """Payoff of ``agents[m]`` were she alone to contribute ``x[m, p]``: ``s`` (n,), ``x`` (m, P) -> (m, P).

        All agents, in order, if ``agents`` is None.
        """
        profile = self._profile(s)
        values = np.empty_like(x)
        for m, agent in enumerate(everybody(self.n_agents, agents)):
            moved = np.tile(profile, (x.shape[1], 1))
            moved[:, agent] = x[m]
            values[m] = self.values(moved)[:, agent]
        return values

    def _profile(self, s: ArrayLike) -> Profile:
        return as_profile("s", s, self.n_agents)


def checked_output(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Check what a user's function returned."""
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must return an array of numbers; it returned {value!r}") from error
    if array.shape != shape:
        raise ValueError(f"{name} must return an array of shape {shape} here; it returned shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must return finite numbers; it returned {array[~np.isfinite(array)][0]}")
    return array
