"""Ask and tell: plans of coalitions, and what is made of the values that come back."""

from __future__ import annotations

import copy
import pickle
from math import comb
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import binom
from test_cooperative import CLASSICS, Classic, table_of
from test_cooperative_sampling import all_members, wavy_table

from fedshap import cooperative
from fedshap._coalitions import shapley_weights
from fedshap.cooperative import SamplingPlan, regression, sampling_plan
from fedshap.cooperative.design import LEAST, Design


def values_of(plan: SamplingPlan, *tables: np.ndarray) -> np.ndarray:
    """What the plan's coalitions are worth in games given as tables, a column each."""
    return np.stack(tables, axis=-1)[plan.members @ (1 << np.arange(plan.n_players))]


# ---- which coalitions -------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "evaluations"), [(4, 14), (5, 21), (8, 100), (9, 101), (12, 60), (40, 500), (130, 1000)])
def test_a_plan_holds_pairs_of_complements_within_the_budget(n: int, evaluations: int) -> None:
    plan = sampling_plan(n, evaluations, rng=3)
    assert plan.members.shape == (evaluations - evaluations % 2, n) == (plan.evaluations, plan.n_players)
    assert plan.members.dtype == bool
    assert not plan.members[0].any()
    assert plan.members[-1].all()
    assert_array_equal(plan.members, ~plan.members[::-1])
    assert len(np.unique(plan.members, axis=0)) == plan.evaluations
    counts = np.bincount(plan.members.sum(axis=1), minlength=n + 1)
    assert (counts >= [min(LEAST, comb(n, k)) for k in range(n + 1)]).all()
    assert not plan.complete


@pytest.mark.parametrize("n", [1, 2, 3, 6])
@pytest.mark.parametrize("more", [0, 1, 100])
def test_from_two_to_the_n_on_a_plan_holds_all(n: int, more: int) -> None:
    plan = sampling_plan(n, 2**n + more)
    assert plan.complete
    assert_array_equal(plan.members, all_members(n))


def test_a_seed_settles_the_plan() -> None:
    first, again, other = (sampling_plan(10, 100, rng) for rng in (5, np.random.default_rng(5), 6))
    assert_array_equal(first.members, again.members)
    assert (first.members != other.members).any()


def test_every_player_is_in_as_many_coalitions_as_any_other() -> None:
    """A complement takes the place of whoever was left out: each player is in half of the coalitions."""
    assert_array_equal(sampling_plan(12, 300, rng=0).members.sum(axis=0), 150)


# ---- what comes of them -----------------------------------------------------------------------------


@pytest.mark.parametrize("game", CLASSICS, ids=[game.id for game in CLASSICS])
def test_all_coalitions_give_exact_values(game: Classic) -> None:
    table = np.array(table_of(game.worth, game.n))
    found = sampling_plan(game.n, 2**game.n).estimate(table)
    whole = cooperative.shapley(table)
    assert_array_equal(found.values, whole.values)
    assert_allclose(found.values, game.shapley, atol=1e-12 * np.ptp(table))
    assert_array_equal(found.standard_errors, 0.0)
    assert_array_equal(found.degrees_of_freedom, np.inf)
    assert (found.total, found.evaluations) == (whole.total, whole.evaluations)
    assert (found.method, found.semivalue) == ("exact", "shapley")


def test_all_coalitions_in_any_order_give_exact_values() -> None:
    table = wavy_table(5)
    order = np.random.default_rng(0).permutation(15) + 1
    half = np.concatenate([[0], np.where(order % 2, order, 31 - order)])
    plan = SamplingPlan(all_members(5)[np.concatenate([half, 31 - half[::-1]])])
    assert_array_equal(plan.estimate(values_of(plan, table)[:, 0]).values, cooperative.shapley(table).values)


