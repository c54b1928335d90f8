"""What every payoff offers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_profile, everybody
from fedshap.payoffs.differences import differences, natural_scale, step_sizes
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture


class Payoff(Record):
    """Base class of all payoffs.

    A payoff of your own needs `values` alone. Everything else is worked out from it and can be overridden where
    there is a shorter way. A subclass of a shipped payoff that overrides one method gets the general version of
    all that the shipped class had worked out from the method as it was.

    Attributes
    ----------
    n_agents : int
        Number of agents ``n``.
    concave : bool or None
        Whether every ``a_i`` is concave in ``s`` on the whole orthant; None if unknown.
    common : bool or None
        Whether all agents are known to have the same payoff; None if unknown.
    fitted_mixture : bool
        Whether `mixture` is fitted and may fail: then up to 20 agents are enumerated instead.
    """

    n_agents: int
    concave: bool | None = None
    common: bool | None = None
    _common_in_general: bool | None = None
    fitted_mixture: bool = False

    _shortcuts = {
        "concave": ("values",),
        "common": ("values", "arguments"),
        "total": ("values",),
        "total_gain": ("values", "total"),
        "gain_noise": ("values", "total"),
        "gains": ("values",),
        "jacobian": ("values", "arguments"),
        "total_gradient": ("values", "jacobian", "total", "arguments"),
        "own_gradient": ("values", "jacobian", "arguments"),
        "own_gains": ("values", "gains", "arguments"),
        "mixture": ("values", "total", "arguments"),
        "markets": ("values", "jacobian", "own_gradient", "arguments"),
        "units": ("values", "arguments"),
        "_bend": ("values",),
    }
    #: Relative rounding of the values.
    precision: float = float(np.finfo(float).eps)

    @abstractmethod
    def values(self, s: ArrayLike) -> PerAgent:
        """Payoffs ``a_i(s)``, shape (..., n), for contributions ``s`` >= 0 of shape (..., n)."""

    def jacobian(self, s: ArrayLike) -> Jacobian:
        """Derivatives ``d a_i / d s_j`` at ``[..., i, j]``, shape (..., n, n); by differences unless overridden."""
        s = self._profile(s)
        return differences(self.values, s, self.difference_steps(s), self.precision)

    def total(self, s: ArrayLike) -> Array:
        """The surplus ``A(s) = sum_i a_i(s)``, shape (...)."""
        return self.values(s).sum(axis=-1)

    def gains(self, s: ArrayLike) -> PerAgent:
        """What the data are worth to each agent, ``a_i(s) - a_i(0)``, shape (..., n)."""
        return self.values(s) - self.values(np.zeros(self.n_agents))

    def total_gain(self, s: ArrayLike) -> Array:
        """``A(s) - A(0)``, shape (...)."""
        return self.total(s) - self.total(np.zeros(self.n_agents))

    def gain_noise(self, s: ArrayLike) -> float:
        """What rounding may do to `total_gain` at one profile; 0 where it is no difference of two surpluses."""
        sizes = np.abs(self.values(s)).sum() + np.abs(self.values(np.zeros(self.n_agents))).sum()
        return 8.0 * float(np.finfo(float).eps * sizes)

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        """Derivatives ``d A / d s_j``, shape (..., n)."""
        return self.jacobian(s).sum(axis=-2)

    def total_slopes(self, s: Array, agents: NDArray[np.intp]) -> Array:
        """Derivative of the surplus in one contribution a row, ``d A / d s_agents[r]`` at ``s[r]``: (R, n) -> (R,)."""
        return self.total_gradient(s)[np.arange(len(s)), agents]

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        """Each agent's derivative in her own contribution, ``d a_i / d s_i``, shape (..., n)."""
        return np.diagonal(self.jacobian(s), axis1=-2, axis2=-1).copy()

    def own_gains(self, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        """`gains` of ``agents[m]`` were she alone to contribute ``x[m, p]``: ``s`` (n,), ``x`` (m, P) -> (m, P).

        All agents, in order, if ``agents`` is None.
        """
        profile = self._profile(s)
        gains = np.empty_like(x)
        for m, agent in enumerate(everybody(self.n_agents, agents)):
            moved = np.tile(profile, (x.shape[1], 1))
            moved[:, agent] = x[m]
            gains[m] = self.gains(moved)[:, agent]
        return gains

    def mixture(self, s: Profile, tolerance: float = TOLERANCE) -> Mixture | None:
        """The surplus as an exponential mixture, valid for contributions up to ``s``, shape (n,); else None."""
        return None

    def markets(self) -> GroupCurves | None:
        """The payoff as learning curves that groups of agents share; None if it is none."""
        return None

    @cached_property
    def units(self) -> PerAgent | None:
        """The contribution of each agent at which payoffs bend, shape (n,): what is little and what is much.

        None where payoffs have no such scale (a linear payoff, a pure power). Solvers start from it, so that nothing
        depends on the unit in which data are counted.
        """
        return None if self._bend is None else np.full(self.n_agents, self._bend)

    @property
    def has_gradient(self) -> bool:
        """Whether derivatives are computed otherwise than by differences of values."""
        return type(self).jacobian is not Payoff.jacobian

    @cached_property
    def _bend(self) -> float | None:
        return natural_scale(lambda x: self.total(np.tile(x[:, None], self.n_agents)))

    def difference_steps(self, s: Profile, order: int = 1) -> PerAgent:
        """Steps that suit differences of values at ``s``, shape (..., n), for derivatives of an order."""
        return step_sizes(s, self._bend, self.precision, order)

    def _profile(self, s: ArrayLike) -> Profile:
        return as_profile("s", s, self.n_agents)


@dataclass(frozen=True, eq=False)
class GroupCurves:
    """Payoffs that depend on weighted sums of the groups' totals: what makes each group a market.

    Attributes
    ----------
    slope : callable
        Derivative ``f'`` of the curve that all share, at weighted sums of any shape.
    weights : Array
        Shape (T, T): what a data point of group t is worth to group c.
    groups : array of int
        Group of each agent, shape (n,).
    """

    slope: Callable[[Array], Array]
    weights: Array
    groups: NDArray[np.intp]
