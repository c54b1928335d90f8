"""Sampled semivalues: right on average, with intervals that hold, within the budget, in any unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom
from test_cooperative import CLASSICS, Classic, table_of

from fedshap import cooperative
from fedshap._coalitions import shapley_weights
from fedshap.cooperative import design, sampling, surrogate
from fedshap.cooperative.evaluation import Evaluator
from fedshap.cooperative.weights import beta_weights

METHODS = ["regression", "stratified", "permutation"]
methods = pytest.mark.parametrize("method", METHODS)
SEMIVALUES: dict[str, Callable[..., cooperative.CooperativeValues]] = {
    "shapley": cooperative.shapley,
    "banzhaf": cooperative.banzhaf,
    "beta(4, 1)": lambda values, **more: cooperative.beta_shapley(values, 4, 1, **more),
    "beta(1, 2)": lambda values, **more: cooperative.beta_shapley(values, 1, 2, **more),
}
semivalues = pytest.mark.parametrize("semivalue", SEMIVALUES)


def all_members(n: int) -> np.ndarray:
    return (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(bool)


def wavy_table(n: int) -> np.ndarray:
    """A game with interactions of all orders."""
    rng = np.random.default_rng(n)
    members = all_members(n)
    smooth = 1.0 - 1.0 / (1.0 + members @ rng.exponential(1.0, n))
    return (
        2.0 + smooth + np.tanh(members @ rng.normal(size=(n, 4))) @ rng.normal(size=4) + 0.05 * rng.normal(size=1 << n)
    )


def votes_of(n: int) -> np.ndarray:
    return 1.0 + np.arange(n) % 4


# ---- right on average -------------------------------------------------------------------------------


@semivalues
@methods
def test_unbiased_with_intervals_that_hold(method: str, semivalue: str) -> None:
    """Over 200 seeds: mean errors within 4.5 of their own standard errors, and 95 % intervals that hold.

    Each player's count of intervals is binomial; with 8 players it lies above the 1e-5 quantile of 93 %.
    """
    table = wavy_table(8)
    value = SEMIVALUES[semivalue]
    exact = value(table).values
    found = [value(table, method=method, budget=150, rng=seed) for seed in range(200)]
    errors = np.array([each.values for each in found]) - exact
    assert (np.abs(errors.mean(axis=0)) <= 4.5 * errors.std(axis=0, ddof=1) / np.sqrt(200)).all()
    held = np.array([(low <= exact) & (exact <= high) for low, high in (each.interval(0.95) for each in found)])
    assert (held.sum(axis=0) >= binom.ppf(1e-5, 200, 0.93)).all()
    claimed = np.sqrt(np.mean([each.standard_errors**2 for each in found], axis=0))
    assert (claimed <= 2.0 * errors.std(axis=0)).all()
    assert max(each.evaluations for each in found) <= 150


@pytest.mark.parametrize("game", CLASSICS, ids=[game.id for game in CLASSICS])
@methods
def test_classics(method: str, game: Classic) -> None:
    table = table_of(game.worth, game.n)
    found = cooperative.shapley(table, method=method, budget=1000, rng=0)  # type: ignore[arg-type]
    scale = np.ptp(table)
    assert (np.abs(found.values - game.shapley) <= 5.0 * found.standard_errors + 1e-10 * scale).all()
    if method != "permutation" or game.n <= 2:  # every coalition was seen
        assert_allclose(found.values, game.shapley, atol=1e-12 * scale)
        assert found.method == "exact"
        assert_array_equal(found.standard_errors, 0.0)


@methods
def test_a_hundred_players(method: str) -> None:
    """The runway of player i has length i + 1, and she shares stretch k with the 100 - k who need it."""
    lengths = np.arange(1.0, 101.0)
    exact = np.cumsum(1.0 / np.arange(100, 0, -1))
    found = cooperative.shapley(
        lambda m: (m * lengths).max(axis=1), 100, vectorised=True, method=method, budget=6000, rng=1
    )
    low, high = found.interval(0.95)
    assert np.mean((low <= exact) & (exact <= high)) >= 0.85
    assert abs(found.budget_gap) < 1e-10
    assert found.evaluations <= 6000
    errors, claimed = (np.sqrt(np.mean(x**2)) for x in (found.values - exact, found.standard_errors))
    # Fifteen pairs of orders never see what most players add, and say so: hence the large errors they claim.
    assert 0.7 < claimed / errors < (2.5 if method == "permutation" else 1.5)


@methods
def test_shapley_values_share_everything_on_every_draw(method: str) -> None:
    table = wavy_table(9)
    for seed in range(5):
        found = cooperative.shapley(table, method=method, budget=200, rng=seed)  # type: ignore[arg-type]
        assert abs(found.budget_gap) < 1e-12
        assert found.total == table[-1] - table[0]


def test_pairs_cancel_what_is_even() -> None:
    """Products of two players add the same to S and its complement: the fit of single players is then exact."""
    rng = np.random.default_rng(4)
    members = all_members(10).astype(float)
    table = members @ rng.normal(size=10) + np.einsum("ki,ij,kj->k", members, rng.normal(size=(10, 10)), members)
    found = cooperative.shapley(table, method="regression", budget=120, rng=0)
    assert_allclose(found.values, cooperative.shapley(table).values, atol=1e-8)


def test_regression_beats_what_it_starts_from() -> None:
    table = wavy_table(12)
    exact = cooperative.shapley(table).values

    def error(method: Any) -> float:
        found = [cooperative.shapley(table, method=method, budget=400, rng=seed).values for seed in range(10)]
        return float(np.sqrt(np.mean((np.array(found) - exact) ** 2)))

    assert error("regression") < 0.6 * min(error("stratified"), error("permutation"))


# ---- the pieces -------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [shapley_weights(7), beta_weights(7, 3.0, 1.0), shapley_weights(6)])
def test_features_have_the_semivalues_of_the_games_they_are(weights: np.ndarray) -> None:
    """Every column of the fit, taken for a game, against the exact values of that game."""
    n = len(weights)
    table = wavy_table(n)
    drawn = design.Design(weights, np.random.default_rng(0))
    drawn.draw(Evaluator(sampling.look_up(table), n, vectorised=True), int(drawn.size), np.ones(len(drawn.strata)))
    coefficients = np.concatenate([x.coefficients() / x.drawn for x in drawn.strata])  # all drawn: the sum is exact
    blocks = [
        surrogate._constants(drawn.strata),
        *surrogate._members(drawn),
        surrogate._products(drawn),
    ]
    for block in blocks:
        assert_allclose(block.semivalues, coefficients.T @ block.features, atol=1e-12)


@pytest.mark.parametrize(("n", "middle"), [(7, False), (8, True)])
def test_draws_are_distinct_and_in_the_end_all(n: int, middle: bool) -> None:
    size = n // 2
    count = 35
    rows = [bytes(row) for row in design._distinct_subsets(n, size, middle, count, np.random.default_rng(3))]
    assert len(rows) == len(set(rows)) == count
    assert all(sum(row) == size for row in rows)
    assert not middle or all(row[0] for row in rows)


def test_draws_go_where_they_count() -> None:
    drawn = design.Design(shapley_weights(20), np.random.default_rng(0))
    draws = design.allocation(drawn.strata, 500, np.where(np.arange(11) == 5, 1.0, 0.01))
    assert draws.sum() == 500
    assert draws[5] > 400
    assert (draws >= np.minimum([x.count for x in drawn.strata], design.LEAST)).all()
    everything = design.allocation(drawn.strata, 10**9, np.ones(11))
    assert everything.sum() == 2**19


def test_sizes_of_no_weight_are_not_asked_for() -> None:
    asked = []

    def worth(members: tuple[int, ...]) -> float:
        asked.append(len(members))
        return float(len(members) ** 2)

    weights = np.zeros(30)
    weights[0] = 1.0
    found = cooperative.semivalue(worth, weights, 30, budget=40, rng=0)
    assert_allclose(found.values, 1.0)
    assert found.method == "exact"
    assert set(asked) == {0, 1, 30}
    assert found.evaluations == 32


# ---- errors that mean something ---------------------------------------------------------------------


@methods
def test_no_estimate_is_certain_because_no_draw_differs(method: str) -> None:
    """Thirty of fifty carry it together: no draw but the first pair shows anything."""
    found = cooperative.shapley(
        lambda m: m[:, :30].all(axis=1) * 1.0, 50, vectorised=True, method=method, budget=3000, rng=0
    )
    assert (found.standard_errors > 0.0).all()
    exact = np.where(np.arange(50) < 30, 1 / 30, 0.0)
    low, high = found.interval(0.999)
    assert ((low <= exact) & (exact <= high)).all()


@methods
def test_a_game_in_which_nothing_is_worth_anything_has_no_scale(method: str) -> None:
    found = cooperative.shapley(lambda m: 0.0, 25, method=method, budget=1000, rng=0)
    assert_array_equal(found.values, 0.0)
    assert_array_equal(found.standard_errors, np.inf)


@methods
def test_sampling_stops_at_the_tolerance(method: str) -> None:
    votes = votes_of(25)

    def wins(members: np.ndarray) -> np.ndarray:
        return (2 * members @ votes > votes.sum()) * 1.0

    coarse = cooperative.shapley(wins, 25, vectorised=True, method=method, tol=0.02, rng=0)
    fine = cooperative.shapley(wins, 25, vectorised=True, method=method, tol=0.01, rng=0)
    assert coarse.standard_errors.max() <= 0.02
    assert 0.004 < fine.standard_errors.max() <= 0.01
    assert coarse.evaluations < fine.evaluations
    with pytest.raises(cooperative.ToleranceError, match="budget") as caught:
        cooperative.shapley(wins, 25, vectorised=True, method=method, tol=1e-4, budget=1000, rng=0)
    best = caught.value.best
    assert best.evaluations <= 1000
    returned = cooperative.shapley(
        wins, 25, vectorised=True, method=method, tol=1e-4, budget=1000, rng=0, on_failure="return"
    )
    assert_array_equal(returned.values, best.values)


def test_a_small_game_with_a_tolerance_is_sampled_until_it_is_known() -> None:
    table = wavy_table(6)
    found = cooperative.shapley(lambda m: table[sum(1 << i for i in m)], 6, tol=1e-12, rng=0)
    assert found.method == "exact"
    assert found.evaluations == 64
    assert_allclose(found.values, cooperative.shapley(table).values, rtol=1e-11)


@methods
def test_a_seed_settles_the_estimate(method: str) -> None:
    table = wavy_table(8)
    draw = lambda rng: cooperative.shapley(table, method=method, budget=150, rng=rng)  # type: ignore[arg-type]  # noqa: E731
    first, again, other = draw(7), draw(np.random.default_rng(7)), draw(8)
    assert_array_equal(first.values, again.values)
    assert_array_equal(first.standard_errors, again.standard_errors)
    assert (first.values != other.values).any()


@pytest.mark.parametrize("unit", [1e-290, 1e-15, 3.0, 1e15, 1e290])
@methods
def test_any_unit(method: str, unit: float) -> None:
    table = wavy_table(8)
    draw = lambda x: cooperative.shapley(x, method=method, budget=150, rng=5)  # type: ignore[arg-type]  # noqa: E731
    plain, scaled = draw(table), draw(table * unit)
    assert_allclose(scaled.values, plain.values * unit, rtol=1e-6)
    assert_allclose(scaled.standard_errors, plain.standard_errors * unit, rtol=1e-6)
    assert scaled.evaluations == plain.evaluations


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_a_tolerance_in_any_unit(unit: float) -> None:
    table = wavy_table(9)
    plain = cooperative.shapley(table, method="regression", tol=0.01, rng=2)
    scaled = cooperative.shapley(table * unit, method="regression", tol=0.01 * unit, rng=2)
    assert scaled.evaluations == plain.evaluations
    assert_allclose(scaled.values, plain.values * unit, rtol=1e-6)
