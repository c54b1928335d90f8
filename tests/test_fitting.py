"""Fitting the closed form: recovery, coverage, bounds, and what it cannot represent."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from scipy.optimize import curve_fit, least_squares, minimize
from scipy.stats import binomtest
from scipy.stats import t as student_t

import fedshap as fs
from fedshap.payoffs import (
    AccuracyDrop,
    FittedPayoff,
    accuracy_drops,
    contribution_grid,
    fit_payoff,
)
from games import properties

GROUPS = np.array([0, 0, 0, 1, 1, 2])
GRID = contribution_grid([0, 3, 12], GROUPS)  # (27, 6)
TOTALS = GRID @ (GROUPS[:, None] == np.arange(3))  # (27, 3): batches per round of each group
WEIGHTS = np.array([[0.30, 0.01, 0.0], [0.02, 0.20, 0.05], [0.004, 0.0, 0.50]])


def closed_form(weights, totals=TOTALS, chance=0.0):
    """Sec. 5.1's a_g(s), one entry at a time."""
    return np.array(
        [
            [1 - (1 - chance) / (1 + sum(w * total for w, total in zip(row, run, strict=True))) for row in weights]
            for run in totals
        ]
    )


def noisy(weights, sigma, rng):
    return np.clip(closed_form(weights) + rng.normal(scale=sigma, size=(len(TOTALS), 3)), 0.0, 1.0)


@pytest.mark.parametrize("chance", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(5))
def test_weights_are_recovered_from_accuracies_without_noise(seed, chance):
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.001, 1.0, size=(3, 3)) * (rng.uniform(size=(3, 3)) < 0.8)
    fit = fit_payoff(GRID, closed_form(weights, chance=chance), GROUPS, chance=chance)
    np.testing.assert_allclose(fit.weights, weights, atol=1e-6)
    assert np.abs(fit.residuals).max() < 1e-7
    np.testing.assert_allclose(fit.r_squared, 1.0, atol=1e-10)


def test_recovery_of_the_papers_mnist_weights():
    """App. E: 0 and 200 batches from each group, weights of the order of a thousandth."""
    weights = np.array([[3.1e-3, 4.7e-4, 4.4e-4], [6.7e-4, 1.9e-3, 6.5e-4], [9.3e-4, 8.3e-4, 2.1e-3]])
    groups = np.arange(30) // 10
    grid = contribution_grid([0, 200], groups)
    totals = grid @ (groups[:, None] == np.arange(3))
    fit = fit_payoff(grid, closed_form(weights, totals), groups)
    np.testing.assert_allclose(fit.weights, weights, rtol=1e-6)


def test_payoff_is_the_closed_form_for_every_client():
    fit = fit_payoff(GRID, noisy(WEIGHTS, 0.02, np.random.default_rng(0)), GROUPS)
    np.testing.assert_allclose(fit.payoff.values(GRID), closed_form(fit.weights)[:, GROUPS], atol=1e-12)


def test_chance_level_reaches_the_payoff():
    fit = fit_payoff(GRID, closed_form(WEIGHTS, chance=0.1), GROUPS, chance=0.1)
    np.testing.assert_allclose(fit.payoff.values(np.zeros(6)), 0.1, atol=1e-12)


def test_residuals_and_r_squared_are_hand_counts():
    measured = noisy(WEIGHTS, 0.05, np.random.default_rng(1))
    fit = fit_payoff(GRID, measured, GROUPS)
    expected = measured - closed_form(fit.weights)
    np.testing.assert_allclose(fit.residuals, expected, atol=1e-12)
    for g in range(3):
        rss, tss = sum(expected[:, g] ** 2), sum((measured[:, g] - measured[:, g].mean()) ** 2)
        assert fit.r_squared[g] == pytest.approx(1 - rss / tss, abs=1e-12)


def test_fit_is_the_least_squares_minimum():
    """Against a general-purpose bounded minimiser from several starts."""
    rng = np.random.default_rng(2)
    measured = np.clip(closed_form(WEIGHTS) + rng.normal(scale=0.1, size=(27, 3)), 0.0, 1.0)
    fit = fit_payoff(GRID, measured, GROUPS)
    for g in range(3):
        loss = lambda w, g=g: ((measured[:, g] - closed_form([w])[:, 0]) ** 2).sum()  # noqa: E731
        others = [minimize(loss, start, bounds=[(0, None)] * 3).fun for start in rng.uniform(0, 1, size=(5, 3))]
        assert (fit.residuals[:, g] ** 2).sum() <= min(others) + 1e-9


