r"""Semivalues from coalitions drawn by size: a fitted game, plus what it misses on the draws.

The estimate is the regression estimator of survey sampling (Särndal, Swensson and Wretman, 1992): the fitted game's
semivalues, exactly, plus the mean over the draws of each stratum of coefficient times residual. A wrong fit costs
precision and no more: the second term makes up for it. Residuals count as if each draw had been left out of the fit, as
far as the stratum was not seen, which leaves a bias of the order of the squared standard error; with a constant for each
size alone (``"stratified"``) there is none. Shapley values add up to ``v(N) - v(empty)`` by construction.

KernelSHAP is the fitted game alone, with the ``x_j`` as its features; paired, unbiased KernelSHAP (Covert and Lee, 2021)
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
    values, variances, squares, deviations = fitted.semivalues.copy(), [], [], []
    ends = np.cumsum([stratum.drawn for stratum in design.strata])
    for stratum, end in zip(design.strata, ends, strict=True):
        rows = slice(end - stratum.drawn, end)
        leverages = fitted.leverages[rows]
        residuals = fitted.residuals[rows] * (1.0 + stratum.unseen * leverages / (1.0 - leverages))
        deviations.append(np.sqrt(np.mean(residuals**2)))
        each = stratum.coefficients() * residuals[:, None]  # (k, n)
        values += each.mean(axis=0)
        if stratum.unseen > 0.0:
            variance = stratum.unseen * each.var(axis=0, ddof=1) / stratum.drawn
            if np.abs(residuals).max() <= _FLAT * value_range / unit:
                variance = np.full(
                    len(values), _unseen_event(stratum.spread / np.sqrt(len(values)), stratum.drawn, value_range / unit)
                )
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
