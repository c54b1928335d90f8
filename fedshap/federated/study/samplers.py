"""Shapley shares of a round from some of its coalitions: permutations, plain and truncated as in GTG-Shapley.

Z. Liu, Y. Chen, H. Yu, Y. Liu and L. Cui (2022), GTG-Shapley: efficient and accurate participant contribution
evaluation in federated learning, ACM Transactions on Intelligent Systems and Technology 13(4). Written from the
published rule, with the thresholds of its implementation in FedML; `peers` runs that implementation itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import Array, PerAgent

BETWEEN, WITHIN = 0.01, 0.001  # a change of accuracy below which a round, or the rest of a permutation, is left out
_FIRST, _LAST, _CHANGE = 30, 10, 0.05  # permutations before the test; means compared; their relative change


@dataclass(frozen=True)
class Sampled:
    """Shares, shape (n,), and the number of different coalitions that were evaluated."""

    shares: PerAgent
    evaluations: int


class Asked:
    """The values of coalitions, by bit mask, and which of them have been asked for."""

    def __init__(self, values: Array) -> None:
        self._values = values
        self.seen = {0, len(values) - 1}

    def value(self, mask: int) -> float:
        """Of one coalition."""
        self.seen.add(mask)
        return float(self._values[mask])


def permutations(values: Array, evaluations: int, rng: np.random.Generator) -> Sampled:
    """Means over whole permutations, as many as ``evaluations`` different coalitions allow; at least one."""
    n = len(values).bit_length() - 1
    asked, found = Asked(values), []
    while not found or len(asked.seen) < min(evaluations, len(values)):
        before = set(asked.seen)
        gains = _gains(asked, rng.permutation(n), -1.0)
        if found and len(asked.seen) > evaluations:
            asked.seen = before
            break
        found.append(gains)
    return Sampled(np.mean(found, axis=0), len(asked.seen))


def gtg_round(values: Array, rng: np.random.Generator, *, within: float = WITHIN, most: int | None = None) -> Sampled:
    """Truncated permutations, each client first in turn, until their means stand still.

    ``values`` are accuracies, shape (2^n,). With ``most`` they end where so many different coalitions are evaluated.
    """
    n = len(values).bit_length() - 1
    asked, found = Asked(values), []
    while not _converged(found):
        for first in range(n):
            others = rng.permutation([player for player in range(n) if player != first])
            found.append(_gains(asked, [first, *others], within))
        if most is not None and len(asked.seen) >= min(most, len(values)):
            break
    return Sampled(np.mean(found, axis=0), len(asked.seen))


def gtg(rounds: list[Array], rng: np.random.Generator) -> Sampled:
    """GTG-Shapley over a whole training: rounds that change accuracy by no more than a threshold count for nothing."""
    n = len(rounds[0]).bit_length() - 1
    total, evaluations = np.zeros(n), 0
    for values in rounds:
        if abs(values[-1] - values[0]) <= BETWEEN:
            evaluations += 2
            continue
        found = gtg_round(values, rng)
        total += found.shares
        evaluations += found.evaluations
    return Sampled(total, evaluations)


def _gains(asked: Asked, order: np.ndarray | list[int], within: float) -> PerAgent:
    """Marginal gains along a permutation; zero once the rest can change little."""
    gains, mask, value = np.zeros(len(order)), 0, asked.value(0)
    whole = asked.value((1 << len(order)) - 1)
    for player in order:
        mask |= 1 << int(player)
        after = asked.value(mask) if abs(whole - value) >= within else value
        gains[player] = after - value
        value = after
    return gains


def _converged(found: list[PerAgent]) -> bool:
    if len(found) <= _FIRST:
        return False
    means = np.cumsum(found, axis=0) / np.arange(1, len(found) + 1)[:, None]
    last = means[-_LAST:]
    change = np.abs(last - last[-1]) / (np.abs(last[-1]) + 1e-12)
    return bool(change.mean(axis=1).max() <= _CHANGE)
