r"""Derivatives of functions of which nothing is known but their values, in any unit.

A difference quotient needs a step: too small a one drowns in rounding, too large a one sees another slope. Steps from
3e-13 times the argument up are tried, each 3.7 times the last, and the quotient is taken where it holds still:

1. The quotients of five neighbouring steps (a factor 187) that agree to a thousandth are the first plateau.
2. From there larger steps are taken as long as they agree with what was found, and are preferred as they agree better.

At zero there is no argument to measure steps by: they start from 1e-36. There a quotient may keep growing with a power
of the step, as the slope of a root does; then the derivative is infinite, or zero where it keeps shrinking.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, PerAgent

_RATIO = 3.7  # of neighbouring steps: were it a power of two, they would round alike
_WINDOW, _BLOCK, _BLOCKS, _FURTHER = 5, 16, 6, 15  # steps that must agree; tried at a time; at most; beyond the first
_AGREE = {1: 1e-3, 2: 1e-2}  # relative spread of a plateau of first, and of second derivatives
_POWER = 5e-3  # least growth per step that counts as a power
_FLAT = 18  # steps, up to 1/187 of the argument, over which a function that does not change is flat, not rounded


def difference(
    function: Callable[[Array], Array], x: PerAgent, upper: PerAgent, *, order: int = 1, level: ArrayLike = 0.0
) -> PerAgent:
    """First or second derivatives of m functions of one variable each, at ``x`` (m,) within [0, upper].

    Parameters
    ----------
    function : callable
        Maps arguments (m, P) to values (m, P), row by row; not asked outside [0, upper].
    x, upper : Array
        Where, and how far the functions reach, each of shape (m,).
    order : {1, 2}
        Which derivative. One-sided within a few steps of a bound.
    level : array_like
        Size of the numbers, one for all or (m,), whose rounding the values carry, where it is larger than theirs: as in
        ``1 - 1 / (1 + x)`` near 0.

    Returns
    -------
    Array
        Shape (m,): good to about ten digits, a second derivative to seven, and to half of that at a bound; to fewer
        where the function is not smooth, as ``x + x**1.5`` at 0.

    Examples
    --------
    >>> x, units = np.array([0.0, 1.0, 2.0]), np.array([[1e-12], [1.0], [1e12]])
    >>> difference(lambda x: (units + x) ** 3, x * units[:, 0], np.full(3, np.inf)) / units[:, 0] ** 2
    array([ 3., 12., 27.])
    """
    anchor: Array = np.where(x > 0.0, x, 1.0)
    first = np.where(x > 0.0, -22.0, -62.0)
    here = function(x[:, None])
    quotients, blur = np.empty((len(x), 0)), np.empty((len(x), 0))
    found, since = np.zeros(len(x)), np.zeros(len(x))
    for block in range(_BLOCKS):
        powers = first[:, None] + np.arange(block * _BLOCK, (block + 1) * _BLOCK)
        steps: Array = anchor[:, None] * np.power(_RATIO, powers)
        more, size = _quotients(function, here, x[:, None], upper[:, None], steps, order)
        with np.errstate(divide="ignore"):  # steps too small for a number say nothing: their rounding has no bound
            rounding = 2e-16 * np.maximum(size, np.broadcast_to(level, x.shape)[:, None]) / steps**order
        quotients, blur = np.hstack([quotients, more]), np.hstack([blur, rounding])
        found, since, settled = _plateau(quotients, blur, _AGREE[order])
        if settled.all():
            break
    flat = (np.nan_to_num(quotients[:, :_FLAT]) == 0.0).all(axis=1)
    found = np.where(x > 0.0, np.where(flat, 0.0, found), _power_of_the_step(quotients, blur, since, found))
    return np.where(np.isposinf(here[:, 0]), np.inf, found)


def _quotients(
    function: Callable[[Array], Array], here: Array, x: Array, upper: Array, steps: Array, order: int
) -> tuple[Array, Array]:
    """Quotients (m, K) of the parabolas through three points a step apart, NaN where there is no room for them; and
    the size of the values."""
    ahead, behind = 2.0 * steps <= np.minimum(upper - x, 1e300), 2.0 * steps <= x
    steps = np.where(ahead | behind, steps, 0.0)
    side = np.where(ahead | ~behind, 1.0, -1.0)
    one = np.clip(x + side * steps, 0.0, upper)
    two = np.clip(np.where(ahead & behind, x - steps, x + side * 2.0 * steps), 0.0, upper)
    with np.errstate(all="ignore"):
        values = function(np.hstack([one, two]))
        at_one, at_two = np.hsplit(values, 2)
        slope = (at_one - here) / (one - x)
        bend = ((at_two - at_one) / (two - one) - slope) / (two - x)
        quotients = 2.0 * bend if order == 2 else slope + bend * (x - one)
    size = np.maximum(np.abs(here), np.abs(np.where(np.isfinite(at_one), at_one, 0.0)))
    return np.where(np.isfinite(quotients), quotients, np.nan), size


def _plateau(quotients: Array, blur: Array, agree: float) -> tuple[PerAgent, Array, NDArray[np.bool_]]:
    """The derivative where the quotients hold still, from which step on, and whether larger ones need not be tried."""
    windows = sliding_window_view(quotients, _WINDOW, axis=1)  # (m, K - 4, 5)
    size = np.abs(windows).max(axis=2)
    with np.errstate(all="ignore"):
        extent = windows.max(axis=2) - windows.min(axis=2)
        rounding = sliding_window_view(blur, _WINDOW, axis=1)[:, :, _WINDOW // 2]  # which may repeat itself exactly
        spread = np.where(size > 0.0, (extent + rounding) / size, np.inf)  # all zero: steps too small to be seen
    spread, extent = np.nan_to_num(spread, nan=np.inf), np.nan_to_num(extent, nan=np.inf)
    rows, centre = np.arange(len(quotients)), windows[:, :, _WINDOW // 2]
    found = spread <= agree
    first = np.where(found.any(axis=1), found.argmax(axis=1), extent.argmin(axis=1))
    best, walking = first, found.any(axis=1)
    for further in range(1, _FURTHER + 1):
        trial = np.minimum(first + further, spread.shape[1] - 1)
        gap = np.abs(centre[rows, trial] - centre[rows, first])
        walking = walking & (gap <= 2.0 * agree * size[rows, first])  # a kink between two steps ends the walk
        best = np.where(walking & (spread[rows, trial] < spread[rows, best]), trial, best)
    settled = found.any(axis=1) & (first + _FURTHER < spread.shape[1])
    since = np.where(found.any(axis=1), first, np.inf)
    return np.nan_to_num(centre[rows, best], nan=0.0), since, settled


def _power_of_the_step(quotients: Array, blur: Array, since: Array, found: PerAgent) -> PerAgent:
    """Infinity, or zero, for quotients that grow, or shrink, with a power of the step before they hold still."""
    with np.errstate(all="ignore"):
        seen = np.where(np.abs(quotients) > 100.0 * blur, quotients, np.nan)
        ratios = seen[:, :-1] / seen[:, 1:]
        runs = sliding_window_view(np.where(ratios > 0.0, ratios, np.nan), 2 * _WINDOW, axis=1)
        low, high = runs.min(axis=2), runs.max(axis=2)
        steady = (high - low <= 0.05 * low) & ((low > 1.0 + _POWER) | (high < 1.0 - _POWER))
    where, visible = steady.argmax(axis=1), np.isfinite(seen).argmax(axis=1)
    rows = np.arange(len(quotients))
    limit = np.where(low[rows, where] > 1.0, np.copysign(np.inf, quotients[rows, where]), 0.0)
    return np.where(steady.any(axis=1) & (where < since) & (where <= visible + _WINDOW), limit, found)
