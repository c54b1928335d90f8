"""A learning curve fitted to accuracies at several amounts of data, its form chosen by an information criterion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_count, as_interval, as_square
from fedshap.payoffs.curve_forms import FORMS, Curve, CurveForm
from fedshap.payoffs.curve_scores import CRITERIA, CurveScore, score
from fedshap.payoffs.curve_search import at_bound, search
from fedshap.payoffs.curves import LearningCurve
from fedshap.payoffs.least_squares import (
    as_point_weights,
    covariance,
    r_squared,
    relative,
    student_interval,
    variance_of_mean,
)
from fedshap.payoffs.power_law import PowerLaw


@dataclass(frozen=True, eq=False, repr=False)
class FittedCurve(Record):
    r"""A fitted learning curve and how far it can be trusted.

    Attributes
    ----------
    form : str
        One of the forms of :func:`fit_learning_curve`.
    names : tuple of str
        Names of the P parameters.
    estimates : ndarray
        Their values, shape (P,). A weight is per unit of data.
    covariance : ndarray
        :math:`\sigma^2 (J^\top P J)^{-1}`, shape (P, P), every parameter treated as free, with
        :math:`\sigma^2 = \mathrm{RSS} / (R - P)`. Infinite variances belong to parameters that the measurements
        leave undetermined, such as the weight of a flat curve.
    at_bound : ndarray of bool
        Shape (P,): parameters held by a bound (a start at 0, a limit at 1, a weight or exponent at the end of what
        the sizes can tell), or without meaning since the curve is flat.
    residuals : ndarray
        Measured minus fitted accuracy, shape (R,).
    residual_variance : float
        :math:`\sigma^2` of a measurement of mean point weight.
    degrees_of_freedom : int
        Measurements with a positive point weight minus P.
    r_squared : float
        Share of the variance that the curve explains. Below zero the mean of the accuracies would have fitted
        better, which only "hyperbolic" and "power" can do.
    point_weights : ndarray
        As given, shape (R,).
    scores : tuple of CurveScore
        All forms tried, best first.
    """

    form: str
    names: tuple[str, ...]
    estimates: Array
    covariance: Array
    at_bound: NDArray[np.bool_]
    residuals: Array
    residual_variance: float
    degrees_of_freedom: int
    r_squared: float
    point_weights: Array
    scores: tuple[CurveScore, ...]
    _curve: Curve

    @property
    def parameters(self) -> dict[str, float]:
        """The parameters by name."""
        return dict(zip(self.names, self.estimates.tolist(), strict=True))

    @property
    def standard_errors(self) -> Array:
        """Square roots of the variances of the parameters, shape (P,)."""
        return np.sqrt(np.diag(self.covariance))

    @property
    def constant_fits_better(self) -> bool:
        """Whether the mean accuracy leaves smaller squares than the curve does."""
        return self.r_squared < 0.0

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value:.4g}" for name, value in self.parameters.items())
        warning = "; a constant fits better" if self.constant_fits_better else ""
        return f"FittedCurve({self.form}: {numbers}; r_squared={self.r_squared:.3g}{warning})"

    def values(self, sizes: ArrayLike) -> Array:
        """Fitted accuracy at ``sizes`` of any shape, non-negative."""
        return self._curve.values(as_array("sizes", sizes, minimum=0.0))

    def slope(self, sizes: ArrayLike) -> Array:
        """What one more unit of data is worth at ``sizes`` of any shape."""
        return self._curve.slope(as_array("sizes", sizes, minimum=0.0))

    def payoff(
        self, n_agents: int | None = None, *, weights: ArrayLike | None = None, groups: ArrayLike | None = None
    ) -> LearningCurve:
        r"""The payoff :math:`a_i(s) = a((W s)_i)` of agents whose models all follow this curve.

        Parameters
        ----------
        n_agents, weights, groups
            As in :class:`fedshap.LearningCurve`: who there is, and what a data point of one is worth to another,
            in data points of the measured curve. All ones if left out.

        Returns
        -------
        LearningCurve
            Concave, with a completely monotone slope; a :class:`fedshap.PowerLaw` for "hyperbolic" and "power".
        """
        curve, unit = self._curve, self._curve.weight
        if weights is None:
            scaled = np.full((1, 1), unit)
            groups = np.zeros(as_count("n_agents", n_agents), dtype=int) if groups is None else groups  # type: ignore[arg-type]
        else:
            scaled = as_square("weights", weights) * unit
        if self.form in ("hyperbolic", "power") and curve.gain > 0.0:
            return PowerLaw(n_agents, alpha=curve.gain, beta=curve.exponent, weights=scaled, groups=groups)
        of_unit = Curve(curve.form, curve.start, curve.gain, 1.0, curve.exponent)  # the unit of data in the weights
        return LearningCurve(of_unit.values, of_unit.slope, n_agents, weights=scaled, groups=groups, concave=True)

    def confidence_interval(self, sizes: ArrayLike, level: float = 0.95) -> tuple[Array, Array]:
        r"""Interval for the curve itself at ``sizes``: :math:`a(z) \pm t_{R-P} \sqrt{h^\top \mathrm{Cov}\, h}`.

        Parameters
        ----------
        sizes : array_like
            Of any shape, non-negative.
        level : float
            Coverage, in (0, 1).

        Returns
        -------
        low, high : ndarray
            Of the shape of ``sizes``, cut off at 0 and 1.

        Notes
        -----
        Assumes that the form is right (that it was chosen by looking at the same data is not counted), that errors
        are independent and normal with variances inversely proportional to the point weights, and that they are small
        enough for the curve to be linear in its parameters over the uncertainty (the delta method). Far beyond the
        largest size the first assumption is what matters.
        """
        z = as_array("sizes", sizes, minimum=0.0)
        return student_interval(self._curve.values(z), self._variance(z), self.degrees_of_freedom, level)

    def prediction_interval(
        self, sizes: ArrayLike, level: float = 0.95, *, point_weight: float | None = None
    ) -> tuple[Array, Array]:
        """Interval for a new measurement at ``sizes``: that of the curve, and the new one's own variance.

        Assumptions and returns are those of :meth:`confidence_interval`.

        Parameters
        ----------
        sizes, level
            As in :meth:`confidence_interval`.
        point_weight : float, optional
            Weight of the new measurement, > 0, in the unit of ``point_weights``; their mean if left out.
        """
        z = as_array("sizes", sizes, minimum=0.0)
        mean = self.point_weights.sum() / (self.point_weights > 0.0).sum()
        weight = mean if point_weight is None else as_interval("point_weight", point_weight, 0.0, np.inf)
        variance = self._variance(z) + self.residual_variance * (mean / weight)
        return student_interval(self._curve.values(z), variance, self.degrees_of_freedom, level)

    def _variance(self, z: Array) -> Array:
        return variance_of_mean(self._curve.jacobian(z), self.covariance)


def fit_learning_curve(
    sizes: ArrayLike,
    accuracies: ArrayLike,
    *,
    form: str = "best",
    criterion: str = "aicc",
    point_weights: ArrayLike | None = None,
) -> FittedCurve:
    r"""Fit a learning curve to accuracies measured at several amounts of data, by weighted least squares.

    Parameters
    ----------
    sizes : array_like
        Amounts of data, shape (R,), non-negative, in any unit. Repeated ones are replications.
    accuracies : array_like
        Shape (R,), each in [0, 1].
    form : str
        ``"constant"``, ``"hyperbolic"``, ``"power"``, ``"power_offset"``, ``"exponential"`` or ``"logarithmic"``
        (formulas: `fedshap.payoffs.curve_forms`), or ``"best"``: the one of least ``criterion``. All but the constant
        rise, so that where the accuracies fall or stay flat the best is the constant.
    criterion : str
        ``"aicc"`` (AIC corrected for few measurements), ``"aic"`` or ``"bic"``. BIC favours fewer parameters.
    point_weights : array_like, optional
        Shape (R,), non-negative: inverse variances of the accuracies up to a common factor, such as the number of
        test images behind each. Zero leaves a measurement out. All equal if left out.

    Returns
    -------
    FittedCurve

    Raises
    ------
    ValueError
        If shapes do not fit together, an entry is out of range, or there are too few measurements: a form of P
        parameters needs more than P of them, at P different sizes or more; with "aicc" the best is chosen among forms
        of fewer than R - 2.

    Notes
    -----
    The sum of squares is minimised over a scan of all weights (and exponents) that the sizes can tell apart, so that
    no start has to be guessed. K. Burnham and D. Anderson, "Model selection and multimodel inference", Springer 2002,
    derive the criteria. Errors below 1e-7 count as none: between exact fits the fewest parameters win.

    Examples
    --------
    >>> sizes = [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192]
    >>> accuracies = [0.51, 0.58, 0.66, 0.72, 0.78, 0.81, 0.84, 0.85, 0.86, 0.87]
    >>> fit = fit_learning_curve(sizes, accuracies)
    >>> fit
    FittedCurve(power_offset: start=0.3727, limit=0.8784, weight=0.03687, exponent=0.6818; r_squared=0.999)
    >>> [(score.form, round(score.aicc, 1)) for score in fit.scores[:3]]
    [('power_offset', -64.9), ('power', -39.1), ('exponential', -35.2)]
    >>> low, high = fit.prediction_interval(16384)
    >>> round(float(low), 3), round(float(high), 3)
    (0.861, 0.883)
    >>> fit.payoff(n_agents=3).values([100.0, 100.0, 56.0]).round(3)
    array([0.776, 0.776, 0.776])
    """
    if form not in (*FORMS, "best"):
        raise ValueError(f"form must be 'best' or one of {', '.join(map(repr, FORMS))}; got {form!r}")
    if criterion not in CRITERIA:
        raise ValueError(f"criterion must be one of {', '.join(map(repr, CRITERIA))}; got {criterion!r}")
    z = as_array("sizes", sizes, minimum=0.0)
    measured = as_array("accuracies", accuracies, minimum=0.0, maximum=1.0)
    if z.ndim != 1 or z.shape != measured.shape:
        raise ValueError(
            f"sizes and accuracies must both have shape (R,), one entry per measurement; got {z.shape} and "
            f"{measured.shape}"
        )
    given = as_point_weights(point_weights, z.shape)
    counted = given > 0.0
    tried = [FORMS[form]] if form != "best" else [each for each in FORMS.values() if _fits_into(each, z[counted])]
    if not tried or not _fits_into(tried[0], z[counted]):
        needed = "more measurements than parameters, at as many different sizes, not all of them 0"
        raise ValueError(f"sizes must be {needed}; form={form!r} has {counted.sum()} at {len(set(z[counted]))} sizes")
    unit = z[counted].max() or 1.0
    shares = relative(given[counted])
    found = [search(each, z[counted] / unit, measured[counted], shares) for each in tried]
    scores = [score(curve, z[counted] / unit, measured[counted], shares) for curve in found]
    order = sorted(range(len(tried)), key=lambda k: (getattr(scores[k], criterion), scores[k].n_parameters))
    if form == "best" and not np.isfinite(getattr(scores[order[0]], criterion)):
        raise ValueError(f"accuracies must be at least 4 to choose a form by 'aicc'; got {counted.sum()}: name a form")
    best = found[order[0]]
    curve = Curve(best.form, best.start, best.gain, best.weight / unit, best.exponent)
    return _record(curve, z, measured, given, tuple(scores[k] for k in order))


def _fits_into(form: CurveForm, sizes: Array) -> bool:
    """Whether there are measurements enough for a form's parameters."""
    n_parameters = len(form.parameters)
    rising = form.name == "constant" or sizes.any()
    return bool(len(sizes) > n_parameters and len(set(sizes)) >= n_parameters and rising)


def _record(
    curve: Curve, sizes: Array, measured: Array, point_weights: Array, scores: tuple[CurveScore, ...]
) -> FittedCurve:
    """What follows from the curve that was found; weights and sizes in the caller's unit."""
    counted = point_weights > 0.0
    unit = sizes[counted].max() or 1.0
    relative_curve = Curve(curve.form, curve.start, curve.gain, curve.weight * unit, curve.exponent)
    residuals = measured - relative_curve.values(sizes / unit)
    shares = relative(point_weights)
    freedom = int(counted.sum()) - len(curve.form.parameters)
    variance = float((shares * residuals**2).sum() / freedom)
    scale = np.array([unit if name == "weight" else 1.0 for name in curve.form.parameters])
    return FittedCurve(
        form=curve.form.name,
        names=curve.form.parameters,
        estimates=curve.parameters(),
        covariance=covariance(relative_curve.jacobian(sizes / unit), shares, variance) / scale / scale[:, None],
        at_bound=at_bound(relative_curve, sizes[counted] / unit),
        residuals=residuals,
        residual_variance=variance,
        degrees_of_freedom=freedom,
        r_squared=float(r_squared(residuals, measured, point_weights)),
        point_weights=point_weights,
        scores=scores,
        _curve=curve,
    )
