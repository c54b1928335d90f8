"""Sampled Shapley values: unbiased, with standard errors that mean what they say, settled by the seed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import brute_potential, brute_shapley, derivative, game_of, random_cases

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


@sampled
def test_estimates_are_right_within_their_standard_errors(function: Callable, exact: Callable) -> None:
    case, s = random_cases(4, seed=41)[1], [2.0, 0.3, 5.0, 1.0]
    estimate = function(game_of(case.payoff), s, method="permutation", permutations=2000, rng=3)
    assert (np.abs(estimate.values - exact(case, s)) <= 4.5 * estimate.standard_errors).all()
    assert (estimate.standard_errors < 0.05).all()


@sampled
def test_standard_errors_are_the_spread_over_seeds(function: Callable, exact: Callable) -> None:
    case, s = random_cases(4, seed=41)[1], [2.0, 0.3, 5.0, 1.0]
    runs = [function(game_of(case.payoff), s, method="permutation", permutations=2, rng=seed) for seed in range(800)]
    spread = np.std([run.values for run in runs], axis=0, ddof=1)
    # Spread and errors are each known to about 4 %, of 800 seeds; the sample is as small as it may be, where a
    # variance divided by 2 instead of 1 would be off by 30 %.
    assert_allclose(np.sqrt(np.mean([run.standard_errors**2 for run in runs], axis=0)), spread, rtol=0.2)
    mean = np.mean([run.values for run in runs], axis=0)
    assert (np.abs(mean - exact(case, s)) <= 4.5 * spread / np.sqrt(800)).all()


@sampled
def test_a_seed_settles_the_estimate(function: Callable, exact: Callable) -> None:
    game, s = game_of(fs.PowerLaw(3)), [1.0, 2.0, 3.0]
    draw = partial(function, game, s, method="permutation", permutations=20)
    first, again, other = draw(rng=7), draw(rng=np.random.default_rng(7)), draw(rng=8)
    assert_array_equal(first.values, again.values)
    assert_array_equal(first.standard_errors, again.standard_errors)
    assert (np.atleast_1d(first.values) != np.atleast_1d(other.values)).any()


def test_sampling_divides_the_surplus_on_every_draw() -> None:
    case, s = random_cases(6, seed=2)[3], [1.0, 0.0, 2.0, 3.0, 0.5, 9.0]
    values, errors = fs.shapley_values(game_of(case.payoff), s, method="permutation", permutations=2, rng=0)
    assert_allclose(values.sum(), sum(case.plain(s)) - sum(case.plain([0.0] * 6)), rtol=1e-12)
    assert values[1] == errors[1] == 0.0


def test_one_agent_has_no_sampling_error() -> None:
    case = random_cases(1, seed=3)[1]
    values, errors = fs.shapley_values(game_of(case.payoff), [2.5], method="permutation", rng=0)
    assert_allclose(values, [case.plain([2.5])[0] - case.plain([0.0])[0]], rtol=1e-12)
    assert errors[0] < 1e-15
