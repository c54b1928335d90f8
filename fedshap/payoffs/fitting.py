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

from fedshap._records import Record
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_interval, as_profile
from fedshap.payoffs.least_squares import (
    Quadratic,
    as_point_weights,
    covariance,
    minimise,
    r_squared,
    relative,
    student_interval,
    variance_of_mean,
)
from fedshap.payoffs.measurements import checked_runs
from fedshap.payoffs.power_law import PowerLaw

_CERTAIN = np.finfo(float).eps ** -0.5  # w s beyond which the square of the distance to accuracy 1 is rounding error
_SCALES = 15  # starts in each direction


@dataclass(frozen=True, eq=False, repr=False)
class FittedPayoff(Record):
    r"""The fitted closed form and how far it can be trusted.

    Attributes
    ----------
    payoff : PowerLaw
        The fitted payoff, ready for :class:`fedshap.Game`.
    weights : ndarray
        ``w[g, t]``, shape (T, T): what a batch of group t is worth to group g.
    covariance : ndarray
        Shape (T, T, T): for each group g the covariance :math:`\sigma_g^2 (J^\top P J)^{-1}` of its T weights, with
        :math:`\sigma_g^2 = \mathrm{RSS}_g / (R - T)`, ``J`` the Jacobian in all weights of group g at the fit and
        ``P`` the point weights. Weights that may not be negative are treated as free: for one that is zero
        (``at_bound``) this is the variance the unbounded estimate would have. The data admit values up to about two
        standard errors, and the symmetric interval around zero has no meaning there. Where the form is wrong rather
        than the accuracies noisy, the residuals are not independent and the errors are only a scale.
    at_bound : ndarray of bool
        Shape (T, T): the weights held at zero by the bound.
    at_upper_bound : ndarray of bool
        Shape (T, T): the weights of which the data only say that they are large, since the accuracy is 1 (to eight
        digits) wherever group t gives: any larger one fits as well.
    residuals : ndarray
        Measured minus fitted accuracy, shape (R, T).
    residual_variance : ndarray
        :math:`\sigma_g^2` of a run with the group's mean point weight, shape (T,).
    degrees_of_freedom : ndarray of int
        Runs with a positive point weight minus T, shape (T,).
    r_squared : ndarray
        Share of each group's variance over the runs that the form explains, shape (T,). Below zero the mean of the
        accuracies would have fitted better; minus infinity where all accuracies are alike and the form misses them.
    point_weights : ndarray
        As given, shape (R, T).
    """

    payoff: PowerLaw
    weights: Array
    covariance: Array
    at_bound: NDArray[np.bool_]
    at_upper_bound: NDArray[np.bool_]
    residuals: Array
    residual_variance: Array
    degrees_of_freedom: NDArray[np.int64]
    r_squared: Array
    point_weights: Array

    @property
    def standard_errors(self) -> Array:
        """Square roots of the variances of the weights, shape (T, T)."""
        return np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))

    @property
    def constant_fits_better(self) -> NDArray[np.bool_]:
        """Whether a group's mean accuracy leaves smaller squares than the form does, shape (T,)."""
        return self.r_squared < 0.0

    def __repr__(self) -> str:
        n_runs, n_groups = self.residuals.shape
        worse = ", ".join(map(str, np.flatnonzero(self.constant_fits_better)))
        warning = f"; a constant fits better in group {worse}" if worse else ""
        shares = ", ".join(f"{share:.3g}" for share in self.r_squared)
        return f"FittedPayoff(groups={n_groups}, runs={n_runs}, r_squared=[{shares}]{warning})"

    def confidence_interval(self, contributions: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
        r"""Interval for the form's accuracy of each group at ``contributions``.

        .. math:: a_g(s) \pm t_{R - T} \sqrt{h^\top \mathrm{Cov}(w_g)\, h}, \qquad h = \nabla_{w_g} a_g(s)

        Parameters
        ----------
        contributions : array_like
            Shape (..., n), non-negative.
        level : float
            Coverage, in (0, 1).

        Returns
        -------
        low, high : ndarray
            Each of shape (..., T), cut off at 0 and 1.

        Notes
        -----
        Assumes that the form is right, that errors are independent and normal with variances inversely proportional
        to the point weights, and that they are small enough for the form to be linear in the weights over the
        uncertainty (the delta method). Where accuracies lie so near 0 or 1 that errors have no room on one side, it
        covers less. For a weight at zero the interval counts the variance of the unbounded estimate, since the truth
        may lie a little above: an interval that took the weight to be zero would, at a nominal 95 %, cover as little
        as 70 % of truths half a standard error above zero. Where the true weight is zero the interval covers more
        than it says. An ``r_squared`` below zero is reason enough not to use it.
        """
        centre, variance = self._predicted(contributions)
        return student_interval(centre, variance, self.degrees_of_freedom, level)

    def prediction_interval(
        self, contributions: ArrayLike, level: float = 0.95, *, point_weight: float | None = None
    ) -> tuple[Array, Array]:
        """Interval for the accuracy that a new run would measure in each group at ``contributions``.

        The variance of the new measurement is added to that of :meth:`confidence_interval`, whose assumptions and
        returns hold here too.

        Parameters
        ----------
        contributions, level
            As in :meth:`confidence_interval`.
        point_weight : float, optional
            Weight of the new run, > 0, in the unit of ``point_weights``: the number of images it will be tested on,
            say. Left out, the mean weight of the group's runs.

        Examples
        --------
        >>> from fedshap.payoffs import contribution_grid
        >>> groups = [0, 0, 1]
        >>> runs = contribution_grid([0, 4, 16], groups)
        >>> truth = PowerLaw(weights=[[0.10, 0.01], [0.02, 0.20]], groups=groups)
        >>> noise = np.random.default_rng(0).normal(scale=0.01, size=(9, 2))
        >>> fit = fit_payoff(runs, np.clip(truth.values(runs)[:, [0, 2]] + noise, 0, 1), groups)
        >>> low, high = fit.prediction_interval([8, 8, 8])
        >>> low.round(2), high.round(2)  # the truth is 0.627 and 0.658
        (array([0.59, 0.64]), array([0.65, 0.67]))
        """
        centre, variance = self._predicted(contributions)
        mean = self.point_weights.sum(axis=0) / (self.point_weights > 0.0).sum(axis=0)
        weight = mean if point_weight is None else as_interval("point_weight", point_weight, 0.0, np.inf)
        return student_interval(
            centre, variance + self.residual_variance * (mean / weight), self.degrees_of_freedom, level
        )

    def _predicted(self, contributions: ArrayLike) -> tuple[Array, Array]:
        """Fitted accuracies (..., T) and the variances of these estimates."""
        s = as_profile("contributions", contributions, self.payoff.n_agents)
        sums = s @ self.payoff.membership  # (..., T)
        slopes = self.payoff.alpha / (1.0 + sums @ self.weights.T) ** 2
        variances = [variance_of_mean(slopes[..., [g]] * sums, cov) for g, cov in enumerate(self.covariance)]
        return 1.0 - self.payoff.alpha / (1.0 + sums @ self.weights.T), np.stack(variances, axis=-1)


def fit_payoff(
    contributions: ArrayLike,
    accuracies: ArrayLike,
    groups: ArrayLike,
    *,
    chance: float = 0.0,
    point_weights: ArrayLike | None = None,
) -> FittedPayoff:
    r"""Fit the closed form of Sec. 5.1 by non-linear least squares, each group's weights on their own.

    .. math:: \min_{w_g \ge 0} \sum_{r=1}^{R} p_{rg}
              \Big(a_g^r - 1 + \frac{1 - a_0}{1 + \sum_t w_{gt} \sum_{j \in A_t} s_j^r}\Big)^2

    The sum of squares may have several local minima. The search starts at weights of every magnitude that the
    contributions can tell apart, for every group alone, all but one, and all together. The unit of the contributions
    does not matter, nor does that of the point weights.

    Parameters
    ----------
    contributions : array_like
        ``s^r``, shape (R, n), non-negative; more runs than groups.
    accuracies : array_like
        ``a_g^r``, shape (R, T), each in [0, 1]. Where they are flat or fall, ``r_squared`` says how badly it fits.
    groups : array_like of int
        Group label of each client, shape (n,), each in 0..T-1.
    chance : float
        ``a_0``, the accuracy without any training, in [0, 1). The paper's form has 0; blind guessing among ten
        classes has 0.1. The payoff is then a :class:`~fedshap.PowerLaw` with ``alpha = 1 - chance``.
    point_weights : array_like, optional
        ``p``, shape (R,) or (R, T), non-negative: inverse variances of the accuracies up to a common factor, such as
        the number of test images behind each. Zero leaves a measurement out. All equal if left out.

    Returns
    -------
    FittedPayoff

    Raises
    ------
    ValueError
        If shapes or labels do not fit together, an entry is out of range, or the runs cannot tell the weights
        apart (a group that never gives, or two that always give in proportion).

    Examples
    --------
    >>> from fedshap.payoffs import contribution_grid
    >>> groups = [0, 0, 1]
    >>> runs = contribution_grid([0, 4, 16], groups)
    >>> truth = PowerLaw(weights=[[0.10, 0.01], [0.02, 0.20]], groups=groups)
    >>> fit = fit_payoff(runs, truth.values(runs)[:, [0, 2]], groups)  # clients 0 and 2 speak for their groups
    >>> fit.weights.round(6)
    array([[0.1 , 0.01],
           [0.02, 0.2 ]])

    A curve that falls has an answer too:

    >>> fit_payoff([[16, 0, 0], [160, 0, 0], [1600, 0, 0]], [[0.52], [0.50], [0.49]], groups=[0, 0, 0])
    FittedPayoff(groups=1, runs=3, r_squared=[-770]; a constant fits better in group 0)
    """
    alpha = 1.0 - as_interval("chance", chance, 0.0, 1.0, closed_low=True, open_high=True)
    sums, measured, labels = checked_runs(contributions, accuracies, groups)
    given = as_point_weights(point_weights, measured.shape)  # (R, T)
    unit = np.where(sums.any(axis=0), sums.max(axis=0), 1.0)  # (T,)
    scaled, shares = sums / unit, relative(given)
    _check_told_apart(scaled, given)
    upper = _CERTAIN / np.where(scaled > 0.0, scaled, np.inf).min(axis=0)
    fits = [_fit_group(scaled, column, share, alpha, upper) for column, share in zip(measured.T, shares.T, strict=True)]
    relative_weights = np.array(fits)  # (T, T), of totals over the largest
    weights = relative_weights / unit
    fitted = 1.0 - alpha / (1.0 + scaled @ relative_weights.T)
    slopes = alpha / (1.0 + scaled @ relative_weights.T) ** 2  # (R, T)
    residuals = measured - fitted
    freedom = (given > 0.0).sum(axis=0) - len(unit)
    variance = (shares * residuals**2).sum(axis=0) / freedom
    covariances = [covariance(slopes[:, [g]] * scaled, shares[:, g], variance[g]) for g in range(len(unit))]
    return FittedPayoff(
        payoff=PowerLaw(alpha=alpha, weights=weights, groups=labels),
        weights=weights,
        covariance=np.array(covariances) / unit / unit[:, None],
        at_bound=weights == 0.0,
        at_upper_bound=relative_weights == upper,
        residuals=residuals,
        residual_variance=variance,
        degrees_of_freedom=freedom,
        r_squared=r_squared(residuals, measured, given),
        point_weights=given,
    )


def _check_told_apart(scaled: Array, point_weights: Array) -> None:
    """Refuse runs from which some group's weights do not follow."""
    n_groups = scaled.shape[1]
    for counted in point_weights.T > 0.0:
        rank = np.linalg.matrix_rank(scaled[counted])
        if counted.sum() <= n_groups or rank < n_groups:
            raise ValueError(
                f"contributions must tell {n_groups} groups apart in more than {n_groups} runs; got {counted.sum()} "
                f"runs whose group totals have rank {rank}"
            )


def _fit_group(sums: Array, measured: Array, point_weights: Array, alpha: float, upper: Array) -> Array:
    """Weights (T,) of one group from group totals (R, T) and its accuracies (R,)."""

    def objective(w: Array) -> Quadratic:
        shortfall = 1.0 / (1.0 + w @ sums.T)  # (K, R)
        residual = point_weights * (1.0 - alpha * shortfall - measured)
        jacobian = alpha * shortfall[..., None] ** 2 * sums  # (K, R, T)
        squares = (jacobian * point_weights[:, None]).swapaxes(1, 2) @ jacobian
        bending = -2.0 * alpha * (residual * shortfall**3)[..., None] * sums
        return Quadratic(
            value=(residual * (1.0 - alpha * shortfall - measured)).sum(axis=1),
            gradient=(residual[:, None] @ jacobian)[:, 0],
            hessian=squares + bending.swapaxes(1, 2) @ sums,
            scale=np.diagonal(squares, axis1=1, axis2=2),
        )

    n_groups = sums.shape[1]
    everyone, alone = np.ones((1, n_groups)), np.eye(n_groups)
    directions = np.unique(np.concatenate([everyone, alone, everyone - alone]), axis=0)
    scales = np.geomspace(1e-3, 1e3 / sums[sums > 0.0].min(), _SCALES)
    return minimise(objective, (scales[:, None, None] * directions).reshape(-1, n_groups), 0.0, upper)
