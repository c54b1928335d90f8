"""Learning curves: payoffs that depend on a (weighted) sum of the contributions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_array, as_count, as_flag, as_labels, as_square, everybody, read_only
from fedshap.payoffs.base import GroupCurves, Payoff
from fedshap.payoffs.differences import natural_scale
from fedshap.payoffs.exponential_sums import TOLERANCE, ExponentialSum, fit_exponential_sum
from fedshap.payoffs.mixtures import Mixture, Shares
from fedshap.payoffs.vetting import checked_output, vet

_LARGEST = float(np.finfo(float).max)
_AT_ONCE = 4096  # agents whose different curves are summed at once


class LearningCurve(Payoff):
    r"""A learning curve of yours, of a weighted sum of contributions.

    .. math:: a_i(s) = f\bigl((W s)_i\bigr)

    Parameters
    ----------
    function : callable
        ``f``, vectorised: weighted sums ``z >= 0`` to payoffs of the same shape; non-decreasing.
    slope : callable
        Its derivative ``f'``, vectorised.
    n_agents : int, optional
        Number of agents; may be left out when ``weights`` or ``groups`` tells it.
    weights : array_like, optional
        Non-negative ``W``, shape (n, n): entry ``[i, j]`` is what a data point of agent j is worth to agent i.
        With ``groups``, shape (T, T): the same between groups. All ones if left out.
    groups : array_like of int, optional
        Group label of each agent, shape (n,), each in 0..T-1. The n x n matrix is then never formed.
    concave : bool, optional
        Your word on whether ``f`` is concave. Left out, certificates say that they do not know.

    Raises
    ------
    ValueError
        If the shapes do not fit together, a function returns another shape or numbers that are not finite, or
        ``slope`` is negative or not the derivative of ``function``.

    Notes
    -----
    Where the slope is completely monotone (a power, a logarithm, a root, saturating exponentials), Shapley values of
    any number of agents follow from an exponential sum that is fitted to it. Other curves have them by enumeration.

    Examples
    --------
    >>> curve = LearningCurve(np.log1p, lambda z: 1.0 / (1.0 + z), n_agents=3, concave=True)
    >>> curve.values([1.0, 0.0, 2.0]).round(4)
    array([1.3863, 1.3863, 1.3863])
    """

    fitted_mixture = True
    #: Whether agents differ in their curves, and not only in what they see.
    varied: bool = False

    _shortcuts = {
        "concave": ("curve", "slope", "arguments"),
        "slope": ("curve",),
        "curve_gain": ("curve",),
        "gain_noise": ("curve", "curve_gain"),
        "curve_scale": ("curve",),
        "fitted_mixture": ("curve", "slope"),
        "_exponential_sums": ("curve", "slope", "varied"),
    }

    def __init__(
        self,
        function: Callable[[Array], Array],
        slope: Callable[[Array], Array],
        n_agents: int | None = None,
        *,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
        concave: bool | None = None,
    ) -> None:
        for name, given in (("function", function), ("slope", slope)):
            if not callable(given):
                raise ValueError(f"{name} must be callable; got {given!r}")
        self.concave = None if concave is None else as_flag("concave", concave)
        self._function, self._derivative = function, slope
        self._set_agents(n_agents, weights, groups)
        self._check_slope()

    def _set_agents(self, n_agents: int | None, weights: ArrayLike | None, groups: ArrayLike | None) -> None:
        """Check and keep who belongs to which group and what the groups' data are worth to each other."""
        if weights is None and groups is not None:
            raise ValueError("groups needs weights: a (T, T) matrix between the T groups")
        #: Weights between the groups, shape (T, T); without groups every agent is one of her own.
        self.weights = read_only(np.ones((1, 1))) if weights is None else as_square("weights", weights)
        labels = None if groups is None else as_array("groups", groups)
        told = None if weights is None else len(self.weights) if labels is None else labels.size
        self.n_agents = _count_agents(n_agents, told)
        if weights is None:
            labels = np.zeros(self.n_agents, dtype=np.intp)
        else:
            labels = np.arange(self.n_agents) if groups is None else groups
        #: Group of each agent, shape (n,).
        self.groups = as_labels("groups", labels, self.n_agents, len(self.weights))
        membership = np.zeros((self.n_agents, len(self.weights)))
        membership[np.arange(self.n_agents), self.groups] = 1.0
        #: Entry [i, t] is 1 if agent i is in group t, shape (n, T).
        self.membership = read_only(membership)
        self.group_sizes = read_only(membership.sum(axis=0))  # (T,)

    def curve(self, z: Array) -> Array:
        """``f(z)`` for weighted sums ``z`` of any shape; the last axis runs over the agents where they are `varied`."""
        return checked_output("function", self._function(z), z.shape)

    def slope(self, z: Array) -> Array:
        """``f'(z)`` for weighted sums ``z`` as in `curve`."""
        return checked_output("slope", self._derivative(z), z.shape)

    def curve_gain(self, z: Array) -> Array:
        """``f(z) - f(0)`` for weighted sums ``z`` as in `curve`."""
        return self.curve(z) - self.curve(np.zeros_like(z))

    def _slope_in_general(self, z: Array) -> Array:
        """The slope of a subclass that overrides the curve alone: differences, one-sided of second order near zero."""
        step = 6e-6 * np.maximum(z, self.curve_scale)
        ahead, here, behind = self.curve(z + step), self.curve(z), self.curve(np.where(z >= step, z - step, z))
        one_sided = 4.0 * ahead - 3.0 * here - self.curve(z + 2.0 * step)
        return np.maximum(np.where(z >= step, ahead - behind, one_sided) / (2.0 * step), 0.0)

    def curves_of(self, agents: NDArray[np.intp]) -> LearningCurve:
        """The curves of some agents: a payoff whose `curve` runs over them. Itself where all agents share one."""
        return self

    @cached_property
    def curve_scale(self) -> float:
        """Weighted sum around which the curve bends, to a power of ten; 1 for a pure power, which has no scale."""
        rise = partial(self._summed, name="curve_gain") if self.varied else self.curve_gain
        return natural_scale(rise) or 1.0

    @property
    def common(self) -> bool:  # type: ignore[override]
        """Whether all agents see the same weighted sum through the same curve."""
        return not self.varied and bool((self.weights == self.weights[0]).all())

    def _parameters(self) -> dict[str, Any]:
        """As given: no weights that are all one, no groups of one agent each."""
        given = super()._parameters()
        if "function" in inspect.signature(type(self).__init__).parameters:
            given = {"function": self._function, "slope": self._derivative} | given
            given["slope"] = self._derivative
        unweighted = len(self.weights) == 1 and self.weights[0, 0] == 1.0
        left_out = {"n_agents"} if not unweighted else {"weights"}
        if len(self.weights) in (1, self.n_agents):
            left_out |= {"groups"}
        return {name: value for name, value in given.items() if name not in left_out}

    def _check_slope(self) -> None:
        z = self.curve_scale * np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 28)])
        vet("function", self._function, z)
        vet("slope", self._derivative, z)
        step = 1e-5 * (z + 1e-3 * self.curve_scale)
        difference, slope = (self.curve(z + step) - self.curve(z)) / step, self.slope(z + step / 2.0)
        if (slope < 0.0).any():
            raise ValueError(f"slope must not be negative; it is {slope.min():.3g} at z={z[slope.argmin()]:g}")
        # A difference of values that agree in most of their digits is good to few.
        error = np.abs(difference - slope) - 1e-3 * slope - 1e-14 * np.abs(self.curve(z)) / step
        if (error > 0.0).any():
            k = int(error.argmax())
            raise ValueError(
                f"slope must be the derivative of function; at z={z[k]:g} it is {slope[k]:.6g}, and function rises "
                f"by {difference[k]:.6g} for each unit"
            )

    def arguments(self, s: ArrayLike) -> Array:
        """Weighted sums ``(W s)`` of each group, shape (..., T)."""
        s = self._profile(s)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = s @ self.membership @ self.weights.T
        if not np.isfinite(sums.sum()) and not np.isfinite(sums).all():
            raise ValueError(
                f"weighted sums of s must not exceed {_LARGEST:.2g}, the largest number there is; those of s up to "
                f"{s.max():g} with weights up to {self.weights.max():g} do: measure contributions in a larger unit"
            )
        return sums

    def _each(self, function: Callable[[Array], Array], s: ArrayLike) -> PerAgent:
        """A curve at every agent's weighted sum, shape (..., n)."""
        z = self.arguments(s)
        return function(z[..., self.groups]) if self.varied else function(z)[..., self.groups]

    def _per_group(self, function: Callable[[Array], Array], s: ArrayLike) -> Array:
        """A curve summed over the members of each group, shape (..., T)."""
        z = self.arguments(s)
        return function(z[..., self.groups]) @ self.membership if self.varied else function(z) * self.group_sizes

    def values(self, s: ArrayLike) -> PerAgent:
        return self._each(self.curve, s)

    def gains(self, s: ArrayLike) -> PerAgent:
        return self._each(self.curve_gain, s)

    def jacobian(self, s: ArrayLike) -> Jacobian:
        return self._each(self.slope, s)[..., None] * self.weights[self.groups][:, self.groups]

    def total(self, s: ArrayLike) -> Array:
        return self._per_group(self.curve, s).sum(axis=-1)

    def total_gain(self, s: ArrayLike) -> Array:
        return self._per_group(self.curve_gain, s).sum(axis=-1)

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        return (self._per_group(self.slope, s) @ self.weights)[..., self.groups]

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        return self._each(self.slope, s) * np.diag(self.weights)[self.groups]

    def average_slopes(self, s: ArrayLike) -> PerAgent:
        return (self._per_group(self._average_slope, s) @ self.weights)[..., self.groups]

    def average_own_slopes(self, s: ArrayLike) -> PerAgent:
        # (f(z) - f(0)) / z falls by (f'(z) - that) / z, and z by her weight for each of her data points.
        s, z = self._profile(s), self.arguments(s)
        bend = self._per_group(lambda z: self.slope(z) - self._average_slope(z), s)
        bend = np.divide(bend, z, out=np.zeros_like(z), where=z > 0.0)
        return self.average_slopes(s) + s * (bend @ np.square(self.weights))[..., self.groups]

    def _average_slope(self, z: Array) -> Array:
        """``int_0^1 f'(q z) dq = (f(z) - f(0)) / z``."""
        near = z <= 1e-6 * self.curve_scale  # where the difference is little but rounding
        return np.where(near, self.slope(z / 2.0), self.curve_gain(z) / np.where(near, 1.0, z))

    def gain_noise(self, s: ArrayLike) -> float:
        return super().gain_noise(s)

    def own_gains(self, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        s = self._profile(s)
        agents = everybody(self.n_agents, agents)
        labels = self.groups[agents]
        own = self.weights[labels, labels][:, None]
        others = self.arguments(s)[labels, None] - own * s[agents, None]
        z = np.maximum(others, 0.0) + own * x  # (m, P)
        return self.curves_of(agents).curve_gain(z.T).T

    def mixture(self, s: Profile, tolerance: float = TOLERANCE) -> Mixture | None:
        largest = float(self.arguments(s).max())
        # Rounded up to a power of ten, so that a solver's steps share one cached rule.
        power = float(np.ceil(np.log10(max(largest, self.curve_scale))))
        reach = 10.0**power if power <= 308.0 else _LARGEST
        key = (reach, tolerance)
        if key not in self._mixtures:
            self._mixtures[key] = self._fitted_mixture(reach, tolerance)
        return self._mixtures[key]

    def _fitted_mixture(self, reach: float, tolerance: float) -> Mixture:
        """The mixture by an exponential sum of each group's curve on [0, reach]."""
        sums = self._exponential_sums(reach, tolerance)
        start = float(self.total(np.zeros(self.n_agents)))
        return Mixture(
            constant=start + sum(float(each.weights.sum()) for each in sums),
            linear=np.array([each.linear for each in sums]) @ self.weights,
            coefficients=np.concatenate([each.weights for each in sums]),
            rates=np.concatenate([each.rates[:, None] * row for each, row in zip(sums, self.weights, strict=True)]),
            classes=self.groups,
            error=max(each.error for each in sums),
            shares=None if self.varied else self._shares(sums),
        )

    def _shares(self, sums: list[ExponentialSum]) -> Shares:
        """What of the sums of each group's curves is a single member's."""
        one = np.divide(1.0, self.group_sizes, out=np.zeros(len(sums)), where=self.group_sizes > 0.0)
        group = np.repeat(np.arange(len(sums)), [len(each.weights) for each in sums])  # of each term
        terms = np.concatenate([each.weights for each in sums])
        return Shares(
            linear=(one * [each.linear for each in sums])[:, None] * self.weights,
            coefficients=np.where(group == np.arange(len(sums))[:, None], terms, 0.0) * one[:, None],
        )

    def _exponential_sums(self, reach: float, tolerance: float) -> list[ExponentialSum]:
        """The sum of the curves of each group's members as exponentials, T of them."""
        if self.varied:
            return [
                fit_exponential_sum(partial(self._summed, name="slope", agents=members), reach, tolerance)
                for members in (np.flatnonzero(column) for column in self.membership.T)
            ]
        shared = fit_exponential_sum(self.slope, reach, tolerance)
        return [shared.times(float(size)) for size in self.group_sizes]

    def _summed(self, z: Array, name: str, agents: Agents = None) -> Array:
        """A curve summed over some agents, all at the weighted sums ``z``, shape (Z,)."""
        total = np.zeros_like(z)
        who = everybody(self.n_agents, agents)
        for part in np.array_split(who, 1 + len(who) // _AT_ONCE):
            function = getattr(self.curves_of(part), name)
            total += function(np.broadcast_to(z[:, None], (len(z), len(part)))).sum(axis=1)
        return total

    def markets(self) -> GroupCurves | None:
        if self.varied or not self.concave:
            return None
        return GroupCurves(self.slope, self.weights, self.groups)

    @cached_property
    def units(self) -> PerAgent | None:
        most = self.weights.max(axis=0)  # (T,): what a data point of each group is worth where it is worth most
        worth = np.where(most > 0.0, most, most.max() or 1.0)
        return read_only((self.curve_scale / worth)[self.groups])

    @cached_property
    def _mixtures(self) -> dict[tuple[float, float], Mixture]:
        """Mixtures fitted so far, by their reach and tolerance."""
        return {}


def _count_agents(n_agents: int | None, told: int | None) -> int:
    """Number of agents, from the argument or from the shape of the others; they must agree."""
    if n_agents is None:
        if told is None:
            raise ValueError("n_agents is needed when neither weights nor groups is given")
        return as_count("n_agents", told)
    if told is not None and told != n_agents:
        raise ValueError(f"n_agents={n_agents} contradicts weights or groups, which are for {told} agents")
    return as_count("n_agents", n_agents)
