"""The yardsticks of Sec. 3 against the definitions, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from games import DOMINANT, THREE_AGENTS, TWO_AGENTS, brute_shapley, custom_case, ids, random_cases

CASES = [*random_cases(3, seed=81), custom_case(3, seed=82)]
every_case = pytest.mark.parametrize("case", CASES, ids=ids(CASES))
S, RATES = [1.0, 2.0, 0.5], [0.1, 0.3, 0.2]
NEGATIVE = fs.Game(fs.CustomPayoff(lambda s: 1.0 - s / 10.0, 3), fs.LinearCost([1.0, 1.0, 1.0]))


def equilibrium_at(contributions: list[float]) -> fs.Equilibrium:
    return replace(fs.find_equilibrium(THREE_AGENTS, fs.NoPayment()), contributions=np.array(contributions))


# ---- reciprocity -----------------------------------------------------------------------------------------


@every_case
def test_reciprocity_is_definition_33(case) -> None:
    game = fs.Game(case.payoff, fs.LinearCost(RATES))
    phi, payoffs = [brute_shapley(case.plain, S, i) for i in range(3)], case.plain(S)
    costs = [g * x for g, x in zip(RATES, S, strict=True)]
    shared = [0.5 * (costs[i] - (sum(costs) - costs[i]) / 2) for i in range(3)]
    for mechanism, payments in ((fs.NoPayment(), [0.0] * 3), (fs.CostSharing(0.5), shared)):
        expected = min((a + p) / share for a, p, share in zip(payoffs, payments, phi, strict=True))
        assert_allclose(fs.reciprocity(game, mechanism, S), expected, rtol=1e-10)
    assert fs.reciprocity(game, fs.ShapleyPayment(), S) == 1.0


def test_reciprocity_of_example_3_by_hand() -> None:
    # s = (2.1623, 0): phi = (2 * 0.68377, 0), payoffs 0.68377 each; agent 2 gives nothing and owes nothing
    s = fs.find_equilibrium(TWO_AGENTS, fs.NoPayment()).contributions
    assert_allclose(fs.reciprocity(TWO_AGENTS, fs.NoPayment(), s), 0.5, rtol=1e-12)


def test_who_gives_nothing_counts_only_if_she_must_pay() -> None:
    zero = [3.0, 1.0, 0.0]
    others = min(0.8 / 1.575, 0.8 / 0.825)
    assert_allclose(fs.reciprocity(THREE_AGENTS, fs.NoPayment(), zero), others, rtol=1e-12)
    assert fs.reciprocity(THREE_AGENTS, fs.ShapleyPayment(), zero) == 1.0  # 0 / 0: nothing for nothing
    dear = fs.Game(fs.PowerLaw(3), fs.LinearCost([2.0, 2.0, 2.0]))
    # costs 6, 2, 0: agent 2 pays the mean of 6 and 2, and the model is worth 0.8
    assert fs.reciprocity(dear, fs.CostSharing(1.0), zero) == -np.inf


def test_reciprocity_where_nobody_gives_anything() -> None:
    assert fs.reciprocity(THREE_AGENTS, fs.NoPayment(), [0.0, 0.0, 0.0]) == 1.0
    head_start = fs.Game(fs.PowerLaw(3, alpha=0.5), fs.LinearCost([0.1, 0.1, 0.1]))
    assert fs.reciprocity(head_start, fs.NoPayment(), [0.0, 0.0, 0.0]) == np.inf


def test_reciprocity_counts_the_worst_agent() -> None:
    game = fs.Game(fs.PowerLaw(weights=[[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), fs.LinearCost([1.0] * 3))
    # agent 0 alone profits from agent 1, whose Shapley value holds half of it; agent 2 keeps to herself
    a0, a1 = 1 - 1 / 4, 1 - 1 / 3
    phi0 = ((1 - 1 / 2) + (a0 - (1 - 1 / 3))) / 2
    phi1 = (2 * a1 + (a0 - 1 / 2) + a1) / 2
    assert_allclose(phi0 + phi1, a0 + a1, rtol=1e-14)
    assert_allclose(fs.reciprocity(game, fs.NoPayment(), [1.0, 2.0, 7.0]), a1 / phi1, rtol=1e-12)


def test_reciprocity_refuses_data_that_do_harm() -> None:
    with pytest.raises(ValueError, match=r"non-negative Shapley values; agent 1 has -0.2"):
        fs.reciprocity(NEGATIVE, fs.NoPayment(), [1.0, 2.0, 0.5])
    mixed = fs.Game(fs.CustomPayoff(lambda s: 1.0 + s * [1.0, -0.1, 0.5], 3), NEGATIVE.cost)
    with pytest.raises(ValueError, match=r"non-negative Shapley values; agent 1 has -0.2"):
        fs.reciprocity(mixed, fs.NoPayment(), [1.0, 2.0, 0.5])


def test_reciprocity_of_a_share_lost_in_rounding_is_no_harm() -> None:
    payoff = fs.CustomPayoff(lambda s: 1.0 - 1.0 / (1.0 + s.sum(axis=-1, keepdims=True)) * np.ones(4), 4)
    game = fs.Game(payoff, fs.LinearCost([1.0] * 4))
    for tiny in np.geomspace(1e-18, 1e-14, 40):
        assert fs.reciprocity(game, fs.ShapleyPayment(), [tiny, 1.3, 2.7, 0.9]) == 1.0


# ---- budget, equal treatment, rationality --------------------------------------------------------------------


@every_case
def test_budget_gap_is_the_sum_of_payments(case) -> None:
    game = fs.Game(case.payoff, fs.LinearCost(RATES))
    assert abs(fs.budget_gap(game, fs.CostSharing(0.5), S)) < 1e-14
    assert fs.budget_gap(game, fs.NoPayment(), S) == 0.0
    assert_allclose(fs.budget_gap(game, fs.ShapleyPayment(), S), -sum(case.plain([0.0] * 3)), atol=1e-10)
    several = fs.budget_gap(game, fs.ShapleyPayment(), np.array([S, [0.0, 1.0, 1.0]]))
    assert several.shape == (2,)


def test_accuracy_shaping_takes_from_the_agents() -> None:
    gap = fs.budget_gap(TWO_AGENTS, fs.AccuracyShaping(0.01), [3.0, 1.9])
    # both curves lie below the full payoff 1 - 1/5.9: 0.68377 + 0.11 (3 - 2.16228) and 0.734
    x0 = 10**0.5 - 1
    assert_allclose(gap, 1 - 1 / (1 + x0) + 0.11 * (3 - x0) + 0.734 - 2 * (1 - 1 / 5.9), rtol=1e-12)


def test_unequal_treatment_is_the_largest_difference_of_payments() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.3, 0.1]))
    # costs 0.2, 0.6, 0.2 and payments 0.5 (own - mean of the others)
    assert_allclose(fs.unequal_treatment(game, fs.CostSharing(0.5), [2.0, 2.0, 2.0], [0, 1]), 0.3, rtol=1e-12)
    assert_allclose(fs.unequal_treatment(game, fs.CostSharing(0.5), [2.0, 2.0, 2.0], [2, 1, 0]), 0.3, rtol=1e-12)
    assert fs.unequal_treatment(game, fs.CostSharing(0.5), [2.0, 2.0, 2.0], [0, 2]) < 1e-15
    assert fs.unequal_treatment(game, fs.ShapleyPayment(), [2.0, 2.0, 2.0], [0, 1, 2]) < 1e-14
    assert fs.unequal_treatment(game, fs.ShapleyPayment(), [2.0, 1.0, 2.0], [0, 1]) > 0.1


def test_rationality_is_the_smallest_utility() -> None:
    # payoffs 0.75, costs 0.1, 0.25, 0.4
    assert_allclose(fs.rationality(THREE_AGENTS, fs.NoPayment(), [1.0, 1.0, 1.0]), 0.35, rtol=1e-12)
    fixed = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.3], fixed=[0.0, 0.6, 0.0]))
    assert_allclose(fs.rationality(fixed, fs.ShapleyPayment(), [1.0, 0.0, 1.0]), -0.6, rtol=1e-12)


# ---- gains -----------------------------------------------------------------------------------------------


def test_gains_compare_with_no_payments() -> None:
    free, fair = (fs.find_equilibrium(THREE_AGENTS, m) for m in (fs.NoPayment(), fs.ShapleyPayment()))
    stop = 10**0.5 - 1
    assert_allclose(free.total, stop, rtol=1e-9)
    total = fair.contributions.sum()
    accuracy = (1 - 1 / (1 + total)) / (1 - 1 / (1 + stop))
    assert_allclose(fs.data_gain(THREE_AGENTS, fs.ShapleyPayment()), total / stop, rtol=1e-9)
    assert_allclose(fs.accuracy_gain(THREE_AGENTS, fs.ShapleyPayment()), accuracy, rtol=1e-9)
    assert_allclose(fs.data_gain(THREE_AGENTS, fs.NoPayment()), 1.0, rtol=1e-9)
    assert_allclose(fs.accuracy_gain(THREE_AGENTS, fs.NoPayment()), 1.0, rtol=1e-9)


@pytest.mark.parametrize("game", [THREE_AGENTS, DOMINANT], ids=["three agents", "dominant"])
def test_gains_reach_the_bounds_of_theorem_49(game: fs.Game) -> None:
    n, alpha, beta = game.n_agents, game.payoff.alpha, game.payoff.beta  # type: ignore[attr-defined]
    cheapest = float(game.cost.derivatives(np.ones(n)).min())
    power = 1 / (beta + 1)
    bound = alpha**power * beta ** (-beta * power) * cheapest ** (beta * power) * (1 - n ** (-beta * power))
    assert fs.data_gain(game, fs.ShapleyPayment()) >= n**power
    assert fs.accuracy_gain(game, fs.ShapleyPayment()) >= 1 + bound


def test_given_equilibria_are_compared_as_they_are() -> None:
    ours, without = equilibrium_at([3.0, 2.0, 1.0]), equilibrium_at([2.0, 0.0, 0.0])
    given = {"equilibrium": ours, "baseline": without}
    assert fs.data_gain(THREE_AGENTS, fs.ShapleyPayment(), **given) == 3.0
    assert_allclose(fs.accuracy_gain(THREE_AGENTS, fs.ShapleyPayment(), **given), (6 / 7) / (2 / 3), rtol=1e-12)


def test_gains_over_nothing_are_undefined() -> None:
    hopeless = fs.Game(fs.PowerLaw(3), fs.LinearCost([1.5, 2.0, 2.5]))
    with pytest.raises(ValueError, match="data_gain is undefined: nobody contributes"):
        fs.data_gain(hopeless, fs.ShapleyPayment())
    with pytest.raises(ValueError, match="accuracy_gain is undefined: .* is 0"):
        fs.accuracy_gain(hopeless, fs.ShapleyPayment())
    head_start = fs.Game(fs.PowerLaw(3, alpha=0.5), fs.LinearCost([1.5, 2.0, 2.5]))
    assert fs.accuracy_gain(head_start, fs.NoPayment()) == 1.0


def test_a_gain_is_guaranteed_only_if_both_ranges_are() -> None:
    """Without a P-matrix of weights nothing is known of M^0, and a curve of the user's leaves M^Shap in doubt."""
    sure = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.10, 0.25, 0.30, 0.40]))
    doubtful = fs.PowerLaw(weights=[[1.0, 1.2], [1.2, 1.0]], groups=[0, 0, 1, 1])
    unknown = fs.LearningCurve(np.log1p, lambda z: 1.0 / (1.0 + z), 4)  # may be concave or not
    for gain in (fs.data_gain, fs.accuracy_gain):
        assert gain(sure, fs.ShapleyPayment()).guaranteed
        assert not gain(fs.Game(doubtful, fs.LinearCost([0.1] * 4)), fs.ShapleyPayment()).guaranteed
        assert not gain(fs.Game(unknown, fs.LinearCost([0.1] * 4)), fs.NoPayment()).guaranteed
        found = fs.find_equilibrium(sure, fs.ShapleyPayment())
        assert not gain(sure, fs.ShapleyPayment(), equilibrium=found).guaranteed
        assert isinstance(gain(sure, fs.ShapleyPayment()), float)
