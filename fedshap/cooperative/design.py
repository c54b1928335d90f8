r"""Which coalitions to ask for: drawn by size, without replacement, in complementary pairs where that helps.

With ``q_s`` the probability that a player joins a coalition of size s, a semivalue is

.. math:: \psi_i = \sum_{s=0}^{n} \operatorname*{mean}_{|S|=s} v(S)\,(A_s 1[i \in S] - B_s 1[i \notin S]),
          \qquad A_s = \frac{n}{s} q_{s-1}, \quad B_s = \frac{n}{n-s} q_s .

If q is symmetric (Shapley, Banzhaf, beta with alpha = beta), then ``A_s = B_{n-s}``: S and its complement enter through
``d(S) = v(S) - v(N - S)`` alone, and the sum runs over pairs, h = min(|S|, |N - S|) = 0..n/2. What is even in S, all
interactions of two players among it, cancels within each pair (Covert and Lee, 2021). A `Stratum` holds the pairs, or
single coalitions for another q, of one size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, islice
from math import comb

import numpy as np

from fedshap._types import Array
from fedshap.cooperative.evaluation import Members
from fedshap.cooperative.weights import is_symmetric

_BLOCK = 256  # coalitions drawn at once
LEAST = 3  # drawn from each stratum: a variance needs two


@dataclass
class Stratum:
    """Coalitions of one size, or pairs of them with their complements.

    Attributes
    ----------
    size : int
        Players in each coalition; in the smaller one of each pair.
    count : float
        How many there are.
    inside, outside : float
        What the response counts for players inside and, negated, outside: ``A`` and ``B`` above.
    odd : bool
        Whether these are pairs of two coalitions of this size, so that the sign of d(S) is a matter of naming.
    members, responses : arrays
        What was drawn, shapes (k, n) and (k,), and its ``v(S)`` or ``d(S)``.
    """

    size: int
    count: float
    inside: float
    outside: float
    odd: bool
    members: Members
    source: Iterator[np.ndarray] = field(repr=False)
    responses: Array = field(default_factory=lambda: np.empty(0))

    @property
    def drawn(self) -> int:
        return len(self.responses)

    @property
    def unseen(self) -> float:
        """Share of the stratum that was not drawn."""
        return 1.0 - self.drawn / self.count

    @property
    def spread(self) -> float:
        """Root of the sum over players of squared coefficients."""
        n = self.members.shape[1]
        return float(np.hypot(np.sqrt(self.size) * self.inside, np.sqrt(n - self.size) * self.outside))

    def coefficients(self) -> Array:
        """What each response counts for each player, shape (k, n)."""
        return np.where(self.members, self.inside, -self.outside)


class Design:
    """All strata of a game: which coalitions come next, and what was found of those that came."""

    def __init__(self, weights: Array, generator: np.random.Generator) -> None:
        n = len(weights)
        self.n_players = n
        self.paired = is_symmetric(weights)
        sizes = range(n // 2 + 1) if self.paired else range(n + 1)
        seeds = generator.integers(2**63, size=len(sizes))
        strata = [self._stratum(size, weights, int(seed)) for size, seed in zip(sizes, seeds, strict=True)]
        self.strata = [stratum for stratum in strata if stratum.spread > 0.0]

    def _stratum(self, size: int, weights: Array, seed: int) -> Stratum:
        n = self.n_players
        inside = weights[size - 1] * n / size if size else 0.0
        outside = weights[size] * n / (n - size) if size < n else 0.0
        middle = self.paired and 2 * size == n
        count = comb(n, size) // (2 if middle else 1)
        # Both coalitions of a middle pair have the stratum's size: each coefficient covers two.
        share = 0.5 if middle else 1.0
        source = _distinct_subsets(n, size, middle, count, np.random.default_rng(seed))
        members = np.empty((0, n), dtype=bool)
        return Stratum(size, float(min(count, 10**300)), share * inside, share * outside, middle, members, source)

    @property
    def cost(self) -> int:
        """Evaluations per draw."""
        return 2 if self.paired else 1

    @property
    def least(self) -> int:
        """Draws without which there are no standard errors."""
        return int(sum(min(stratum.count, LEAST) for stratum in self.strata))

    @property
    def size(self) -> float:
        """Draws after which everything is known."""
        return sum(stratum.count for stratum in self.strata)

    @property
    def drawn(self) -> int:
        return sum(stratum.drawn for stratum in self.strata)

    def draw(self, values: Callable[[Members], Array], total: int, deviations: Array) -> None:
        """Draw on until ``total`` were drawn, and ask a function for their values."""
        rows = self.next_rows(total, deviations)
        members = np.concatenate(rows)
        if len(members):
            self.add(rows, values(np.concatenate([members, ~members]) if self.paired else members))

    def next_rows(self, total: int, deviations: Array) -> list[Members]:
        """Whom to draw from each stratum until ``total`` were drawn, by Neyman's rule for these deviations."""
        wanted = allocation(self.strata, total, deviations)
        more = [max(k - stratum.drawn, 0) for stratum, k in zip(self.strata, wanted, strict=True)]
        drawn = [list(islice(stratum.source, k)) for stratum, k in zip(self.strata, more, strict=True)]
        return [np.array(new, dtype=bool).reshape(-1, self.n_players) for new in drawn]

    def add(self, rows: Sequence[Members], values: Array) -> None:
        """Take in what was drawn from each stratum: values of all rows, then, if paired, of their complements."""
        ends = np.cumsum([len(new) for new in rows])
        responses = values[: ends[-1]] - values[ends[-1] :] if self.paired else values
        for stratum, new, each in zip(self.strata, rows, np.split(responses, ends[:-1]), strict=True):
            stratum.members = np.concatenate([stratum.members, new])
            stratum.responses = np.concatenate([stratum.responses, each])


