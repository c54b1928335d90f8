"""Surpluses of all coalitions: Shapley values by their definition.

``s[X]`` is the profile s with everyone outside the coalition X set to zero. Coalition number m contains agent i if
and only if bit i of m is set. Everything here works for any payoff and asks nothing of it but totals and gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from math import comb

import numpy as np

from fedshap._types import Array, Jacobian, PerAgent, Profile
from fedshap.payoffs import Payoff

MAX_EXACT = 20
"""Most agents that enumeration accepts: 2^20 coalitions."""

_CHUNK = 1 << 14  # coalitions evaluated at once


def _members(first: int, last: int, n: int) -> Array:
    """Membership of coalitions first..last-1, shape (last - first, n), entries 0 or 1."""
    return (np.arange(first, last)[:, None] >> np.arange(n) & 1).astype(float)


def _over_coalitions(n: int, function: Callable[[Array], Array]) -> Array:
    """Stack ``function(membership)`` over all 2^n coalitions, a chunk at a time."""
    chunks = [function(_members(k, min(k + _CHUNK, 1 << n), n)) for k in range(0, 1 << n, _CHUNK)]
    return np.concatenate(chunks)


def _gain_weights(n: int) -> Array:
    """Weight of a coalition of each size 0..n-1 that i joins in Eq. (3): ``1 / (n C(n-1, |X|))``."""
    return np.array([1.0 / (n * comb(n - 1, size)) for size in range(n)])


def exact_values(payoff: Payoff, s: Profile) -> PerAgent:
    n = len(s)
    surplus = _over_coalitions(n, lambda members: payoff.total(members * s))
    sizes = _over_coalitions(n, lambda members: members.sum(axis=1)).astype(int)
    weights = np.append(_gain_weights(n), 0.0)[sizes]
    values = np.empty(n)
    for i in range(n):
        split = surplus.reshape(-1, 2, 1 << i)  # axis 1: without and with agent i
        gains = split[:, 1] - split[:, 0]
        values[i] = (gains * weights.reshape(-1, 2, 1 << i)[:, 0]).sum()
    return values


def exact_gradient(payoff: Payoff, s: Profile) -> PerAgent:
    n = len(s)
    weights = _gain_weights(n)

    def weighted(members: Array) -> Array:
        size = members.sum(axis=1).astype(int)
        gradients = payoff.total_gradient(members * s)
        # Off the coalition a derivative is not used, and may not exist: 0 x inf must not enter the sum.
        used = np.where(members > 0.0, gradients, 0.0)
        return (weights[size - 1] @ used)[None]

    return _over_coalitions(n, lambda members: weighted(members[members.any(axis=1)])).sum(axis=0)


def exact_hessian(payoff: Payoff, s: Profile) -> Jacobian:
    """Central differences of the own-gradient, one-sided near zero, made symmetric."""
    low, high = np.maximum(s - 1e-5 * np.maximum(s, 1.0), 0.0), s + 1e-5 * np.maximum(s, 1.0)
    rows = []
    for j in range(len(s)):
        moved = np.tile(s, (2, 1))
        moved[:, j] = low[j], high[j]
        rows.append((exact_gradient(payoff, moved[1]) - exact_gradient(payoff, moved[0])) / (high[j] - low[j]))
    hessian = np.array(rows)
    return (hessian + hessian.T) / 2.0


def exact_potential(payoff: Payoff, s: Profile) -> Array:
    n = len(s)
    empty = payoff.total(np.zeros(n))
    # (|X|-1)! (n-|X|)! / n!  equals  1 / (|X| C(n, |X|)).
    weights = np.array([0.0] + [1.0 / (size * comb(n, size)) for size in range(1, n + 1)])

    def weighted(members: Array) -> Array:
        return weights[members.sum(axis=1).astype(int)] * (payoff.total(members * s) - empty)

    return _over_coalitions(n, weighted).sum()


def exact_deviations(payoff: Payoff, s: Profile, agent: int, x: Array) -> Array:
    """Shapley value of one agent at each of the contributions ``x``, shape (P,)."""
    n = len(s)
    others = np.delete(np.arange(n), agent)
    weights = _gain_weights(n)

    def weighted(members: Array) -> Array:
        profiles = np.zeros((len(x) + 1, len(members), n))
        profiles[:, :, others] = members * s[others]
        profiles[1:, :, agent] = x[:, None]
        surplus = payoff.total(profiles)  # (P + 1, coalitions); the first row is without the agent
        return ((surplus[1:] - surplus[0]) @ weights[members.sum(axis=1).astype(int)])[None]

    return _over_coalitions(n - 1, weighted).sum(axis=0)
