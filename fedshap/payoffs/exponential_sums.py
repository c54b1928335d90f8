r"""Exponential sums: a learning curve as a mixture of decaying exponentials.

A curve whose slope is completely monotone (positive, falling, convex and so on with alternating signs, as those of
power laws, logarithms and roots are) is, by Bernstein's theorem, a constant plus a linear part minus a mixture of
exponentials with positive weights. On a bounded range a few dozen exponentials do. They are found here by
non-negative least squares on the slope, so that the *relative* error of the slope is what is controlled: it bounds
the relative error of every marginal contribution, however small.

Index conventions: ``k`` runs over the K exponentials, ``z`` over arguments.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedshap._types import Array
from fedshap._validation import read_only

TOLERANCE = 1e-14
"""Relative error asked of every rule of the package unless a caller asks for less."""

_ROUNDS = 24  # of refinement: each halves the spacing, so that a rate is found to 1e-8 of itself


@dataclass(frozen=True, eq=False)
class ExponentialSum:
    """``f(z) = f(0) + linear z + sum_k weights[k] (1 - exp(-rates[k] z))`` on [0, largest].

    Attributes
    ----------
    linear : float
        Slope of the linear part, >= 0.
    rates, weights : Array
        Positive, each of shape (K,).
    error : float
        Largest relative error of the slope on [0, largest].
    """

    linear: float
    rates: Array
    weights: Array
    error: float


def fit_exponential_sum(
    slope: Callable[[Array], Array], largest: float, tolerance: float = TOLERANCE
) -> ExponentialSum:
    r"""Write a curve as an exponential sum: ``f'(z) = linear + sum_k rates_k weights_k e^{-rates_k z}``.

    The rates are taken from a grid that is even in the logarithm, with the spacing that the trapezoidal rule needs
    for power laws; non-negative least squares keeps as few of them as it can. Where that does not do (a curve that
    is itself a few exponentials), the grid is refined around those kept.

    Parameters
    ----------
    slope : callable
        ``f'``, vectorised, on [0, largest].
    largest : float
        End of the range, > 0.
    tolerance : float
        Relative error of the slope at which to stop.

    Returns
    -------
    ExponentialSum
        The best found. Its ``error`` may exceed ``tolerance``: a slope that is not completely monotone has no such
        sum, and the caller must look.

    Examples
    --------
    >>> rule = fit_exponential_sum(lambda z: 1.0 / (1.0 + z) ** 2, 100.0)
    >>> z = np.array([0.0, 1.0, 99.0])
    >>> curve = rule.linear * z + -np.expm1(-np.outer(z, rule.rates)) @ rule.weights
    >>> len(rule.rates) < 40, rule.error < 1e-13, bool(abs(curve - z / (1.0 + z)).max() < 1e-13)
    (True, True, True)
    >>> fit_exponential_sum(lambda z: 1.0 / (1.0 + z**2), 10.0).error > 0.01  # arctan: its slope is not convex
    True
    """
    unit = _scale(slope, largest)
    count = int(30.0 + 16.0 * np.log1p(largest / unit))
    z, between = _arguments(largest, unit, count), _arguments(largest, unit, 3 * count + 1)
    target, check = slope(z), slope(between)
    spacing = np.pi**2 / (12.0 - np.log(tolerance))
    if (target <= 0.0).any() or (check <= 0.0).any():  # a completely monotone slope that touches zero is zero
        return ExponentialSum(0.0, np.zeros(0), np.zeros(0), np.inf if (check != 0.0).any() else 0.0)
    grid = np.exp(np.arange(np.log(0.02 / largest), np.log(60.0 / unit), spacing))
    rates, best, stalled = grid, ExponentialSum(0.0, grid[:0], grid[:0], np.inf), 0
    for round_ in range(_ROUNDS):
        linear, kept, slopes = _positive_fit(z, target, rates)
        error = float(np.abs((linear + np.exp(-np.outer(between, kept)) @ slopes) / check - 1.0).max())
        stalled = stalled + 1 if error > 0.5 * best.error else 0
        if error < best.error:
            best = ExponentialSum(linear, read_only(kept), read_only(slopes / kept), error)
        if error <= tolerance or stalled == 3:
            break
        steps = np.exp(spacing * 0.5 ** (round_ + 1) * np.arange(-2.0, 3.0))
        rates = np.unique(np.concatenate([grid, (kept[:, None] * steps).ravel()]))
    return best


def _positive_fit(z: Array, target: Array, rates: Array) -> tuple[float, Array, Array]:
    """Non-negative least squares in relative terms: slope of the linear part, rates kept, their ``rate x weight``."""
    from scipy.optimize import nnls  # slow to import: only those who need a rule pay it

    columns = np.hstack([np.ones((len(z), 1)), np.exp(-np.outer(z, rates))]) / target[:, None]
    scale = np.linalg.norm(columns, axis=0)
    scale[scale == 0.0] = np.inf
    found = nnls(columns / scale, np.ones(len(z)), maxiter=30 * len(scale))[0] / scale
    kept = found[1:] > 0.0
    return float(found[0]), rates[kept], found[1:][kept]


def _scale(slope: Callable[[Array], Array], largest: float) -> float:
    """Where the slope has fallen to half of what it is at zero, or ``largest``."""
    z = np.geomspace(1e-24 * largest, largest, 481)
    fallen = slope(z) <= 0.5 * slope(np.zeros(1))
    return float(z[fallen.argmax()]) if fallen.any() else largest


def _arguments(largest: float, unit: float, count: int) -> Array:
    """Arguments in [0, largest]: Chebyshev points in ``log(1 + z / unit)``."""
    angles = np.pi * np.arange(count + 1) / count
    return unit * np.expm1(np.log1p(largest / unit) * (1.0 - np.cos(angles)) / 2.0)