def test_standard_errors_agree_with_curve_fit_inside_the_bounds():
    weights = np.array([[0.30, 0.05, 0.04], [0.06, 0.20, 0.05], [0.05, 0.04, 0.50]])
    measured = noisy(weights, 0.02, np.random.default_rng(4))
    fit = fit_payoff(GRID, measured, GROUPS)
    assert not fit.at_bound.any()
    for g in range(3):
        w, covariance = curve_fit(lambda x, *w: closed_form([w], x)[:, 0], TOTALS, measured[:, g], p0=weights[g])
        np.testing.assert_allclose(fit.weights[g], w, rtol=1e-5)
        np.testing.assert_allclose(fit.standard_errors[g], np.sqrt(np.diag(covariance)), rtol=1e-3)


def test_standard_errors_cover():
    """Over noisy replications the errors, in standard errors, are as far from zero as Student's t says."""
    rng = np.random.default_rng(5)
    weights = np.array([[0.30, 0.05, 0.04], [0.06, 0.20, 0.05], [0.05, 0.04, 0.50]])
    fits = [fit_payoff(GRID, noisy(weights, 0.01, rng), GROUPS) for _ in range(80)]
    z = np.abs([(fit.weights - weights) / fit.standard_errors for fit in fits])
    for errors in (1, 2, 4):
        within = 1 - 2 * student_t(df=27 - 3).sf(errors)
        assert binomtest(int((z < errors).sum()), z.size, within).pvalue > 1e-3


def test_a_weight_that_would_be_negative_is_zero_and_says_so():
    """Group 1's data harms group 0: the unbounded estimate of w[0, 1] is negative."""
    harmful = np.array([[0.30, -0.004, 0.02], [0.06, 0.20, 0.05], [0.05, 0.04, 0.50]])
    measured = np.clip(closed_form(harmful), 0.0, 1.0)
    fit = fit_payoff(GRID, measured, GROUPS)
    assert fit.weights[0, 1] == 0.0
    assert fit.at_bound.tolist() == [[False, True, False], [False] * 3, [False] * 3]
    # first-order conditions at the bound: no feasible direction lowers the sum of squares
    slope = 1.0 / (1.0 + TOTALS @ fit.weights[0]) ** 2
    gradient = -(fit.residuals[:, 0] * slope) @ TOTALS
    np.testing.assert_allclose(gradient[[0, 2]], 0.0, atol=1e-6)
    assert gradient[1] > 1e-3
    assert 0.0 < fit.standard_errors[0, 1] < 0.01
    assert (
        fit.residuals[:, 0].std() > 10 * fit.residuals[:, 1].std()
    )  # what the form cannot say is left in the residuals


def test_accuracy_drops_agree_with_a_search_pair_by_pair():
    measured = noisy(WEIGHTS, 0.05, np.random.default_rng(6))
    expected = []
    for b, a, g in itertools.product(range(27), range(27), range(3)):
        changed = [t for t in range(3) if TOTALS[b, t] != TOTALS[a, t]]
        if (
            len(changed) == 1
            and TOTALS[a, changed[0]] > TOTALS[b, changed[0]]
            and measured[b, g] - measured[a, g] > 0.03
        ):
            expected.append((g, changed[0], b, a))
    drops = accuracy_drops(GRID, measured, GROUPS, minimum=0.03)
    assert sorted((d.group, d.giver, d.before, d.after) for d in drops) == sorted(expected)
    assert len(expected) > 10
    assert [d.drop for d in drops] == sorted((d.drop for d in drops), reverse=True)
    assert all(
        d.drop == pytest.approx(measured[d.before, d.group] - measured[d.after, d.group], abs=1e-9) for d in drops
    )


