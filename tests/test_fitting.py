"""Fitting the closed form: recovery, coverage, bounds, and what it cannot represent."""

import itertools

import numpy as np
import pytest
from scipy.optimize import curve_fit, minimize
from scipy.stats import binomtest
from scipy.stats import t as student_t

from fedshap.federated import (
    AccuracyDrop,
    accuracy_drops,
    contribution_grid,
    fit_payoff,
)

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
        ((GRID * [1, 1, 1, 0, 0, 1], GOOD, GROUPS), "contributions must tell 3 groups apart .* rank 2"),
        ((GRID, np.full_like(GOOD, 0.5), GROUPS), "accuracies must differ between runs; group 0 has one value in all"),
    ],
)
def test_fit_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_payoff(*arguments)


@pytest.mark.parametrize("chance", [-0.1, 1.0, np.nan])
def test_fit_refuses_a_chance_level_outside_zero_one(chance):
    with pytest.raises(ValueError, match="chance must lie in"):
        fit_payoff(GRID, GOOD, GROUPS, chance=chance)
