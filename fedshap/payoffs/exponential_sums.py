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
from functools import lru_cache
from math import gamma

import numpy as np

from fedshap._types import Array
from fedshap._validation import read_only

TOLERANCE = 1e-14
"""Relative error asked of every rule of the package unless a caller asks for less."""

_NOTHING = (1e-100, 1e-40)  # of its height: where a slope has fallen so far, the range may end; what is tried in turn
_GOOD = 1e-9  # an error with which no shorter range is tried
_FITTED = 1e18  # range up to which power laws are fitted
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

    def times(self, factor: float) -> ExponentialSum:
        """The sum of ``factor`` times the curve."""
        return ExponentialSum(factor * self.linear, self.rates, factor * self.weights, self.error)


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
    best = None
    for nothing in _NOTHING:  # over a hundred decades not even one exponential is found again by least squares
        found = _fitted(slope, *_range(slope, largest, nothing), tolerance)
        best = found if best is None or found.error < best.error else best
        if best.error <= max(_GOOD, tolerance):
            break
    assert best is not None
    return best


def _fitted(slope: Callable[[Array], Array], largest: float, unit: float, tolerance: float) -> ExponentialSum:
    """The best sum on [0, largest]; where the slope has fallen to a half is the ``unit``."""
    count = int(30.0 + 16.0 * np.log1p(largest / unit))
    z, between = _arguments(largest, unit, count), _arguments(largest, unit, 3 * count + 1)
    target, check = slope(z), slope(between)
    spacing = np.pi**2 / (12.0 - np.log(tolerance))
    if (target <= 0.0).any() or (check <= 0.0).any():  # a completely monotone slope that touches zero is zero
        return ExponentialSum(0.0, np.zeros(0), np.zeros(0), np.inf if (check != 0.0).any() else 0.0)
    height = float(target[0])
    target, check = target / height, check / height  # free of the unit in which payoffs are counted
    grid = np.exp(np.arange(np.log(0.02 / largest), np.log(60.0 / unit), spacing))
    rates, best, stalled = grid, ExponentialSum(0.0, grid[:0], grid[:0], np.inf), 0
    for round_ in range(_ROUNDS):
        linear, kept, slopes = _positive_fit(z, target, rates)
        error = float(np.abs((linear + np.exp(-np.outer(between, kept)) @ slopes) / check - 1.0).max())
        stalled = stalled + 1 if error > 0.5 * best.error else 0
        if error < best.error:
            best = ExponentialSum(height * linear, read_only(kept), read_only(height * slopes / kept), error)
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


def _range(slope: Callable[[Array], Array], largest: float, nothing: float) -> tuple[float, float]:
    """The end of the range that matters, and where in it the slope has fallen to half of what it is at zero.

    Where the slope has fallen to ``nothing`` of its height, what is left of the curve is nothing beside it.
    """
    z = largest * 1.12 ** np.arange(-2400.0, 1.0)  # 118 orders of magnitude
    height = float(slope(np.zeros(1))[0])
    if height == 0.0:
        return largest, largest
    relative = slope(z) / height
    alive, fallen = np.flatnonzero(relative > nothing), np.flatnonzero(relative <= 0.5)
    end = float(z[alive[-1]]) if len(alive) and not np.isnan(relative).any() else largest
    return end, float(z[fallen[0]]) if len(fallen) else largest


@lru_cache(maxsize=128)
def power_law_sum(beta: float, largest: float, tolerance: float = TOLERANCE) -> ExponentialSum:
    r"""The exponential sum of ``1 - (1 + z)^-beta`` on [0, largest].

    Up to a range of 18 orders of magnitude it is fitted. Beyond, the trapezoidal rule in ``log t`` is applied to

    .. math:: (1 + z)^{-\beta - 1} = \frac{1}{\Gamma(\beta + 1)} \int_0^\infty t^{\beta} e^{-t (1 + z)}\, dt,

    which takes some four times as many terms.

    Examples
    --------
    >>> rule = power_law_sum(1.0, 1e40)
    >>> z = np.array([1.0, 1e20, 1e40])
    >>> slope = np.exp(-np.outer(z, rule.rates)) @ (rule.rates * rule.weights)
    >>> bool(abs(slope * (1.0 + z) ** 2 - 1.0).max() < 1e-13), rule.error < 1e-13
    (True, True)
    """

    def slope(z: Array) -> Array:
        return beta * (1.0 + z) ** (-beta - 1.0)

    if largest <= _FITTED:
        return fit_exponential_sum(slope, largest, tolerance)
    spacing = np.pi**2 / (12.0 - np.log(tolerance))
    # Below the lowest node the integrand is t^beta, which loses a power of it; above the highest, e^-t.
    lowest = np.log(tolerance) / (1.0 + beta) - np.log(largest)
    logs = np.arange(lowest, np.log(4.0 - np.log(tolerance)), spacing)
    rates = np.exp(logs)
    weights = spacing * beta / gamma(beta + 1.0) * np.exp(beta * logs - rates)
    z = np.append(0.0, np.geomspace(1e-3, largest, 997))
    with np.errstate(over="ignore"):  # relative to the slope, in logarithms: far out it is too small for a number
        logarithms = (1.0 + beta) * np.log1p(z)[:, None] - np.outer(z, rates) + np.log(rates) + np.log(weights / beta)
    error = float(np.abs(np.exp(logarithms).sum(axis=1) - 1.0).max())
    return ExponentialSum(0.0, read_only(rates), read_only(weights), error)


def _arguments(largest: float, unit: float, count: int) -> Array:
    """Arguments in [0, largest]: Chebyshev points in ``log(1 + z / unit)``."""
    angles = np.pi * np.arange(count + 1) / count
    return unit * np.expm1(np.log1p(largest / unit) * (1.0 - np.cos(angles)) / 2.0)
