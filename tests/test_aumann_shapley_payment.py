"""Aumann-Shapley payments: prices along the way, names, Cournot's oligopoly, and what is left of reciprocity."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq

import fedshap as fs
from games import THREE_AGENTS, brute_aumann_shapley, custom_case, random_cases

RULE = fs.AumannShapleyPayment()


@pytest.mark.parametrize("n", [3, 5])
def test_values_are_the_definition(n: int) -> None:
    rng = np.random.default_rng(n)
    for case in [*random_cases(n, seed=41), custom_case(n, seed=41)]:
        game = fs.Game(case.payoff, fs.LinearCost(np.ones(n)))
        for s in (rng.uniform(0.0, 4.0, n), np.append(np.zeros(n - 1), 2.0), 10.0 ** -np.arange(1.0, n + 1)):
            expected = [brute_aumann_shapley(case.plain, s.tolist(), i) for i in range(n)]
            assert_allclose(RULE.received(game, s), expected, rtol=1e-10, atol=5e-12, err_msg=case.id)


def test_the_limit_of_many_small_agents_is_the_same() -> None:
    for case in random_cases(5, seed=42):
        game, s = fs.Game(case.payoff, fs.LinearCost(np.ones(5))), np.array([0.0, 1.0, 0.3, 7.0, 1e-3])
        assert_allclose(RULE.received(game, s), fs.aumann_shapley_values(game, s), rtol=1e-11)


def test_of_nothing_and_of_next_to_nothing() -> None:
    """Where (f(z) - f(0)) / z is rounding, the slope takes its place without a step."""
    curve = fs.LearningCurve(lambda z: 5.0 + np.log1p(z), lambda z: 1.0 / (1.0 + z), 3, concave=True)
    game = fs.Game(curve, fs.LinearCost([1.0] * 3))
    for size in 10.0 ** -np.arange(0.0, 16.0):
        s = size * np.array([1.0, 2.0, 0.0])
        assert_allclose(RULE.received(game, s), s * np.log1p(3 * size) / size, rtol=2e-9)
        assert_allclose(RULE.marginal_utilities(game, s)[2] + 1.0, 3 * np.log1p(3 * size) / (3 * size), rtol=2e-9)
    assert_allclose(RULE.marginal_utilities(game, np.zeros(3)), [2.0] * 3, rtol=1e-12)
    assert (RULE.received(game, np.zeros(3)) == 0.0).all()


def test_payments_add_up_to_the_loss_of_the_payoff_of_nothing() -> None:
    rng = np.random.default_rng(1)
    for k in range(200):
        case = [*random_cases(4, seed=k % 7), custom_case(4, seed=k % 7)][k % 6]
        s = rng.uniform(0.0, 5.0, 4) * rng.integers(0, 2, 4)
        gap = fs.budget_gap(fs.Game(case.payoff, fs.LinearCost(np.ones(4))), RULE, s)
        assert_allclose(gap, -sum(case.plain([0.0] * 4)), rtol=0.0, atol=1e-11)


def test_a_common_payoff_is_shared_in_proportion() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        n, alpha, beta = int(rng.integers(2, 9)), rng.uniform(0.1, 1.0), rng.uniform(0.1, 1.0)
        s = rng.uniform(0.0, 5.0, n)
        game = fs.Game(fs.PowerLaw(n, alpha=alpha, beta=beta), fs.LinearCost(np.ones(n)))
        expected = s * n * alpha * (1 - (1 + s.sum()) ** -beta) / s.sum()
        assert_allclose(RULE.received(game, s), expected, rtol=1e-12)


def test_equal_data_have_one_price_however_they_are_divided() -> None:
    """200 draws: twins of one group, whose data are split between them in any way, together receive the same."""
    rng = np.random.default_rng(3)
    for _ in range(200):
        weights, share = rng.uniform(0.0, 1.0, (3, 3)), rng.uniform(0.0, 1.0)
        game = fs.Game(fs.PowerLaw(weights=weights, groups=[0, 0, 1, 2], beta=0.5), fs.LinearCost(np.ones(4)))
        s = rng.uniform(0.1, 5.0, 4)
        split = np.array([share * s[:2].sum(), (1 - share) * s[:2].sum(), s[2], s[3]])
        assert_allclose(RULE.received(game, split)[:2].sum(), RULE.received(game, s)[:2].sum(), rtol=1e-12)


def test_receipts_of_a_learning_curve_are_concave_in_her_own_data() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        payoff = fs.PowerLaw(weights=rng.uniform(0.0, 1.0, (3, 3)) ** 4, beta=rng.uniform(0.05, 1.0))
        game, others = fs.Game(payoff, fs.LinearCost(np.ones(3))), rng.uniform(0.0, 5.0, 3) * rng.integers(0, 2, 3)
        rows = np.where(np.arange(3) == 0, np.linspace(0.0, 8.0, 41)[:, None], others)
        slopes = RULE.marginal_utilities(game, rows)[:, 0]
        assert (np.diff(slopes) <= 1e-13).all()


# ---- equilibria ------------------------------------------------------------------------------------------------


def test_three_hospitals_compete_as_cournot_has_it() -> None:
    """Inverse demand 3 / (1 + m): with costs g_i, price (1 - s_i / (1 + m)) = g_i for all who give."""
    found = fs.find_equilibrium(THREE_AGENTS, RULE)
    assert found.method == "best responses"
    assert_allclose(found.contributions, [6.483, 1.993, 0.0], atol=5e-4)
    m = found.total
    assert_allclose(3 / (1 + m) * (1 - found.contributions[:2] / (1 + m)), [0.10, 0.25], rtol=1e-9)
    assert 3 / (1 + m) < 0.40


@pytest.mark.parametrize("n", [3, 10])
def test_equal_oligopolists(n: int) -> None:
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost([0.1] * n))
    total = brentq(lambda m: n / (1 + m) * (1 - m / n / (1 + m)) - 0.1, 1e-3, 1e4)
    assert_allclose(fs.find_equilibrium(game, RULE).contributions, total / n, rtol=1e-7)


def test_own_payoffs_are_solved_by_quadrature() -> None:
    known, case, cost = random_cases(3, seed=43)[1], custom_case(3, seed=43), fs.LinearCost([0.02, 0.05, 0.03])
    expected = fs.find_equilibrium(fs.Game(known.payoff, cost), RULE).contributions
    found = fs.find_equilibrium(fs.Game(case.payoff, cost), RULE).contributions
    assert_allclose(found, expected, rtol=1e-6, atol=1e-7)
    bare = fs.Game(fs.CustomPayoff(case.payoff.function, 3, concave=True), cost)  # type: ignore[attr-defined]
    assert_allclose(RULE.received(bare, expected), RULE.received(fs.Game(known.payoff, cost), expected), rtol=1e-9)


def test_a_jump_on_the_way_is_refused() -> None:
    payoff = fs.CustomPayoff(lambda s: np.where(s.sum(axis=-1, keepdims=True) > 1.0, 1.0, 0.0) * np.ones(3), 3)
    with pytest.raises(ValueError, match="do not add up to its surplus on the way"):
        RULE.payments(fs.Game(payoff, fs.LinearCost([1.0] * 3)), [1.0, 1.0, 1.0])


def test_no_part_of_reciprocity_is_left_for_sure() -> None:
    """Beside 10^k data points the price falls to 3 / 10^k, and the Shapley value of one stays above 1/2."""
    for k in range(1, 6):
        s = [10.0**k, 1.0, 0.0]
        assert fs.reciprocity(THREE_AGENTS, RULE, s) < 6.1 * 10.0**-k


def test_slopes_of_coverage_next_to_nothing() -> None:
    """``s_i c l_i (1 - e^-z) / z`` with ``z = l . s`` so small that its series has three terms."""
    shown = np.array([[0.5, 0.2], [0.1, 0.6], [0.3, 0.1]])
    game = fs.Game(fs.RandomCoverage(shown), fs.LinearCost([1.0] * 3))
    for size in (1e-2, 1e-4, 1e-5, 1e-7):
        s, rates, height = size * np.array([1.0, 0.5, 2.0]), -np.log1p(-shown), shown.sum(axis=0) / 2
        z = s @ rates
        average, bend = 1 - z / 2 + z**2 / 6 - z**3 / 24, -1 / 2 + z / 3 - z**2 / 8
        expected = (height * rates * (average + s[:, None] * rates * bend)).sum(axis=1)
        assert_allclose(RULE.marginal_utilities(game, s) + 1.0, expected, rtol=1e-7 if size == 1e-2 else 1e-11)
