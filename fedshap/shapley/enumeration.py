"""Surpluses of all coalitions: Shapley values by their definition.

``s[X]`` is the profile s with everyone outside the coalition X set to zero. Coalition number m contains agent i if
and only if bit i of m is set. Everything here works for any payoff and asks nothing of it but totals and gradients.
An agent who contributes nothing adds nothing to any coalition and can be left out without changing the others' values,
so that only coalitions of those who contribute are evaluated. Memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
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
    if not payoff.has_gradient:
        return exact_slopes(payoff, s, payoff.difference_steps(s)).first
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
    """Second derivatives of the potential by differences of surpluses."""
    return mixed_slopes(payoff, s, exact_slopes(payoff, s, payoff.difference_steps(s, 2)), np.arange(len(s)))


def exact_potential(payoff: Payoff, s: Profile) -> Array:
    who = np.flatnonzero(s)
    return np.asarray(_potential(_at(payoff, s, who), len(who)))


def exact_deviations(payoff: Payoff, s: Profile, agent: int, x: Array) -> Array:
    """Shapley value of one agent at each of the contributions ``x``, shape (P,)."""
    others = _contributing(s, [agent])
    weights = _gain_weights(len(others) + 1)
    points = np.concatenate([[0.0], x])[:, None]
    values = np.zeros(len(x))
    for _, members, totals in _totals(payoff, s, others, [agent], points):
        values += (totals[1:] - totals[0]) @ weights[_sizes(members)]
    return values


@dataclass(frozen=True, eq=False)
class Slopes:
    """Own derivatives of everybody's Shapley value, by differences of surpluses.

    Attributes
    ----------
    value : float
        The potential.
    first, second : Array
        First and second derivative of ``phi_i`` in ``s_i``, each of shape (n,).
    steps : Array
        The steps taken, shape (n,).
    here, ahead : Array
        Weighted sum of the surpluses of the coalitions that hold both i and j, at ``s`` and if i gives a step more,
        shape (n, n): what `mixed_slopes` needs besides.
    """

    value: float
    first: PerAgent
    second: PerAgent
    steps: PerAgent
    here: Jacobian
    ahead: Jacobian


def exact_slopes(payoff: Payoff, s: Profile, steps: PerAgent) -> Slopes:
    """One pass over the coalitions, two steps of each of their members.

    Differences are central; where ``s`` is less than a step, they are those of the parabola through 0, one step and
    two.
    """
    n, who = len(s), np.flatnonzero(s)
    totals = _at(payoff, s, who)  # (2^m,)
    first, second, here, ahead = np.zeros(n), np.zeros(n), np.zeros((n, n)), np.zeros((n, n))
    for i, h in enumerate(steps):
        others = _contributing(s, [i])
        weights = _gain_weights(len(others) + 1)
        with_i = totals if s[i] == 0.0 else totals.reshape(-1, 2, 1 << int(np.searchsorted(who, i)))[:, 1].ravel()
        centre, points = _stencil(s[i], h)
        for chunk, members, moved in _totals(payoff, s, others, [i], points[:, None]):
            w, known = weights[_sizes(members)], with_i[chunk]
            if s[i] >= h:
                low, middle, high, after = moved[0], known, moved[1], moved[1]
            elif s[i] == 0.0:
                low, middle, high, after = known, moved[0], moved[1], moved[0]
            else:
                low, middle, high, after = moved
            first[i] += w @ (high - low) / ((centre + h) - (centre - h))
            second[i] += w @ (high - 2.0 * middle + low) / h / h
            here[i, others] += (w * known) @ members
            ahead[i, others] += (w * after) @ members
        first[i] += (s[i] - centre) * second[i]
    return Slopes(_potential(totals, len(who)), first, second, steps, here, ahead)


def mixed_slopes(payoff: Payoff, s: Profile, slopes: Slopes, agents: NDArray[np.intp]) -> Jacobian:
    """Second derivatives of the potential, shape (n, n); mixed ones between ``agents`` alone, else zero."""
    hessian, h = np.diag(slopes.second), slopes.steps
    for i, j in combinations(agents.tolist(), 2):
        others = _contributing(s, [i, j])
        weights = _gain_weights(len(others) + 2)
        known = s[i] > 0.0 and s[j] > 0.0  # the surpluses of the other three corners, from the pass before
        corners = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])[: 1 if known else 4] * h[[i, j]] + s[[i, j]]
        sums = np.zeros(len(corners))
        for _, members, totals in _totals(payoff, s, others, [i, j], corners):
            sums += totals @ weights[_sizes(members) + 1]
        rest = (slopes.ahead[i, j], slopes.ahead[j, i], slopes.here[i, j]) if known else sums[1:]
        hessian[i, j] = hessian[j, i] = (sums[0] - rest[0] - rest[1] + rest[2]) / h[i] / h[j]
    return hessian


def _stencil(x: float, h: float) -> tuple[float, Array]:
    """Middle of three points a step apart around x, or from 0 on, and which contributions are still to be evaluated."""
    if x >= h:
        return x, np.array([x - h, x + h])
    return h, np.array([h, 2.0 * h] if x == 0.0 else [0.0, h, 2.0 * h, x + h])


def _potential(totals: Array, n: int) -> float:
    """The potential, of the surpluses of all coalitions of n agents: ``1 / (|X| C(n, |X|))`` of each surplus."""
    weights = np.array([0.0] + [1.0 / (size * comb(n, size)) for size in range(1, n + 1)])
    sizes = _over_coalitions(n, _sizes)
    return float((totals - totals[0]) @ weights[sizes])


def _sizes(members: Array) -> NDArray[np.intp]:
    return members.sum(axis=1).astype(np.intp)


def _contributing(s: Profile, without: list[int]) -> NDArray[np.intp]:
    """Agents who contribute, but for some."""
    others = s > 0.0
    others[without] = False
    return np.flatnonzero(others)


def _at(payoff: Payoff, s: Profile, who: NDArray[np.intp]) -> Array:
    """Surpluses of all coalitions of some agents, shape (2^m,)."""
    return np.concatenate([totals[0] for _, _, totals in _totals(payoff, s, who, [], np.zeros((1, 0)))])


def _totals(
    payoff: Payoff, s: Profile, others: NDArray[np.intp], moved: list[int], points: Array
) -> Iterator[tuple[slice, Array, Array]]:
    """Surpluses of coalitions X of ``others``, joined by the agents ``moved`` with each of the contributions ``points``.

    ``points`` has shape (P, len(moved)). Yields, a chunk of K coalitions at a time, which they are, who is in them
    (K, len(others)) and the surpluses (P, K).
    """
    count = 1 << len(others)
    for first in range(0, count, _CHUNK):
        members = _members(first, min(first + _CHUNK, count), len(others))
        k = len(members)
        together = max(1, _CHUNK // k)  # points evaluated in one call
        profiles = np.zeros((min(together, len(points)), k, len(s)))
        profiles[:, :, others] = members * s[others]
        totals = np.empty((len(points), k))
        for p in range(0, len(points), together):
            some = points[p : p + together]
            profiles[: len(some), :, moved] = some[:, None, :]
            totals[p : p + together] = payoff.total(profiles[: len(some)].reshape(-1, len(s))).reshape(-1, k)
        yield slice(first, first + k), members, totals