def allocation(strata: list[Stratum], total: int, deviations: Array) -> np.ndarray:
    """Draws from each stratum: in proportion to what it adds to the standard error, none twice, no fewer than now."""
    counts = np.array([stratum.count for stratum in strata])
    low = np.maximum([stratum.drawn for stratum in strata], np.minimum(counts, LEAST))
    score = np.array([stratum.spread for stratum in strata]) * deviations
    if not score.any():
        score = np.ones(len(strata))
    budget = min(float(total), counts.sum())
    with np.errstate(divide="ignore"):
        logs = np.log(score)  # of Banzhaf's weights some hardly exist

    def wanted(log_rate: float) -> Array:
        return np.clip(np.exp(np.minimum(log_rate + logs, 700.0)), low, counts)

    # At these rates no stratum, and each with a score, gets all that it can use of the budget.
    slow, fast = -logs.max() - 1.0, np.log(budget + 1.0) - logs[score > 0.0].min() + 1.0
    for _ in range(100):
        middle = (slow + fast) / 2.0
        slow, fast = (slow, middle) if wanted(middle).sum() > budget else (middle, fast)
    draws = np.floor(wanted(slow) + 1e-9)
    for k in np.argsort(draws - wanted(slow), kind="stable"):  # what rounding left goes to the largest fractions
        draws[k] += draws.sum() < budget and draws[k] < counts[k]
    return draws.astype(int)


def _distinct_subsets(
    n: int, size: int, middle: bool, count: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Coalitions of one size in random order, each once; with ``middle`` those with player 0, one of each pair."""
    seen: set[bytes] = set()
    while 2 * len(seen) < count:
        for row in _random_subsets(n, size, middle, generator):
            if bytes(row) not in seen:
                seen.add(bytes(row))
                yield row
    rest = [row for row in _all_subsets(n, size, middle) if bytes(row) not in seen]
    yield from (rest[k] for k in generator.permutation(len(rest)))


def _random_subsets(n: int, size: int, middle: bool, generator: np.random.Generator) -> Members:
    ranks = generator.random((_BLOCK, n)).argsort(axis=1).argsort(axis=1)
    members = ranks < size
    return np.where(members[:, :1], members, ~members) if middle else members


def _all_subsets(n: int, size: int, middle: bool) -> Iterator[np.ndarray]:
    for players in combinations(range(n), size):
        row = np.zeros(n, dtype=bool)
        row[list(players)] = True
        if row[0] or not middle:
            yield row