def test_the_closed_form_has_no_drops():
    assert accuracy_drops(GRID, closed_form(WEIGHTS), GROUPS) == ()
    assert isinstance(accuracy_drops([[0, 0], [0, 1]], [[0.5, 0.1], [0.4, 0.2]], [0, 1])[0], AccuracyDrop)


GOOD = closed_form(WEIGHTS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GRID[0], GOOD, GROUPS), r"contributions must have shape \(27, 6\).*got \(6,\)"),
        ((GRID[:5], GOOD, GROUPS), r"contributions must have shape \(27, 6\).*got \(5, 6\)"),
        ((GRID - 1, GOOD, GROUPS), "contributions must be at least 0; got -1"),
        ((GRID, GOOD[:, 0], GROUPS), r"accuracies must have shape \(R, T\).*got \(27,\)"),
        ((GRID, GOOD * 100, GROUPS), "accuracies must be at most 1"),
        ((GRID, GOOD * np.nan, GROUPS), "every entry of accuracies must be finite"),
        ((GRID, GOOD, GROUPS + 1), r"groups must be integers in 0\.\.2; got 3"),
        ((GRID, GOOD, GROUPS - 1), "groups must be at least 0; got -1"),
        ((GRID, GOOD, GROUPS / 2), r"groups must be integers in 0\.\.2; got 0.5"),
        ((GRID, GOOD, GROUPS[:4]), r"contributions must have shape \(27, 4\)"),
        ((GRID, GOOD, np.minimum(GROUPS, 1)), "contributions must tell 3 groups apart.*rank 2"),
        ((GRID[:3], GOOD[:3], GROUPS), "contributions must tell 3 groups apart in more than 3 runs; got 3 runs"),
        ((GRID[[1, 3, 9]], GOOD[[1, 3, 9]], GROUPS), "in more than 3 runs; got 3 runs whose group totals have rank 3"),
        ((GRID * [1, 1, 1, 0, 0, 1], GOOD, GROUPS), "contributions must tell 3 groups apart .* rank 2"),
    ],
)
def test_fit_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_payoff(*arguments)


@pytest.mark.parametrize("chance", [-0.1, 1.0, np.nan])
def test_fit_refuses_a_chance_level_outside_zero_one(chance):
    with pytest.raises(ValueError, match="chance must lie in"):
        fit_payoff(GRID, GOOD, GROUPS, chance=chance)


# ---- the global minimum --------------------------------------------------------------------------------------------


def squares(weights, totals, measured, chance=0.0, point_weights=1.0):
    """Weighted squares (K,) of weights (K, T), one group's accuracies (R,)."""
    return (point_weights * (1 - (1 - chance) / (1 + weights @ totals.T) - measured) ** 2).sum(axis=1)


def grid_minimum(totals, measured, points):
    """Least squares over a product grid of weights, each of the ten best points refined by a general-purpose solver."""
    axes = [np.concatenate([[0.0], np.geomspace(1e-3 / t.max(), 1e4 / t[t > 0].min(), points)]) for t in totals.T]
    grid = np.array(list(itertools.product(*axes)))
    best = grid[squares(grid, totals, measured).argsort()[:10]]
    residual = lambda w: 1 - 1 / (1 + totals @ w) - measured  # noqa: E731
    return min(2 * least_squares(residual, w, bounds=(0, np.inf), x_scale=1 / totals.max(axis=0)).cost for w in best)


SHAPES = {  # of learning curves, as they are met in practice
    "flat": [0.51, 0.505, 0.50, 0.50, 0.496],
    "falling": [0.80, 0.74, 0.71, 0.66, 0.65],
    "peaking": [0.55, 0.70, 0.52, 0.83, 0.88],
    "step": [0.50, 0.50, 0.50, 0.95, 0.96],
    "late riser": [0.10, 0.10, 0.11, 0.13, 0.70],
    "saturating": [0.60, 0.78, 0.85, 0.86, 0.86],
    "alternating": [0.0, 1.0, 0.0, 1.0, 0.0],
    "constant": [0.5] * 5,
    "perfect": [1.0] * 5,
    "nothing": [0.0] * 5,
    "barely something": [1e-12, 1e-11, 1e-10, 1e-9, 1e-8],
}
DECADES = 16.0 * 10.0 ** np.arange(5)


