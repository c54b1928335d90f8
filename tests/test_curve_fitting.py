"""Learning curves of several forms: recovery, the global minimum, the choice of form, intervals, and their payoffs."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import curve_fit, least_squares
from scipy.stats import binomtest, norm

import fedshap as fs
from fedshap.payoffs import FittedCurve, fit_learning_curve
from fedshap.payoffs.exponential_sums import fit_exponential_sum
from games import properties

SIZES = np.round(16 * 2 ** np.arange(0, 10, 0.75))  # 16 .. 8192, 14 of them

PLAIN = {  # one amount of data, and the parameters by name
    "constant": lambda z, start: start,
    "hyperbolic": lambda z, weight: 1 - 1 / (1 + weight * z),
    "power": lambda z, start, weight, exponent: 1 - (1 - start) * (1 + weight * z) ** -exponent,
    "power_offset": lambda z, start, limit, weight, exponent: limit - (limit - start) * (1 + weight * z) ** -exponent,
    "exponential": lambda z, start, limit, weight: limit - (limit - start) * math.exp(-weight * z),
    "logarithmic": lambda z, start, gain, weight: start + gain * math.log(1 + weight * z),
}
TRUE = {
    "constant": {"start": 0.6},
    "hyperbolic": {"weight": 0.003},
    "power": {"start": 0.2, "weight": 0.02, "exponent": 0.4},
    "power_offset": {"start": 0.3, "limit": 0.9, "weight": 0.01, "exponent": 1.3},
    "exponential": {"start": 0.4, "limit": 0.85, "weight": 0.004},
    "logarithmic": {"start": 0.3, "gain": 0.07, "weight": 0.02},
}
FORMS = list(PLAIN)


def curve(form, z, **parameters):
    return np.array([PLAIN[form](x, **parameters) for x in np.ravel(z)]).reshape(np.shape(z))


def noisy(form, sigma, seed, sizes=SIZES):
    return curve(form, sizes, **TRUE[form]) + np.random.default_rng(seed).normal(scale=sigma, size=len(sizes))


@pytest.mark.parametrize("form", FORMS)
def test_a_curve_without_noise_is_recovered_and_chosen(form):
    measured = curve(form, SIZES, **TRUE[form])
    for fit in (fit_learning_curve(SIZES, measured, form=form), fit_learning_curve(SIZES, measured)):
        assert fit.form == form
        assert fit.parameters == pytest.approx(TRUE[form], rel=1e-6)
        assert not fit.at_bound.any()
        assert np.abs(fit.residuals).max() < 1e-9
    z = np.array([[0.0, 1.0, 50.0], [700.0, 2e4, 1e6]])
    np.testing.assert_allclose(fit.values(z), curve(form, z, **TRUE[form]), rtol=1e-6)
    h = 1e-4 * (1 + z)
    difference = (curve(form, z + h, **TRUE[form]) - curve(form, z, **TRUE[form])) / h
    np.testing.assert_allclose(fit.slope(z + h / 2), difference, rtol=1e-4, atol=1e-12)


def lowest(form, sizes, measured, starts=8):
    """Least squares of the form by a general-purpose solver, from many starts, limit and start in [0, 1]."""
    if form == "constant":
        return ((measured - measured.mean()) ** 2).sum()
    rng, unit = np.random.default_rng(0), sizes.max()
    names = {"hyperbolic": ["weight"]}.get(form, list(TRUE[form]))

    def numbers(x):
        by_name = dict(zip(names, x, strict=True))
        by_name["weight"] = np.exp(by_name["weight"]) / unit
        if "exponent" in by_name:
            by_name["exponent"] = np.exp(by_name["exponent"])
        if "limit" in by_name:  # a share of what is left above the start
            by_name["limit"] = by_name["start"] + by_name["limit"] * (1 - by_name["start"])
        return by_name

    box = {"start": (0, 1), "limit": (0, 1), "gain": (0, 1e4), "weight": (np.log(1e-4), np.log(1e6 * 1e3))}
    box["exponent"] = (np.log(0.01), 0.0 if form == "power" else np.log(10))
    low, high = np.array([box[name] for name in names]).T
    top = np.where(np.array(names) == "gain", 1.0, high)
    tries = [low + (top - low) * rng.uniform(size=len(names)) for _ in range(starts)]
    residual = lambda x: curve(form, sizes, **numbers(x)) - measured  # noqa: E731
    return min(2 * least_squares(residual, x, bounds=(low, high)).cost for x in tries)


@pytest.mark.parametrize("form", FORMS)
def test_no_other_solver_finds_less(form):
    """Noisy curves of every form, and accuracies without any order."""
    rng = np.random.default_rng(1)
    data = [np.clip(noisy(other, 0.03, seed=2), 0, 1) for other in FORMS] + list(rng.uniform(size=(3, len(SIZES))))
    for measured in data:
        fit = fit_learning_curve(SIZES, measured, form=form)
        assert (fit.residuals**2).sum() <= lowest(form, SIZES, measured) + 1e-8


SHAPES = {
    "flat": 0.5 + 0.002 * (-1.0) ** np.arange(14),
    "falling": np.linspace(0.8, 0.6, 14),
    "peaking": np.linspace(0.5, 0.9, 14) - 0.3 * np.exp(-((np.arange(14) - 5.0) ** 2)),
    "step": np.where(np.arange(14) < 7, 0.5, 0.95),
    "late riser": np.where(np.arange(14) < 12, 0.1, 0.6),
    "early riser": np.where(np.arange(14) < 1, 0.1, 0.9),
    "perfect": np.ones(14),
    "nothing": np.zeros(14),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_curve_has_an_answer_that_can_be_played(shape):
    fit = fit_learning_curve(SIZES, SHAPES[shape])
    assert (fit.form == "constant") == (shape in ("flat", "falling", "perfect", "nothing"))
    assert not fit.constant_fits_better
    assert np.isfinite(fit.estimates).all()
    assert 0.0 <= fit.values(0.0) <= fit.values(1e9) <= (1.0 if fit.form != "logarithmic" else np.inf)
    assert not np.isnan(fit.prediction_interval([0.0, 100.0, 1e6])).any()
    game = fs.Game(fit.payoff(3), fs.LinearCost([1e-4, 2e-4, 3e-4]))
    assert fs.find_equilibrium(game, fs.NoPayment()).regret < 1e-6


@properties
@given(measured=npst.arrays(float, 7, elements=st.floats(0, 1)), form=st.sampled_from(["best", *FORMS]))
def test_no_accuracies_are_refused(measured, form):
    sizes = 10.0 ** np.arange(7)
    fit = fit_learning_curve(sizes, measured, form=form)
    assert np.isfinite(fit.estimates).all()
    assert (np.diff(fit.values(np.geomspace(1e-3, 1e9, 50))) >= -1e-15).all()
    assert not np.isnan(fit.prediction_interval(sizes)).any()
    fit.payoff(3)


def test_a_constant_that_fits_better_is_said_aloud():
    fit = fit_learning_curve(SIZES, SHAPES["falling"], form="hyperbolic")
    assert fit.constant_fits_better
    assert fit.r_squared < 0
    assert "a constant fits better" in repr(fit)


# ---- the choice ----------------------------------------------------------------------------------------------------


def test_criteria_are_those_of_the_normal_likelihood():
    measured, rng = np.clip(noisy("power_offset", 0.02, seed=3), 0, 1), np.random.default_rng(4)
    given_weights = rng.uniform(1, 5, 14)
    fit = fit_learning_curve(SIZES, measured, point_weights=given_weights * 1e6)
    shares = given_weights / given_weights.mean()
    assert {score.form for score in fit.scores} == set(FORMS)
    for score in fit.scores:
        own = fit_learning_curve(SIZES, measured, form=score.form, point_weights=given_weights)
        rss = (shares * own.residuals**2).sum()
        likelihood = norm.logpdf(own.residuals, scale=np.sqrt(rss / 14 / shares)).sum()
        k = len(own.names) + 1
        assert score.n_parameters == len(own.names)
        assert score.rss == pytest.approx(rss, rel=1e-9)
        assert score.aic == pytest.approx(-2 * likelihood + 2 * k, rel=1e-9)
        assert score.aicc == pytest.approx(-2 * likelihood + 2 * k * 14 / (14 - k - 1), rel=1e-9)
        assert score.bic == pytest.approx(-2 * likelihood + k * math.log(14), rel=1e-9)


@pytest.mark.parametrize("criterion", ["aic", "aicc", "bic"])
def test_the_best_has_the_least_criterion(criterion):
    chosen = set()
    for seed in range(8):
        measured = np.clip(noisy("exponential", 0.08, seed), 0, 1)[:9]
        fit = fit_learning_curve(SIZES[:9], measured, criterion=criterion)
        values = [getattr(score, criterion) for score in fit.scores]
        assert values == sorted(values)
        assert fit.form == fit.scores[0].form
        chosen.add(fit.form)
    assert len(chosen) > 1


def test_criteria_differ_in_what_a_parameter_costs():
    """At 9 sizes four parameters cost AICc dearly, BIC more than AIC: somewhere the three disagree."""
    choices = {"aic": [], "aicc": [], "bic": []}
    for seed in range(20):
        fit = fit_learning_curve(SIZES[:9], np.clip(noisy("power_offset", 0.03, seed), 0, 1)[:9])
        for criterion, chosen in choices.items():
            chosen.append(min(fit.scores, key=lambda score: getattr(score, criterion)).n_parameters)  # noqa: B023
    assert sum(choices["aicc"]) < sum(choices["bic"]) <= sum(choices["aic"])


def test_few_measurements():
    two = fit_learning_curve([10, 100], [0.5, 0.6], form="hyperbolic")
    assert two.degrees_of_freedom == 1
    three = fit_learning_curve([10, 100, 1000], [0.5, 0.6, 0.7], criterion="bic")
    assert {score.form for score in three.scores} == {"constant", "hyperbolic"}
    assert {score.form for score in fit_learning_curve([5] * 9, [0.5] * 9).scores} == {"constant", "hyperbolic"}
    assert fit_learning_curve([0] * 4, [0.5, 0.6, 0.5, 0.4]).form == "constant"


# ---- units and point weights ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-15, 3.7e-4, 1e15])
@pytest.mark.parametrize("form", FORMS)
def test_units_do_not_matter(form, unit):
    measured = np.clip(noisy(form, 0.02, seed=5), 0, 1)
    fit = fit_learning_curve(SIZES, measured)
    other = fit_learning_curve(SIZES * unit, measured, point_weights=np.full(14, 1 / unit))
    assert other.form == fit.form
    scale = np.array([unit if name == "weight" else 1.0 for name in fit.names])
    np.testing.assert_allclose(other.estimates * scale, fit.estimates, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.standard_errors * scale, fit.standard_errors, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(other.residuals, fit.residuals, atol=1e-10)
    z = np.array([0.0, 40.0, 3000.0])
    np.testing.assert_allclose(other.prediction_interval(z * unit), fit.prediction_interval(z), rtol=1e-7)
    np.testing.assert_allclose(other.payoff(3).values(z * unit), fit.payoff(3).values(z), rtol=1e-9)
    np.testing.assert_allclose(other.payoff(3).own_gradient(z * unit) * unit, fit.payoff(3).own_gradient(z), rtol=1e-8)


@pytest.mark.parametrize("form", FORMS)
def test_point_weights_count_as_repetitions_and_zero_leaves_out(form):
    measured, times = np.clip(noisy(form, 0.03, seed=6), 0, 1), np.arange(14) % 4
    fit = fit_learning_curve(SIZES, np.where(times > 0, measured, 0.0), form=form, point_weights=times)
    repeated = fit_learning_curve(SIZES.repeat(times), measured.repeat(times), form=form)
    np.testing.assert_allclose(fit.estimates, repeated.estimates, rtol=1e-7)
    assert fit.r_squared == pytest.approx(repeated.r_squared, abs=1e-9)
    freedom = (times > 0).sum() - len(fit.names)
    assert fit.degrees_of_freedom == freedom
    ratio = (times.sum() - len(fit.names)) / freedom
    np.testing.assert_allclose(fit.covariance, repeated.covariance * ratio, rtol=1e-4, atol=1e-15)


# ---- covariance and intervals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_covariance_agrees_with_curve_fit(form):
    names, truth = list(TRUE[form]), list(TRUE[form].values())
    sigma = np.random.default_rng(7).uniform(0.5, 2.0, 14)
    noise = np.random.default_rng(8).normal(size=14) * sigma * 0.002
    measured = curve(form, SIZES, **TRUE[form]) + noise
    fit = fit_learning_curve(SIZES, measured, form=form, point_weights=sigma**-2)
    assert not fit.at_bound.any()
    model = lambda z, *x: curve(form, z, **dict(zip(names, x, strict=True)))  # noqa: E731
    found, covariance = curve_fit(model, SIZES, measured, p0=truth, sigma=sigma, x_scale=truth, method="trf")
    np.testing.assert_allclose(fit.estimates, found, rtol=1e-4)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-2)
    steps = 1e-5 * np.diag(found)
    gradient = [(model(500.0, *(found + h)) - model(500.0, *(found - h))) / (2 * h.max()) for h in steps]
    half = norm.ppf(0.9) * np.sqrt(gradient @ covariance @ gradient)
    low, high = fit.confidence_interval(500.0, 0.8)
    student = 1 + 0.6 / fit.degrees_of_freedom  # by how much Student's t is wider, roughly
    assert high - low == pytest.approx(2 * half * student, rel=0.03)
    low, high = fit.prediction_interval(500.0, 0.8, point_weight=4.0)
    variance = gradient @ covariance @ gradient + (fit.residuals**2 / sigma**2).sum() / fit.degrees_of_freedom / 4.0
    assert high - low == pytest.approx(2 * norm.ppf(0.9) * student * np.sqrt(variance), rel=0.03)


@pytest.mark.parametrize("form", ["exponential", "logarithmic"])
def test_intervals_cover_what_they_say(form):
    """The form known, errors of half a point in a hundred, inside and twice beyond the sizes."""
    rng, new = np.random.default_rng(9), np.array([30.0, 1000.0, 16000.0])
    truth, sizes = curve(form, new, **TRUE[form]), np.repeat(SIZES, 3)
    mean, observation = np.zeros(3, int), np.zeros(3, int)
    for _ in range(120):
        measured = curve(form, sizes, **TRUE[form]) + rng.normal(scale=0.005, size=len(sizes))
        fit = fit_learning_curve(sizes, measured, form=form)
        low, high = fit.confidence_interval(new)
        mean += (low <= truth) & (truth <= high)
        low, high = fit.prediction_interval(new)
        measured = truth + rng.normal(scale=0.005, size=3)
        observation += (low <= measured) & (measured <= high)
    for count in (*mean, *observation):
        assert binomtest(int(count), 120, 0.95).pvalue > 1e-3


def test_a_flat_curve_leaves_its_weight_undetermined():
    fit = fit_learning_curve(SIZES, SHAPES["falling"], form="exponential")
    assert fit.at_bound.tolist() == [False, True, True]
    assert fit.standard_errors[2] == np.inf
    low, high = fit.confidence_interval([16.0, 8192.0])
    assert (low < fit.values(16.0)).all()
    assert (high < 1.0).all()


# ---- payoffs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_payoff_is_the_curve_of_the_total(form):
    fit = fit_learning_curve(SIZES, np.clip(noisy(form, 0.01, seed=10), 0, 1), form=form)
    s = np.array([[3.0, 100.0, 0.0], [1000.0, 0.0, 2e4]])
    common = fit.payoff(3)
    assert isinstance(common, fs.PowerLaw) == (form in ("hyperbolic", "power"))
    assert common.concave
    np.testing.assert_allclose(common.values(s), fit.values(s.sum(axis=1))[:, None].repeat(3, axis=1), rtol=1e-12)
    np.testing.assert_allclose(common.own_gradient(s)[:, 0], fit.slope(s.sum(axis=1)), rtol=1e-12, atol=1e-300)
    weights = np.array([[1.0, 0.2], [0.5, 2.0]])
    grouped = fit.payoff(weights=weights, groups=[0, 1, 1])
    totals = np.stack([s[:, 0], s[:, 1] + s[:, 2]], axis=1) @ weights.T
    np.testing.assert_allclose(grouped.values(s), fit.values(totals)[:, [0, 1, 1]], rtol=1e-12)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(common)).values(s), common.values(s))


@pytest.mark.parametrize("form", FORMS[1:])
def test_the_slope_is_completely_monotone(form):
    fit = fit_learning_curve(SIZES, np.clip(noisy(form, 0.01, seed=10), 0, 1), form=form)
    assert fit_exponential_sum(fit.slope, 1e4).error < 1e-10


@pytest.mark.parametrize("form", FORMS[1:])
def test_the_payoff_can_be_played(form):
    fit = fit_learning_curve(SIZES, np.clip(noisy(form, 0.01, seed=11), 0, 1), form=form)
    game = fs.Game(fit.payoff(3), fs.LinearCost(fit.slope(0.0) * np.array([0.2, 0.5, 0.9])))
    fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    free = fs.find_equilibrium(game, fs.NoPayment())
    assert fair.contributions.sum() > free.contributions.sum() > 0
    assert fs.reciprocity(game, fs.ShapleyPayment(), fair.contributions) == pytest.approx(1.0)


# ---- the record ----------------------------------------------------------------------------------------------------


def test_the_record_is_read_only_and_survives_copies():
    fit = fit_learning_curve(SIZES, np.clip(noisy("power_offset", 0.01, seed=12), 0, 1))
    for twin in (fit, pickle.loads(pickle.dumps(fit)), copy.deepcopy(fit)):
        assert isinstance(twin, FittedCurve)
        assert repr(twin) == repr(fit)
        np.testing.assert_array_equal(twin.prediction_interval(SIZES), fit.prediction_interval(SIZES))
        with pytest.raises(ValueError, match="read-only"):
            twin.covariance[0, 0] = 1.0
        with pytest.raises(AttributeError):
            twin.form = "power"


Z, A = SIZES, np.linspace(0.4, 0.8, 14)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((Z, A[:5]), {}, r"sizes and accuracies must both have shape \(R,\).*\(14,\) and \(5,\)"),
        ((Z[:, None], A[:, None]), {}, r"must both have shape \(R,\)"),
        ((-Z, A), {}, "sizes must be at least 0; got -16"),
        ((Z, 100 * A), {}, "accuracies must be at most 1; got 40"),
        ((Z, A), {"form": "sigmoid"}, "form must be 'best' or one of 'constant', .*; got 'sigmoid'"),
        ((Z, A), {"criterion": "cv"}, "criterion must be one of 'aic', 'aicc', 'bic'; got 'cv'"),
        ((Z, A), {"point_weights": A[:4]}, r"point_weights must have shape \(14,\), .*got \(4,\)"),
        ((Z[:3], A[:3]), {}, "accuracies must be at least 4 to choose a form by 'aicc'; got 3"),
        ((Z[:4], A[:4]), {"form": "power_offset"}, "more measurements than parameters.*has 4 at 4 sizes"),
        (([5] * 9, [0.5] * 9), {"form": "exponential"}, "form='exponential' has 9 at 1 sizes"),
        (([0] * 9, [0.5] * 9), {"form": "hyperbolic"}, "not all of them 0"),
        (([1], [0.5]), {}, "form='best' has 1 at 1 sizes"),
    ],
)
def test_fit_refuses(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        fit_learning_curve(*arguments, **options)


def test_methods_refuse():
    fit = fit_learning_curve(Z, A)
    for method in (fit.values, fit.slope, fit.confidence_interval, fit.prediction_interval):
        with pytest.raises(ValueError, match="sizes must be at least 0"):
            method(-1.0)
    with pytest.raises(ValueError, match="level must lie in"):
        fit.prediction_interval(1.0, 1.0)
    with pytest.raises(ValueError, match="point_weight must lie in"):
        fit.prediction_interval(1.0, point_weight=-2.0)
    with pytest.raises(ValueError, match="n_agents must be an integer of at least 1"):
        fit.payoff()
