"""Damped Shapley payments: the two ends, the potential of a common payoff, and how much reciprocity is left."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import (
    THREE_AGENTS,
    appendix_e,
    brute_potential,
    brute_shapley,
    custom_case,
    power_law,
    random_cases,
)

S = np.array([[3.0, 1.0, 0.5], [0.0, 4.0, 0.1], [0.0, 0.0, 0.0]])
ENDS = [(0.0, fs.NoPayment()), (1.0, fs.ShapleyPayment())]
every_end = pytest.mark.parametrize(("r", "end"), ENDS, ids=["r=0", "r=1"])


@every_end
def test_the_ends_are_the_two_mechanisms_to_the_last_digit(r: float, end: fs.Mechanism) -> None:
    damped = fs.DampedShapley(r)
    for case in [*random_cases(3, seed=5), custom_case(3, seed=5)]:
        game = fs.Game(case.payoff, fs.LinearCost([0.3, 0.05, 0.2]), 20.0)
        for name in ("payments", "received", "utilities", "marginal_utilities"):
            assert_array_equal(getattr(damped, name)(game, S), getattr(end, name)(game, S))
        x = np.linspace(0.0, 20.0, 9) * np.ones((3, 1))
        assert_array_equal(damped.deviation_utilities(game, S[0], x), end.deviation_utilities(game, S[0], x))
        found, expected = (fs.find_equilibrium(game, each) for each in (damped, end))
        assert_array_equal(found.contributions, expected.contributions)
        assert (found.method, found.regret) == (expected.method, expected.regret)
        for ours, theirs in zip(fs.equilibrium_range(game, damped), fs.equilibrium_range(game, end), strict=True):
            assert_array_equal(ours, theirs)


@pytest.mark.parametrize("n", [3, 6])
def test_a_common_payoff_has_the_potential(n: int) -> None:
    """200 moves: what an agent gains by each is what the potential, written out, gains."""
    rng = np.random.default_rng(n)
    for _ in range(100 if n == 3 else 5):
        alpha, beta, r = rng.uniform(0.2, 1.0), rng.uniform(0.1, 1.0), rng.uniform(0.0, 1.0)
        rates = rng.uniform(0.1, 1.0, n)
        game = fs.Game(fs.PowerLaw(n, alpha=alpha, beta=beta), fs.PowerCost(rates, 1.5))
        plain, mechanism = power_law(np.ones((n, n)), alpha, beta), fs.DampedShapley(r)

        def height(s, plain=plain, r=r, rates=rates, alpha=alpha) -> float:
            return r * brute_potential(plain, s) + (1 - r) * (plain(s)[0] - 1 + alpha) - rates @ np.array(s) ** 1.5

        s, i = rng.uniform(0.0, 4.0, n), rng.integers(n)
        moved = np.where(np.arange(n) == i, rng.uniform(0.0, 9.0) * rng.integers(0, 2), s)
        gained = mechanism.utilities(game, moved)[i] - mechanism.utilities(game, s)[i]
        assert_allclose(height(list(moved)) - height(list(s)), gained, atol=1e-12)
        potential = mechanism.potential(game)
        assert potential is not None
        assert_allclose(potential.value(moved), height(list(moved)), atol=1e-12)
        assert_allclose(potential.gradient(s), mechanism.marginal_utilities(game, s), rtol=1e-12)


@pytest.mark.parametrize("kind", ["mixture", "enumerated"])
def test_expansion_holds_the_derivatives_of_the_potential(kind: str) -> None:
    payoff = fs.PowerLaw(3, beta=0.6) if kind == "mixture" else fs.LearningCurve(np.log1p, lambda z: 1 / (1 + z), 3)
    potential = fs.DampedShapley(0.3).potential(fs.Game(payoff, fs.PowerCost([0.1, 0.3, 0.2], 2.0)))
    assert potential is not None
    s, step = np.array([1.0, 2.0, 0.5]), 1e-4
    here = potential.expansion(s)
    slopes = [(potential.gradient(s + step * e) - potential.gradient(s - step * e)) / (2 * step) for e in np.eye(3)]
    assert_allclose(here.value, potential.value(s), rtol=1e-12)
    assert_allclose(here.gradient, potential.gradient(s), rtol=1e-7)
    assert_allclose(-here.matrix(), slopes, rtol=1e-5, atol=1e-7)


def test_a_potential_is_claimed_for_common_payoffs_alone() -> None:
    damped = fs.DampedShapley(0.5)
    rates = fs.LinearCost([0.1, 0.2, 0.3])
    common = [
        fs.PowerLaw(3),
        fs.PowerLaw(weights=[[1.0, 0.5], [1.0, 0.5]], groups=[0, 1, 1]),
        fs.PACBound(3, optimum=0.9, complexity=10.0),
        fs.LearningCurve(np.log1p, lambda z: 1 / (1 + z), 3),
    ]
    other = [fs.PowerLaw(weights=np.eye(3)), fs.PowerLaw(3, alpha=[0.5, 1.0, 1.0]), fs.RandomDiscovery(np.eye(3) / 2)]
    assert all(damped.potential(fs.Game(payoff, rates)) is not None for payoff in common)
    assert all(damped.potential(fs.Game(payoff, rates)) is None for payoff in [*other, custom_case(3, 1).payoff])


def test_no_potential_exists_where_own_slopes_do_not_match() -> None:
    """Round a square of moves the gains of a potential would add up to nothing: here they do not."""
    game = fs.Game(fs.PowerLaw(weights=[[1.0, 0.9, 0.0], [0.1, 1.0, 0.0], [0.0, 0.0, 1.0]]), fs.LinearCost([0.1] * 3))
    round_trip = [(0, [1.0, 0.0, 1.0]), (1, [1.0, 1.0, 1.0]), (0, [0.0, 1.0, 1.0]), (1, [0.0, 0.0, 1.0])]

    def gained(mechanism: fs.Mechanism) -> float:
        s, total = [0.0, 0.0, 1.0], 0.0
        for agent, there in round_trip:
            total += float((mechanism.utilities(game, there) - mechanism.utilities(game, s))[agent])
            s = there
        return total

    assert abs(gained(fs.ShapleyPayment())) < 1e-14
    assert abs(gained(fs.DampedShapley(0.5))) > 0.05


# ---- reciprocity and budget -------------------------------------------------------------------------------------


def ratios(mechanism: fs.Mechanism, game: fs.Game, plain, s) -> np.ndarray:
    """What each agent receives for what she adds, with Shapley values by their definition."""
    received = np.asarray(plain(list(s))) + mechanism.payments(game, s)
    return received / np.array([brute_shapley(plain, list(s), i) for i in range(len(s))])


def common_draws(count: int = 200):
    """First those who give nearly alone, where the bound is nearly attained; then anything."""
    rng = np.random.default_rng(12)
    for k in range(count):
        n, r = int(rng.integers(3, 6)), float(rng.uniform(0.0, 1.0))
        s = rng.uniform(0.1, 5.0, n)
        if k < count // 2:
            s[1:] *= 10.0 ** -rng.uniform(5.0, 9.0)
        yield n, r, float(rng.uniform(0.1, 1.0)), s


def test_a_common_payoff_leaves_its_part_of_reciprocity_and_no_more() -> None:
    slack = []
    for n, r, beta, s in common_draws():
        game = fs.Game(fs.PowerLaw(n, beta=beta), fs.LinearCost(np.ones(n)))
        least = ratios(fs.DampedShapley(r), game, power_law(np.ones((n, n)), 1.0, beta), s).min()
        slack.append(least / (r + (1 - r) / n) - 1)
    assert min(slack) >= -1e-12
    assert min(slack) <= 1e-6  # the bound is tight: any larger one would be caught


def test_with_a_payoff_of_nothing_the_bound_holds_too() -> None:
    for n, r, beta, s in common_draws():
        game = fs.Game(fs.PowerLaw(n, alpha=0.7, beta=beta), fs.LinearCost(np.ones(n)))
        assert ratios(fs.DampedShapley(r), game, power_law(np.ones((n, n)), 0.7, beta), s).min() >= r + (1 - r) / n


def test_without_a_common_payoff_r_is_left_and_no_more() -> None:
    """Tight: agent 0's data are worth something to others, and (next to) nothing to herself."""
    rng, slack = np.random.default_rng(13), []
    for k in range(200):
        n, r = 3, float(rng.uniform(0.05, 1.0))
        weights = rng.uniform(0.0, 1.0, (n, n))
        if k < 100:
            weights[0] *= 10.0 ** -rng.uniform(6.0, 9.0)
        game, s = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost(np.ones(n))), rng.uniform(0.1, 5.0, n)
        slack.append(ratios(fs.DampedShapley(r), game, power_law(weights), s).min() / r - 1)
    assert min(slack) >= -1e-12
    assert min(slack) <= 1e-4


