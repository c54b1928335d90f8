"""The power-law learning curve of a weighted sum of the contributions."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_interval, read_only, short
from fedshap.payoffs.curves import LearningCurve
from fedshap.payoffs.exponential_sums import ExponentialSum, power_law_sum


class PowerLaw(LearningCurve):
    r"""Power-law learning curve of a weighted sum of contributions.

    .. math:: a_i(s) = 1 - \frac{\alpha_i}{(1 + (W s)_i)^{\beta_i}}

    Parameters
    ----------
    n_agents : int, optional
        Number of agents; may be left out when ``weights``, ``groups``, or an array of ``alpha`` or ``beta`` tells it.
    alpha : array_like
        Height of the curve, > 0, scalar or one for each agent, shape (n,). With ``alpha <= 1`` payoffs lie in [0, 1];
        ``a_i(0) = 1 - alpha_i``.
    beta : array_like
        Exponent, in (0, 1], scalar or shape (n,).
    weights : array_like, optional
        Non-negative ``W``, shape (n, n): entry ``[i, j]`` is what a data point of agent j is worth to agent i.
        With ``groups``, shape (T, T): the same between groups. All ones if left out.
    groups : array_like of int, optional
        Group label of each agent, shape (n,), each in 0..T-1. The n x n matrix is then never formed.

    Raises
    ------
    ValueError
        If a parameter is out of range or the shapes do not fit together.

    Notes
    -----
    Eq. (12) of the paper for ``weights=None``, the closed form of Sec. 5.1 with ``weights`` and ``groups``.
    Non-negative weights make every ``a_i`` non-decreasing, concave and of diminishing returns across agents.

    Examples
    --------
    >>> PowerLaw(3).values([1.0, 0.0, 2.0])
    array([0.75, 0.75, 0.75])
    >>> W = [[1.0, 0.1], [0.2, 1.0]]  # two groups; agents 0 and 1 in the first
    >>> PowerLaw(weights=W, groups=[0, 0, 1]).values([1.0, 1.0, 0.0]).round(4)
    array([0.6667, 0.6667, 0.2857])
    >>> PowerLaw(alpha=[1.0, 0.5, 0.2]).values([1.0, 0.0, 2.0])  # to the last agent the model is worth little
    array([0.75 , 0.875, 0.95 ])
    """

    concave = True
    fitted_mixture = False
    curve_scale = 1.0  # type: ignore[assignment]

    def __init__(
        self,
        n_agents: int | None = None,
        *,
        alpha: ArrayLike = 1.0,
        beta: ArrayLike = 1.0,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> None:
        parameters = {"alpha": _parameter("alpha", alpha, np.inf), "beta": _parameter("beta", beta, 1.0)}
        told = {each.size for each in parameters.values() if each.ndim}
        if n_agents is None and weights is None and len(told) == 1:
            n_agents = told.pop()
        self._set_agents(n_agents, weights, groups)
        for name, each in parameters.items():
            if each.ndim and each.shape != (self.n_agents,):
                raise ValueError(f"{name} must be a number or have shape ({self.n_agents},); got shape {each.shape}")
        self.varied = bool(told) or any(each.ndim for each in parameters.values())
        # Where one differs from agent to agent, both do: a curve then runs over all agents.
        shape = (self.n_agents,) if self.varied else ()
        self.alpha, self.beta = (
            read_only(np.array(np.broadcast_to(each, shape))) if self.varied else float(each)
            for each in parameters.values()
        )

    def curve(self, z: Array) -> Array:
        return 1.0 - self.alpha * (1.0 + z) ** -self.beta

    def slope(self, z: Array) -> Array:
        return self.alpha * self.beta * (1.0 + z) ** (-self.beta - 1.0)

    def curve_gain(self, z: Array) -> Array:
        return -self.alpha * np.expm1(-self.beta * np.log1p(z))

    def gain_noise(self, s: ArrayLike) -> float:
        return 0.0

    def curves_of(self, agents: NDArray[np.intp]) -> LearningCurve:
        if not self.varied:
            return self
        some = copy.copy(self)
        vars(some).update(alpha=self.alpha[agents], beta=self.beta[agents])  # type: ignore[index]
        return some

    def _exponential_sums(self, reach: float, tolerance: float) -> list[ExponentialSum]:
        if self.varied:
            return super()._exponential_sums(reach, tolerance)
        shared = power_law_sum(float(self.beta), reach, tolerance)
        return [shared.times(float(self.alpha) * float(size)) for size in self.group_sizes]


def _parameter(name: str, value: ArrayLike, maximum: float) -> Array:
    """A number, or one for each agent, in (0, maximum]."""
    if np.ndim(value) == 0:
        return np.array(as_interval(name, value, 0.0, maximum))  # type: ignore[arg-type]
    array = as_array(name, value)
    if array.ndim > 1 or not array.size or not ((array > 0.0) & (array <= maximum)).all():
        allowed = f"(0, {maximum:g}]" if np.isfinite(maximum) else "(0, inf)"
        raise ValueError(f"{name} must lie in {allowed}, one number or one for each agent; got {short(value)}")
    return array
