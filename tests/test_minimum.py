"""The least that agents may give: every solver keeps to it, every certificate looks no lower, in any unit."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import brute_shapley, custom_case, each_of, every_mechanism, linear_cost, random_cases, utility_of

RATES = [0.02, 0.3, 0.09]
CAPACITY = 8.0


def brute_regret_above(utility, s, lower, upper):
    """The most that one agent gains on a fine grid of what she may give."""
    s, most = [float(x) for x in s], 0.0
    for i, (low, high) in enumerate(zip(lower, upper, strict=True)):
        for x in [*np.linspace(low, high, 301), *np.clip(s[i] + np.array([-1e-3, 1e-3]), low, high)]:
            most = max(most, float(utility([*s[:i], float(x), *s[i + 1 :]], i)) - float(utility(s, i)))
    return most


@every_mechanism
@pytest.mark.parametrize("minimum", [[0.0, 0.5, 0.0], [1.0, 2.0, 3.0], [CAPACITY, 0.0, 1.5]], ids=str)
def test_every_solver_keeps_to_it(mechanism, minimum) -> None:
    if isinstance(mechanism, fs.AccuracyShaping) and minimum[0] == CAPACITY:
        pytest.skip("the reference does not know that an agent alone keeps to her minimum")
    cost, own = linear_cost(RATES)
    for case in [*random_cases(3, seed=9), custom_case(3, seed=9)]:
        game = fs.Game(case.payoff, cost, CAPACITY, minimum=minimum)
        found = fs.find_equilibrium(game, mechanism)
        s = found.contributions
        assert (s >= minimum).all()
        assert (s <= CAPACITY).all()
        assert found.relative_regret <= 1e-9
        if not isinstance(mechanism, fs.AccuracyShaping):
            utility = utility_of(mechanism, case.plain, own, [CAPACITY] * 3)
            assert brute_regret_above(utility, s, minimum, [CAPACITY] * 3) <= 1e-9 * max(found.scale, 1.0)


@each_of(fs.NoPayment, fs.CostSharing, fs.ShapleyPayment)  # a shaped curve starts where she, held to it, stops alone
def test_a_minimum_that_binds_nobody_changes_nothing(mechanism) -> None:
    for case in [*random_cases(3, seed=2)[:4], custom_case(3, seed=2)]:
        cost = fs.LinearCost(RATES)
        free = fs.find_equilibrium(fs.Game(case.payoff, cost, CAPACITY), mechanism).contributions
        low = free / 2.0
        if isinstance(mechanism, fs.AccuracyShaping):  # a minimum above what she would give alone moves her curve
            low = np.minimum(low, mechanism.solo_optima(fs.Game(case.payoff, cost, CAPACITY)) / 2.0)
        bound = fs.Game(case.payoff, cost, CAPACITY, minimum=low)
        found = fs.find_equilibrium(bound, mechanism)
        if isinstance(mechanism, fs.ShapleyPayment) and case.id != "discovery":  # the only equilibrium there is
            assert_allclose(found.contributions, free, rtol=1e-6, atol=1e-6)
        assert fs.regret(bound, mechanism, free) <= 1e-9 * found.scale


def test_regret_looks_no_lower() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]), minimum=[0.0, 1.0, 2.0])
    s = [0.0, 1.0, 2.5]
    # Agent 0 stays out, agents 1 and 2 would rather give less: 2 may go down to 2, 1 may not move down at all.
    gain = 0.5 * 0.4 - (1.0 / 4.0 - 1.0 / 4.5)
    assert_allclose(fs.regret(game, fs.NoPayment(), s), gain, rtol=1e-9)


def test_the_few_point_certificate_looks_no_lower() -> None:
    """Twelve agents, whose coalitions are enumerated: all of them held above what they would give."""
    n = 12
    payoff = fs.CustomPayoff(lambda s: np.tanh(s.sum(axis=-1, keepdims=True)) * np.ones(n), n, concave=True)
    game = fs.Game(payoff, fs.LinearCost(np.full(n, 5.0)), capacity=2.0, minimum=0.5)
    assert fs.ShapleyPayment().dear(game)
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert_allclose(found.contributions, 0.5, rtol=1e-9)
    assert found.regret == 0.0
    assert fs.regret(fs.Game(payoff, game.cost, 2.0), fs.ShapleyPayment(), found.contributions) > 0.1


@every_mechanism
def test_dynamics_stay_above_it(mechanism) -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.5, 0.6, 0.7]), capacity=4.0, minimum=[0.3, 0.2, 1.0])
    path = fs.best_response_dynamics(game, mechanism, step=0.5, steps=200)
    assert (path.contributions >= game.minimum).all()
    if not isinstance(mechanism, fs.AccuracyShaping):  # whose kink gradient steps jump to and fro over
        assert path.residuals[-1] <= 1e-9
        assert_allclose(path.final, fs.find_equilibrium(game, mechanism).contributions, atol=1e-8)


@every_mechanism
def test_ranges_keep_to_it(mechanism) -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.1, 0.4]), capacity=6.0, minimum=[0.5, 0.25, 1.0])
    smallest, largest, _ = fs.equilibrium_range(game, mechanism)
    for end in (smallest, largest):
        assert (end >= game.minimum).all()
        assert fs.regret(game, mechanism, end) <= 1e-9
    assert smallest.sum() <= largest.sum() + 1e-9
    if isinstance(mechanism, fs.NoPayment):  # 1 / (1 + S)^2 = 0.1, shared in the two extreme ways
        total = 10.0**0.5 - 1.0
        assert_allclose(smallest, [total - 1.25, 0.25, 1.0], atol=1e-8)
        assert_allclose(largest, [0.5, total - 1.5, 1.0], atol=1e-8)


def test_the_indifferent_range_begins_at_the_minimum() -> None:
    payoff = fs.RandomDiscovery([[0.5], [0.25], [0.25]])
    game = fs.Game(payoff, fs.LinearCost([0.1, 0.25, 0.9]), [1.0, 1.0, 2.0], minimum=[0.0, 0.25, 0.5])
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.ShapleyPayment())
    assert guaranteed
    assert_array_equal(smallest, [1.0, 0.25, 0.5])
    assert_array_equal(largest, [1.0, 1.0, 0.5])


def test_who_is_alone_and_held_to_a_minimum_starts_her_curve_there() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]), minimum=[3.0, 0.0, 2.0])
    assert_allclose(fs.AccuracyShaping(0.01).solo_optima(game), [3.0, 1.0, 2.0], rtol=1e-9)


def test_coalitions_without_an_agent_have_none_of_her_data() -> None:
    """The minimum bounds her choice alone: Shapley values are those of the game without it."""
    case = random_cases(3, seed=1)[1]
    game = fs.Game(case.payoff, fs.LinearCost(RATES), minimum=1.0)
    values = fs.shapley_values(game, [1.0, 2.0, 3.0])
    assert_allclose(values, [brute_shapley(case.plain, [1.0, 2.0, 3.0], i) for i in range(3)], rtol=1e-12)


def test_sampling_refuses_it_by_name() -> None:
    payoff = fs.CustomPayoff(lambda s: np.tanh(s.sum(axis=-1, keepdims=True)) * np.ones(30), 30, concave=True)
    game = fs.Game(payoff, fs.LinearCost(np.ones(30)), minimum=0.1)
    with pytest.raises(ValueError, match="minimum must be 0 where coalitions are sampled"):
        fs.find_equilibrium(game, fs.ShapleyPayment(), rng=0)


@pytest.mark.parametrize("data", [1e-15, 1.0, 1e15])
@pytest.mark.parametrize("money", [1e-15, 1.0, 1e15])
@every_mechanism
def test_units_do_not_matter(mechanism, money, data) -> None:
    def function(s):
        return money * (1.0 - 1.0 / (1.0 + s.sum(axis=-1, keepdims=True) / data)) * np.ones(3)

    if isinstance(mechanism, fs.AccuracyShaping):
        mechanism = fs.AccuracyShaping(0.01 * money / data)
    payoff = fs.CustomPayoff(function, 3, concave=True)
    minimum = np.array([0.5, 0.25, 1.0])
    game = fs.Game(payoff, money / data * fs.LinearCost([0.1, 0.25, 0.4]), 9.0 * data, minimum=minimum * data)
    found = fs.find_equilibrium(game, mechanism)
    one = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]), 9.0, minimum=minimum)
    plain = fs.AccuracyShaping(0.01) if isinstance(mechanism, fs.AccuracyShaping) else mechanism
    expected = fs.find_equilibrium(one, plain).contributions
    assert_allclose(found.contributions / data, expected, rtol=1e-6, atol=1e-7)
    assert (found.contributions >= game.minimum).all()


@pytest.mark.parametrize(
    ("minimum", "message"),
    [
        (-1.0, "minimum must be at least 0"),
        ([0.0, np.nan, 0.0], "every entry of minimum must be finite"),
        ([0.0, 6.0, 0.0], "minimum must not exceed capacity; for agent 1 it is 6, and she can give 5"),
        ([0.0, 1.0], r"minimum must be a scalar or have shape \(3,\)"),
    ],
    ids=["negative", "nan", "above", "shape"],
)
def test_bad_minima(minimum, message) -> None:
    with pytest.raises(ValueError, match=message):
        fs.Game(fs.PowerLaw(3), fs.LinearCost(RATES), capacity=5.0, minimum=minimum)
