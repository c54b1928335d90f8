"""Surpluses of all coalitions: Shapley values by their definition.

``s[X]`` is the profile s with everyone outside the coalition X set to zero. Coalition number m contains agent i if
and only if bit i of m is set. Everything here works for any payoff and asks nothing of it but totals and gradients.
An agent who contributes nothing adds nothing to any coalition and can be left out without changing the others' values,
so that only coalitions of those who contribute are evaluated. Memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from fedshap._coalitions import all_members, coalition_weights, semivalues, shapley_weights, sizes
from fedshap._types import Array, Jacobian, PerAgent, Profile
from fedshap._validation import read_only
from fedshap.payoffs import Payoff

_BITS = 10  # 2^10 profiles are evaluated at once: few enough to stay in the processor's cache


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Coalitions of some agents of which the last are alike: all 2^b of the first b agents, joined by the same others.

    Attributes
    ----------
    where : slice
        Their places among all coalitions.
    sizes : Array
        Their sizes, shape (K,).
    first, last : Array
        Membership of the first b agents, shape (K, b), and of the last, the same for all, shape (m - b,).
    profiles : Array
        ``s[X]`` of each, (together, K, n), as many times as asked for; may be written to where others are zero.
    """

    where: slice
    sizes: NDArray[np.int8]
    first: Array
    last: Array
    profiles: Array

    def held_by(self, weighted: Array) -> Array:
        """Sum of ``weighted``, (K,), over the coalitions that each agent is in, shape (m,)."""
        return np.concatenate([weighted @ self.first, weighted.sum() * self.last])


@lru_cache(maxsize=_BITS + 1)
def _members(n: int) -> Array:
    """Membership of the 2^n coalitions of n agents, entries 0 or 1."""
    return read_only(all_members(0, 1 << n, n).astype(float))


