"""The game record: surplus, welfare, capacities."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import Case, ids, random_cases

CASES = random_cases(4, seed=7)
RATES, FIXED = [0.1, 0.3, 0.0, 0.7], [0.0, 0.2, 0.5, 0.0]


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_welfare_is_surplus_less_costs(case: Case) -> None:
    game = fs.Game(case.payoff, fs.LinearCost(RATES, FIXED))
    for s in np.random.default_rng(0).uniform(0.0, 3.0, (5, 4)):
        total = sum(case.plain(s.tolist()))
        costs = sum(g * x + d for g, x, d in zip(RATES, s.tolist(), FIXED, strict=True))
        assert_allclose(game.surplus(s), total, rtol=1e-13)
        assert_allclose(game.costs(s).sum(), costs, rtol=1e-13)
        assert_allclose(game.welfare(s), total - costs, rtol=1e-13)


def test_surplus_and_welfare_map_over_leading_axes() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3]))
    s = np.random.default_rng(0).uniform(0.0, 3.0, (2, 5, 3))
    assert game.surplus(s).shape == game.welfare(s).shape == (2, 5)
    assert_allclose(game.welfare(s), [[game.welfare(row) for row in block] for block in s], rtol=1e-14)


def test_one_capacity_serves_every_agent_and_none_means_no_limit() -> None:
    payoff, cost = fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3])
    assert_array_equal(fs.Game(payoff, cost).capacity, [np.inf] * 3)
    assert_array_equal(fs.Game(payoff, cost, 5).capacity, [5.0, 5.0, 5.0])
    assert_array_equal(fs.Game(payoff, cost, [1.0, np.inf, 2.0]).capacity, [1.0, np.inf, 2.0])


def test_a_profile_may_reach_the_capacity_and_no_further() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3]), capacity=[1.0, 2.0, 3.0])
    assert_array_equal(game.profile([1.0, 2.0, 3.0]), [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"agent 1 would contribute 2.5 of at most 2"):
        game.profile([[0.5, 0.5, 0.5], [1.0, 2.5, 3.0]])


def test_a_game_cannot_be_changed() -> None:
    capacity = np.array([1.0, 2.0, 3.0])
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3]), capacity)
    capacity[:] = 99.0
    assert_array_equal(game.capacity, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="read-only"):
        game.capacity[0] = 5.0
    with pytest.raises(AttributeError, match="Game is immutable"):
        game.payoff = fs.PowerLaw(3)  # type: ignore[misc]


def test_a_checked_profile_is_a_copy() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3]))
    s = np.array([1.0, 2.0, 3.0])
    game.profile(s)[:] = 0.0
    assert_array_equal(s, [1.0, 2.0, 3.0])


def test_games_of_one_agent() -> None:
    game = fs.Game(fs.PowerLaw(1, beta=0.5), fs.LinearCost([0.1]), capacity=4.0)
    assert_allclose(game.welfare([3.0]), 0.5 - 0.3, rtol=1e-14)
    assert game.n_agents == 1


def test_a_minimum_may_be_the_capacity_and_no_more() -> None:
    payoff, cost = fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3])
    game = fs.Game(payoff, cost, 2.0, minimum=[2.0, 0.0, 1.0])
    assert_array_equal(game.minimum, [2.0, 0.0, 1.0])
    with pytest.raises(
        ValueError, match=r"minimum must not exceed capacity; for agent 2 it is 2.5, and she can give 2"
    ):
        fs.Game(payoff, cost, 2.0, minimum=[2.0, 0.0, 2.5])


@pytest.mark.parametrize("data", [1e-12, 1.0, 1e12])
def test_whoever_never_breaks_even_measures_in_the_units_of_the_others(data: float) -> None:
    """Straight payoffs have no scale; costs have, but not hers whose first unit already costs more than it adds."""
    payoff = fs.RandomDiscovery([[0.5], [0.25], [0.25]])
    game = fs.Game(payoff, fs.PowerCost([0.4 / data, 0.1 / data, 0.0], 2.0) + fs.LinearCost([0.1, 0.1, 0.9]))
    assert game.units[2] == game.units[:2].max()
    assert (0.01 * data <= game.units).all()
    assert (game.units <= 100.0 * data).all()
    assert_array_equal(fs.Game(payoff, fs.LinearCost([0.9] * 3)).units, 1.0)
