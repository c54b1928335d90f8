"""The search for a learning curve's parameters.

Given the weight and the exponent, start and gain follow by linear least squares within their bounds, so that only the
former have to be searched for (variable projection: G. Golub and V. Pereyra, SIAM J. Numer. Anal. 10, 1973): a scan
over all of their range, then a descent from each of its valleys.

Index conventions: ``k`` runs over K candidates, ``r`` over R measurements.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array
from fedshap.payoffs.curve_forms import Curve, CurveForm
from fedshap.payoffs.least_squares import Quadratic, minimise

_STRAIGHT, _STEP = 1e-4, 1e6  # w z at which every form is a straight line up to there, or has done all its rising
_PER_DECADE, _EXPONENTS = 8, 15  # of the scan
_DIFFERENCE = 1e-5  # in logarithms of weight and exponent


def search(form: CurveForm, sizes: Array, measured: Array, point_weights: Array) -> Curve:
    """The curve of least squares, for sizes (R,) whose largest is 1."""
    if form.name == "constant":
        return Curve(form, start=float(point_weights @ measured / point_weights.sum()), gain=0.0, weight=1.0)
    lower, upper = _box(form, sizes)

    def gradient(theta: Array) -> tuple[Array, Array, Array]:
        x, exponent = np.exp(theta[:, :1]) * sizes, np.exp(theta[:, 1:])  # (K, R), (K, 1)
        start, gain = _linear_part(form, form.rise(x, exponent), measured, point_weights)
        residual = start + gain * form.rise(x, exponent) - measured
        by_weight = gain * x * form.rise_slope(x, exponent)
        by_exponent = gain * exponent * form.rise_by_exponent(x, exponent)
        jacobian = np.stack([by_weight, by_exponent], axis=-1) * (upper > lower)  # (K, R, 2)
        slope = ((point_weights * residual)[:, None] @ jacobian)[:, 0]
        return (point_weights * residual**2).sum(axis=1), slope, point_weights @ jacobian**2

    def objective(theta: Array) -> Quadratic:
        value, slope, scale = (part.reshape(5, len(theta), *part.shape[1:]) for part in gradient(_around(theta)))
        hessian = np.stack([slope[1] - slope[2], slope[3] - slope[4]], axis=-1) / (2.0 * _DIFFERENCE)
        return Quadratic(value[0], slope[0], (hessian + hessian.swapaxes(1, 2)) / 2.0, scale[0])

    decades = (upper[0] - lower[0]) / np.log(10.0)
    weights = np.linspace(lower[0], upper[0], int(_PER_DECADE * decades) + 2)
    exponents = np.linspace(lower[1], upper[1], _EXPONENTS if upper[1] > lower[1] else 1)
    grid = np.stack(np.meshgrid(weights, exponents, indexing="ij"), axis=-1)  # (A, B, 2)
    values = gradient(grid.reshape(-1, 2))[0].reshape(grid.shape[:2])
    theta = minimise(objective, grid[_valleys(values)], lower, upper)
    weight, exponent = np.exp(theta)
    start, gain = _linear_part(form, form.rise(weight * sizes, exponent)[None], measured, point_weights)
    return Curve(form, start=start.item(), gain=gain.item(), weight=float(weight), exponent=float(exponent))


def at_bound(curve: Curve, sizes: Array) -> NDArray[np.bool_]:
    """Which parameters (P,) are held by a bound, or mean nothing since the curve is flat; ``sizes`` as in `search`."""
    if curve.form.name == "constant":
        return np.zeros(1, dtype=bool)
    theta = np.log([curve.weight, curve.exponent])
    lower, upper = _box(curve.form, sizes)
    ends = np.isclose(theta, lower, rtol=0.0, atol=1e-12) | np.isclose(theta, upper, rtol=0.0, atol=1e-12)
    flat = curve.gain == 0.0
    held = {
        "start": curve.start == 0.0,
        "limit": flat or curve.start + curve.gain >= 1.0 - 1e-12,
        "gain": flat,
        "weight": flat or bool(ends[0]),
        "exponent": flat or bool(ends[1]),
    }
    return np.array([held[name] for name in curve.form.parameters])


def _box(form: CurveForm, sizes: Array) -> tuple[Array, Array]:
    """Logarithms of the least and greatest weight and exponent."""
    weights = (_STRAIGHT, _STEP / sizes[sizes > 0.0].min())
    least, greatest = np.log(np.array([weights, form.exponents])).T
    return least, greatest


def _around(theta: Array) -> Array:
    """Points (K, 2), then each moved up and down along either axis, shape (5 K, 2)."""
    moves = _DIFFERENCE * np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    return (theta + moves[:, None]).reshape(-1, 2)


def _valleys(values: Array) -> NDArray[np.bool_]:
    """Where an entry of a table (A, B) is not above its four neighbours."""
    walled = np.pad(values, 1, constant_values=np.inf)
    neighbours = (walled[:-2, 1:-1], walled[2:, 1:-1], walled[1:-1, :-2], walled[1:-1, 2:])
    return np.all([values <= neighbour for neighbour in neighbours], axis=0)


def _linear_part(form: CurveForm, risen: Array, measured: Array, point_weights: Array) -> tuple[Array, Array]:
    """Start and gain, (K, 1) each, of least squares with ``start >= 0``, ``gain >= 0`` and, but for logarithms,
    ``start + gain <= 1``: the unbounded ones, or else the best on the edges of that triangle.
    """
    zero = np.zeros((len(risen), 1))
    if form.name == "hyperbolic":
        return zero, zero + 1.0
    fall, short = 1.0 - risen, 1.0 - measured
    top = 1.0 if form.bounded else np.inf
    to_limit_one = 1.0 - np.clip(_ratio(point_weights * fall * short, point_weights * fall**2), 0.0, 1.0)
    if form.name == "power":
        return to_limit_one, 1.0 - to_limit_one
    total = point_weights.sum()
    mean = point_weights @ measured / total
    centred = risen - (risen @ point_weights / total)[:, None]
    gain = _ratio(point_weights * centred * (measured - mean), point_weights * centred**2)
    start = mean - gain * (risen @ point_weights / total)[:, None]
    from_zero = np.clip(_ratio(point_weights * risen * measured, point_weights * risen**2), 0.0, top)
    starts = [start, zero + mean, zero, *([to_limit_one] if form.bounded else [])]
    gains = [gain, zero, from_zero, *([1.0 - to_limit_one] if form.bounded else [])]
    squares = [
        (point_weights * (s + g * risen - measured) ** 2).sum(axis=1) for s, g in zip(starts, gains, strict=True)
    ]
    inside = (start >= 0.0) & (gain >= 0.0) & (start + gain <= top)
    squares[0] = np.where(inside[:, 0], -1.0, np.inf)
    best = np.argmin(squares, axis=0)[None, :, None]
    return np.take_along_axis(np.array(starts), best, 0)[0], np.take_along_axis(np.array(gains), best, 0)[0]


def _ratio(above: Array, below: Array) -> Array:
    """Ratio of sums over the measurements, (K, 1); zero over zero is zero."""
    numerator, denominator = above.sum(axis=1, keepdims=True), below.sum(axis=1, keepdims=True)
    return np.where(denominator > 0.0, numerator / np.where(denominator > 0.0, denominator, 1.0), 0.0)
