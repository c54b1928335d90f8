"""Linear costs and power costs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, PerAgent
from fedshap._validation import as_array, as_per_agent, as_profile, read_only
from fedshap.costs.base import Cost


class LinearCost(Cost):
    r"""Linear costs with an optional fixed part.

    .. math:: c_i(s_i) = \gamma_i s_i + d_i

    Parameters
    ----------
    rates : array_like
        Marginal costs ``gamma_i >= 0``, shape (n,), in payoff units per data point.
    fixed : array_like
        Fixed costs ``d_i >= 0``, scalar or shape (n,). They are due at ``s_i = 0`` too, as in Thm 4.9.

    Examples
    --------
    >>> LinearCost([0.10, 0.25, 0.40]).values([1.0, 2.0, 0.0])
    array([0.1, 0.5, 0. ])
    """

    def __init__(self, rates: ArrayLike, fixed: ArrayLike = 0.0) -> None:
        self.rates = _rates(rates)
        self.n_agents = len(self.rates)
        self.fixed = as_per_agent("fixed", fixed, self.n_agents, minimum=0.0)

    def values(self, s: ArrayLike) -> PerAgent:
        return self.rates * as_profile("s", s, self.n_agents) + self.fixed

    def derivatives(self, s: ArrayLike) -> PerAgent:
        return np.broadcast_to(self.rates, as_profile("s", s, self.n_agents).shape).copy()

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        return np.zeros_like(as_profile("s", s, self.n_agents))

    def supply(self, price: float | PerAgent) -> tuple[PerAgent, PerAgent]:
        return np.where(self.rates < price, np.inf, 0.0), np.where(self.rates <= price, np.inf, 0.0)

    def constant_rates(self) -> PerAgent:
        return self.rates

    def of(self, agents: NDArray[np.intp]) -> LinearCost:
        return LinearCost(self.rates[agents], self.fixed[agents])


class PowerCost(Cost):
    r"""Power costs, convex in the contribution.

    .. math:: c_i(s_i) = \gamma_i s_i^{e_i}

    Parameters
    ----------
    rates : array_like
        ``gamma_i >= 0``, shape (n,).
    exponent : array_like
        ``e_i >= 1``, scalar or shape (n,).

    Examples
    --------
    >>> PowerCost([0.1, 0.2, 0.3], exponent=2.0).derivatives([1.0, 2.0, 0.0])
    array([0.2, 0.8, 0. ])
    """

    def __init__(self, rates: ArrayLike, exponent: ArrayLike) -> None:
        self.rates = _rates(rates)
        self.n_agents = len(self.rates)
        self.exponent = as_per_agent("exponent", exponent, self.n_agents, minimum=1.0)

    def values(self, s: ArrayLike) -> PerAgent:
        return self.rates * as_profile("s", s, self.n_agents) ** self.exponent

    def derivatives(self, s: ArrayLike) -> PerAgent:
        s = as_profile("s", s, self.n_agents)
        return self.rates * self.exponent * s ** (self.exponent - 1.0)

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        s = as_profile("s", s, self.n_agents)
        factor = self.rates * self.exponent * (self.exponent - 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            curvature = factor * s ** (self.exponent - 2.0)
        return np.where(factor > 0.0, curvature, 0.0)

    def supply(self, price: float | PerAgent) -> tuple[PerAgent, PerAgent]:
        flat = (self.exponent == 1.0) | (self.rates == 0.0)  # constant marginal cost: all or nothing
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            curved = (np.maximum(price, 0.0) / (self.rates * self.exponent)) ** (1.0 / (self.exponent - 1.0))
        low = np.where(flat, np.where(self.rates < price, np.inf, 0.0), curved)
        return low, np.where(flat, np.where(self.rates <= price, np.inf, 0.0), curved)

    def of(self, agents: NDArray[np.intp]) -> PowerCost:
        return PowerCost(self.rates[agents], self.exponent[agents])


def _rates(rates: ArrayLike) -> Array:
    array = as_array("rates", rates, minimum=0.0)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"rates must have shape (n,), one per agent; got shape {array.shape}")
    return read_only(array)
