"""Sampled Shapley values: unbiased, with standard errors that mean what they say, settled by the seed."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

import fedshap as fs
from fedshap.shapley import permutations
from games import brute_potential, brute_shapley, custom_case, derivative, game_of, random_cases

SAMPLED: list[tuple[str, Callable, Callable]] = [
    ("values", fs.shapley_values, lambda case, s: [brute_shapley(case.plain, s, i) for i in range(case.n)]),
    (
        "gradient",
        fs.shapley_gradient,
        lambda case, s: [derivative(lambda x, i=i: brute_shapley(case.plain, x, i), s, i) for i in range(case.n)],
    ),
    ("potential", fs.shapley_potential, lambda case, s: brute_potential(case.plain, s)),
]
sampled = pytest.mark.parametrize(("function", "exact"), [x[1:] for x in SAMPLED], ids=[x[0] for x in SAMPLED])
pairing = pytest.mark.parametrize("antithetic", [False, True], ids=["alone", "in pairs"])

FOUR = [2.0, 0.3, 5.0, 1.0]


@sampled
@pairing
def test_estimates_are_right_within_their_standard_errors(function: Callable, exact: Callable, antithetic: bool):
    case = random_cases(4, seed=41)[1]
    options = {"method": "permutation", "permutations": 2000, "antithetic": antithetic, "rng": 3}
    estimate = function(game_of(case.payoff), FOUR, **options)
    assert (np.abs(estimate.values - exact(case, FOUR)) <= 4.5 * estimate.standard_errors).all()
    assert (estimate.standard_errors < 0.05).all()


@sampled
@pairing
def test_standard_errors_and_intervals_are_the_spread_over_seeds(
    function: Callable, exact: Callable, antithetic: bool
) -> None:
    """400 seeds: a standard error is known to 3.5 %, the share of intervals that cover to 1.1 points."""
    case, orders = random_cases(4, seed=41)[1], 60
    options = {"method": "permutation", "permutations": orders, "antithetic": antithetic}
    runs = [function(game_of(case.payoff), FOUR, rng=seed, **options) for seed in range(400)]
    truth, values = exact(case, FOUR), np.array([run.values for run in runs])
    spread = values.std(axis=0, ddof=1)
    assert_allclose(np.sqrt(np.mean([run.standard_errors**2 for run in runs], axis=0)), spread, rtol=0.16)
    assert (np.abs(values.mean(axis=0) - truth) <= 4.5 * spread / np.sqrt(400)).all()
    for level in (0.5, 0.95):
        low, high = np.array([run.interval(level) for run in runs]).swapaxes(0, 1)
        covered = ((low <= truth) & (truth <= high)).mean(axis=0)
        assert (np.abs(covered - level) <= 4.0 * np.sqrt(level * (1.0 - level) / 400) + 0.005).all()
    assert {run.degrees_of_freedom for run in runs} == {(orders // 2 if antithetic else orders) - 1}


@pairing
def test_mean_and_error_are_those_of_the_draws(antithetic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The textbook's mean and standard error over all draws at once, whatever the blocks they were taken in."""
    payoff, s = random_cases(4, seed=41)[1].payoff, np.array(FOUR)
    rng, draws = np.random.default_rng(8), []
    for _ in range(30 // (1 + antithetic)):
        order = rng.permutation(4)
        both = [permutations.marginal_contributions(payoff, s, way) for way in (order, order[::-1])]
        draws.append(np.mean(both, axis=0) if antithetic else both[0])
    for chunk in (4, 12, 1 << 18):
        monkeypatch.setattr(permutations, "_CHUNK", chunk)
        options = {"method": "permutation", "permutations": 30, "antithetic": antithetic, "rng": 8}
        values, errors = fs.shapley_values(game_of(payoff), s, **options)
        assert_allclose(values, np.mean(draws, axis=0), rtol=1e-12)
        assert_allclose(errors, stats.sem(draws, axis=0), rtol=1e-10)


def test_intervals_of_200_permutations_cover_94_to_96_percent() -> None:
    """App. E's thirty agents: of 6,000 intervals, the share that covers is known to about 0.4 points."""
    weights = [[3.1e-3, 4.7e-4, 4.4e-4], [6.7e-4, 1.9e-3, 6.5e-4], [9.3e-4, 8.3e-4, 2.1e-3]]
    game, s = game_of(fs.PowerLaw(weights=weights, groups=np.repeat([0, 1, 2], 10))), np.full(30, 60.0)
    exact, covered = fs.shapley_values(game, s), []
    for seed in range(200):
        low, high = fs.shapley_values(game, s, method="permutation", permutations=200, rng=seed).interval()
        covered.append((low <= exact) & (exact <= high))
    assert 0.94 <= np.mean(covered) <= 0.96


def test_an_interval_is_students() -> None:
    run = fs.shapley_values(game_of(fs.PowerLaw(3)), [1.0, 2.0, 3.0], method="permutation", permutations=30, rng=1)
    for level in (0.8, 0.95, 0.999):
        expected = stats.t.interval(level, 29, loc=run.values, scale=run.standard_errors)
        assert_allclose(run.interval(level), expected, rtol=1e-12)
    for level in (0.0, 1.0, -0.5, 2.0, np.nan):
        with pytest.raises(ValueError, match=r"level must"):
            run.interval(level)


def test_an_estimate_unpacks_in_two_and_survives_pickling_and_copying() -> None:
    run = fs.shapley_values(game_of(fs.PowerLaw(3)), [1.0, 2.0, 3.0], method="permutation", permutations=40, rng=1)
    values, errors = run
    assert values is run.values
    assert errors is run.standard_errors
    for again in (pickle.loads(pickle.dumps(run)), copy.deepcopy(run), copy.copy(run)):
        assert isinstance(again, fs.Estimate)
        assert_array_equal(again.values, values)
        assert_array_equal(again.standard_errors, errors)
        assert again.degrees_of_freedom == 39
        assert_array_equal(again.interval(0.9), run.interval(0.9))


@sampled
def test_pairs_pay_where_returns_diminish(function: Callable, exact: Callable) -> None:
    game, s = game_of(fs.PowerLaw(6)), [1.0, 0.2, 2.0, 3.0, 0.5, 9.0]
    draw = partial(function, game, s, method="permutation", permutations=4000, rng=5)
    assert (draw(antithetic=True).standard_errors <= 0.95 * draw().standard_errors).all()


@sampled
def test_a_seed_settles_the_estimate(function: Callable, exact: Callable) -> None:
    game, s = game_of(fs.PowerLaw(3)), [1.0, 2.0, 3.0]
    draw = partial(function, game, s, method="permutation", permutations=30)
    first, again, other = draw(rng=7), draw(rng=np.random.default_rng(7)), draw(rng=8)
    assert_array_equal(first.values, again.values)
    assert_array_equal(first.standard_errors, again.standard_errors)
    assert (np.atleast_1d(first.values) != np.atleast_1d(other.values)).any()


def test_sampling_divides_the_surplus_on_every_draw() -> None:
    case, s = random_cases(6, seed=2)[3], [1.0, 0.0, 2.0, 3.0, 0.5, 9.0]
    values, errors = fs.shapley_values(game_of(case.payoff), s, method="permutation", permutations=30, rng=0)
    assert_allclose(values.sum(), sum(case.plain(s)) - sum(case.plain([0.0] * 6)), rtol=1e-12)
    assert values[1] == errors[1] == 0.0
    assert (np.delete(errors, 1) > 0.0).all()


@sampled
def test_one_agent_has_no_sampling_error(function: Callable, exact: Callable) -> None:
    case = random_cases(1, seed=3)[1]
    values, errors = function(game_of(case.payoff), [2.5], method="permutation", rng=0)
    assert_allclose(values, exact(case, [2.5]), rtol=1e-12)
    assert (errors == 0.0).all()


def test_draws_that_agree_are_not_taken_for_certainty() -> None:
    """A prize for all forty together: in thirty orders most agents are never the last, and seem to add nothing."""
    prize = fs.CustomPayoff(lambda s: np.ones(40) * (s.min(axis=-1, keepdims=True) > 0.0), 40)
    run = fs.shapley_values(game_of(prize), np.ones(40), method="permutation", permutations=30, rng=0)
    never = run.values == 0.0
    assert never.sum() >= 10
    assert_allclose(run.standard_errors[never], 40.0 / 30.0)
    low, high = run.interval()
    assert ((low <= 1.0) & (high >= 1.0)).all()  # everybody's share is 1


def test_derivatives_that_agree_are_not_taken_for_certainty() -> None:
    data = fs.RandomDiscovery([[0.5], [0.25], [0.25]])
    for function in (fs.shapley_gradient, fs.shapley_potential):
        run = function(game_of(data), [1.0, 1.0, 0.0], method="permutation", permutations=50, rng=0)
        assert (run.standard_errors > 0.0).all()


MANY = 2000


@pytest.mark.parametrize("statistic", [permutations.marginal_contributions, permutations.marginal_gradients])
@pytest.mark.parametrize("own", [False, True], ids=["power law", "custom"])
def test_memory_grows_with_the_agents_not_with_their_square(statistic: permutations.Statistic, own: bool) -> None:
    """2000 agents: their square takes 32 MB."""
    payoff: fs.Payoff = fs.PowerLaw(MANY)
    if own:
        payoff = fs.CustomPayoff(lambda s: np.sqrt(s.sum(axis=-1, keepdims=True)) + 0.0 * s, MANY)
    tracemalloc.start()
    try:
        permutations.sample_orders(payoff, np.ones(MANY), 2, np.random.default_rng(0), statistic, False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 16e6


def test_slopes_one_agent_a_row_are_entries_of_the_gradient() -> None:
    case, rng = custom_case(5, seed=9), np.random.default_rng(0)
    s, agents = rng.uniform(0.0, 3.0, (7, 5)), rng.integers(0, 5, 7)
    s[2, agents[2]] = 0.0
    expected = case.payoff.total_gradient(s)[np.arange(7), agents]
    assert_allclose(case.payoff.total_slopes(s, agents), expected, rtol=1e-14)
    without = fs.CustomPayoff(case.payoff.values, 5)
    assert_allclose(without.total_slopes(s, agents), expected, rtol=1e-7)


@sampled
def test_long_orders_are_cut_where_memory_asks_for_it(
    function: Callable, exact: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    game, s = game_of(random_cases(5, seed=1)[2].payoff), [1.0, 0.0, 2.0, 3.0, 0.5]
    draw = partial(function, game, s, method="permutation", permutations=40, antithetic=True, rng=3)
    whole = draw()
    for rows in (1, 2, 3):
        monkeypatch.setattr(permutations, "_CHUNK", rows * 5)
        assert_allclose(draw().values, whole.values, rtol=1e-14)
