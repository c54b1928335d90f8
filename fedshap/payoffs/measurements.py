"""Accuracies measured at several contributions: where to measure, and whether more data always helped."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_integer_labels


def contribution_grid(levels: Sequence[int], groups: ArrayLike) -> NDArray[np.int64]:
    """All profiles in which every client of a group gives the same, one of ``levels``.

    Parameters
    ----------
    levels : sequence of int
        L different non-negative numbers of batches.
    groups : array_like of int
        Group label of each client, shape (n,).

    Returns
    -------
    ndarray of int
        Shape (L**T, n), the last group's level changing fastest.

    Raises
    ------
    ValueError
        If a level is negative, repeated or no integer, or a label is.

    Examples
    --------
    >>> contribution_grid([0, 4], groups=[0, 0, 1])
    array([[0, 0, 0],
           [0, 0, 4],
           [4, 4, 0],
           [4, 4, 4]])
    """
    values = as_array("levels", levels, minimum=0.0)
    if values.ndim != 1 or not len(values) or (values != np.rint(values)).any() or len(set(values)) < len(values):
        raise ValueError(f"levels must be different non-negative integers; got {levels!r}")
    labels = as_integer_labels("groups", groups)
    profiles = np.array(list(itertools.product(values, repeat=int(labels.max()) + 1)), dtype=np.int64)
    return profiles[:, labels]


@dataclass(frozen=True)
class AccuracyDrop:
    """Group ``giver`` gave more in run ``after`` than in run ``before``, nobody less, and ``group`` lost ``drop``."""

    group: int
    giver: int
    before: int
    after: int
    drop: float


def accuracy_drops(
    contributions: ArrayLike,
    accuracies: ArrayLike,
    groups: ArrayLike,
    *,
    minimum: float = 0.0,
) -> tuple[AccuracyDrop, ...]:
    """Pairs of runs in which one group gives more, the others the same, and some group's accuracy falls.

    A non-decreasing payoff, as Sec. 2 of the paper assumes, has none.

    Parameters
    ----------
    contributions, accuracies, groups : array_like
        As in :func:`fit_payoff`.
    minimum : float
        Report drops larger than this; two standard errors of an accuracy near 0.9 on 500 images are 0.03.

    Returns
    -------
    tuple of AccuracyDrop
        Largest drop first.

    Raises
    ------
    ValueError
        If shapes or labels do not fit together or an entry is out of range.

    Examples
    --------
    >>> runs = [[4, 4, 0], [4, 4, 4], [4, 4, 8]]
    >>> accuracy_drops(runs, [[0.9, 0.1], [0.7, 0.5], [0.8, 0.6]], groups=[0, 0, 1], minimum=0.15)
    (AccuracyDrop(group=0, giver=1, before=0, after=1, drop=0.2),)
    """
    sums, measured, _ = checked_runs(contributions, accuracies, groups)
    more = sums[None] - sums[:, None]  # (R, R, T): what run [, after] gives beyond run [before, ]
    one_gives = ((more != 0.0).sum(axis=-1) == 1) & (more.sum(axis=-1) > 0.0)
    lost = measured[:, None] - measured[None]  # (R, R, T)
    found = np.argwhere(one_gives[..., None] & (lost > minimum))
    drops = [
        AccuracyDrop(int(g), int(more[b, a].argmax()), int(b), int(a), round(float(lost[b, a, g]), 12))
        for b, a, g in found
    ]
    return tuple(sorted(drops, key=lambda drop: -drop.drop))


def checked_runs(
    contributions: ArrayLike, accuracies: ArrayLike, groups: ArrayLike
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Totals given per run and group (R, T), accuracies (R, T) and group labels (n,)."""
    measured = as_array("accuracies", accuracies, minimum=0.0, maximum=1.0)
    if measured.ndim != 2:
        raise ValueError(f"accuracies must have shape (R, T), one row per run; got {measured.shape}")
    n_runs, n_groups = measured.shape
    labels = as_integer_labels("groups", groups, n_groups)
    array = as_array("contributions", contributions, minimum=0.0)
    if array.shape != (n_runs, len(labels)):
        raise ValueError(
            f"contributions must have shape ({n_runs}, {len(labels)}), one row per run and one entry per client; "
            f"got {array.shape}"
        )
    return array @ np.eye(n_groups)[labels], measured, labels
