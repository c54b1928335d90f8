"""Semivalues of games given as a table, a dictionary or a function: exact values, and what is refused."""

from __future__ import annotations

import itertools
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap import cooperative

Game = Callable[[tuple[int, ...]], float]


class Classic(NamedTuple):
    """A game and its Shapley values, known by a formula."""

    id: str
    n: int
    worth: Game
    shapley: list[float]


CLASSICS = [
    Classic("additive", 5, lambda m: sum([3.0, -1.0, 0.0, 2.5, 1e-3][i] for i in m), [3.0, -1.0, 0.0, 2.5, 1e-3]),
    Classic("unanimity", 6, lambda m: float({0, 2, 5} <= set(m)), [1 / 3, 0, 1 / 3, 0, 0, 1 / 3]),
    Classic("majority", 7, lambda m: float(2 * len(m) > 7), [1 / 7] * 7),
    # Each stretch of the runway is shared by those who need it (Littlechild and Owen, 1973).
    Classic("airport", 4, lambda m: max([(1, 3, 4, 9)[i] for i in m], default=0), [0.25, 11 / 12, 17 / 12, 77 / 12]),
    # One left glove and two right ones.
    Classic("gloves", 3, lambda m: float(0 in m and len(m) > 1), [2 / 3, 1 / 6, 1 / 6]),
    # Votes 4, 3, 2, 1 and a quota of 6 (Shapley and Shubik, 1954).
    Classic("voting", 4, lambda m: float(sum(4 - i for i in m) >= 6), [5 / 12, 3 / 12, 3 / 12, 1 / 12]),
    Classic("nothing for nobody", 3, lambda m: 7.0 + len(m) ** 2, [3.0] * 3),
    Classic("one player", 1, lambda m: 5.0 + 2.0 * len(m), [2.0]),
    Classic("two players", 2, lambda m: [0.0, 1.0, 5.0][len(m)], [2.5, 2.5]),
]
classics = pytest.mark.parametrize("game", CLASSICS, ids=[game.id for game in CLASSICS])


def members_of(mask: int, n: int) -> tuple[int, ...]:
    return tuple(i for i in range(n) if mask >> i & 1)


def table_of(worth: Game, n: int) -> list[float]:
    return [worth(members_of(mask, n)) for mask in range(1 << n)]


def random_table(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([n, seed]).normal(size=1 << n) + 3.0


def by_orders(table: np.ndarray, n: int) -> list[float]:
    """Shapley's own story: the mean over all orders of what each adds to those before her."""
    values = [0.0] * n
    for order in itertools.permutations(range(n)):
        mask = 0
        for i in order:
            values[i] += (table[mask | 1 << i] - table[mask]) / math.factorial(n)
            mask |= 1 << i
    return values


def by_definition(table: np.ndarray, n: int, weight: Callable[[int], Any]) -> list[float]:
    """``sum over S without i of weight(|S|) (v(S + i) - v(S))``, in 30 digits."""
    with mp.workdps(30):
        return [
            float(
                mp.fsum(
                    weight(mask.bit_count()) * (mp.mpf(table[mask | 1 << i]) - mp.mpf(table[mask]))
                    for mask in range(1 << n)
                    if not mask >> i & 1
                )
            )
            for i in range(n)
        ]


# ---- values -----------------------------------------------------------------------------------------


@classics
def test_classics_by_every_way_in(game: Classic) -> None:
    n, table = game.n, table_of(game.worth, game.n)
    forms: list[Any] = [
        table,
        {members_of(mask, n): x for mask, x in enumerate(table)},
        {frozenset(members_of(mask, n)): x for mask, x in enumerate(table)},
        dict(enumerate(table)),
        {members_of(mask, n)[::-1] if mask % 2 else mask: x for mask, x in enumerate(table)},
    ]
    for values in forms:
        found = cooperative.shapley(values)
        assert_allclose(found.values, game.shapley, atol=1e-15 * max(map(abs, table)), rtol=1e-14)
        assert found.method == "exact"
        assert found.evaluations == 2**n
        assert_array_equal(found.standard_errors, 0.0)
        assert_array_equal(found.degrees_of_freedom, np.inf)
    asked = cooperative.shapley(game.worth, n)
    assert_array_equal(asked.values, cooperative.shapley(table).values)
    assert asked.evaluations == 2**n


@pytest.mark.parametrize("n", [3, 4, 5, 6])
def test_shapley_is_the_mean_over_all_orders(n: int) -> None:
    found = cooperative.shapley(random_table(n))
    assert_allclose(found.values, by_orders(random_table(n), n), rtol=1e-12)
    assert abs(found.budget_gap) < 1e-14
    assert found.total == random_table(n)[-1] - random_table(n)[0]


@pytest.mark.parametrize("n", [1, 3, 4, 6])
def test_banzhaf_by_definition(n: int) -> None:
    found = cooperative.banzhaf(random_table(n))
    expected = by_definition(random_table(n), n, lambda size: mp.mpf(1) / 2 ** (n - 1))
    assert_allclose(found.values, expected, rtol=1e-12)
    assert found.budget_gap == found.total - found.values.sum()


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (16, 1), (1, 4), (0.5, 2.5)])
@pytest.mark.parametrize("n", [3, 6])
def test_beta_shapley_by_definition(n: int, alpha: float, beta: float) -> None:
    """Kwon and Zou (2022): the weights are an integral over the chance t that another player is in."""

    def weight(size: int) -> Any:
        moment = mp.beta(size + beta, n - 1 - size + alpha)  # of t^size (1 - t)^(n - 1 - size)
        return moment / mp.beta(alpha, beta)

    found = cooperative.beta_shapley(random_table(n), alpha, beta)
    assert_allclose(found.values, by_definition(random_table(n), n, weight), rtol=1e-11)