def test_of_two_minima_the_lower_one_is_found():
    """A learning curve with a local minimum at w=6.6e-4, where the sum of squares is 0.0677."""
    totals, measured = np.array([[3.0], [5500.0], [99000.0]]), np.array([0.24, 0.79, 0.88])
    fit = fit_payoff(totals, measured[:, None], [0])
    assert fit.weights[0, 0] == pytest.approx(0.104, abs=5e-4)
    assert (fit.residuals**2).sum() == pytest.approx(0.0577, abs=1e-4)
    dense = np.geomspace(1e-8, 1e3, 40_001)[:, None]
    assert (fit.residuals**2).sum() <= squares(dense, totals, measured).min()


@pytest.mark.parametrize("chance", [0.0, 0.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_curve_has_an_answer(shape, chance):
    measured = np.array(SHAPES[shape])
    contributions = DECADES[:, None] * [0.2, 0.5, 0.3]  # three clients of one group
    fit = fit_payoff(contributions, measured[:, None], [0, 0, 0], chance=chance)
    dense = np.concatenate([[0.0], np.geomspace(1e-14, 1e6, 20_001)])[:, None]
    found = (fit.residuals**2).sum()
    assert found <= squares(dense, DECADES[:, None], measured, chance).min() * (1 + 1e-9) + 1e-14
    mean_fits_better = ((measured - measured.mean()) ** 2).sum() < found - 1e-12
    assert fit.constant_fits_better.tolist() == [mean_fits_better]
    assert ("constant fits better in group 0" in repr(fit)) == mean_fits_better
    assert not np.isnan(np.ravel([fit.standard_errors[0], *fit.prediction_interval([0.0, 50.0, 0.0])])).any()
    fs.Game(fit.payoff, fs.LinearCost([0.1, 0.2, 0.3]))


def test_accuracies_that_are_all_alike():
    """The share of no variance: 1 where the form meets the accuracies, minus infinity where it does not."""
    runs = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 3], [4, 2, 9]])
    fit = fit_payoff(runs, [[1.0, 0.75, 0.5]] * 4, [0, 1, 2], chance=0.5)
    assert fit.r_squared.tolist() == [1.0, -np.inf, 1.0]
    assert fit.constant_fits_better.tolist() == [False, True, False]
    assert fit.at_upper_bound[0].all()  # any larger weight does as well
    np.testing.assert_allclose(fit.weights[0] * [1, 2, 3], np.finfo(float).eps ** -0.5, rtol=1e-12)
    assert not fit.at_upper_bound[1:].any()
    assert fit.at_bound[2].all()


@pytest.mark.parametrize("n_groups", [1, 2, 3])
def test_no_point_of_a_grid_is_lower(n_groups):
    """Accuracies without any order at contributions over five decades, where local minima abound."""
    rng = np.random.default_rng(n_groups)
    checked = 0
    while checked < 6:
        n_runs = int(rng.integers(n_groups + 1, 12))
        totals = np.exp(rng.uniform(0, np.log(1e5), (n_runs, n_groups))) * (rng.uniform(size=(n_runs, n_groups)) < 0.7)
        if np.linalg.matrix_rank(totals / np.maximum(totals.max(axis=0), 1)) < n_groups:
            continue
        measured = rng.uniform(size=(n_runs, n_groups))
        fit = fit_payoff(totals, measured, np.arange(n_groups))
        for g in range(n_groups):
            found = (fit.residuals[:, g] ** 2).sum()
            assert found <= grid_minimum(totals, measured[:, g], {1: 400, 2: 50, 3: 14}[n_groups]) + 1e-9
        checked += 1


@properties
@given(accuracies=npst.arrays(float, (5, 1), elements=st.floats(0, 1)), chance=st.sampled_from([0.0, 0.5]))
def test_no_accuracies_are_refused(accuracies, chance):
    fit = fit_payoff(np.outer(DECADES, [1, 1, 1]), accuracies, [0, 0, 0], chance=chance)
    dense = np.concatenate([[0.0], np.geomspace(1e-9, 1e3, 2001)])[:, None]
    found = (fit.residuals**2).sum()
    assert found <= squares(dense, 3 * DECADES[:, None], accuracies[:, 0], chance).min() + 1e-12
    np.testing.assert_allclose(fit.payoff.values(np.zeros(3)), chance, atol=1e-15)
    assert (fit.weights >= 0).all()


