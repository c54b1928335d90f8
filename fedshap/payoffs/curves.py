"""Learning curves: payoffs that depend on a (weighted) sum of the contributions."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent
from fedshap._validation import as_array, as_count, as_labels, as_square, everybody, read_only
from fedshap.payoffs.base import Payoff
from fedshap.payoffs.vetting import checked_output, vet


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
        self.concave = concave
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
        """``f(z)`` for weighted sums ``z`` of any shape."""
        return checked_output("function", self._function(z), z.shape)

    def slope(self, z: Array) -> Array:
        """``f'(z)`` for weighted sums ``z`` of any shape."""
        return checked_output("slope", self._derivative(z), z.shape)

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
        z = np.concatenate([[0.0], np.geomspace(1e-3, 1e6, 28)])
        vet("function", self._function, z)
        vet("slope", self._derivative, z)
        step = 1e-5 * (z + 1e-3)
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
        return self._profile(s) @ self.membership @ self.weights.T

    def values(self, s: ArrayLike) -> PerAgent:
        return self.curve(self.arguments(s))[..., self.groups]

    def jacobian(self, s: ArrayLike) -> Jacobian:
        by_group = self.slope(self.arguments(s))[..., None] * self.weights  # (..., T, T)
        return by_group[..., self.groups, :][..., self.groups]

    def total(self, s: ArrayLike) -> Array:
        return self.curve(self.arguments(s)) @ self.group_sizes

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        by_group = (self.slope(self.arguments(s)) * self.group_sizes) @ self.weights  # (..., T)
        return by_group[..., self.groups]

    def own_gradient(self, s: ArrayLike) -> PerAgent:
        return (self.slope(self.arguments(s)) * np.diag(self.weights))[..., self.groups]

    def own_values(self, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        s = self._profile(s)
        agents = everybody(self.n_agents, agents)
        labels = self.groups[agents]
        own = self.weights[labels, labels][:, None]
        others = self.arguments(s)[labels, None] - own * s[agents, None]
        return self.curve(np.maximum(others, 0.0) + own * x)


def _count_agents(n_agents: int | None, told: int | None) -> int:
    """Number of agents, from the argument or from the shape of the others; they must agree."""
    if n_agents is None:
        if told is None:
            raise ValueError("n_agents is needed when neither weights nor groups is given")
        return as_count("n_agents", told)
    if told is not None and told != n_agents:
        raise ValueError(f"n_agents={n_agents} contradicts weights or groups, which are for {told} agents")
    return as_count("n_agents", n_agents)
