"""All coalitions of n players in the order of bit masks, and semivalues by their definition from the values of all.

Coalition number m contains player i if and only if bit i of m is set.
"""

from __future__ import annotations

from math import comb

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent

MAX_EXACT = 20
"""Most players for whom every coalition is evaluated: 2^20 of them."""


def all_members(first: int, last: int, n: int) -> NDArray[np.bool_]:
    """Membership of coalitions first..last-1, booleans of shape (last - first, n)."""
    return (np.arange(first, last)[:, None] >> np.arange(n) & 1).astype(bool)


def shapley_weights(n: int) -> Array:
    """Probability ``1 / n`` of each size 0..n-1 of the coalition that a player joins: Shapley's semivalue."""
    return np.ones(n) / n


def coalition_weights(weights: Array) -> Array:
    """Weight of each single coalition of a size that a player joins: ``q_s / C(n-1, s)``, shape (n,)."""
    n = len(weights)
    return weights / [float(comb(n - 1, size)) for size in range(n)]


def semivalues(table: Array, weights: Array) -> PerAgent:
    """Semivalues from the values of all coalitions, shape (2^n,), in one pass over them per player.

    Differences are taken before they are weighed, so that a player who adds nothing gets exactly zero, and equal
    players get the same to the last digits.
    """
    n = len(weights)
    weighed = np.append(coalition_weights(weights), 0.0)[sizes(n)]
    values = np.empty(n)
    for i in range(n):
        split = table.reshape(-1, 2, 1 << i)  # axis 1: without and with player i
        gains = split[:, 1] - split[:, 0]
        gains *= weighed.reshape(-1, 2, 1 << i)[:, 0]
        values[i] = gains.sum()
    return values


def sizes(n: int) -> NDArray[np.int8]:
    """Number of players in each coalition, shape (2^n,)."""
    found = np.zeros(1, dtype=np.int8)
    for _ in range(n):
        found = np.concatenate([found, found + np.int8(1)])
    return found
