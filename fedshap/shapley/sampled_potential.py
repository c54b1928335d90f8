r"""The potential of any payoff from a fixed sample of coalitions: a plain function of s, to be maximised as such.

.. math:: \hat P(s) = \sum_{m=1}^M w_m \bigl(A(s[X_m]) - A(0)\bigr)

Each member of a coalition sees it with the same weight, and in all an agent sees coalitions of all sizes 1..n equally
often: so the derivative of ``P`` in her contribution, an average over the coalitions that hold her, is averaged as it
should be. Sizes are grouped in classes (1, 2, 3-4, 5-8, ...; all together), and within a class every agent is in
equally many coalitions. An additive surplus is therefore sampled without error. Small coalitions, in which most is
gained, are drawn more often than they weigh; those of one and of all are evaluated outright.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile
from fedshap.payoffs import Payoff

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

    def joined(self, coalitions: Profile, agent: int, x: Array) -> Array:
        """Surplus of the profiles ``coalitions``, shape (R, n), with one agent's part replaced by ``x``: (R, P)."""
        worth = np.empty((len(coalitions), len(x)))
        for part in self.chunks(len(coalitions), len(x)):
            profiles = coalitions[part, None, :].repeat(len(x), axis=1)
            profiles[:, :, agent] = x
            worth[part] = self(profiles)
        return worth

    def chunks(self, count: int, width: int = 1) -> Iterator[slice]:
        """Slices of ``count`` rows, each of ``width`` profiles, that fit into memory."""
        rows = max(1, _CHUNK // (self.n_agents * width))
        return (slice(k, min(k + rows, count)) for k in range(0, count, rows))


@dataclass(frozen=True)
class SizeClass:
    """Coalitions of ``smallest`` to ``largest`` members: their share of all sizes, and how often to draw them."""

    smallest: int
    largest: int
    share: float
    draws: int

    def sizes(self, generator: np.random.Generator) -> NDArray[np.intp]:
        """Sizes spread evenly over the class, shape (draws,)."""
        steps = (np.arange(self.draws) + generator.uniform(size=self.draws)) / self.draws
        return self.smallest + ((self.largest + 1 - self.smallest) * steps).astype(int)


def size_classes(n: int, draws: int) -> list[SizeClass]:
    """The sizes 1..n in classes that double, with about ``draws`` among them, as the square roots of their shares.

    A class of share w whose members' gains have the standard deviation d is best drawn as w d. Where gains diminish, d
    falls as sizes grow, and the square root of w stands between the extremes. Sizes 1 and n need one draw: for each
    agent, there is one such coalition.
    """
    starts = [1, 2, *(2**k + 1 for k in range(1, n.bit_length()) if 2**k + 1 < n), n]
    starts = sorted({start for start in starts if start <= n})
    ends = [start - 1 for start in starts[1:]] + [n]
    shares = np.array([end + 1 - start for start, end in zip(starts, ends, strict=True)]) / n
    sampled = np.array([1 < start < n for start in starts])
    total = float(np.sqrt(shares[sampled]).sum()) or 1.0
    counts = np.where(sampled, np.maximum(1, np.rint(draws * np.sqrt(shares) / total)), 1).astype(int)
    return [SizeClass(*row) for row in zip(starts, ends, shares.tolist(), counts.tolist(), strict=True)]


def balanced_coalitions(n: int, draws: int, generator: np.random.Generator) -> tuple[NDArray[np.bool_], Array]:
    """Random coalitions, shape (M, n), and their weights, shape (M,): every agent is in about ``draws`` of them.

    A coalition of k takes the k agents of its class that were taken least so far, chance deciding between equals. The
    last coalition of a class takes those who are still short of the others, whatever its size.
    """
    members, weights = [], []
    for sizes in size_classes(n, draws):
        drawn = sizes.sizes(generator)
        counts = np.floor(n / drawn + generator.uniform(size=len(drawn))).astype(int)  # n / size on average
        taken = np.zeros(n, dtype=int)
        rows = []
        for size in generator.permutation(np.repeat(drawn, counts)):
            rows.append(np.zeros(n, dtype=bool))
            rows[-1][np.argsort(taken + generator.uniform(size=n))[:size]] = True
            taken += rows[-1]
        if taken.min() < taken.max():
            rows.append(taken < taken.max())
        members += rows
        weights += [sizes.share / taken.max()] * len(rows)
    return np.array(members), np.array(weights)


class SampledPotential:
    """The potential from a sample of coalitions.

    Parameters
    ----------
    surplus : Surplus
        What coalitions are worth.
    members, weights : Array
        Coalitions, shape (M, n), and what each counts, shape (M,); the weights of every agent's add up to 1.
    """

    def __init__(self, surplus: Surplus, members: NDArray[np.bool_], weights: Array) -> None:
        self.surplus, self.members, self.weights = surplus, members, weights
        self._pairs = np.nonzero(members)
        self._empty = float(surplus(np.zeros(surplus.n_agents)))

    def value(self, s: Profile) -> float:
        """The sampled potential at one profile."""
        return float(self.weights @ (self._surpluses(s) - self._empty))

    def value_and_gradient(self, s: Profile, steps: PerAgent) -> tuple[float, PerAgent]:
        """The sampled potential and its forward differences over ``steps``, each member of a coalition on her own."""
        base = self._surpluses(s)
        coalitions, agents = self._pairs
        gradient = np.zeros(len(s))
        for part in self.surplus.chunks(len(agents)):
            rows, who = coalitions[part], agents[part]
            profiles = self.members[rows] * s
            profiles[np.arange(len(who)), who] += steps[who]
            slopes = (self.surplus(profiles) - base[rows]) / steps[who]
            gradient += np.bincount(who, self.weights[rows] * slopes, minlength=len(s))
        return float(self.weights @ (base - self._empty)), gradient

    def along(self, s: Profile, agent: int, x: Array) -> Array:
        """The sampled potential, but for a constant, were one agent alone to contribute each of ``x``: (P,) -> (P,)."""
        hers = self.members[:, agent]
        return self.weights[hers] @ self.surplus.joined(self.members[hers] * s, agent, x)

    def _surpluses(self, s: Profile) -> Array:
        parts = self.surplus.chunks(len(self.members))
        return np.concatenate([self.surplus(self.members[part] * s) for part in parts])
