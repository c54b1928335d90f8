"""Surpluses of all coalitions: Shapley values by their definition.

``s[X]`` is the profile s with everyone outside the coalition X set to zero. Coalition number m contains agent i if
and only if bit i of m is set. Everything here works for any payoff and asks nothing of it but totals and gradients.
An agent who contributes nothing adds nothing to any coalition and can be left out without changing the others' values,
so that only coalitions of those who contribute are evaluated. Memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import comb

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, Jacobian, PerAgent, Profile
from fedshap.payoffs import Payoff

MAX_EXACT = 20
"""Most agents that enumeration accepts: 2^20 coalitions."""

_CHUNK = 1 << 11  # profiles evaluated at once: few enough to stay in the processor's cache


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
    who = np.flatnonzero(s)
    weights = _potential_weights(len(who))
    empty = payoff.total(np.zeros(len(s)))
    sums = [(totals[0] - empty) @ weights[sizes] for _, sizes, totals in _totals(payoff, s, who, [], np.zeros((1, 0)))]
    return np.asarray(sum(sums, start=0.0))


def exact_deviations(payoff: Payoff, s: Profile, agent: int, x: Array) -> Array:
    """Shapley value of one agent at each of the contributions ``x``, shape (P,)."""
    others = _contributing(s, [agent])
    weights = _gain_weights(len(others) + 1)
    points = np.concatenate([[0.0], x])[:, None]
    values = np.zeros(len(x))
    for _, sizes, totals in _totals(payoff, s, others, [agent], points):
        values += (totals[1:] - totals[0]) @ weights[sizes]
    return values


def _potential_weights(n: int) -> Array:
    """Weight of a coalition of each size 0..n in the potential: ``(|X|-1)! (n-|X|)! / n! = 1 / (|X| C(n, |X|))``."""
    return np.array([0.0] + [1.0 / (size * comb(n, size)) for size in range(1, n + 1)])


def _contributing(s: Profile, without: list[int]) -> NDArray[np.intp]:
    """Agents who contribute, but for some."""
    others = s > 0.0
    others[without] = False
    return np.flatnonzero(others)


def _totals(
    payoff: Payoff, s: Profile, others: NDArray[np.intp], moved: list[int], points: Array
) -> Iterator[tuple[Array, NDArray[np.intp], Array]]:
    """Surpluses of coalitions X of ``others``, joined by the agents ``moved`` with each of the contributions ``points``.

    ``points`` has shape (P, len(moved)). Yields, a chunk of K coalitions at a time, who is in X (K, len(others)), the
    sizes of X (K,) and the surpluses (P, K).
    """
    count = 1 << len(others)
    for first in range(0, count, _CHUNK):
        members = _members(first, min(first + _CHUNK, count), len(others))
        k = len(members)
        together = max(1, _CHUNK // k)  # points evaluated in one call
        profiles = np.zeros((together, k, len(s)))
        profiles[:, :, others] = members * s[others]
        totals = np.empty((len(points), k))
        for p in range(0, len(points), together):
            some = points[p : p + together]
            profiles[: len(some), :, moved] = some[:, None, :]
            totals[p : p + together] = payoff.total(profiles[: len(some)].reshape(-1, len(s))).reshape(-1, k)
        yield members, members.sum(axis=1).astype(np.intp), totals


def exact_slopes(payoff: Payoff, s: Profile, steps: PerAgent) -> tuple[PerAgent, PerAgent, Array]:
    """First and second own derivatives of everybody's Shapley value by differences, each of shape (n,), and ``ahead``.

    Differences are central, or ahead of zero where ``s`` is less than a step. ``ahead[i, j]`` is what the coalitions
    that hold i and j gain in the weighted mean if i gives a step more: half of what mixed differences need.
    """
    n = len(s)
    slopes, bends, ahead = np.empty(n), np.empty(n), np.zeros((n, n))
    for i, h in enumerate(steps):
        centre = max(float(s[i]), h)
        others = _contributing(s, [i])
        weights = _gain_weights(len(others) + 1)
        at = np.array([[centre], [centre - h], [centre + h], [s[i]], [s[i] + h]])[: 3 if s[i] >= h else 5]
        first, second = 0.0, 0.0
        for members, sizes, totals in _totals(payoff, s, others, [i], at):
            w = weights[sizes]
            first += w @ (totals[2] - totals[1])
            second += w @ (totals[2] - 2.0 * totals[0] + totals[1])
            rise = totals[2] - totals[0] if s[i] >= h else totals[4] - totals[3]
            ahead[i, others] += (w * rise) @ members
        bends[i] = second / h**2
        slopes[i] = first / (2.0 * h) + (s[i] - centre) * bends[i]  # from the middle of the three points to s
    return slopes, bends, ahead
