r"""Semivalues from coalitions drawn by size: a fitted game, plus what it misses on the draws.

The estimate is the regression estimator of survey sampling (Särndal, Swensson and Wretman, 1992): the fitted game's
semivalues, exactly, plus the mean over the draws of each stratum of coefficient times residual. A wrong fit costs
precision and no more: the second term makes up for it. Residuals count as if each draw had been left out of the fit, as
far as its stratum was not seen. That leaves a bias of the order of the squared standard error; with a constant for each
size alone (``"stratified"``) there is none. Shapley values add up to ``v(N) - v(empty)`` by construction.

The estimate is linear in the responses. Its variance is the sum of squared weights times squared leave-one-out
residuals (the jackknife, HC3 of MacKinnon and White, 1985), less what strata that were seen in part cannot vary. It
errs on the safe side where the fit has nearly as many features as there are draws.

KernelSHAP is the fitted game alone, with ``x_j`` as its features; paired unbiased KernelSHAP (Covert and Lee, 2021) is
the second term alone.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedshap._types import Array, PerAgent
from fedshap.cooperative.design import Design
from fedshap.cooperative.surrogate import fit

_FLAT = 1e-10  # residuals below this share of the values' range are rounding
_PRIOR = 5.0  # draws that the strata's common deviation counts for


class Sampled(NamedTuple):
    """Estimates, their standard errors and the degrees of freedom of these, shape (n,)."""

    values: PerAgent
    standard_errors: PerAgent
    degrees_of_freedom: PerAgent


def estimate(design: Design, value_range: float, *, full: bool) -> tuple[Sampled, Array]:
    """Semivalues from what was drawn, and each stratum's deviation of the residuals, which says where to draw next."""
    unit = 2.0 ** np.frexp(value_range)[1] if np.isfinite(value_range) else 1.0  # squares of it may not exist
    fitted = fit(design, unit, full=full)
    response = np.concatenate([stratum.responses for stratum in design.strata]) / unit
    values = fitted.weights @ response
    deviation = fitted.residuals / (1.0 - fitted.leverages)
    variances, squares, deviations = [], [], []
    ends = np.cumsum([stratum.drawn for stratum in design.strata])
    for stratum, end in zip(design.strata, ends, strict=True):
        rows = slice(end - stratum.drawn, end)
        deviations.append(np.sqrt(np.mean(deviation[rows] ** 2)))
        if stratum.unseen > 0.0:
            variance = stratum.unseen * ((fitted.weights[:, rows] * deviation[rows]) ** 2).sum(axis=1)
            if np.abs(deviation[rows]).max() <= _FLAT * value_range / unit:
                coefficient = stratum.spread / np.sqrt(len(values))
                variance = np.full(len(values), _unseen_event(coefficient, stratum.drawn, value_range / unit))
            variances.append(variance)
            squares.append(variance**2 / (stratum.drawn - 1.0))
    errors, freedom = _summary(np.array(variances), np.array(squares), len(values))
    sampled = Sampled(values * unit, errors * unit, freedom)
    return sampled, _shrunk(np.array(deviations), np.diff(ends, prepend=0))


def _unseen_event(coefficient: float, draws: int, value_range: float) -> float:
    """Variance to allow for where the fit leaves nothing: one draw in as many again may be off by the values' range."""
    return (coefficient * value_range / draws) ** 2


def _summary(variances: Array, squares: Array, n: int) -> tuple[PerAgent, PerAgent]:
    """Standard errors and, by Welch and Satterthwaite, their degrees of freedom."""
    if not len(variances):
        return np.zeros(n), np.full(n, np.inf)
    variance, square = variances.sum(axis=0), squares.sum(axis=0)
    known = (square > 0.0) & np.isfinite(square)
    return np.sqrt(variance), np.divide(variance**2, square, out=np.ones(n), where=known)


def _shrunk(deviations: Array, draws: Array) -> Array:
    """Deviations drawn towards their common one, so that no stratum is starved by a lucky first few draws."""
    common = (draws * deviations**2).sum() / draws.sum()
    return np.sqrt((draws * deviations**2 + _PRIOR * common) / (draws + _PRIOR))
