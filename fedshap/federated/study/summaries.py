"""Means over seeds, with their spreads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedshap._intervals import student_half_width
from fedshap._types import Array, ArrayLike


def spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean over seeds, its standard error and the half-width of its 95 % interval, least and most.

    Examples
    --------
    >>> spread([1.0, 2.0, 6.0])["mean"], spread([1.0])["standard error"]
    (3.0, None)
    """
    array = np.asarray(values, dtype=float)
    error = array.std(ddof=1) / np.sqrt(len(array)) if len(array) > 1 else None
    half = None if error is None else float(student_half_width(error, len(array) - 1.0, 0.95))
    return {
        "mean": float(array.mean()),
        "standard error": None if error is None else float(error),
        "half-width": half,
        "least": float(array.min()),
        "most": float(array.max()),
    }


def paired(values: Sequence[float], reference: Sequence[float]) -> dict[str, float | None]:
    """The spread of the differences to a reference, seed by seed."""
    return spread((np.asarray(values) - np.asarray(reference)).tolist())


def ranks(values: ArrayLike) -> Array:
    """Ranks from 1, equal values sharing the mean of theirs.

    Examples
    --------
    >>> ranks([0.5, 0.1, 0.5, 0.9])
    array([2.5, 1. , 2.5, 4. ])
    """
    array = np.asarray(values, dtype=float)
    below = (array[:, None] > array).sum(axis=1)
    alike = (array[:, None] == array).sum(axis=1)
    return below + (alike + 1.0) / 2.0


def rank_correlation(values: ArrayLike, truth: ArrayLike) -> float:
    """Spearman's; 0 where all values are alike.

    Examples
    --------
    >>> rank_correlation([1, 2, 3, 4], [10, 20, 40, 30])
    0.8
    >>> rank_correlation([1, 1, 1], [3, 1, 2])
    0.0
    """
    first, second = ranks(values), ranks(truth)
    a, b = first - first.mean(), second - second.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size else 0.0
