"""Weighted non-linear least squares within bounds: the search for the minimum, and what its residuals say.

Index conventions: ``k`` runs over K starts, ``r`` over R measurements, ``p`` over P parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedshap._intervals import student_half_width
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_level

_STARTS, _RACE, _FINALISTS, _ITERATIONS = 128, 20, 16, 300
_ROUNDING = 1e-13
SMALLEST_ERROR = 1e-7
"""Accuracies nearer than that are the same: no test set tells them apart."""


class Quadratic(NamedTuple):
    """An objective to second order at K points."""

    value: Array  # (K,)
    gradient: Array  # (K, P)
    hessian: Array  # (K, P, P), symmetric; need not be positive definite
    scale: Array  # (K, P): a positive curvature that gives each parameter its unit, zero where it changes nothing


Objective: TypeAlias = Callable[[Array], Quadratic]  # of points (K, P)


def minimise(objective: Objective, starts: Array, lower: Array | float, upper: Array | float) -> Array:
    """The best minimum (P,) within the box that any start (K, P) leads to.

    The most promising starts race for a few steps; those in front are followed to the end.
    """
    points = starts
    for survivors, iterations in ((_STARTS, _RACE), (_FINALISTS, _ITERATIONS)):
        leading = np.argsort(objective(points).value, kind="stable")[:survivors]
        points = _descend(objective, points[leading], lower, upper, iterations)
    return points[objective(points).value.argmin()]


def _descend(objective: Objective, points: Array, lower: Array | float, upper: Array | float, iterations: int) -> Array:
    """Follow every point (K, P) downhill, with the damping of Levenberg and Marquardt.

    A step is taken only where it does not raise the objective, but for rounding: near a minimum the objective has
    lost half of the digits that the gradient still has.
    """
    points = np.clip(points, lower, upper)
    here, damping = objective(points), np.full(len(points), 1e-3)
    for _ in range(iterations):
        trial = np.clip(points + _newton_step(points, here, damping, lower, upper), lower, upper)
        there = objective(trial)
        better = there.value <= here.value * (1.0 + _ROUNDING)
        settled = (np.abs(trial - points) <= 1e-12 * np.abs(points)).all(axis=1)
        damping = np.where(better, damping / 10.0, np.maximum(damping, 1e-6) * 5.0)
        points = np.where(better[:, None], trial, points)
        here = Quadratic(*(_replaced(old, new, better) for old, new in zip(here, there, strict=True)))
        if (settled | (damping > 1e12)).all():
            break
    return points


def _replaced(old: Array, new: Array, rows: NDArray[np.bool_]) -> Array:
    return np.where(rows.reshape(-1, *(1,) * (old.ndim - 1)), new, old)


def _newton_step(points: Array, here: Quadratic, damping: Array, lower: Array | float, upper: Array | float) -> Array:
    """Newton's step (K, P), with the Hessian's eigenvalues taken absolutely so that it leads downhill.

    Parameters that would leave the box if they moved alone go to its edge, and the others move as if they were there.
    """
    unit = 1.0 / np.sqrt(np.where(here.scale > 0.0, here.scale, np.inf))  # (K, P)
    alone = points - here.gradient * unit**2 / (1.0 + damping[:, None])
    held = (alone <= lower) | (alone >= upper) | (unit == 0.0)
    to_edge = np.where(held, np.clip(alone, lower, upper) - points, 0.0)
    slope = (here.gradient + (here.hessian @ to_edge[..., None])[..., 0]) * unit
    curvature = here.hessian * unit[:, :, None] * unit[:, None, :]
    curvature = np.where(held[:, :, None] | held[:, None, :], np.eye(points.shape[1]), curvature)
    values, vectors = np.linalg.eigh(curvature)
    values = np.maximum(np.abs(values), 1e-12) + damping[:, None]
    along = np.einsum("kpq,kp->kq", vectors, np.where(held, 0.0, slope)) / values
    return np.where(held, to_edge, -np.einsum("kpq,kq->kp", vectors, along) * unit)


def as_point_weights(value: ArrayLike | None, shape: tuple[int, ...]) -> Array:
    """Check one weight per measurement, or per measurement and group: ``shape`` is (R,) or (R, T); None means 1."""
    weights = as_array("point_weights", 1.0 if value is None else value, minimum=0.0)
    if value is not None and weights.shape not in (shape, shape[:1]):
        allowed = f"({shape[0]},)" if len(shape) == 1 else f"({shape[0]},) or {shape}"
        raise ValueError(f"point_weights must have shape {allowed}, one for each accuracy; got {weights.shape}")
    if weights.ndim < len(shape) and weights.ndim:
        weights = weights[:, None]
    weights = np.array(np.broadcast_to(weights, shape))
    if not weights.any(axis=0).all():
        raise ValueError("point_weights must not all be 0: leave out what has not been measured")
    return weights


def relative(point_weights: Array) -> Array:
    """Point weights over their mean among the measurements that count."""
    largest = point_weights.max(axis=0)
    scaled = point_weights / largest
    return scaled / (scaled.sum(axis=0) / (scaled > 0.0).sum(axis=0))


def covariance(jacobian: Array, point_weights: Array, variance: float) -> Array:
    r"""Covariance of the estimates, :math:`\sigma^2 (J^\top P J)^{-1}`, shape (P, P), from ``J`` (R, P).

    Where the measurements leave a parameter undetermined its variance is infinite, and its covariances are zero.
    """
    rooted = np.sqrt(point_weights)[:, None] * jacobian
    norms = np.linalg.norm(rooted, axis=0)
    lengths = np.where(norms > 0.0, norms, 1.0)
    _, singular, axes = np.linalg.svd(rooted / lengths, full_matrices=False)
    lost = singular <= len(rooted) * np.finfo(float).eps * singular.max()
    inverse = (axes[~lost].T / singular[~lost] ** 2) @ axes[~lost]
    undetermined = (axes[lost] ** 2).sum(axis=0) > np.finfo(float).eps
    inverse[undetermined] = inverse[:, undetermined] = 0.0
    with np.errstate(over="ignore"):  # a weight of a vast unit has a vast variance
        found = variance * inverse / lengths / lengths[:, None]
    found[undetermined, undetermined] = np.inf
    return found


def variance_of_mean(gradient: Array, covariance: Array) -> Array:
    """Variance (...) of a fitted value whose derivatives in the parameters are ``gradient`` (..., P)."""
    known = np.isfinite(np.diag(covariance))
    inside = np.einsum(
        "...p,pq,...q->...", gradient[..., known], covariance[np.ix_(known, known)], gradient[..., known]
    )
    return np.where((gradient[..., ~known] != 0.0).any(axis=-1), np.inf, inside)


def student_interval(centre: Array, variance: Array, freedom: ArrayLike, level: float) -> tuple[Array, Array]:
    """Student's t interval around ``centre``, cut off at the ends of [0, 1], where accuracies lie."""
    half = student_half_width(np.sqrt(variance), freedom, as_level(level))
    return np.clip(centre - half, 0.0, 1.0), np.clip(centre + half, 0.0, 1.0)


def r_squared(residuals: Array, measured: Array, point_weights: Array) -> Array:
    """Share of the variance that a fit explains, along the first axis; below zero where the mean fits better.

    Measurements that are all alike have no variance. The share is then 1 if the fit meets them, else minus infinity,
    which is the limit when their differences go to zero.
    """
    counted = point_weights > 0.0
    greatest, least = np.where(counted, measured, -np.inf).max(axis=0), np.where(counted, measured, np.inf).min(axis=0)
    mean = (point_weights * measured).sum(axis=0) / point_weights.sum(axis=0)
    variation = (point_weights * (measured - mean) ** 2).sum(axis=0)
    alike = (greatest == least) | (variation == 0.0)  # the mean of equal numbers may be rounded, small squares be lost
    met = np.where(counted, np.abs(residuals), 0.0).max(axis=0) <= SMALLEST_ERROR
    share = 1.0 - (point_weights * residuals**2).sum(axis=0) / np.where(alike, 1.0, variation)
    return np.where(alike, np.where(met, 1.0, -np.inf), np.where(np.abs(share) < _ROUNDING, 0.0, share))