def _coalitions(s: Profile, who: NDArray[np.intp], together: int = 1) -> Iterator[_Chunk]:
    """All coalitions of some agents, a chunk at a time."""
    b = min(len(who), _BITS)
    first, k, inside = _members(b), 1 << b, sizes(b)
    profiles = np.zeros((max(1, min(together, (1 << _BITS) // k)), k, len(s)))
    profiles[..., who[:b]] = first * s[who[:b]]
    for rest in range(1 << (len(who) - b)):
        last = (rest >> np.arange(len(who) - b) & 1).astype(float)
        profiles[..., who[b:]] = last * s[who[b:]]
        yield _Chunk(slice(rest * k, (rest + 1) * k), inside + rest.bit_count(), first, last, profiles)


def _gain_weights(n: int) -> Array:
    """Weight of a coalition of each size 0..n-1 that i joins in Eq. (3): ``1 / (n C(n-1, |X|))``."""
    return coalition_weights(shapley_weights(n))


def exact_values(payoff: Payoff, s: Profile) -> PerAgent:
    who, values = np.flatnonzero(s), np.zeros(len(s))
    values[who] = semivalues(_surpluses(payoff, s, who), shapley_weights(len(who)))
    return values


def exact_gradient(payoff: Payoff, s: Profile) -> PerAgent:
    if not payoff.has_gradient:
        return exact_slopes(payoff, s, payoff.difference_steps(s)).first
    gives, who = s > 0.0, np.flatnonzero(s)
    joins, joined = _gain_weights(len(who) + 1), np.append(_gain_weights(len(who)), 0.0)
    gradient = np.zeros(len(s))
    for chunk in _coalitions(s, who):
        slopes = payoff.total_gradient(chunk.profiles[0])
        # One who gives is asked in the coalitions that she is in; one who does not, in all, as the next to join.
        # Off the coalition a derivative is not used, and may not exist: 0 x inf must not enter the sum.
        gradient[gives] += joined[chunk.sizes - 1] @ np.where(chunk.profiles[0] > 0.0, slopes, 0.0)[:, gives]
        gradient[~gives] += joins[chunk.sizes] @ slopes[:, ~gives]
    return gradient


def exact_hessian(payoff: Payoff, s: Profile) -> Jacobian:
    """Second derivatives of the potential by differences of surpluses."""
    return mixed_slopes(payoff, s, exact_slopes(payoff, s, payoff.difference_steps(s, 2)), np.arange(len(s)))


def exact_potential(payoff: Payoff, s: Profile) -> Array:
    who = np.flatnonzero(s)
    return np.asarray(_potential(_surpluses(payoff, s, who)))


def exact_deviations(payoff: Payoff, s: Profile, agent: int, x: Array) -> Array:
    """Shapley value of one agent at each of the contributions ``x``, shape (P,)."""
    others = _contributing(s, [agent])
    weights = _gain_weights(len(others) + 1)
    points, place = np.unique(np.append(0.0, x), return_inverse=True)  # 0 comes first
    values = np.zeros(len(points))
    for chunk, totals in _moved(payoff, s, others, [agent], points[:, None]):
        values += (totals - totals[0]) @ weights[chunk.sizes]
    return values[place[1:]]


def members_table(payoff: Payoff, s: Profile) -> Array:
    """What the members of each coalition gain by its data, ``sum_{j in X} (a_j(s[X]) - a_j(0))``, shape (2^n,).

    Members who contribute nothing count too.
    """
    n = len(s)
    parts = []
    for first in range(0, 1 << n, 1 << _BITS):
        members = all_members(first, min(first + (1 << _BITS), 1 << n), n)
        parts.append(np.where(members, payoff.gains(members * s), 0.0).sum(axis=1))
    return np.concatenate(parts)


def members_gradient(payoff: Payoff, s: Profile) -> PerAgent:
    """Own derivatives of everybody's Shapley value of `members_table`, shape (n,)."""
    n = len(s)
    weights, gradient = np.append(_gain_weights(n), 0.0), np.zeros(n)
    for first in range(0, 1 << n, 1 << _BITS):
        members = all_members(first, min(first + (1 << _BITS), 1 << n), n)
        inside = members[:, :, None] & members[:, None, :]
        slopes = np.where(inside, payoff.jacobian(members * s), 0.0).sum(axis=1)  # off the coalition none may exist
        gradient += weights[members.sum(axis=1) - 1] @ slopes
    return gradient


def members_deviations(payoff: Payoff, s: Profile, agent: int, x: Array) -> Array:
    """Shapley value of one agent at each of the contributions ``x``, (P,), but for what others get without her."""
    n = len(s)
    weights, values = np.append(_gain_weights(n), 0.0), np.zeros(len(x))
    for first in range(0, 1 << n, 1 << _BITS):
        members = all_members(first, min(first + (1 << _BITS), 1 << n), n)
        members = members[members[:, agent]]
        profiles = members * s
        for p, own in enumerate(x):
            profiles[:, agent] = own
            totals = np.where(members, payoff.gains(profiles), 0.0).sum(axis=1)
            values[p] += weights[members.sum(axis=1) - 1] @ totals
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
    here, around : Array
        Weighted sum of the surpluses of the coalitions that hold both i and j, at ``s``, and if i gives a step more
        plus if she gives one less, shape (n, n): what `mixed_slopes` needs besides.
    """

    value: float
    first: PerAgent
    second: PerAgent
    steps: PerAgent
    here: Jacobian
    around: Jacobian


def exact_slopes(payoff: Payoff, s: Profile, steps: PerAgent) -> Slopes:
    """One pass over the coalitions, two steps of each of their members.

    Differences are central; where ``s`` is less than a step, they are those of the parabola through 0, one step and
    two.
    """
    n, who = len(s), np.flatnonzero(s)
    totals = _surpluses(payoff, s, who)  # (2^m,)
    first, second, here, around = np.zeros(n), np.zeros(n), np.zeros((n, n)), np.zeros((n, n))
    for i, h in enumerate(steps):
        others = _contributing(s, [i])
        weights = _gain_weights(len(others) + 1)
        with_i = totals if s[i] == 0.0 else totals.reshape(-1, 2, 1 << int(np.searchsorted(who, i)))[:, 1].ravel()
        centre = max(float(s[i]), h)
        points = np.array([[centre - h], [centre + h], [centre]])[: 2 if s[i] >= h else 3]
        for chunk, moved in _moved(payoff, s, others, [i], points):
            w, known = weights[chunk.sizes], with_i[chunk.where]
            low, high, middle = moved if s[i] < h else (*moved, known)
            first[i] += w @ (high - low) / ((centre + h) - (centre - h))
            second[i] += w @ (high - 2.0 * middle + low) / h / h
            here[i, others] += chunk.held_by(w * known)
            around[i, others] += chunk.held_by(w * (low + high))
        first[i] += (s[i] - centre) * second[i]
    return Slopes(_potential(totals), first, second, steps, here, around)


def mixed_slopes(payoff: Payoff, s: Profile, slopes: Slopes, agents: NDArray[np.intp]) -> Jacobian:
    """Second derivatives of the potential, shape (n, n); mixed ones between ``agents`` alone, else zero."""
    hessian, h = np.diag(slopes.second), slopes.steps
    for i, j in combinations(agents.tolist(), 2):
        others = _contributing(s, [i, j])
        weights = _gain_weights(len(others) + 2)
        # Central, by two opposite corners and what is known of the sides; ahead, by four corners, next to zero.
        central = s[i] >= h[i] and s[j] >= h[j]
        corners = np.array([[1, 1], [-1, -1]] if central else [[1, 1], [1, 0], [0, 1], [0, 0]])
        sums = np.zeros(len(corners))
        for chunk, totals in _moved(payoff, s, others, [i, j], s[[i, j]] + corners * h[[i, j]]):
            sums += totals @ weights[chunk.sizes + 1]
        if central:
            twice = sums.sum() - slopes.around[i, j] - slopes.around[j, i] + 2.0 * slopes.here[i, j]
        else:
            twice = 2.0 * (sums[0] - sums[1] - sums[2] + sums[3])
        hessian[i, j] = hessian[j, i] = twice / h[i] / h[j] / 2.0
    return hessian


def _potential(surpluses: Array) -> float:
    """The potential, of the surpluses of all coalitions of n agents: ``1 / (|X| C(n, |X|))`` of each surplus."""
    n = len(surpluses).bit_length() - 1
    weights = np.append(0.0, _gain_weights(n))  # |X| C(n, |X|) = n C(n - 1, |X| - 1)
    return float((surpluses - surpluses[0]) @ weights[sizes(n)])


def _contributing(s: Profile, without: list[int]) -> NDArray[np.intp]:
    """Agents who contribute, but for some."""
    others = s > 0.0
    others[without] = False
    return np.flatnonzero(others)


def _surpluses(payoff: Payoff, s: Profile, who: NDArray[np.intp]) -> Array:
    """Surpluses of all coalitions of some agents beyond that of none, shape (2^m,), with its rounding left out."""
    return np.concatenate([payoff.total_gain(chunk.profiles[0]) for chunk in _coalitions(s, who)])


def _moved(
    payoff: Payoff, s: Profile, others: NDArray[np.intp], agents: list[int], points: Array
) -> Iterator[tuple[_Chunk, Array]]:
    """Surpluses (P, K) of coalitions of ``others``, joined by ``agents`` who give ``points``, (P, len(agents))."""
    for chunk in _coalitions(s, others, len(points)):
        together, k, n = chunk.profiles.shape
        totals = np.empty((len(points), k))
        for p in range(0, len(points), together):
            some = points[p : p + together]
            profiles = chunk.profiles[: len(some)]
            profiles[:, :, agents] = some[:, None, :]
            totals[p : p + together] = payoff.total_gain(profiles.reshape(-1, n)).reshape(-1, k)
        yield chunk, totals
