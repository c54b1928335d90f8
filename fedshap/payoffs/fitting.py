r"""From training runs to a payoff: the closed form of Sec. 5.1 fitted to measured accuracies.

.. math:: a_g(s) = 1 - \frac{1 - a_0}{1 + \sum_{t=1}^{T} w_{gt} \sum_{j \in A_t} s_j}, \qquad w_{gt} \ge 0

with ``a_0 = 0`` in the paper. The form is non-decreasing in every contribution and, in the paper, zero at
``s = 0``. Real federated averaging is neither: an untrained network guesses right once in ten, and a little data of
another group can cost a group accuracy. Residuals and :func:`accuracy_drops` show how much; nothing is corrected
for unless asked (``chance``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, nnls

from fedshap._records import Record, short_repr
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_interval, read_only
from fedshap.payoffs.measurements import checked_runs
from fedshap.payoffs.power_law import PowerLaw


@dataclass(frozen=True, eq=False, repr=False)
class FittedPayoff(Record):
    r"""The fitted closed form and how far it can be trusted.

    Attributes
    ----------
    payoff : PowerLaw
        The fitted payoff, ready for :class:`fedshap.Game`.
    weights : ndarray
        ``w[g, t]``, shape (T, T): what a batch of group t is worth to group g.
    standard_errors : ndarray
        Shape (T, T): the square root of the diagonal of :math:`\sigma_g^2 (J^\top J)^{-1}` with
        :math:`\sigma_g^2 = \mathrm{RSS}_g / (R - T)` and ``J`` the Jacobian in all weights of group g at the fit.
        For a weight that is zero because it may not be negative (``at_bound``) this is the error the unbounded
        estimate would have: the data admit values up to about two of them, and the symmetric interval around
        zero has no meaning there. Where the form is wrong rather than the accuracies noisy, the residuals are
        not independent and the errors are only a scale.
    at_bound : ndarray of bool
        Shape (T, T): the weights held at zero by the bound.
    residuals : ndarray
        Measured minus fitted accuracy, shape (R, T).
    r_squared : ndarray
        Share of each group's variance over the runs that the form explains, shape (T,).
    """

    payoff: PowerLaw
    weights: Array
    standard_errors: Array
    at_bound: NDArray[np.bool_]
    residuals: Array
    r_squared: Array

    def __repr__(self) -> str:
        return short_repr(self, {"payoff": self.payoff, "r_squared": self.r_squared})


def fit_payoff(
    contributions: ArrayLike,
    accuracies: ArrayLike,
    groups: ArrayLike,
    *,
    chance: float = 0.0,
) -> FittedPayoff:
    r"""Fit the closed form of Sec. 5.1 by non-linear least squares, each group's weights on their own.

    .. math:: \min_{w_g \ge 0} \sum_{r=1}^{R}
              \Big(a_g^r - 1 + \frac{1 - a_0}{1 + \sum_t w_{gt} \sum_{j \in A_t} s_j^r}\Big)^2

    Parameters
    ----------
    contributions : array_like
        ``s^r``, shape (R, n), non-negative; more runs than groups.
    accuracies : array_like
        ``a_g^r``, shape (R, T), each in [0, 1].
    groups : array_like of int
        Group label of each client, shape (n,), each in 0..T-1.
    chance : float
        ``a_0``, the accuracy without any training, in [0, 1). The paper's form has 0; blind guessing among ten
        classes has 0.1. The payoff is then a :class:`~fedshap.PowerLaw` with ``alpha = 1 - chance``.

    Returns
    -------
    FittedPayoff

    Raises
    ------
    ValueError
        If shapes or labels do not fit together, an entry is out of range, or the runs cannot tell the weights
        apart (a group that never gives, or two that always give in proportion).
    RuntimeError
        If least squares does not converge.

    Examples
    --------
    >>> from fedshap.federated import contribution_grid
    >>> groups = [0, 0, 1]
    >>> runs = contribution_grid([0, 4, 16], groups)
    >>> truth = PowerLaw(weights=[[0.10, 0.01], [0.02, 0.20]], groups=groups)
    >>> fit = fit_payoff(runs, truth.values(runs)[:, [0, 2]], groups)  # clients 0 and 2 speak for their groups
    >>> fit.weights.round(6)
    array([[0.1 , 0.01],
           [0.02, 0.2 ]])
    """
    alpha = 1.0 - as_interval("chance", chance, 0.0, np.nextafter(1.0, 0.0), closed_low=True)
    sums, measured, labels = checked_runs(contributions, accuracies, groups)
    n_runs, n_groups = sums.shape
    if n_runs <= n_groups or np.linalg.matrix_rank(sums) < n_groups:
        raise ValueError(
            f"contributions must tell {n_groups} groups apart in more than {n_groups} runs; got {n_runs} runs "
            f"whose group totals have rank {np.linalg.matrix_rank(sums)}"
        )
    weights = np.array([_fit_group(sums, column, alpha) for column in measured.T])  # (T, T)
    slopes = alpha / (1.0 + sums @ weights.T) ** 2  # (R, T)
    residuals = measured - 1.0 + alpha / (1.0 + sums @ weights.T)
    squares = (residuals**2).sum(axis=0)
    variation = ((measured - measured.mean(axis=0)) ** 2).sum(axis=0)
    if (variation == 0.0).any():
        raise ValueError(f"accuracies must differ between runs; group {int(variation.argmin())} has one value in all")
    return FittedPayoff(
        payoff=PowerLaw(alpha=alpha, weights=weights, groups=labels),
        weights=read_only(weights),
        standard_errors=read_only(_standard_errors(sums, slopes, squares / (n_runs - n_groups))),
        at_bound=weights == 0.0,
        residuals=read_only(residuals),
        r_squared=read_only(1.0 - squares / variation),
    )


def _fit_group(sums: Array, measured: Array, alpha: float) -> Array:
    """Weights (T,) of one group from group totals (R, T) and its accuracies (R,)."""
    shortfall = 1.0 - np.minimum(measured, 0.99)
    odds, _ = nnls(sums, np.maximum(alpha / shortfall - 1.0, 0.0))  # linear in the weights: exact without noise

    def residual(w: Array) -> Array:
        return 1.0 - alpha / (1.0 + sums @ w) - measured

    def jacobian(w: Array) -> Array:
        return alpha * sums / (1.0 + sums @ w)[:, None] ** 2

    tolerances = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    fits = [  # "dogbox" reaches a bound exactly, where "trf" stays inside
        least_squares(residual, start, jacobian, bounds=(0.0, np.inf), method="dogbox", **tolerances)  # type: ignore[arg-type]
        for start in (odds, odds + 1.0 / (1.0 + sums.max()))
    ]
    converged = [fit for fit in fits if fit.success]
    if not converged:
        raise RuntimeError(f"least squares did not converge on accuracies: {fits[0].message}")
    return min(converged, key=lambda fit: fit.cost).x


def _standard_errors(sums: Array, slopes: Array, variances: Array) -> Array:
    """Standard errors (T, T) from the Jacobian of each group's fit, all weights taken as free."""
    errors = []
    for slope, variance in zip(slopes.T, variances, strict=True):
        jacobian = sums * slope[:, None]  # (R, T)
        errors.append(np.sqrt(variance * np.diag(np.linalg.inv(jacobian.T @ jacobian))))
    return np.array(errors)
