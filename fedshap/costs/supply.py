"""What an agent gives when a data point earns a price: where her marginal cost meets it, in any unit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent

_REACH = (1, 3, 7, 15, 31, 63, 127, 255, 511, 996)  # powers of two, up and down from 1: to 7e299 in ten trials


def supply_by_bisection(derivatives: Callable[[Array], Array], price: PerAgent) -> tuple[PerAgent, PerAgent]:
    """Ends of the interval on which each agent's marginal cost is the price, each of shape (n,).

    ``derivatives`` maps contributions (2, n) to marginal costs, non-decreasing in each agent's own contribution. A
    bracket is found in few trials, however far from 1 it lies, and halved as the numbers that floating point has in
    it, to the last of them. The least is infinite where the marginal cost stays below the price up to 7e299, the most
    also where it stays at the price.

    Examples
    --------
    >>> supply_by_bisection(lambda s: 2.0 * s, np.array([0.0, 1.0, 3e-200]))
    (array([0.0e+000, 5.0e-001, 1.5e-200]), array([0.0e+000, 5.0e-001, 1.5e-200]))
    """

    def below(x: Array) -> NDArray[np.bool_]:
        with np.errstate(all="ignore"):
            marginal = derivatives(x)
        return np.stack([marginal[0] < price, marginal[1] <= price])

    upward = below(np.ones((2, len(price))))
    low, high = np.where(upward, 1.0, 0.0), np.where(upward, np.inf, 1.0)
    for power in _REACH:
        unbracketed = np.where(upward, np.isinf(high), low == 0.0)
        if not unbracketed.any():
            break
        trial = np.where(unbracketed, np.where(upward, 2.0**power, 2.0**-power), low)
        still = below(trial)
        low = np.where(unbracketed & still, trial, low)
        high = np.where(unbracketed & ~still, trial, high)
    found = (low > 0.0) & np.isfinite(high)
    least, most = _halved(below, np.where(found, low, 1.0), np.where(found, high, 1.0))
    ends = np.where(found, [most[0], least[1]], np.where(upward, np.inf, 0.0))
    return ends[0], np.maximum(ends[0], ends[1])  # neighbouring numbers, if the price lies between their slopes


def _halved(below: Callable[[Array], NDArray[np.bool_]], low: Array, high: Array) -> tuple[Array, Array]:
    """The neighbouring numbers between which ``below`` ends, by halving: positive floats are ordered as their bits."""
    first, last = low.view(np.int64).copy(), high.view(np.int64).copy()
    while (open_ones := last - first > 1).any():
        middle = first + (last - first) // 2
        still = below(middle.view(float))
        first = np.where(open_ones & still, middle, first)
        last = np.where(open_ones & ~still, middle, last)
    return first.view(float), last.view(float)