def test_beta_shapley_goes_through_shapley() -> None:
    assert_allclose(
        cooperative.beta_shapley(random_table(5), 1, 1).values, cooperative.shapley(random_table(5)).values, rtol=1e-12
    )


def test_a_large_alpha_weighs_small_coalitions() -> None:
    """Here only a player who comes first adds anything."""
    first = table_of(lambda m: float(len(m) > 0), 5)
    small, same, large = (cooperative.beta_shapley(first, *x).values[0] for x in ((16, 1), (1, 1), (1, 16)))
    assert small > 0.6
    assert same == pytest.approx(0.2)
    assert large < 0.01


def test_own_weights() -> None:
    table = random_table(4)
    assert_allclose(
        cooperative.semivalue(table, [0.1, 0.2, 0.3, 0.4]).values,
        by_definition(table, 4, lambda size: mp.mpf([0.1, 0.2, 0.3, 0.4][size]) / math.comb(3, size)),
        rtol=1e-12,
    )
    alone = cooperative.semivalue(table, [1, 0, 0, 0])
    assert_allclose(alone.values, table[[1, 2, 4, 8]] - table[0], rtol=1e-14)


def test_what_each_leaves_of_the_budget() -> None:
    majority = table_of(lambda m: float(len(m) >= 2), 3)
    assert cooperative.shapley(majority).budget_gap == pytest.approx(0.0, abs=1e-15)
    assert cooperative.banzhaf(majority).budget_gap == pytest.approx(-0.5)  # each swings half the time
    unanimity = table_of(lambda m: float(len(m) == 4), 4)
    assert cooperative.banzhaf(unanimity).budget_gap == pytest.approx(0.5)


@pytest.mark.slow
def test_twenty_players() -> None:
    costs = np.sqrt(np.arange(1.0, 21.0))
    table = np.zeros(1)
    for cost in costs:
        table = np.concatenate([table, np.full(len(table), cost)])  # the last to come needs the longest runway
    expected = np.cumsum(np.diff(costs, prepend=0.0) / np.arange(20, 0, -1))
    found = cooperative.shapley(table)
    assert_allclose(found.values, expected, rtol=1e-12)
    asked = cooperative.shapley(lambda m: (m * costs).max(axis=1), 20, vectorised=True)
    assert_allclose(asked.values, expected, rtol=1e-12)
    assert asked.evaluations == 2**20


def test_null_players_get_exactly_nothing_and_twins_the_same() -> None:
    table = table_of(lambda m: 0.1 * len({0, 1} & set(m)) ** 0.3 + 0.7 * (2 in m), 5)
    values = cooperative.shapley(table).values
    assert values[3] == values[4] == 0.0
    assert values[0] == pytest.approx(values[1], rel=1e-15)


