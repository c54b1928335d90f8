r"""The potential of any payoff from a fixed sample of coalitions: a plain function of s, to be maximised as such.

.. math:: \hat P(s) = \frac1c \sum_{m=1}^M \bigl(A(s[X_m]) - A(0)\bigr)

Every agent is in exactly c of the coalitions, whose sizes are spread evenly as each agent sees them. So all weights are
equal, an additive surplus is sampled without error, and the size of a coalition, which tells most about what its
members add, adds little to the variance.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile
from fedshap.payoffs import Payoff

Members = NDArray[np.bool_]
"""Coalitions, shape (M, n)."""

_CHUNK = 1 << 18  # contributions in the profiles evaluated at once: 2 MB


class Surplus:
    """The surplus ``A`` of a payoff, which counts the profiles it is asked for."""

    def __init__(self, payoff: Payoff) -> None:
        self.n_agents = payoff.n_agents
        self.evaluations = 0
        self._total = payoff.total

    def __call__(self, s: Profile) -> Array:
        """``A(s)``, shape (...), for profiles of shape (..., n)."""
        self.evaluations += s.size // self.n_agents
        return self._total(s)

    def chunks(self, count: int, width: int = 1) -> Iterator[slice]:
        """Slices of ``count`` rows, each of ``width`` profiles, that fit into memory."""
        rows = max(1, _CHUNK // (self.n_agents * width))
        return (slice(k, min(k + rows, count)) for k in range(0, count, rows))


def balanced_coalitions(n: int, laps: int, generator: np.random.Generator) -> Members:
    """Random coalitions such that every agent is in ``laps`` of them, or a few more or less.

    A coalition of k takes the k agents that were taken least so far, chance deciding between equals. There are n/k
    coalitions of each size, so that every agent finds herself in coalitions of every size equally often.
    """
    sizes = np.ceil(n * (np.arange(laps) + generator.uniform(size=laps)) / laps).astype(int)  # even over 1..n
    counts = np.floor(n / sizes + generator.uniform(size=laps)).astype(int)  # n / size on average
    taken = np.zeros(n, dtype=int)
    members = np.zeros((int(counts.sum()) + 1, n), dtype=bool)
    for row, size in enumerate(generator.permutation(np.repeat(sizes, counts))):
        members[row, np.argsort(taken + generator.uniform(size=n))[:size]] = True
        taken += members[row]
    members[-1] = taken < taken.max()  # brings everybody to the same count
    return members[members.any(axis=1)]


class SampledPotential:
    """The potential from a sample of coalitions.

    Parameters
    ----------
    surplus : Surplus
        What coalitions are worth.
    members : Members
        Coalitions, shape (M, n), each agent in the same number of them.
    """

    def __init__(self, surplus: Surplus, members: Members) -> None:
        self.surplus = surplus
        self.members = members
        self.copies = int(members[:, 0].sum())
        self._pairs = np.nonzero(members)
        self._empty = float(surplus(np.zeros(surplus.n_agents)))

    def value(self, s: Profile) -> float:
        """The sampled potential at one profile."""
        return float((self._surpluses(s) - self._empty).sum()) / self.copies

    def value_and_gradient(self, s: Profile, steps: PerAgent) -> tuple[float, PerAgent]:
        """The sampled potential and its forward differences over ``steps``, each member of a coalition on her own."""
        base = self._surpluses(s)
        coalitions, agents = self._pairs
        slopes = np.zeros(len(s))
        for part in self.surplus.chunks(len(agents)):
            rows, who = coalitions[part], agents[part]
            profiles = self.members[rows] * s
            profiles[np.arange(len(who)), who] += steps[who]
            slopes += np.bincount(who, (self.surplus(profiles) - base[rows]) / steps[who], minlength=len(s))
        return float((base - self._empty).sum()) / self.copies, slopes / self.copies

    def along(self, s: Profile, agent: int, x: Array) -> Array:
        """The sampled potential, but for a constant, were one agent alone to contribute each of ``x``: (P,) -> (P,)."""
        hers = self.members[self.members[:, agent]]
        total = np.zeros(len(x))
        for part in self.surplus.chunks(len(hers), len(x)):
            total += self.surplus(with_own(hers[part] * s, agent, x)).sum(axis=0)
        return total / self.copies

    def _surpluses(self, s: Profile) -> Array:
        parts = self.surplus.chunks(len(self.members))
        return np.concatenate([self.surplus(self.members[part] * s) for part in parts])


def with_own(profiles: Profile, agent: int, x: Array) -> Profile:
    """Profiles with one agent's part replaced by each of ``x``: (R, n) and (P,) -> (R, P, n)."""
    moved = profiles[:, None, :].repeat(len(x), axis=1)
    moved[:, :, agent] = x
    return moved
