"""Equilibria against known answers, one-dimensional equations and a brute-force search for deviations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq, fsolve

import fedshap as fs
from games import (
    APPENDIX_E,
    EXAMPLES,
    MECHANISMS,
    THREE_AGENTS,
    TWO_AGENTS,
    Known,
    Utility,
    appendix_e,
    brute_regret,
    custom_case,
    ids,
    linear_cost,
    plain_group_totals,
    power_cost,
    random_cases,
    utility_of,
)

TOL = 1e-9  # find_equilibrium's own default


# ---- known answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", EXAMPLES, ids=ids(EXAMPLES))
def test_examples_of_the_paper(known: Known) -> None:
    found = fs.find_equilibrium(known.game, known.mechanism)
    assert_allclose(found.contributions, known.contributions, rtol=0, atol=known.tolerance)
    assert found.regret <= TOL


def test_example_4_solves_its_first_order_conditions() -> None:
    def slopes(s: np.ndarray) -> list[float]:  # d phi_i / d s_i = (A'(s_i) + A'(s_1 + s_2)) / 2
        return [1 / (1 + x) ** 2 + 1 / (1 + s.sum()) ** 2 - g for x, g in zip(s, (0.1, 0.25), strict=True)]

    expected = fsolve(slopes, [3.0, 1.0], xtol=1e-13)
    assert_allclose(fs.find_equilibrium(TWO_AGENTS, fs.ShapleyPayment()).contributions, expected, rtol=1e-9)


def test_example_7_solves_the_papers_equations() -> None:
    start, rates = [10**0.5 - 1, 1.0], (0.1, 0.25)

    def gaps(s: np.ndarray) -> list[float]:
        full = 1 - 1 / (1 + s.sum())
        curve = [1 - 1 / (1 + x0) + (g + 1e-9) * (x - x0) for x, x0, g in zip(s, start, rates, strict=True)]
        return [full - h for h in curve]

    found = fs.find_equilibrium(TWO_AGENTS, fs.AccuracyShaping(1e-9))
    assert_allclose(found.contributions, fsolve(gaps, [4.0, 2.0], xtol=1e-13), rtol=1e-7)
    phi = fs.shapley_values(TWO_AGENTS, found.contributions)
    assert_allclose(phi, [0.9537, 0.7776], rtol=0, atol=5e-5)
    assert_allclose(fs.reciprocity(TWO_AGENTS, fs.AccuracyShaping(1e-9), found.contributions), 0.9077, atol=5e-5)


def test_three_agents_solve_their_first_order_conditions() -> None:
    def slopes(s: np.ndarray) -> list[float]:
        # coalitions of the other two with weights 1/3, 1/6, 1/6, 1/3; A' = 3 / (1 + m)^2
        others = [[s[j] for j in range(3) if j != i] for i in range(3)]
        return [
            1 / (1 + x) ** 2 + 0.5 / (1 + x + a) ** 2 + 0.5 / (1 + x + b) ** 2 + 1 / (1 + x + a + b) ** 2 - gamma
            for x, (a, b), gamma in zip(s, others, (0.10, 0.25, 0.40), strict=True)
        ]

    expected = fsolve(slopes, [3.0, 1.0, 1.0], xtol=1e-13)
    assert_allclose(fs.find_equilibrium(THREE_AGENTS, fs.ShapleyPayment()).contributions, expected, rtol=1e-9)


@pytest.mark.parametrize("beta", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("n", [3, 30])
def test_equal_agents_solve_an_equation_in_one_unknown(n: int, beta: float) -> None:
    alpha, gamma = 0.9, 0.01
    game = fs.Game(fs.PowerLaw(n, alpha=alpha, beta=beta), fs.LinearCost(np.full(n, gamma)))

    def total_without_payments(rate: float) -> float:  # alpha beta / (1 + S)^(beta + 1) = rate
        return (alpha * beta / rate) ** (1 / (beta + 1)) - 1

    def slope(each: float) -> float:  # coalitions of every size are equally likely
        return sum(alpha * beta / (1 + k * each) ** (beta + 1) for k in range(1, n + 1)) - gamma

    assert_allclose(fs.find_equilibrium(game, fs.NoPayment()).total, total_without_payments(gamma), rtol=1e-8)
    shared = fs.find_equilibrium(game, fs.CostSharing(0.75))
    assert_allclose(shared.total, total_without_payments(gamma / 4), rtol=1e-8)
    fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert_allclose(fair.contributions, brentq(slope, 0.0, 1e6, xtol=1e-12), rtol=1e-8)


# ---- certified by brute force ------------------------------------------------------------------------------


class Instance(NamedTuple):
    id: str
    game: fs.Game
    mechanism: fs.Mechanism
    utility: Utility


def instances() -> Iterator[Instance]:
    """Three agents: every payoff, linear and convex costs, capacities that bind and none, four mechanisms."""
    cases = {case.id: case for case in [*random_cases(3, seed=61), custom_case(3, seed=62)]}
    rates = [0.02, 0.3, 0.09]
    settings = [
        ("common", linear_cost(rates), np.inf),
        ("common", power_cost(rates, 1.5), np.inf),
        ("weights", linear_cost(rates, fixed=0.1), [1.0, np.inf, 0.5]),
        ("weights", power_cost([0.001, 5.0, 0.1], 2.0), np.inf),
        ("groups", linear_cost(rates), 2.0),
        ("coverage", linear_cost(rates), np.inf),
        ("discovery", power_cost(rates, 2.0), np.inf),
        ("discovery", linear_cost([0.02, 99.0, 0.09]), [1.0, 2.0, 3.0]),
        ("custom", power_cost(rates, 2.0), np.inf),
    ]
    for number, (name, (cost, own), capacity) in enumerate(settings):
        game = fs.Game(cases[name].payoff, cost, capacity)
        for mechanism in MECHANISMS:
            utility = utility_of(mechanism, cases[name].plain, own, game.capacity.tolist())
            yield Instance(f"{number}-{name}-{type(mechanism).__name__}", game, mechanism, utility)


INSTANCES = list(instances())


@pytest.mark.parametrize("instance", INSTANCES, ids=ids(INSTANCES))
def test_nobody_gains_by_deviating(instance: Instance) -> None:
    game, mechanism = instance.game, instance.mechanism
    found = fs.find_equilibrium(game, mechanism)
    s = found.contributions
    assert ((s >= 0.0) & (s <= game.capacity)).all()
    assert 0.0 <= found.regret <= TOL
    assert brute_regret(instance.utility, s, game.capacity.tolist()) <= 10 * TOL  # AccuracyShaping: x0 is known to 1e-8
    assert_allclose(found.utilities, [instance.utility(s.tolist(), i) for i in range(3)], rtol=1e-8, atol=1e-8)
    assert_array_equal(found.payments, mechanism.payments(game, s))


@pytest.mark.parametrize("data", APPENDIX_E)
@pytest.mark.parametrize("seed", [0, 1])
def test_appendix_e_without_payments_meets_the_first_order_conditions(data: str, seed: int) -> None:
    game = appendix_e(data, seed)
    own_weight = np.repeat(np.diag(APPENDIX_E[data]), 10)
    for mechanism, share in ((fs.NoPayment(), 1.0), (fs.CostSharing(0.8), 0.2)):
        found = fs.find_equilibrium(game, mechanism)
        s = found.contributions
        slopes = own_weight * np.repeat(plain_group_totals(data, s), 10) - share * game.cost.derivatives(s)
        inside = (s > 0) & (s < game.capacity)
        assert found.regret <= TOL
        assert (np.abs(slopes[inside]) < 1e-9).all()
        assert (slopes[s == 0] <= 1e-12).all()
        assert (slopes[s == game.capacity] >= -1e-12).all()


@pytest.mark.parametrize("data", APPENDIX_E)
def test_appendix_e_with_shapley_payments_meets_sampled_conditions(data: str) -> None:
    game = appendix_e(data, seed=0)
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    s, weights, group = found.contributions, np.array(APPENDIX_E[data]), np.repeat([0, 1, 2], 10)
    rng, draws = np.random.default_rng(0), np.empty((2000, 30))
    for draw in draws:  # d phi_i / d s_i is the mean of dA/ds_i over random orders, i last
        order = rng.permutation(30)
        sums = np.cumsum(np.eye(3)[group[order]] * s[order, None], axis=0)  # (30, 3)
        draw[order] = (10 * (1 + sums @ weights.T) ** -2.0 * weights[:, group[order]].T).sum(axis=1)
    slopes, errors = draws.mean(axis=0) - game.cost.derivatives(s), draws.std(axis=0, ddof=1) / 2000**0.5
    inside = (s > 0) & (s < game.capacity)
    assert found.regret <= TOL
    assert (np.abs(slopes[inside]) < 4.5 * errors[inside]).all()
    assert (slopes[s == game.capacity] > -4.5 * errors[s == game.capacity]).all()
    assert (slopes[s == 0] < 4.5 * errors[s == 0]).all()


def test_best_responses_that_creep_are_sped_up() -> None:
    """Agents who replace one another: 11 rounds with Newton steps in between, and 29 without."""
    weights = 0.9 + 0.1 * np.eye(4)
    game = fs.Game(fs.PowerLaw(weights=weights), fs.PowerCost([0.10, 0.11, 0.105, 0.12], 1.5))
    found = fs.find_equilibrium(game, fs.CostSharing(0.5))
    assert found.method == "best responses"
    assert found.iterations <= 16