# ---- units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-15, 3.7e-4, 1e15])
def test_units_do_not_matter(unit):
    rng = np.random.default_rng(7)
    for _ in range(5):
        measured, given_weights = rng.uniform(size=(27, 3)), rng.uniform(0.5, 2.0, (27, 3))
        fit = fit_payoff(GRID, measured, GROUPS, point_weights=given_weights)
        other = fit_payoff(GRID * unit, measured, GROUPS, point_weights=given_weights / unit)
        np.testing.assert_allclose(other.weights * unit, fit.weights, rtol=1e-9, atol=0)
        np.testing.assert_allclose(other.standard_errors * unit, fit.standard_errors, rtol=1e-9, atol=0)
        np.testing.assert_allclose(other.residuals, fit.residuals, rtol=1e-9, atol=1e-12)
        assert other.at_bound.tolist() == fit.at_bound.tolist()
        new = rng.uniform(0, 20, (4, 6))
        for mine, yours in zip(fit.prediction_interval(new), other.prediction_interval(new * unit), strict=True):
            np.testing.assert_allclose(yours, mine, rtol=1e-9)


def test_every_group_may_have_a_unit_of_its_own():
    units = np.array([1e-12, 1.0, 1e12])
    fit = fit_payoff(GRID, GOOD, GROUPS)
    other = fit_payoff(GRID * units[GROUPS], GOOD, GROUPS)
    np.testing.assert_allclose(other.weights * units, fit.weights, rtol=1e-9)


# ---- point weights -------------------------------------------------------------------------------------------------


def test_a_point_weight_of_three_is_the_run_three_times():
    measured = noisy(WEIGHTS, 0.1, np.random.default_rng(8))
    times = np.arange(27) % 3 + 1
    fit = fit_payoff(GRID, measured, GROUPS, point_weights=times)
    repeated = fit_payoff(GRID.repeat(times, axis=0), measured.repeat(times, axis=0), GROUPS)
    np.testing.assert_allclose(fit.weights, repeated.weights, rtol=1e-9)
    np.testing.assert_allclose(fit.r_squared, repeated.r_squared, rtol=1e-9)
    np.testing.assert_allclose(fit.covariance * (27 - 3), repeated.covariance * (times.sum() - 3), rtol=1e-7)


def test_a_point_weight_of_zero_leaves_a_measurement_out():
    measured, rng = noisy(WEIGHTS, 0.1, np.random.default_rng(9)), np.random.default_rng(10)
    kept = rng.uniform(size=(27, 3)) < 0.7
    garbled = np.where(kept, measured, rng.uniform(size=(27, 3)))
    fit = fit_payoff(GRID, garbled, GROUPS, point_weights=kept)
    for g in range(3):
        alone = fit_payoff(GRID[kept[:, g]], measured[kept[:, g]], GROUPS)
        np.testing.assert_allclose(fit.weights[g], alone.weights[g], rtol=1e-9)
        np.testing.assert_allclose(fit.covariance[g], alone.covariance[g], rtol=1e-7)
        assert fit.r_squared[g] == pytest.approx(alone.r_squared[g], rel=1e-9)
        assert fit.degrees_of_freedom[g] == kept[:, g].sum() - 3


def test_point_weights_of_runs_count_for_every_group():
    measured, by_run = noisy(WEIGHTS, 0.1, np.random.default_rng(11)), np.arange(1, 28)
    one = fit_payoff(GRID, measured, GROUPS, point_weights=by_run)
    each = fit_payoff(GRID, measured, GROUPS, point_weights=np.tile(by_run[:, None], 3))
    np.testing.assert_array_equal(one.weights, each.weights)
    assert not np.allclose(one.weights, fit_payoff(GRID, measured, GROUPS).weights, rtol=1e-3)


INNER = np.array([[0.30, 0.05, 0.04], [0.06, 0.20, 0.05], [0.05, 0.04, 0.50]])


