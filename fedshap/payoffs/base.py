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
from fedshap.payoffs.differences import difference, differences, graded_rule, natural_scale, step_sizes
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture

_AVERAGED = 1e-7  # of the surplus: by how much averages of slopes may miss it


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
        "average_slopes": ("values", "jacobian", "total", "total_gradient", "arguments"),
        "average_own_slopes": ("values", "jacobian", "total", "total_gradient", "average_slopes", "arguments"),
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

    def average_slopes(self, s: ArrayLike) -> PerAgent:
        """What data are worth to all on the way from nothing to ``s``, ``int_0^1 dA/ds_j (q s) dq``, shape (..., n).

        By Gauss-Legendre on panels that halve towards zero, unless overridden.
        """
        s = self._profile(s)
        rows = s.reshape(-1, self.n_agents)
        return self._on_the_way(rows, self.total_gradient).reshape(s.shape)

    def average_own_slopes(self, s: ArrayLike) -> PerAgent | None:
        """Derivatives of ``s_j`` times `average_slopes` in ``s_j``, shape (..., n).

        By differences of slopes, to about ten digits, unless overridden; None where slopes themselves are differences.
        """
        if not self.has_gradient:
            return None
        s = self._profile(s)
        bends = self._on_the_way(s.reshape(-1, self.n_agents), self._own_bends, moment=1).reshape(s.shape)
        return self.average_slopes(s) + s * bends

    def _own_bends(self, s: Profile) -> PerAgent:
        """``d^2 A / d s_j^2``, shape (..., n), by differences of slopes."""
        steps = self.difference_steps(s)
        columns = [
            difference(lambda x, j=j: self.total_gradient(x)[..., j], s, j, steps[..., j], self.precision)[0]
            for j in range(self.n_agents)
        ]
        return np.stack(columns, axis=-1)

    def _on_the_way(self, rows: Array, function: Callable[[Array], Array], moment: int = 0) -> Array:
        """``int_0^1 q^moment function(q s) dq`` for each row s, (R, n) -> (R, n); slopes must add up to the surplus."""
        far = np.inf if self.units is None else float((rows / self.units).max(initial=1.0))
        q, weights = graded_rule(int(np.clip(np.log2(max(far, 1.0)) + 8.0, 8.0, 60.0)))
        averages, size = np.empty_like(rows), max(1, 200_000 // (len(q) * self.n_agents))
        for first in range(0, len(rows), size):
            some = rows[first : first + size]
            along = function(q[:, None] * some[:, None])  # (r, q, n)
            averages[first : first + size] = np.einsum("q,rqj->rj", weights * q**moment, along)
        if moment == 0:
            self._check_way(rows, averages)
        return averages

    def _check_way(self, rows: Array, averages: Array) -> None:
        gains, found = self.total_gain(rows), (averages * rows).sum(axis=-1)
        noise = np.array([self.gain_noise(row) for row in rows])
        off = np.abs(found - gains) - _AVERAGED * np.abs(gains) - noise
        if not (off <= 0.0).all():
            k = int(np.nan_to_num(off, nan=np.inf).argmax())
            raise ValueError(
                f"slopes of this {type(self).__name__} do not add up to its surplus on the way from nothing to s: "
                f"{found[k]:.9g} against {gains[k]:.9g}. It has a kink or a jump there, or other slopes than it says"
            )

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
