"""Semivalues by their definition, from the values of all coalitions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import comb

import numpy as np

from fedshap._types import Array, PerAgent
from fedshap.cooperative.evaluation import Members

MAX_EXACT = 20
"""Most players for whom a function is asked for every coalition: 2^20 of them."""

_CHUNK = 1 << 14  # coalitions asked for at once


def all_members(first: int, last: int, n: int) -> Members:
    """Membership of coalitions first..last-1, booleans of shape (last - first, n)."""
    return (np.arange(first, last)[:, None] >> np.arange(n) & 1).astype(bool)


def worths(values: Callable[[Members], Array], n: int) -> Array:
    """The table of a function's values, a chunk of coalitions at a time."""
    ends = [*range(0, 1 << n, _CHUNK), 1 << n]
    return np.concatenate([values(all_members(a, b, n)) for a, b in pairwise(ends)])


def semivalues(table: Array, weights: Array) -> PerAgent:
    """One pass over the table per player.

    Differences are taken before they are weighed, so that a player who adds nothing gets exactly zero, and equal
    players get the same to the last digits.
    """
    n = len(weights)
    joining = np.append(weights / [float(comb(n - 1, size)) for size in range(n)], 0.0)  # (n + 1,) by size
    weighed = joining[_sizes(n)]
    values = np.empty(n)
    for i in range(n):
        split = table.reshape(-1, 2, 1 << i)  # axis 1: without and with player i
        gains = split[:, 1] - split[:, 0]
        gains *= weighed.reshape(-1, 2, 1 << i)[:, 0]
        values[i] = gains.sum()
    return values


def _sizes(n: int) -> np.ndarray:
    """Number of players in each coalition, shape (2^n,)."""
    sizes = np.zeros(1, dtype=np.int8)
    for _ in range(n):
        sizes = np.concatenate([sizes, sizes + np.int8(1)])
    return sizes