@pytest.mark.parametrize("chance", [0.0, 0.4])
def test_covariance_and_intervals_agree_with_curve_fit(chance):
    """Weighted, inside the bounds; the intervals' gradients by differences, their variance as it is in a textbook."""
    sigma = np.random.default_rng(12).uniform(0.01, 0.05, 27)
    measured = np.clip(
        closed_form(INNER, chance=chance) + np.random.default_rng(13).normal(size=(27, 3)) * sigma[:, None] / 3, 0, 1
    )
    fit = fit_payoff(GRID, measured, GROUPS, chance=chance, point_weights=sigma**-2)
    new = np.array([5.0, 0.0, 2.0, 1.0, 4.0, 3.0])
    for g in range(3):
        model = lambda x, *w: closed_form([w], x, chance)[:, 0]  # noqa: E731
        w, covariance = curve_fit(model, TOTALS, measured[:, g], p0=INNER[g], sigma=sigma)
        np.testing.assert_allclose(fit.covariance[g], covariance, rtol=1e-3)
        at = lambda w: closed_form([w], [[7.0, 5.0, 3.0]], chance)[0, 0]  # noqa: E731
        gradient = [(at(w + h) - at(w - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
        of_mean = gradient @ covariance @ gradient
        unit_variance = ((measured[:, g] - model(TOTALS, *w)) ** 2 / sigma**2).sum() / 24
        for level in (0.5, 0.95):
            t = student_t.ppf(0.5 + level / 2, 24)
            low, high = fit.confidence_interval(new, level)
            assert high[g] - low[g] == pytest.approx(2 * t * np.sqrt(of_mean), rel=1e-3)
            assert (high[g] + low[g]) / 2 == pytest.approx(at(w), rel=1e-4)
            low, high = fit.prediction_interval(new, level, point_weight=1 / 0.02**2)
            assert high[g] - low[g] == pytest.approx(2 * t * np.sqrt(of_mean + unit_variance * 0.02**2), rel=1e-3)
            low, high = fit.prediction_interval(new, level)  # a run of the mean weight
            of_run = unit_variance / (sigma**-2).mean()
            assert high[g] - low[g] == pytest.approx(2 * t * np.sqrt(of_mean + of_run), rel=1e-3)


# ---- what the intervals cover --------------------------------------------------------------------------------------

PAIRS = np.array([0, 0, 1, 1])
RUNS = contribution_grid([0, 3, 12], PAIRS)  # (9, 4)
NEW = np.array([[6, 6, 6, 6], [12, 12, 0, 0], [0, 0, 12, 12]])


def covers(weights, sigma, replications, seed):
    """How often 95 % intervals at NEW hold the truth and a new run, counts of shape (3 profiles, 2 groups) each, and
    the truth if weights at zero were taken to be known."""
    rng = np.random.default_rng(seed)
    runs, new = (s @ np.eye(2)[PAIRS] for s in (RUNS, NEW))
    true, truth = closed_form(weights, runs, 0.1), closed_form(weights, new, 0.1)
    mean, observation, held = np.zeros((3, 2), int), np.zeros((3, 2), int), np.zeros(3, int)
    for _ in range(replications):
        fit = fit_payoff(RUNS, true + rng.normal(scale=sigma, size=true.shape), PAIRS, chance=0.1)
        low, high = fit.confidence_interval(NEW)
        mean += (low <= truth) & (truth <= high)
        low, high = fit.prediction_interval(NEW)
        measured = truth + rng.normal(scale=sigma, size=truth.shape)
        observation += (low <= measured) & (measured <= high)
        free = ~fit.at_bound[0]
        slopes = [0.9 * s / (1 + s @ fit.weights[0])[:, None] ** 2 for s in (runs, new)]
        jacobian, gradient = (slope[:, free] for slope in slopes)
        variance = (fit.residuals[:, 0] ** 2).sum() / (9 - free.sum())
        of_mean = variance * np.diag(gradient @ np.linalg.inv(jacobian.T @ jacobian) @ gradient.T)
        centre = closed_form(fit.weights[:1], new, 0.1)[:, 0]
        held += np.abs(truth[:, 0] - centre) <= student_t.ppf(0.975, 9 - free.sum()) * np.sqrt(of_mean)
    return mean, observation, held


def test_intervals_cover_what_they_say():
    mean, observation, _ = covers([[0.30, 0.05], [0.05, 0.20]], 0.02, 200, seed=0)
    for count in (*mean.ravel(), *observation.ravel()):
        assert binomtest(int(count), 200, 0.95).pvalue > 1e-3


@pytest.mark.parametrize("small", [0.0, 0.0005])
def test_intervals_cover_at_least_that_at_the_bound(small):
    """The weight is zero, or half a standard error above; its interval counts the variance it would have unbounded."""
    mean, observation, held = covers([[0.30, small], [0.05, 0.20]], 0.02, 200, seed=1)
    for count in (*mean.ravel(), *observation.ravel()):
        assert binomtest(int(count), 200, 0.95, alternative="less").pvalue > 1e-3
    if small:
        assert held[2] < 0.8 * 200  # taking the weight for a known zero would promise too much
        assert mean[2, 0] >= 0.95 * 200


def test_intervals_are_cut_off_where_accuracies_end_and_grow_with_the_level():
    fit = fit_payoff(GRID, noisy(WEIGHTS, 0.3, np.random.default_rng(14)), GROUPS)
    low, high = fit.prediction_interval(GRID, 0.999)
    assert (low.min(), high.max()) == (0.0, 1.0)
    assert low.shape == high.shape == (27, 3)
    narrow = fit.prediction_interval(GRID, 0.5)
    assert ((low <= narrow[0]) & (narrow[1] <= high)).all()
    np.testing.assert_allclose(fit.confidence_interval(GRID, 1e-12)[0], closed_form(fit.weights), atol=1e-9)
    np.testing.assert_array_equal(fit.confidence_interval(np.zeros(6)), 0.0)  # known without any training


# ---- the record ----------------------------------------------------------------------------------------------------


def test_the_record_is_read_only_and_survives_copies():
    fit = fit_payoff(GRID, noisy(WEIGHTS, 0.05, np.random.default_rng(15)), GROUPS)
    for twin in (fit, pickle.loads(pickle.dumps(fit)), copy.deepcopy(fit)):
        assert isinstance(twin, FittedPayoff)
        np.testing.assert_array_equal(twin.covariance, fit.covariance)
        assert repr(twin) == repr(fit)
        with pytest.raises(ValueError, match="read-only"):
            twin.weights[0, 0] = 1.0
        with pytest.raises(AttributeError):
            twin.weights = None
    assert repr(fit).startswith("FittedPayoff(groups=3, runs=27, r_squared=[0.9")


def test_the_old_door_stays_open():
    pytest.importorskip("torch")
    assert fs.federated.fit_payoff is fit_payoff
    assert fs.federated.FittedPayoff is FittedPayoff


@pytest.mark.parametrize(
    ("point_weights", "message"),
    [
        (np.ones(5), r"point_weights must have shape \(27,\) or \(27, 3\).*got \(5,\)"),
        (1.0, r"point_weights must have shape .*got \(\)"),
        (-np.ones(27), "point_weights must be at least 0; got -1"),
        (np.full(27, np.nan), "every entry of point_weights must be finite"),
        (np.zeros(27), "point_weights must not all be 0"),
        (np.arange(27) < 3, "contributions must tell 3 groups apart in more than 3 runs; got 3 runs"),
        (np.arange(27)[:, None] < [27, 27, 4], "contributions must tell 3 groups apart .*; got 4 runs .* rank 2"),
    ],
)
def test_fit_refuses_point_weights(point_weights, message):
    with pytest.raises(ValueError, match=message):
        fit_payoff(GRID, GOOD, GROUPS, point_weights=point_weights)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0],), r"contributions must have shape \(\.\.\., 6\)"),
        ((-np.ones(6),), "contributions must be at least 0"),
        ((np.ones(6), 1.0), r"level must lie in \(0, 1\); got 1"),
        ((np.ones(6), -0.1), "level must lie in"),
    ],
)
def test_intervals_refuse(arguments, message):
    fit = fit_payoff(GRID, GOOD, GROUPS)
    with pytest.raises(ValueError, match=message):
        fit.prediction_interval(*arguments)
    with pytest.raises(ValueError, match="point_weight must lie in"):
        fit.prediction_interval(np.ones(6), point_weight=0.0)
