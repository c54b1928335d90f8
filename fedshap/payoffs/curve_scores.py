"""Information criteria: which form of a learning curve its measurements speak for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import Array
from fedshap.payoffs.curve_forms import Curve
from fedshap.payoffs.least_squares import SMALLEST_ERROR

CRITERIA = ("aic", "aicc", "bic")


@dataclass(frozen=True)
class CurveScore:
    r"""How well one form fits.

    Attributes
    ----------
    form : str
    n_parameters : int
        P; the variance of the errors is one more.
    rss : float
        Weighted residual sum of squares, with point weights of mean 1.
    aic, aicc, bic : float
        With :math:`-2 \log L = R \log(2 \pi\, \mathrm{RSS} / R) + R - \sum_r \log p_r` and ``k = P + 1``:
        ``-2 log L + 2 k``, that ``+ 2 k (k + 1) / (R - k - 1)``, and ``-2 log L + k log R``. Infinite where there
        are too few measurements to tell.
    """

    form: str
    n_parameters: int
    rss: float
    aic: float
    aicc: float
    bic: float


def score(curve: Curve, sizes: Array, measured: Array, point_weights: Array) -> CurveScore:
    """Score a fitted curve on its R measurements; point weights of mean 1, all positive."""
    n, k = len(sizes), len(curve.form.parameters) + 1
    rss = float((point_weights * (curve.values(sizes) - measured) ** 2).sum())
    variance = max(rss / n, SMALLEST_ERROR**2)
    deviance = float(n * np.log(2.0 * np.pi * variance) + n - np.log(point_weights).sum())
    aic = deviance + 2.0 * k
    aicc = aic + 2.0 * k * (k + 1) / (n - k - 1) if n > k + 1 else np.inf
    return CurveScore(curve.form.name, k - 1, rss, aic=aic, aicc=aicc, bic=deviance + k * float(np.log(n)))