@pytest.mark.parametrize("unit", [1e-300, 1e-15, 1e15, 1e290])
def test_any_unit(unit: float) -> None:
    found = cooperative.shapley(random_table(5) * unit)
    assert_allclose(found.values, cooperative.shapley(random_table(5)).values * unit, rtol=1e-12)


def test_the_exponential_mixture_is_solved_by_the_package_itself() -> None:
    game = fs.Game(fs.PowerLaw(8, beta=0.5), fs.LinearCost(np.ones(8)))
    s = np.linspace(0.2, 3.0, 8)
    found = cooperative.shapley(lambda m: game.payoff.total(m * s), 8, vectorised=True)
    assert_allclose(found.values, fs.shapley_values(game, s), rtol=1e-12)


# ---- the record -------------------------------------------------------------------------------------


def test_a_result_survives() -> None:
    for found in (
        cooperative.shapley(random_table(3)),
        cooperative.banzhaf(random_table(6), method="stratified", budget=40, rng=1),
    ):
        for again in (pickle.loads(pickle.dumps(found)), cooperative.CooperativeValues.from_json(found.to_json())):
            for name in ("values", "standard_errors", "degrees_of_freedom"):
                assert_array_equal(getattr(again, name), getattr(found, name))
                assert not getattr(again, name).flags.writeable
            for name in ("total", "evaluations", "method", "semivalue", "budget_gap"):
                assert getattr(again, name) == getattr(found, name)
    assert "Infinity" not in cooperative.shapley(random_table(3)).to_json()
    assert repr(cooperative.shapley([0, 1, 2, 4])).startswith("CooperativeValues(values=[1.5, 2.5], ")
    with pytest.raises(AttributeError, match="immutable"):
        found.total = 3.0


def test_an_exact_value_is_its_own_interval() -> None:
    found = cooperative.shapley(random_table(3))
    low, high = found.interval()
    assert_array_equal(low, found.values)
    assert_array_equal(high, found.values)
    with pytest.raises(ValueError, match="level"):
        found.interval(1.5)


def test_an_error_survives_pickling() -> None:
    with pytest.raises(cooperative.ToleranceError) as caught:
        cooperative.shapley(random_table(8), method="stratified", tol=1e-3, budget=60, rng=0)
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)
    assert_array_equal(again.best.values, caught.value.best.values)


# ---- what is refused --------------------------------------------------------------------------------