@pytest.mark.parametrize(("n", "evaluations"), [(8, 150), (9, 200), (30, 300)])
def test_asking_and_telling_is_what_a_game_that_is_asked_does_first(n: int, evaluations: int) -> None:
    def worth(members: np.ndarray) -> np.ndarray:
        return np.tanh(members @ np.linspace(-1.0, 0.5, n)) + 2.0

    drawn = Design(shapley_weights(n), np.random.default_rng(4))
    drawn.draw(worth, evaluations // 2, np.ones(len(drawn.strata)))
    plan = sampling_plan(n, evaluations, rng=4)
    values = worth(plan.members)
    found = plan.estimate(values)
    asked = regression.estimate(drawn, float(np.ptp(values)), full=True)[0]
    for name, told in asked._asdict().items():
        assert_allclose(getattr(found, name), told, rtol=1e-12)


def test_no_estimate_is_certain_because_no_value_differs() -> None:
    """Where all coalitions are worth 5, that is the scale; where all are worth nothing, there is none."""
    found = sampling_plan(9, 100, rng=0).estimate(np.tile([5.0, 10.0, 0.0], (100, 1)))
    assert_allclose(found.values, 0.0, atol=1e-14)
    assert (found.standard_errors[:, 0] > 0.0).all()
    assert_allclose(found.standard_errors[:, 1], 2.0 * found.standard_errors[:, 0])
    assert np.isfinite(found.standard_errors[:, 1]).all()
    assert_array_equal(found.standard_errors[:, 2], np.inf)


def test_unbiased_with_intervals_that_hold() -> None:
    """Over 300 plans for 9 players: mean errors within 4.5 of their own standard errors, 95 % intervals that hold.

    Each player's count of intervals is binomial; with 9 players it lies above the 1e-5 quantile of 93 %.
    """
    tables = wavy_table(9), all_members(9)[:, :5].all(axis=1) * 1.0
    exact = np.stack([cooperative.shapley(table).values for table in tables], axis=-1)
    found = [(plan := sampling_plan(9, 200, seed)).estimate(values_of(plan, *tables)) for seed in range(300)]
    errors = np.array([each.values for each in found]) - exact
    assert (np.abs(errors.mean(axis=0)) <= 4.5 * errors.std(axis=0, ddof=1) / np.sqrt(300)).all()
    held = np.array([(low <= exact) & (exact <= high) for low, high in (each.interval(0.95) for each in found)])
    assert (held.sum(axis=0) >= binom.ppf(1e-5, 300, 0.93)).all()
    claimed = np.sqrt(np.mean([each.standard_errors**2 for each in found], axis=0))
    assert (claimed <= 2.0 * errors.std(axis=0)).all()


def test_as_precise_as_a_game_that_is_asked() -> None:
    """At equal evaluations, over 20 seeds: and twice as precise as the same number without a fit."""
    table = wavy_table(12)
    exact = cooperative.shapley(table).values
    plans = [sampling_plan(12, 400, seed) for seed in range(20)]
    told = np.array([plan.estimate(values_of(plan, table)[:, 0]).values for plan in plans])

    def error(values: Any) -> float:
        return float(np.sqrt(np.mean((np.array(values) - exact) ** 2)))

    def asked(method: Any) -> float:
        return error([cooperative.shapley(table, budget=400, method=method, rng=seed).values for seed in range(20)])

    assert error(told) < 1.2 * asked("regression")
    assert error(told) < 0.5 * asked("stratified")


def test_values_add_up_column_by_column() -> None:
    plan = sampling_plan(10, 150, rng=1)
    tables = [wavy_table(10), 1e6 + wavy_table(10), -1e-9 * wavy_table(10)]
    values = values_of(plan, *tables)
    found = plan.estimate(values)
    assert_array_equal(found.total, values[-1] - values[0])
    assert isinstance(found.budget_gap, np.ndarray)
    assert (np.abs(found.budget_gap) <= 1e-13 * np.abs(values).max(axis=0)).all()
    alone = plan.estimate(values[:, 0])
    assert isinstance(alone.total, float)
    assert isinstance(alone.budget_gap, float)


def test_columns_have_nothing_to_do_with_each_other() -> None:
    """Whatever stands beside it, a column's estimates are the same to the last bit."""
    plan = sampling_plan(9, 120, rng=1)
    values = values_of(plan, wavy_table(9), 1e12 * wavy_table(9) ** 2, np.zeros(512))
    together = plan.estimate(values)
    for k, column in enumerate(values.T):
        alone = plan.estimate(column)
        for name in ("values", "standard_errors", "degrees_of_freedom"):
            assert_array_equal(getattr(together, name)[:, k], getattr(alone, name))
        assert np.asarray(together.total)[k] == alone.total


def test_who_adds_nothing() -> None:
    """Exactly zero with all coalitions, and in an additive game to rounding; else zero is in the interval."""
    table = wavy_table(7)
    null = np.concatenate([table, table])  # player 7 changes nothing
    assert sampling_plan(8, 256).estimate(null).values[7] == 0.0
    additive = all_members(8) @ np.array([3.0, -1.0, 0.0, 2.5, 1e-3, 1.0, 5.0, 0.0])
    for seed in range(20):
        plan = sampling_plan(8, 150, seed)
        found = plan.estimate(values_of(plan, null, additive))
        low, high = found.interval(0.9999)
        assert low[7, 0] <= 0.0 <= high[7, 0]
        assert_allclose(found.values[[2, 7], 1], 0.0, atol=1e-12)


def test_a_game_without_interactions_of_three_is_solved_by_few() -> None:
    rng = np.random.default_rng(4)
    weights, pairs = rng.normal(size=20), np.triu(rng.normal(size=(20, 20)), 1)
    plan = sampling_plan(20, 150, rng=0)
    x = plan.members.astype(float)
    found = plan.estimate(x @ weights + np.einsum("ki,ij,kj->k", x, pairs, x))
    assert_allclose(found.values, weights + (pairs + pairs.T).sum(axis=1) / 2.0, atol=1e-8)
    low, high = found.interval(0.99)
    assert (low < high).all()


@pytest.mark.parametrize("unit", [1e-290, 1e-15, 1e15, 1e290])
@pytest.mark.parametrize("evaluations", [150, 256])
def test_any_unit(unit: float, evaluations: int) -> None:
    plan = sampling_plan(8, evaluations, rng=2)
    values = values_of(plan, wavy_table(8), wavy_table(8) ** 2)
    plain, scaled = plan.estimate(values), plan.estimate(values * [unit, 1.0])
    for name in ("values", "standard_errors"):
        assert_allclose(getattr(scaled, name), getattr(plain, name) * [unit, 1.0], rtol=1e-6)
    assert_allclose(scaled.degrees_of_freedom, plain.degrees_of_freedom, rtol=1e-6)


def test_a_hundred_players() -> None:
    """The runway of player i has length i + 1, and she shares stretch k with the 100 - k who need it."""
    exact = np.cumsum(1.0 / np.arange(100, 0, -1))
    plan = sampling_plan(100, 6000, rng=1)
    found = plan.estimate((plan.members * np.arange(1.0, 101.0)).max(axis=1))
    low, high = found.interval(0.95)
    assert np.mean((low <= exact) & (exact <= high)) >= 0.85
    errors, claimed = (np.sqrt(np.mean(x**2)) for x in (found.values - exact, found.standard_errors))
    assert 0.7 < claimed / errors < 1.5


# ---- records ----------------------------------------------------------------------------------------


def test_a_plan_survives_a_session(tmp_path) -> None:
    plan = sampling_plan(9, 100, rng=0)
    values = values_of(plan, wavy_table(9), wavy_table(9) ** 2)
    found = plan.estimate(values)
    np.save(tmp_path / "plan.npy", plan.members)
    stored = SamplingPlan(np.load(tmp_path / "plan.npy"))
    for again in (stored, pickle.loads(pickle.dumps(plan)), copy.deepcopy(plan)):
        assert_array_equal(again.estimate(values).values, found.values)
        assert_array_equal(again.estimate(values).standard_errors, found.standard_errors)
        assert not again.members.flags.writeable
    assert repr(plan) == "SamplingPlan(members=<array 100 x 9>)"
    with pytest.raises(AttributeError, match="immutable"):
        plan.members = plan.members[::-1]  # type: ignore[misc]


def test_estimates_of_several_games_survive_a_session() -> None:
    for evaluations in (40, 64):
        plan = sampling_plan(6, evaluations, rng=0)
        found = plan.estimate(values_of(plan, wavy_table(6), np.zeros(64)))
        for again in (pickle.loads(pickle.dumps(found)), cooperative.CooperativeValues.from_json(found.to_json())):
            for name in ("values", "standard_errors", "degrees_of_freedom", "total"):
                assert_array_equal(getattr(again, name), getattr(found, name))


# ---- what is refused --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 10), "n_players must be an integer of at least 1"),
        ((3.0, 10), "n_players must be an integer"),
        ((5, 1), "evaluations must be an integer of at least 2"),
        ((5, 20), "rng must be given.*20 evaluations are fewer than the 2.5 coalitions"),
        ((5, 20, 0.5), "rng"),
        ((10, 31, 0), "evaluations=31 are too few for standard errors: 10 players take 32"),
    ],
)
def test_plans_refused(arguments: tuple, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sampling_plan(*arguments)


def test_the_fewest_evaluations_suffice() -> None:
    plan = sampling_plan(10, 32, rng=0)
    found = plan.estimate(values_of(plan, wavy_table(10)))
    assert np.isfinite(found.standard_errors).all()
    assert (found.standard_errors > 0.0).all()


@pytest.mark.parametrize(
    "values",
    [1.0, np.zeros(99), np.zeros((100, 2, 2)), np.zeros((100, 0)), np.zeros((9, 100)), ["a"] * 100],
    ids=["number", "short", "deep", "none", "turned", "words"],
)
def test_values_refused(values: object) -> None:
    with pytest.raises(ValueError, match="values must"):
        sampling_plan(9, 100, rng=0).estimate(values)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_missing_are_named(bad: float) -> None:
    values = np.ones((100, 2))
    values[17, 1] = bad
    with pytest.raises(ValueError, match=r"values must be finite; got .* at index \(17, 1\)"):
        sampling_plan(9, 100, rng=0).estimate(values)


def test_members_refused() -> None:
    members = sampling_plan(6, 40, rng=0).members
    swapped = members.copy()
    swapped[[1, 2]] = swapped[[2, 1]]
    twice = members.copy()
    twice[1], twice[-2] = twice[2], twice[-3]
    for bad, words in [
        (members.astype(int), "booleans"),
        (members[0], "booleans"),
        (members[:, :0], "booleans"),
        (members[::-1], "begin with the empty"),
        (members[:-1], "begin with the empty"),
        (swapped, "begin with the empty"),
        (twice, "each coalition once"),
        (members[[0, -1]], "at least 3 coalitions of 1 players; got 0"),
    ]:
        with pytest.raises(ValueError, match=words):
            SamplingPlan(bad)
