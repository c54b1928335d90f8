"""What every payoff offers."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property

import numpy as np

from fedshap._records import Record
from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_profile, everybody
from fedshap.payoffs.differences import natural_scale, step_sizes


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
    #: Relative rounding of the values.
    precision: float = float(np.finfo(float).eps)

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

    @property
    def has_gradient(self) -> bool:
        """Whether derivatives are computed otherwise than by differences of values."""
        return True

    @property
    def scale(self) -> float:
        """The contribution, to a power of ten, around which the surplus bends if all give the same; 1 if nowhere."""
        return 1.0 if self._bend is None else self._bend

    @cached_property
    def _bend(self) -> float | None:
        return natural_scale(lambda x: self.total(np.tile(x[:, None], self.n_agents)))

    def difference_steps(self, s: Profile, order: int = 1) -> PerAgent:
        """Steps that suit differences of values at ``s``, shape (..., n), for derivatives of an order."""
        return step_sizes(s, self._bend, self.precision, order)

    def _profile(self, s: ArrayLike) -> Profile:
        return as_profile("s", s, self.n_agents)
