"""Numerical differentiation: over which contributions payoffs bend, and hence how far to step.

Payoffs are put to the test once, when they are made: their scale and their rounding are known from then on, and two to
four evaluations give a derivative. `fedshap._differences`, for costs and mechanisms of one's own, knows neither and
tries some thirty steps each time: for the n^2 derivatives of n payoffs that would be too many.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from fedshap._types import Array, PerAgent, Profile
from fedshap._validation import read_only

FAILURES = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RuntimeError)
"""What a user's function raises when it does not understand its argument."""
SHORT_LINE = 1.0 + 1e-5 * np.linspace(-1.0, 1.0, 8)
"""Multiples of a contribution, so close to each other that between them payoffs hardly bend."""
DECADES = 20
"""Contributions from 1e-20 to 1e20 are searched for a bend."""


_NOTHING = 1e-10  # of the scale: so little is treated as zero, lest steps drown in rounding


def natural_scale(total: Callable[[Array], Array]) -> float | None:
    """The power of ten around which the surplus bends, if all agents give the same; None if it bends nowhere.

    ``total(x)`` is the surplus when everybody gives x[k], shape (K,) -> (K,). How much it rises from decade to decade
    grows like a power of x below the scale, and like a lower power, or not at all, beyond it. Decades are looked at
    outwards from 1; a side ends where the function fails or is not finite. What looks like a bend and is rounding is
    not taken for one.
    """
    up = _readings(total, range(DECADES + 1))
    down = _readings(total, range(-1, -DECADES - 1, -1)) if up else []
    heights = np.array([*down[::-1], *up])
    if len(heights) < 4:
        return None
    most = np.abs(heights).max()
    near = np.array([np.abs(heights[k : k + 17]).max() for k in range(len(heights) - 1)])
    # First what stands out from all roundings of the largest surplus, then from those of the next sixteen decades:
    # small surpluses are often differences of numbers such as 1.
    for rounding in (1e-5 * most, 1e-13 * most, 1e-13 * near):
        doubtful = np.maximum(rounding, 1e-300)
        rises = np.maximum(np.abs(np.diff(heights)), doubtful)
        growth = np.diff(np.log10(rises))
        # Entry k: around the decades k+1 and k+2.
        falls = np.where((rises > doubtful)[1:-1], growth[:-1] - growth[1:], 0.0)
        for k in np.argsort(-falls)[: np.count_nonzero(falls > 0.15)]:
            decade = 1 + int(k) - len(down)
            lines = [total(10.0**d * SHORT_LINE) for d in (decade - 1, decade, decade + 1)]
            if max(map(relative_rounding, lines)) < 1e-5:
                return 10.0**decade
    return None


def _readings(total: Callable[[Array], Array], decades: range) -> list[float]:
    """Surpluses at powers of ten, up to where the user's function does not accept so much, or so little."""
    found: list[float] = []
    for k in decades:
        try:
            with np.errstate(all="ignore"):
                value = float(total(np.array([10.0**k]))[0])
        except FAILURES:
            break
        if not np.isfinite(value):
            break
        found.append(value)
    return found


def relative_rounding(values: Array) -> float:
    """Rounding of values along `SHORT_LINE`, (8, ...), relative to the largest; the median over further axes.

    Over so short a line a smooth function is a cubic but for less than any rounding: what is left of fourth differences
    is rounding (Hamming, 1971; More and Wild, 2011). The median, since a kink may lie on one of many lines.
    """
    size = np.abs(values).max()
    if size == 0.0:
        return 0.0
    fourth = np.diff(values / size, 4, axis=0)
    return float(np.median(np.sqrt((fourth**2).mean(axis=0) / 70.0)))  # 70 = 1 + 16 + 36 + 16 + 1


def step_sizes(s: Profile, scale: float | None, precision: float, order: int = 1) -> PerAgent:
    """Steps for central differences of values that are good to ``precision``, shape (..., n).

    For derivatives of the given order k, of a payoff that varies over the distance d, a step h errs by ``(h/d)^2`` for
    what it leaves out and by ``precision (scale/h)^k`` for rounding: together least near
    ``h = (precision d^2 scale^k)^(1/(k+2))``. A payoff such as the square root varies over d = s, however small; at
    zero the scale stands in, and the largest contribution for payoffs that have none.
    """
    largest = np.max(s, axis=-1, keepdims=True)
    reach: Array = np.where(largest > 0.0, largest, 1.0) if scale is None else np.full_like(largest, scale)
    relative = precision ** (1.0 / (order + 2))
    share = order / (order + 2)
    steps = relative * np.maximum(s, s ** (1.0 - share) * reach**share)
    return np.where((steps <= s) & (s > _NOTHING * reach), steps, relative * reach)


@lru_cache(maxsize=64)
def graded_rule(panels: int) -> tuple[Array, Array]:
    """Nodes and weights of Gauss-Legendre on [0, 1], on panels that halve towards zero: for what bends near zero."""
    x, w = np.polynomial.legendre.leggauss(16)
    edges = np.append(0.0, 0.5 ** np.arange(panels - 1, -1, -1.0))
    width = np.diff(edges)[:, None]
    nodes, weights = edges[:-1, None] + width * (x + 1.0) / 2.0, width * w / 2.0
    return read_only(nodes.ravel()), read_only(weights.ravel())


def differences(function: Callable[[Array], Array], s: Profile, steps: PerAgent, precision: float) -> Array:
    """Derivatives of ``function`` in every contribution, stacked on the last axis, without ever leaving the orthant.

    ``function`` maps (..., n) to (..., *inner); the result has shape (..., *inner, n). Where the largest contribution
    calls for a much wider step, the wider one, which rounds less, is taken unless the two disagree by more than the
    narrower one rounds: then the payoff bends between them.
    """
    largest = np.max(s, axis=-1, initial=0.0)
    columns = []
    for j in range(s.shape[-1]):
        step, wide = steps[..., j], precision ** (1.0 / 3.0) * largest
        slope, rounding = difference(function, s, j, step, precision)
        if (wide > 10.0 * step).any():
            other, _ = difference(function, s, j, np.maximum(step, wide), precision)
            slope = np.where(np.abs(other - slope) <= rounding, other, slope)
        columns.append(slope)
    return np.stack(columns, axis=-1)


def difference(
    function: Callable[[Array], Array], s: Profile, j: int, step: Array, precision: float
) -> tuple[Array, Array]:
    """Derivative in ``s_j`` and a bound on its rounding: central, or by the parabola through 0, one step and two."""
    centre = np.maximum(s[..., j], step)
    ahead, behind = (function(_replaced(s, j, centre + way)) for way in (step, -step))
    wide = step.reshape(step.shape + (1,) * (ahead.ndim - step.ndim))
    slope = (ahead - behind) / wide / 2.0
    near_zero = s[..., j] < step
    if near_zero.any():
        bend = (ahead - 2.0 * function(_replaced(s, j, centre)) + behind) / wide
        back = ((s[..., j] - centre) / step).reshape(wide.shape)
        slope = np.where(near_zero.reshape(wide.shape), slope + back * bend, slope)
    return slope, 8.0 * precision * (np.abs(ahead) + np.abs(behind)) / wide


def _replaced(s: Profile, j: int, value: Array) -> Profile:
    """Profiles with the contribution of agent j replaced."""
    moved = s.copy()
    moved[..., j] = value
    return moved
