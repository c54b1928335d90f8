"""The certificate: regret equals a brute-force search, and what no search can certify is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import (
    THREE_AGENTS,
    appendix_e,
    brute_regret,
    custom_case,
    each_of,
    every_mechanism,
    linear_cost,
    properties,
    random_cases,
    utility_of,
)

SEARCH = 1e-9  # two searches for the same peak, each right to better than this


# ---- against brute force ---------------------------------------------------------------------------------


@every_mechanism
@pytest.mark.parametrize("capacity", [np.inf, 8.0], ids=["no capacity", "capacity 8"])
def test_regret_is_what_brute_force_finds(mechanism: fs.Mechanism, capacity: float) -> None:
    cost, own = linear_cost([0.02, 0.3, 0.09])
    for case in [*random_cases(3, seed=71)[:4], custom_case(3, seed=71)]:
        game = fs.Game(case.payoff, cost, capacity)
        utility = utility_of(mechanism, case.plain, own, game.capacity.tolist())
        for s in np.random.default_rng(3).uniform(0.0, 8.0, (3, 3)):
            found = brute_regret(utility, s.tolist(), game.capacity.tolist())
            assert_allclose(fs.regret(game, mechanism, s), found, rtol=1e-6, atol=1e-8, err_msg=case.id)


@pytest.mark.parametrize("capacity", [np.inf, 32.0, 100.0])
@pytest.mark.parametrize("best", [0.5, 5.0, 40.0])
@properties
@given(shift=st.floats(-0.5, 0.5))
@example(shift=-0.04)
@example(shift=0.04)
def test_regret_sees_small_moves_up_and_down(capacity: float, best: float, shift: float) -> None:
    rate = (1 + best) ** -2.0  # alone, agent 0 stops at `best`
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([rate, 1.0, 1.0]), capacity)
    s0 = min(best * (1 + shift), capacity)
    stop = min(best, capacity)
    gain = 1 / (1 + s0) - 1 / (1 + stop) - rate * (stop - s0)
    assert_allclose(fs.regret(game, fs.NoPayment(), [s0, 0.0, 0.0]), gain, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("shift", [-0.03, 0.03])
@pytest.mark.parametrize("capacity", [32.0, 64.0])
def test_regret_sees_small_moves_from_round_numbers(capacity: float, shift: float) -> None:
    for here in range(1, 32):  # where points of a search grid fall
        best = here * (1 + shift)
        game = fs.Game(fs.PowerLaw(3), fs.LinearCost([(1 + best) ** -2.0, 1.0, 1.0]), capacity)
        gain = 1 / (1 + here) - 1 / (1 + best) - (best - here) / (1 + best) ** 2
        assert_allclose(fs.regret(game, fs.NoPayment(), [here, 0.0, 0.0]), gain, rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("shift", [-0.3, -0.02, -1e-3, 1e-3, 0.02, 0.3])
@pytest.mark.parametrize("agent", [0, 1, 2])
def test_regret_catches_one_agent_off_the_shapley_equilibrium(agent: int, shift: float) -> None:
    mechanism = fs.ShapleyPayment()
    s = fs.find_equilibrium(THREE_AGENTS, mechanism).contributions.copy()
    s[agent] *= 1 + shift
    cost, own = linear_cost([0.10, 0.25, 0.40])
    utility = utility_of(mechanism, random_common(), own, [np.inf] * 3)
    found = brute_regret(utility, s.tolist(), [np.inf] * 3)
    assert found > 1e-9
    assert_allclose(fs.regret(THREE_AGENTS, mechanism, s), found, rtol=1e-5, atol=1e-12)


def random_common() -> Callable:
    return lambda s: [1 - 1 / (1 + sum(s))] * 3


@pytest.mark.parametrize("data", ["mnist", "cifar10"])
def test_regret_catches_one_of_thirty_agents_off_her_best_response(data: str) -> None:
    game = appendix_e(data, seed=0)
    s = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions.copy()
    agent = int(game.cost.derivatives(s).argmin())
    s[agent] /= 2
    x = np.full((30, 1001), s[:, None])
    x[agent] = np.linspace(0.0, game.capacity[agent], 1001)
    utilities = fs.ShapleyPayment().deviation_utilities(game, s, x)[agent]
    gain = utilities.max() - fs.ShapleyPayment().utilities(game, s)[agent]
    assert gain > 1e-4
    assert fs.regret(game, fs.ShapleyPayment(), s) >= gain - SEARCH


@every_mechanism
def test_regret_of_an_equilibrium_is_rounding_error_and_never_negative(mechanism: fs.Mechanism) -> None:
    found = fs.find_equilibrium(THREE_AGENTS, mechanism)
    assert 0.0 <= fs.regret(THREE_AGENTS, mechanism, found.contributions) < 1e-14


@pytest.mark.parametrize("capacity", [1.0, 1e3, 1e6, 1e12])
def test_regret_of_nothing_does_not_depend_on_a_capacity_out_of_reach(capacity: float) -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.25, 2.0, 2.0]), capacity)
    assert_allclose(fs.regret(game, fs.NoPayment(), [0.0, 0.0, 0.0]), 0.25, rtol=1e-9)  # 1 - 1/2 - 0.25


def test_regret_is_infinite_where_gains_have_no_bound() -> None:
    linear = fs.Game(fs.RandomDiscovery([[0.9], [0.5], [0.1]]), fs.LinearCost([0.1, 0.1, 0.1]))
    assert fs.regret(linear, fs.NoPayment(), [1.0, 1.0, 1.0]) == np.inf
    assert fs.regret(linear, fs.ShapleyPayment(), [1.0, 1.0, 1.0]) == np.inf


def test_the_worst_agent_counts() -> None:
    # own data only: regrets are 1 - 1/2 - 0.25, 0 and 1/3 - 1/4 - 1/16
    game = fs.Game(fs.PowerLaw(weights=np.eye(3)), fs.LinearCost([0.25, 2.0, 1 / 16]))
    assert_allclose(fs.regret(game, fs.NoPayment(), [0.0, 0.0, 2.0]), 0.25, rtol=1e-12)
    assert_allclose(fs.regret(game, fs.NoPayment(), [1.0, 0.0, 2.0]), 1 / 3 - 1 / 4 - 1 / 16, rtol=1e-12)


@every_mechanism
def test_regret_of_some_agents_searches_only_theirs(mechanism: fs.Mechanism) -> None:
    s = [3.0, 0.1, 4.0]
    each = [fs.regret(THREE_AGENTS, mechanism, s, agents=[i]) for i in range(3)]
    assert len(set(each)) == 3
    assert_allclose(fs.regret(THREE_AGENTS, mechanism, s), max(each), rtol=1e-12)
    assert_allclose(fs.regret(THREE_AGENTS, mechanism, s, agents=[2, 1]), max(each[1:]), rtol=1e-12)


# ---- payoffs that are not concave: never a wrong answer ----------------------------------------------------


def grid_regret(game: fs.Game, mechanism: fs.Mechanism, s: np.ndarray, reach: float) -> float:
    """The most that anybody of three gains on a fine grid, even and near zero."""
    gains = []
    for i in range(3):
        x = np.concatenate([[s[i]], np.linspace(0, min(reach, game.capacity[i]), 20001), np.geomspace(1e-6, 1, 200)])
        x = x[x <= game.capacity[i]]
        profiles = np.where(np.arange(3) == i, x[:, None], s)

        def total(*members: int, profiles: np.ndarray = profiles) -> np.ndarray:
            return game.payoff.values(np.where(np.isin(np.arange(3), members), profiles, 0.0)).sum(axis=-1)

        if isinstance(mechanism, fs.ShapleyPayment):  # Eq. (3) of three agents
            j, k = (agent for agent in range(3) if agent != i)
            received = (total(i) - total() + total(0, 1, 2) - total(j, k)) / 3
            received = received + (total(i, j) - total(j) + total(i, k) - total(k)) / 6
        else:
            received = game.payoff.values(profiles)[:, i]
        utilities = received - game.cost.values(profiles)[:, i]
        gains.append(utilities.max() - utilities[0])
    return float(max(gains))


def bumps(s: np.ndarray) -> np.ndarray:
    """Own data pays off at 1, and more at 6."""
    return 0.5 * np.exp(-((s - 1.0) ** 2)) + np.exp(-((s - 6.0) ** 2))


def late(s: np.ndarray) -> np.ndarray:
    """Worth nothing until the total nears 60."""
    return np.repeat(1.0 / (1.0 + np.exp(30.0 - s.sum(axis=-1, keepdims=True) / 2.0)), 3, axis=-1)


RISING = [0.01, 0.01, 0.01]
DIFFICULT: dict[str, tuple[fs.Game, float]] = {
    "two bumps": (fs.Game(fs.CustomPayoff(bumps, 3), fs.LinearCost(RISING), 9.0), 9.0),
    "two bumps, no capacity": (fs.Game(fs.CustomPayoff(bumps, 3), fs.LinearCost(RISING)), 20.0),
    "convex": (fs.Game(fs.CustomPayoff(lambda s: s**2 / 100.0, 3), fs.LinearCost([0.5, 0.5, 0.5]), 80.0), 80.0),
    "convex, both ends tie": (
        fs.Game(fs.CustomPayoff(lambda s: s**2 / 100.0, 3), fs.LinearCost([0.5, 0.5, 0.5]), 50.0),
        50.0,
    ),
    "late": (fs.Game(fs.CustomPayoff(late, 3), fs.LinearCost([1e-3, 2e-3, 3e-3]), 200.0), 200.0),
    "late, no capacity": (fs.Game(fs.CustomPayoff(late, 3), fs.LinearCost([1e-3, 2e-3, 3e-3])), 400.0),
    "bound": (
        fs.Game(fs.PACBound(3, optimum=0.9, complexity=10.0), fs.LinearCost([1e-4, 2e-4, 3e-4]), 5e3),
        5e3,
    ),
    "bound, no capacity": (
        fs.Game(fs.PACBound(3, optimum=0.9, complexity=10.0), fs.LinearCost([1e-4, 2e-4, 3e-4])),
        5e3,
    ),
    "bound, hardly worth it": (
        fs.Game(fs.PACBound(3, optimum=0.9, complexity=10.0), fs.LinearCost([1e-2, 2e-2, 3e-2])),
        5e3,
    ),
}


@each_of(fs.NoPayment, fs.ShapleyPayment)
@pytest.mark.parametrize("start", [None, [0.0, 0.0, 0.0], [5.9, 6.0, 6.2]], ids=str)
@pytest.mark.parametrize("name", DIFFICULT)
def test_a_payoff_that_is_not_concave_gets_a_true_certificate_or_a_refusal(
    name: str, start: list[float] | None, mechanism: fs.Mechanism
) -> None:
    game, reach = DIFFICULT[name]
    point, certified, refusal = None, False, ""
    try:
        point, certified = fs.find_equilibrium(game, mechanism, start=start), True
    except fs.ConvergenceError as error:
        point = error.best
    except ValueError as error:
        refusal = str(error)
    if point is None:
        assert "capacity" in refusal  # which tells what is missing: where to search
        assert np.isinf(game.capacity).all()
        return
    assert point.concave in (None, False)
    missed = grid_regret(game, mechanism, point.contributions, reach)
    if certified:
        assert missed <= 1e-9
    else:
        assert point.regret > 1e-9
    assert point.regret >= missed * (1 - 1e-3) - 1e-9


def chase() -> fs.Game:
    """Agent 0 wants to be far from agent 1, who wants to be near her: nobody is ever content."""

    def payoffs(s: np.ndarray) -> np.ndarray:
        gap = (s[..., 0] - s[..., 1]) ** 2
        return np.stack([gap, 1.0 - gap, np.sqrt(1.0 + s[..., 2])], axis=-1)

    return fs.Game(fs.CustomPayoff(payoffs, 3), fs.LinearCost([0.0, 0.0, 1.0]), capacity=1.0)


@pytest.mark.slow
def test_a_game_without_equilibrium_gets_none() -> None:
    with pytest.raises(fs.ConvergenceError, match="regret") as caught:
        fs.find_equilibrium(chase(), fs.NoPayment())
    assert "circles" not in str(caught.value)  # which only whole units go round in
    best = caught.value.best
    assert best.regret >= grid_regret(chase(), fs.NoPayment(), best.contributions, 1.0) - SEARCH
    assert best.regret > 0.1  # min over profiles of the larger regret, and no profile comes near zero


@pytest.mark.slow
def test_on_demand_the_best_point_is_returned_with_its_regret() -> None:
    with pytest.raises(fs.ConvergenceError) as caught:
        fs.find_equilibrium(chase(), fs.NoPayment())
    returned = fs.find_equilibrium(chase(), fs.NoPayment(), on_failure="return")
    assert_array_equal(returned.contributions, caught.value.best.contributions)
    assert returned.regret == caught.value.best.regret > 0.1
    assert returned.concave is None


@pytest.mark.slow
def test_a_tolerance_is_taken_at_its_word() -> None:
    accepted = fs.find_equilibrium(chase(), fs.NoPayment(), tol=2.0)
    assert 0.1 < accepted.regret <= 2.0
    with pytest.raises(fs.ConvergenceError, match="tol=0.01"):
        fs.find_equilibrium(chase(), fs.NoPayment(), tol=0.01)


@each_of(fs.NoPayment, fs.ShapleyPayment)
def test_a_good_start_finds_the_higher_peak(mechanism: fs.Mechanism) -> None:
    found = fs.find_equilibrium(DIFFICULT["two bumps"][0], mechanism, start=[5.8, 5.9, 6.1])
    assert_allclose(found.contributions, 6.0, atol=0.01)
    assert found.regret <= 1e-9


@pytest.mark.parametrize("agents", [[3], [0, 3], [-1], [2, 1, 7]])
def test_agents_out_of_range_are_refused(agents: list[int]) -> None:
    with pytest.raises(ValueError, match=r"agents must lie in 0\.\.2; got"):
        fs.regret(THREE_AGENTS, fs.NoPayment(), [1.0, 1.0, 1.0], agents=agents)
    assert fs.regret(THREE_AGENTS, fs.NoPayment(), [1.0, 1.0, 1.0], agents=[0, 2]) >= 0.0