@pytest.mark.parametrize("r", [0.0, 0.3, 1.0])
def test_payments_add_up_to_their_part_of_the_payoff_of_nothing(r: float) -> None:
    for case in random_cases(4, seed=3):
        game = fs.Game(case.payoff, fs.LinearCost(np.ones(4)))
        expected = -r * sum(case.plain([0.0] * 4))
        assert_allclose(fs.budget_gap(game, fs.DampedShapley(r), [1.0, 0.0, 2.0, 0.3]), expected, atol=1e-12)


# ---- equilibria -----------------------------------------------------------------------------------------------


def test_three_hospitals() -> None:
    best = fs.welfare_optimum(THREE_AGENTS).welfare
    rows = {}
    for r in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        mechanism = fs.DampedShapley(r)
        s = fs.find_equilibrium(THREE_AGENTS, mechanism).contributions
        rows[r] = float(THREE_AGENTS.welfare(s)) / best, fs.reciprocity(THREE_AGENTS, mechanism, s)
    expected = [[0.916, 0.333], [0.941, 0.524], [0.911, 0.711], [0.863, 0.838], [0.813, 0.929], [0.761, 1.0]]
    assert_allclose(list(rows.values()), expected, atol=6e-4)


@pytest.mark.parametrize("n", [3, 10, 100])
def test_equal_agents_settle_at_the_optimum_for_one_r(n: int) -> None:
    """``w n / gamma = 4`` and ``f = 1 - 1/(1+m)``: the optimum is m = 1, and so is the equilibrium at r*."""
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(np.full(n, n / 4.0)))
    slope, total = 0.25, sum((1 + k / n) ** -2.0 for k in range(1, n + 1))
    best = (n - 1) * slope / (total - slope)
    totals = [fs.find_equilibrium(game, fs.DampedShapley(r)).total for r in (0.95 * best, best, 1.05 * best)]
    assert_allclose(totals[1], 1.0, rtol=1e-9)
    assert totals[0] < 0.995 < 1.005 < totals[2]
    if n == 100:
        assert_allclose(best, 0.5013, atol=5e-5)
        fair = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions
        assert_allclose(float(game.welfare(fair)) / fs.welfare_optimum(game).welfare, 0.054, atol=5e-4)


def test_ten_thousand_agents_are_solved_by_the_potential() -> None:
    rates = np.random.default_rng(0).uniform(0.5, 2.0, 10_000)
    found = fs.find_equilibrium(fs.Game(fs.PowerLaw(10_000), fs.PowerCost(rates, 1.5)), fs.DampedShapley(0.5))
    assert found.method == "potential"
    assert found.iterations < 30
    assert found.relative_regret <= 1e-12


def test_thirty_agents_without_a_common_payoff_are_solved_by_best_responses() -> None:
    found = fs.find_equilibrium(appendix_e("mnist", 0), fs.DampedShapley(0.5))
    assert found.method == "best responses"
    assert found.relative_regret <= 1e-9


@pytest.mark.parametrize("r", [-0.1, 1.1, np.nan, "half", True], ids=str)
def test_r_outside_its_range_is_refused(r) -> None:
    with pytest.raises(ValueError, match=r"r must .*\[0, 1\]"):
        fs.DampedShapley(r)
