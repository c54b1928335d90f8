"""Semivalues from random orders of the players, each with its reverse.

In a random order the coalition before a player has a uniformly random size, and is uniform among those of its size:
Shapley values are means of marginal contributions (Castro, Gomez and Tejada, 2009), other semivalues of weighed ones.
An order and its reverse (Mitchell et al., 2022) put each player as far in front as behind, which cancels all
interactions of two players. Unbiased; the two together are one draw of the standard errors. Marginal contributions
along an order add up to ``v(N) - v(empty)``, and so do Shapley values. `fedshap.shapley.permutations` does the same for
payoffs, which are cheap and of many agents: it keeps neither coalitions nor draws.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._types import Array
from fedshap.cooperative.evaluation import Members
from fedshap.cooperative.regression import Sampled

LEAST = 10
"""Fewest pairs of orders: Student's t with nine degrees of freedom."""

_FLAT = 1e-10  # deviations below this share of the values' range are rounding


def draw_pairs(values: Callable[[Members], Array], weights: Array, generator: np.random.Generator, count: int) -> Array:
    """Means over an order and its reverse of the weighed marginal contributions, shape (count, n)."""
    n = len(weights)
    orders = np.array([generator.permutation(n) for _ in range(count)])
    both = np.stack([orders, orders[:, ::-1]])  # (2, count, n)
    rank = np.argsort(both, axis=-1)
    growing = rank[..., None, :] < np.arange(n + 1)[:, None]  # (2, count, n + 1, n)
    along = values(growing.reshape(-1, n)).reshape(2, count, n + 1)
    gains = np.diff(along, axis=-1) * (n * weights)  # by place in the order
    return np.take_along_axis(gains, rank, axis=-1).mean(axis=0)


def summary(draws: Array, value_range: float) -> Sampled:
    """Means and standard errors over pairs, shape (pairs, n) each."""
    count, n = draws.shape
    unit = 2.0 ** np.frexp(value_range)[1] if np.isfinite(value_range) else 1.0  # squares of it may not exist
    errors = (draws / unit).std(axis=0, ddof=1) / np.sqrt(count) * unit
    flat = np.ptp(draws, axis=0) <= _FLAT * value_range
    # No pair differs. One order in as many pairs again may add the whole range, and is half of its pair.
    errors = np.where(flat, value_range / (2.0 * count), errors)
    return Sampled(draws.mean(axis=0), errors, np.full(n, count - 1.0))
