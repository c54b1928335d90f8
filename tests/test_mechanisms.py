"""Payments, utilities and what solvers are told, for four mechanisms, from the formulas that define them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import (
    THREE_AGENTS,
    TWO_AGENTS,
    OwnCost,
    Plain,
    brute_shapley,
    custom_case,
    every_mechanism,
    linear_cost,
    power_cost,
    random_cases,
    utility_of,
)

ROUNDING = 1e-12

RATES = [0.3, 0.05, 0.15, 0.4]
Setting = tuple[fs.Game, Plain, OwnCost]


def settings(n: int = 3) -> dict[str, Setting]:
    """Every payoff with linear costs, one with power costs, and one that only enumeration can handle."""
    linear, power = linear_cost(RATES[:n], fixed=0.02), power_cost(RATES[:n], 2.0)
    made = {case.id: (case, linear) for case in [*random_cases(n, seed=8), custom_case(n, seed=9)]}
    made["power cost"] = (random_cases(n, seed=8)[1], power)
    return {name: (fs.Game(case.payoff, cost, 20.0), case.plain, own) for name, (case, (cost, own)) in made.items()}


SETTINGS = settings()
every_setting = pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
PROFILES = [np.array(s) for s in ([1.0, 2.0, 0.5], [0.0, 4.0, 0.1], [15.0, 0.0, 3.0], [0.0, 0.0, 0.0])]


# ---- payments ------------------------------------------------------------------------------------------


@every_setting
@every_mechanism
def test_utilities_are_the_definition(setting: Setting, mechanism: fs.Mechanism) -> None:
    game, plain, own = setting
    utility = utility_of(mechanism, plain, own, game.capacity.tolist())
    for s in PROFILES:
        expected = [utility(s.tolist(), i) for i in range(3)]
        # the search for what an agent gives alone is right to about 1e-8, and epsilon times that shows
        assert_allclose(mechanism.utilities(game, s), expected, rtol=1e-9, atol=1e-9)


@every_setting
@every_mechanism
def test_utility_is_payoff_and_payment_less_cost(setting: Setting, mechanism: fs.Mechanism) -> None:
    game, plain, own = setting
    for s in PROFILES:
        payoffs, costs = np.array(plain(s.tolist())), np.array([own(x, i) for i, x in enumerate(s.tolist())])
        payments = mechanism.payments(game, s)
        assert_allclose(mechanism.received(game, s), payoffs + payments, rtol=ROUNDING, atol=ROUNDING)
        assert_allclose(mechanism.utilities(game, s), payoffs + payments - costs, rtol=ROUNDING, atol=ROUNDING)


def test_no_payment_pays_nothing() -> None:
    assert_array_equal(fs.NoPayment().payments(THREE_AGENTS, [1.0, 2.0, 3.0]), np.zeros(3))


def test_cost_sharing_by_hand() -> None:
    # costs 0.3, 0.5, 0.4: the others' means are 0.45, 0.35 and 0.4
    payments = fs.CostSharing(0.5).payments(THREE_AGENTS, [3.0, 2.0, 1.0])
    assert_allclose(payments, [-0.075, 0.075, 0.0], atol=1e-15)


def test_shapley_payment_by_hand() -> None:
    # A = 3 m/(1+m) of m = 3 and 1: phi = (v(1) + v(12) - v(2)) / 2 = 1.575 and 0.825, payoffs are 0.8 each
    payments = fs.ShapleyPayment().payments(THREE_AGENTS, [3.0, 1.0, 0.0])
    assert_allclose(payments, [0.775, 0.025, -0.8], rtol=ROUNDING)


@every_setting
def test_shapley_payment_is_value_less_payoff(setting: Setting) -> None:
    game, plain, _ = setting
    for s in PROFILES:
        expected = [brute_shapley(plain, s.tolist(), i) - plain(s.tolist())[i] for i in range(3)]
        assert_allclose(fs.ShapleyPayment().payments(game, s), expected, rtol=ROUNDING, atol=ROUNDING)


@every_setting
def test_cost_sharing_balances_its_budget(setting: Setting) -> None:
    for s in PROFILES:
        assert abs(fs.CostSharing(0.7).payments(setting[0], s).sum()) < 1e-13


@every_setting
def test_shapley_payments_add_up_to_the_loss_of_the_payoff_of_nothing(setting: Setting) -> None:
    game, plain, _ = setting
    for s in PROFILES:
        assert abs(fs.ShapleyPayment().payments(game, s).sum() + sum(plain([0.0] * 3))) <= 1e-10


# ---- what solvers are told -------------------------------------------------------------------------------


@every_setting
@every_mechanism
def test_marginal_utilities_are_slopes_of_utilities(setting: Setting, mechanism: fs.Mechanism) -> None:
    game = setting[0]
    for s in ([1.0, 2.0, 0.5], [0.3, 4.0, 0.1], [15.0, 0.7, 3.0]):
        slopes = []
        for i in range(3):
            step = 1e-5 * np.eye(3)[i]
            ahead, behind = (mechanism.utilities(game, s + sign * step)[i] for sign in (1, -1))
            slopes.append((ahead - behind) / 2e-5)
        # central differences of step 1e-5: truncation 1e-10, rounding 1e-16 / 1e-5
        assert_allclose(mechanism.marginal_utilities(game, s), slopes, rtol=1e-7, atol=1e-9)


@every_setting
@every_mechanism
def test_deviation_utilities_are_utilities_of_the_moved_profiles(setting: Setting, mechanism: fs.Mechanism) -> None:
    game, s = setting[0], np.array([1.0, 2.0, 0.5])
    x = np.random.default_rng(0).uniform(0.0, 20.0, (3, 6))
    x[:, 0], x[:, 1] = 0.0, s
    found = mechanism.deviation_utilities(game, s, x)
    for i in range(3):
        moved = np.where(np.arange(3) == i, x[i, :, None], s)
        expected = mechanism.utilities(game, moved)[:, i]
        # what she has without any data may be left out: it is the same wherever she goes
        assert_allclose(found[i] - found[i, 0], expected - expected[0], rtol=ROUNDING, atol=ROUNDING)


@every_mechanism
def test_leading_axes_are_mapped_over(mechanism: fs.Mechanism) -> None:
    game, s = SETTINGS["weights"][0], np.random.default_rng(0).uniform(0.0, 3.0, (2, 4, 3))
    for name in ("payments", "received", "utilities", "marginal_utilities"):
        function: Callable = getattr(mechanism, name)
        rows = [[function(game, row) for row in block] for block in s]
        assert_allclose(function(game, s), rows, rtol=ROUNDING, atol=1e-15, err_msg=name)


@every_mechanism
def test_contributions_are_not_written_to(mechanism: fs.Mechanism) -> None:
    s, x = np.array([1.0, 2.0, 0.5]), np.ones((3, 2))
    for name in ("payments", "received", "utilities", "marginal_utilities"):
        getattr(mechanism, name)(THREE_AGENTS, s)
    mechanism.deviation_utilities(THREE_AGENTS, s, x)
    assert_array_equal(s, [1.0, 2.0, 0.5])
    assert_array_equal(x, np.ones((3, 2)))


# ---- the potential of the Shapley payments ------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7])
def test_unilateral_changes_of_utility_are_changes_of_the_potential(n: int) -> None:
    rng = np.random.default_rng(n)
    for case in random_cases(n, seed=17):
        game = fs.Game(case.payoff, fs.PowerCost(rng.uniform(0.1, 1.0, n), 1.5))
        potential = fs.ShapleyPayment().potential(game)
        for s in rng.uniform(0.0, 4.0, (5, n)):
            i = rng.integers(n)
            moved = np.where(np.arange(n) == i, rng.uniform(0.0, 9.0), s)
            change = [fs.ShapleyPayment().utilities(game, x)[i] for x in (s, moved)]
            assert_allclose(potential.value(moved) - potential.value(s), change[1] - change[0], atol=1e-10)


@every_setting
def test_expansion_of_the_potential_holds_its_derivatives(setting: Setting) -> None:
    game, s, step = setting[0], np.array([1.0, 2.0, 0.5]), 1e-4
    potential = fs.ShapleyPayment().potential(game)
    here = potential.expansion(s)
    ahead, behind = ([s + sign * step * row for row in np.eye(3)] for sign in (1, -1))
    values = [(potential.value(a) - potential.value(b)) / (2 * step) for a, b in zip(ahead, behind, strict=True)]
    assert_allclose(here.value, potential.value(s), rtol=ROUNDING)
    assert_allclose(here.gradient, values, rtol=1e-6, atol=1e-8)
    slopes = [
        (potential.expansion(a).gradient - potential.expansion(b).gradient) / (2 * step)
        for a, b in zip(ahead, behind, strict=True)
    ]
    assert_allclose(-np.diag(here.own) - here.shared @ here.shared.T, slopes, rtol=1e-6, atol=1e-7)


def test_the_other_mechanisms_claim_no_potential() -> None:
    for mechanism in (fs.NoPayment(), fs.CostSharing(0.5), fs.AccuracyShaping()):
        assert mechanism.potential(THREE_AGENTS) is None


# ---- accuracy shaping ----------------------------------------------------------------------------------------


def test_alone_the_agents_of_example_7_stop_at_216_and_1() -> None:
    assert_allclose(fs.AccuracyShaping().solo_optima(TWO_AGENTS), [10**0.5 - 1, 1.0], rtol=1e-12)


def test_curve_of_example_7() -> None:
    curve = fs.AccuracyShaping(0.01)
    # agent 1 past her solo optimum 1 + 0.9: 1/2 + 0.26 * 0.9 = 0.734, below the full payoff 1 - 1/5.9
    assert_allclose(curve.received(TWO_AGENTS, [3.0, 1.9])[1], 0.734, rtol=1e-12)
    assert_allclose(curve.received(TWO_AGENTS, [3.0, 0.5])[1], 1 - 1 / 1.5, rtol=1e-12)


@every_setting
def test_shaping_never_pays_and_ends_in_the_full_payoff(setting: Setting) -> None:
    game, shaping = setting[0], fs.AccuracyShaping(0.05)
    for s in np.random.default_rng(0).uniform(0.0, 8.0, (20, 3)):
        assert (shaping.payments(game, s) <= 0.0).all()
    assert_array_equal(shaping.payments(game, [20.0, 0.0, 0.0])[0], 0.0)
    if not isinstance(game.payoff, fs.RandomDiscovery):  # which outgrows every premium
        assert_array_equal(shaping.payments(game, [20.0] * 3), np.zeros(3))


@every_setting
def test_curve_has_no_jumps(setting: Setting) -> None:
    game, shaping = setting[0], fs.AccuracyShaping(0.05)
    others = np.array([5.0, 5.0, 5.0])
    x = np.tile(np.linspace(0.0, 20.0, 20001), (3, 1))
    received = shaping.deviation_utilities(game, others, x) + game.cost.values(x.T).T
    steepest = np.abs(game.payoff.jacobian(np.zeros(3))).max() + game.cost.derivatives([20.0] * 3).max() + 0.05
    assert (np.diff(received, axis=1) >= -1e-14).all()
    assert (np.diff(received, axis=1) <= steepest * 1e-3 * (1 + 1e-9)).all()


def test_solo_optima_respect_capacities_and_hopeless_costs() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.01, 0.25, 2.0]), capacity=[4.0, 4.0, 4.0])
    assert_allclose(fs.AccuracyShaping().solo_optima(game), [4.0, 1.0, 0.0], rtol=1e-12)


def test_what_solo_optima_returns_is_the_callers_own() -> None:
    game, shaping = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.25, 0.25, 0.25])), fs.AccuracyShaping()
    before = shaping.received(game, [2.0, 2.0, 2.0])
    with suppress(ValueError):  # refusing to be written to is as good
        shaping.solo_optima(game)[:] = 99.0
    assert_array_equal(shaping.received(game, [2.0, 2.0, 2.0]), before)
