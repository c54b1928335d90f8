"""Whole units: equilibria on the grid of integers and their regret, by exhaustion; what has none is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import MECHANISMS, THREE_AGENTS, brute_potential, custom_case, each_of, properties, random_cases

MOST = 9


def brute_whole_regret(game, mechanism, s):
    """The most that an agent gains by any other whole number, one after the other."""
    s, most = np.asarray(s, dtype=float), 0.0
    for i in range(game.n_agents):
        for x in range(int(np.ceil(game.minimum[i])), int(min(game.capacity[i], 60)) + 1):
            moved = s.copy()
            moved[i] = x
            most = max(most, float(mechanism.utilities(game, moved)[i] - mechanism.utilities(game, s)[i]))
    return most


def game_of(case, seed, capacity=MOST + 0.5):
    rng = np.random.default_rng(seed)
    cost = fs.PowerCost(rng.uniform(0.001, 0.3, case.payoff.n_agents), rng.choice([1.0, 2.0]))
    return fs.Game(case.payoff, cost, capacity)


@each_of(fs.Mechanism, slow=(fs.AccuracyShaping, fs.ShapleyPayment))
@properties
@given(seed=st.integers(0, 10**6))
def test_nobody_gains_on_the_grid(mechanism, seed) -> None:
    case = [*random_cases(3, seed), custom_case(3, seed)][seed % 6]
    game = game_of(case, seed)
    found = fs.find_equilibrium(game, mechanism, integer=True)
    assert_array_equal(found.contributions, np.round(found.contributions))
    assert found.contributions.max() <= MOST
    assert found.regret == 0.0
    assert found.audited == 3
    assert found.method.endswith("whole units")
    assert brute_whole_regret(game, mechanism, found.contributions) <= 1e-12 * found.scale


@each_of(fs.Mechanism, slow=(fs.ShapleyPayment,))
@properties
@given(seed=st.integers(0, 10**6))
def test_regret_is_the_best_of_all_whole_numbers(mechanism, seed) -> None:
    case = [*random_cases(3, seed), custom_case(3, seed)][seed % 6]
    game, s = game_of(case, seed), np.random.default_rng(seed).integers(0, MOST + 1, 3)
    by_hand = brute_whole_regret(game, mechanism, s)
    assert_allclose(fs.regret(game, mechanism, s, integer=True), by_hand, rtol=1e-9, atol=1e-12)


def test_the_potentials_maximiser_is_found_in_small_games() -> None:
    """It need not be: but with few agents and a concave potential it has been, in all of these."""
    for seed in range(8):
        case = random_cases(3, seed)[seed % 5]
        game = game_of(case, seed, capacity=6.0)
        found = fs.find_equilibrium(game, fs.ShapleyPayment(), integer=True).contributions

        def height(s, game=game, case=case):
            return float(brute_potential(case.plain, list(s)) - game.costs(s).sum())

        highest = max(height(np.array(s, dtype=float)) for s in itertools.product(range(7), repeat=3))
        assert_allclose(height(found), highest, rtol=1e-12)


def test_minimum_and_capacity_are_rounded_inwards() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]), capacity=[2.9, 9.0, 9.0], minimum=[0.0, 0.2, 2.5])
    found = fs.find_equilibrium(game, fs.NoPayment(), integer=True)
    assert_array_equal(found.contributions, [0.0, 1.0, 3.0])
    cheap = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.001, 0.25, 0.4]), capacity=[2.9, 9.0, 9.0])
    assert_array_equal(fs.find_equilibrium(cheap, fs.NoPayment(), integer=True).contributions, [2.0, 0.0, 0.0])
    narrow = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]), capacity=0.9, minimum=[0.0, 0.2, 0.0])
    with pytest.raises(ValueError, match="agent 1 has none between 0.2 and 0.9"):
        fs.find_equilibrium(narrow, fs.NoPayment(), integer=True)


@pytest.mark.parametrize("money", [1e-15, 1.0, 1e15])
def test_the_unit_of_money_does_not_matter(money) -> None:
    case = random_cases(3, 4)[1]
    payoff = fs.CustomPayoff(lambda s: money * case.payoff.values(s), 3, concave=True)
    game = fs.Game(payoff, money * fs.LinearCost([0.02, 0.05, 0.01]), 30.0)
    found = fs.find_equilibrium(game, fs.ShapleyPayment(), integer=True)
    plain = fs.Game(case.payoff, fs.LinearCost([0.02, 0.05, 0.01]), 30.0)
    assert_array_equal(found.contributions, fs.find_equilibrium(plain, fs.ShapleyPayment(), integer=True).contributions)
    assert found.regret == 0.0


@pytest.mark.parametrize("n", [1000, 10_000])
def test_equal_agents_whose_best_is_less_than_one_unit(n) -> None:
    """The total of a common payoff: all at once would overshoot, so some of them give one unit more than others."""
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(np.full(n, 1.0)))
    found = fs.find_equilibrium(game, fs.ShapleyPayment(), integer=True)
    assert found.regret == 0.0
    assert found.audited == n
    assert set(np.unique(found.contributions)) <= {0.0, 1.0, 2.0}
    agents = np.array([0, int(found.contributions.argmax())])
    assert fs.regret(game, fs.ShapleyPayment(), found.contributions, agents=agents, integer=True) == 0.0


class Chase(fs.Mechanism):
    """The first wants to give what the second gives, the second anything but: they never come to rest."""

    def received(self, game, s):
        s = game.profile(s)
        alike = np.where(s[..., 0] == s[..., 1], 1.0, -1.0)
        return np.stack([alike, -alike, 0.0 * alike], axis=-1)


@pytest.mark.slow
def test_without_a_potential_moves_may_go_round_in_circles() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.01, 0.01, 0.01]), capacity=1.0)
    profiles = list(itertools.product(range(2), repeat=3))
    assert min(brute_whole_regret(game, Chase(), s) for s in profiles) > 1.0
    with pytest.raises(fs.ConvergenceError, match="went round in circles") as caught:
        fs.find_equilibrium(game, Chase(), integer=True)
    assert caught.value.best.regret > 1.0
    returned = fs.find_equilibrium(game, Chase(), integer=True, on_failure="return")
    assert returned.regret > 1.0
    assert returned.iterations <= 510  # a profile that comes back ends it


def test_a_far_peak_is_seen_where_payoffs_are_not_concave() -> None:
    """Nothing below 40 units, much from there on: no step from 0 of 1, 4 or 16 units shows it."""
    payoff = fs.CustomPayoff(lambda s: 1.0 * (s.sum(axis=-1, keepdims=True) >= 40.0) * np.ones(3), 3)
    game = fs.Game(payoff, fs.LinearCost([0.01, 0.03, 0.05]), capacity=50.0)
    gain = 1.0 - 0.4  # the first alone, without payments
    assert_allclose(fs.regret(game, fs.NoPayment(), [0, 0, 0], integer=True), gain, rtol=1e-12)
    found = fs.find_equilibrium(game, fs.NoPayment(), integer=True, start=[30.0, 0.0, 0.0])
    assert_array_equal(found.contributions, [40.0, 0.0, 0.0])


def test_a_peak_between_steps_is_seen_where_payoffs_are_not_concave() -> None:
    """Totals from 40 to 42 are of use, and no others: steps of 1, 2, 4, ... from 0 pass by."""
    payoff = fs.CustomPayoff(lambda s: 1.0 * (np.abs(s.sum(axis=-1, keepdims=True) - 41.0) < 1.5) * np.ones(3), 3)
    game = fs.Game(payoff, fs.LinearCost([0.01, 0.03, 0.05]), capacity=50.0)
    assert_allclose(fs.regret(game, fs.NoPayment(), [0, 0, 0], integer=True), 1.0 - 0.4, rtol=1e-12)


@pytest.mark.parametrize("best", [0, 1, 2, 3, 30, 1000, 12345])
@pytest.mark.parametrize("start", [0, 1, 2, 5, 1000, 40_000])
def test_the_best_whole_number_is_found_from_anywhere(best, start) -> None:
    """Alone, agent 0 gains by going from x to x + 1 until ``1 / (1 + x) (2 + x)`` falls below her rate."""
    rate = 1.0 / (1.0 + best) ** 2
    for capacity in (np.inf, 12345.0 + 30_000.0):
        game = fs.Game(fs.PowerLaw(3), fs.LinearCost([rate, 1.0, 1.0]), capacity)
        gain = 1.0 / (1.0 + start) - 1.0 / (1.0 + best) - rate * (best - start)
        found = fs.regret(game, fs.NoPayment(), [start, 0, 0], agents=[0], integer=True)
        assert_allclose(found, gain, rtol=1e-9, atol=1e-15)


def test_who_gains_without_bound_has_infinite_regret() -> None:
    game = fs.Game(fs.RandomDiscovery([[0.5], [0.25], [0.25]]), fs.LinearCost([0.1, 0.3, 0.3]))
    assert fs.regret(game, fs.NoPayment(), [0, 0, 0], integer=True) == np.inf


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fs.regret(THREE_AGENTS, MECHANISMS[0], [0.5, 0.0, 0.0], integer=True), "agent 0 gives 0.5"),
        (lambda: fs.regret(THREE_AGENTS, MECHANISMS[0], [0.0, 0.0, 0.0], integer=1), "integer must be True or False"),
        (lambda: fs.find_equilibrium(THREE_AGENTS, MECHANISMS[0], integer="yes"), "integer must be True or False"),
        (lambda: fs.find_equilibrium(THREE_AGENTS, fs.ShapleyPayment(), integer=True, rng=0), "leave it or rng out"),
    ],
    ids=["parts", "one", "word", "rng"],
)
def test_bad_arguments(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_below_the_minimum_is_refused() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]), minimum=2.0)
    with pytest.raises(ValueError, match="at least the minimum, where integer=True; agent 2 gives 1"):
        fs.regret(game, fs.NoPayment(), [2, 2, 1], integer=True)
