"""One-dimensional search: where one agent stops."""

from __future__ import annotations

import itertools
from collections.abc import Callable

FARTHEST = 1e200
"""A contribution, in units of the game, up to which somebody who wants ever more is followed."""


def own_optimum(
    marginal: Callable[[float], float], upper: float, start: float = 1.0, *, lower: float = 0.0, unit: float = 1.0
) -> float:
    """Where in [lower, upper] one agent stops: where her marginal utility changes sign, from + to -.

    If it does so more than once, the place that she reaches uphill from ``start``, or ``lower``. Where her marginal
    utility is exactly zero she has no reason to move.

    Parameters
    ----------
    marginal : callable
        Marginal utility at a contribution.
    lower, upper : float
        Bounds; ``upper`` may be infinite.
    start : float
        Where to begin.
    unit : float
        What is a contribution worth speaking of, > 0; the search walks from it in factors of four.

    Raises
    ------
    ValueError
        If ``upper`` is infinite and the marginal utility is still positive at 1e200 units.

    Examples
    --------
    >>> import numpy as np
    >>> round(own_optimum(lambda x: 1.0 / (1.0 + x) ** 2 - 0.25, np.inf), 9), own_optimum(lambda x: -1.0, 5.0)
    (1.0, 0.0)
    >>> own_optimum(lambda x: 0.0, np.inf, 3.0)  # indifferent
    3.0
    """
    here = min(max(start, lower), upper)
    if here == lower:
        here = min(lower + unit, upper)
        if marginal(lower) <= 0.0 and marginal(here) <= 0.0:
            return lower
    slope = marginal(here)
    if slope == 0.0:
        return here
    if slope < 0.0:
        return _sign_change(marginal, *_walk_down(marginal, here, lower))
    return _sign_change(marginal, *_walk_up(marginal, here, upper, unit))


# Steps away from a start: small ones first, so that the nearest place is found; then factors of four.
_NEAR = (0.0625, 0.125, 0.25, 0.5)


def _walk_up(marginal: Callable[[float], float], start: float, upper: float, unit: float) -> tuple[float, float]:
    """Two contributions between which a positive marginal utility ends; both ``upper`` where it does not."""
    low = start
    for high in itertools.chain((start * (1.0 + step) for step in _NEAR), (start * 4.0**k for k in itertools.count(1))):
        slope = marginal(min(high, upper))
        if slope < 0.0:
            return low, min(high, upper)
        if high >= upper:
            break
        if slope == 0.0:
            return high, high
        if high > FARTHEST * unit:
            raise ValueError(
                "an agent gains from contributing without bound: give the game a finite capacity, or the agent a cost "
                "that outgrows her payoff"
            )
        low = high
    return upper, upper


def _walk_down(marginal: Callable[[float], float], start: float, lower: float) -> tuple[float, float]:
    """Two contributions between which a negative marginal utility begins; both ``lower`` where it does not."""
    if marginal(lower) <= 0.0:
        return lower, lower
    room, high = start - lower, start
    for share in itertools.chain((1.0 - step for step in _NEAR), (0.25**k for k in itertools.count(1))):
        low = lower + room * share
        if low <= lower:
            break
        slope = marginal(low)
        if slope >= 0.0:
            return low, (low if slope == 0.0 else high)
        high = low
    return lower, high


def _sign_change(marginal: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import root_scalar  # takes half a second to import: only those who solve games pay it

    return float(root_scalar(marginal, bracket=(low, high), xtol=1e-300, rtol=1e-15).root) if low < high else low