TABLE = [0.0, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cooperative.shapley([0.0] * 9), r"the nearest is 2\^3 = 8, for 3 players"),
        (lambda: cooperative.shapley([0.0] * 13), r"the nearest is 2\^4 = 16"),
        (lambda: cooperative.shapley([[0.0, 1.0], [2.0, 3.0]]), "one number per coalition"),
        (lambda: cooperative.shapley([1.0]), "one number per coalition"),
        (lambda: cooperative.shapley(TABLE, 3), r"values of 3 players must be 2\^3 numbers; got 4"),
        (lambda: cooperative.shapley([0.0, 1.0, np.nan, 4.0]), r"the coalition \(1,\) has the value nan"),
        (lambda: cooperative.shapley([0.0, 1.0, 2.0, np.inf]), r"the coalition \(0, 1\) has the value inf"),
        (lambda: cooperative.shapley(np.array(TABLE) * 1j), "numbers"),
        (lambda: cooperative.shapley(np.ma.masked_array(TABLE, [0, 0, 1, 0])), "masked"),
        (lambda: cooperative.shapley("abcd"), "numbers"),
        (lambda: cooperative.shapley({(): 0.0, (0,): 1.0, (0, 1): 2.0}), r"missing: \(1,\)$"),
        (lambda: cooperative.shapley({(0, 1, 2): 1.0}), r"missing: \(\), \(0,\), \(1,\), \(0, 1\) and 3 more"),
        (lambda: cooperative.shapley({(99,): 1.0}), r"must name all 2\^100 coalitions"),
        (lambda: cooperative.shapley({(): 0.0, (0,): 1.0, 1: 2.0}), r"\(0,\) twice"),
        (lambda: cooperative.shapley({(): 0.0, (0, 0): 1.0}), "each player once"),
        (lambda: cooperative.shapley({(): 0.0, "0": 1.0}), "keys of values must be coalitions"),
        (lambda: cooperative.shapley({(): 0.0, (-1,): 1.0}), "keys of values must be coalitions"),
        (lambda: cooperative.shapley({(): 0.0, (True,): 1.0}), "keys of values must be coalitions"),
        (lambda: cooperative.shapley({(): 0.0, (0,): 1.0, (3,): 1.0}, 2), r"\(3,\), which is not one of 2 players"),
        (lambda: cooperative.shapley({(): 0.0}), "at least one player"),
        (lambda: cooperative.shapley({(): 0.0, (0,): "x"}), r"the coalition \(0,\) has 'x'"),
        (lambda: cooperative.shapley({(): 0.0, (0,): math.nan}), r"the coalition \(0,\) has the value nan"),
        (lambda: cooperative.shapley(len), "n_players must be given"),
        (lambda: cooperative.shapley(len, 0), "n_players must be an integer of at least 1"),
        (lambda: cooperative.shapley(lambda m: None, 3), r"one number for the coalition \(\); got None"),
        (lambda: cooperative.shapley(lambda m: math.nan if m == (0, 2) else 1.0, 3), r"coalition \(0, 2\) has .* nan"),
        (lambda: cooperative.shapley(lambda m: m.sum(), 3, vectorised=True), "must return that many numbers"),
        (lambda: cooperative.shapley(TABLE, vectorised=True), "vectorised applies to a function"),
        (lambda: cooperative.shapley(TABLE, cache="x"), "cache applies to a function"),
        (lambda: cooperative.shapley(TABLE, method="magic"), "method must be one of auto, exact"),
        (lambda: cooperative.shapley(TABLE, method="exact", rng=3), "rng must be left out"),
        (lambda: cooperative.shapley(TABLE, method="exact", tol=3, budget=7), "tol, budget must be left out"),
        (lambda: cooperative.shapley(TABLE, tol=0.0), "tol must lie in"),
        (lambda: cooperative.shapley(TABLE, budget=1), "budget must be an integer of at least 2"),
        (lambda: cooperative.shapley(TABLE, on_failure="ignore"), "on_failure must be one of"),
        (lambda: cooperative.shapley(len, 3, executor=4), "executor must be a concurrent"),
        (lambda: cooperative.shapley(len, 3, progress=4), "progress must be callable"),
        (lambda: cooperative.shapley(len, 3, vectorised="no"), "vectorised must be True or False"),
        (lambda: cooperative.shapley(len, 30), "must be sampled: give rng"),
        (lambda: cooperative.shapley(len, 30, budget=1000), "rng must be given"),
        (lambda: cooperative.shapley(len, 21, method="exact"), "at most 20 players; got 21"),
        (lambda: cooperative.shapley(len, 30, budget=50, rng=0), "budget=50 is too small .* takes 92 evaluations"),
        (lambda: cooperative.shapley(len, 30, method="permutation", budget=50, rng=0), "takes 582 evaluations"),
        (lambda: cooperative.beta_shapley(TABLE, 0, 1), "alpha must lie in"),
        (lambda: cooperative.beta_shapley(TABLE, 1, math.inf), "beta must lie in"),
        (lambda: cooperative.semivalue(TABLE, [0.5, 0.6]), "weights must add up to 1; got 1.1"),
        (lambda: cooperative.semivalue(TABLE, [-0.5, 1.5]), "weights must be at least 0"),
        (lambda: cooperative.semivalue(TABLE, [1.0]), "one entry for each size 0..1"),
    ],
)
def test_refusals_name_what_is_wrong(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_an_unknown_keyword() -> None:
    with pytest.raises(TypeError, match="permutations"):
        cooperative.shapley(TABLE, permutations=100)  # type: ignore[call-arg]


def test_a_budget_for_everything_samples_nothing() -> None:
    assert cooperative.shapley(lambda m: len(m) ** 0.5, 6, budget=64).method == "exact"
    with pytest.raises(ValueError, match="rng must be given"):
        cooperative.shapley(lambda m: len(m) ** 0.5, 6, budget=63)


def test_an_interval_is_students() -> None:
    """With 9 degrees of freedom 95 % reach 2.262 standard errors to each side."""
    record = cooperative.CooperativeValues([1.0], [0.5], [9.0], 1.0, 20, "permutation", "shapley")
    low, high = record.interval(0.95)
    assert_allclose([low[0], high[0]], [1.0 - 2.262157163 * 0.5, 1.0 + 2.262157163 * 0.5], rtol=1e-7)
