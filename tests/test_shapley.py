"""Shapley values, own-gradients, potential and Hessian: every method against enumeration written out in the test."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.shapley.deviations import deviation_values
from games import (
    Case,
    brute_potential,
    brute_shapley,
    custom_case,
    derivative,
    game_of,
    power_laws,
    precise_shapley,
    profiles,
    properties,
    random_cases,
)

RELATIVE = 1e-10  # what the quadrature promises for each agent, however small her share
ROUNDING = 1e-12  # enumeration: some 2^n additions of numbers of order n

CASES = [case for n in (3, 4) for case in (*random_cases(n, seed=11), custom_case(n, seed=11))]
every_case = pytest.mark.parametrize("case", CASES, ids=[f"{case.id}-{case.n}" for case in CASES])
MIXTURES = [case for case in CASES if case.id != "custom"]
every_mixture = pytest.mark.parametrize("case", MIXTURES, ids=[f"{case.id}-{case.n}" for case in MIXTURES])


def methods_for(case: Case) -> list[str]:
    return ["auto", "exact"] if case.id == "custom" else ["auto", "exact", "quadrature"]


def some_profiles(n: int) -> list[np.ndarray]:
    rng = np.random.default_rng(n)
    sparse = rng.uniform(0.0, 5.0, n)
    sparse[::2] = 0.0
    return [rng.uniform(0.0, 5.0, n), sparse, np.zeros(n)]


# ---- against the definitions --------------------------------------------------------------------------


@every_case
def test_values_are_equation_3(case: Case) -> None:
    for s in some_profiles(case.n):
        expected = [brute_shapley(case.plain, s.tolist(), i) for i in range(case.n)]
        for method in methods_for(case):
            phi = fs.shapley_values(game_of(case.payoff), s, method=method)
            assert_allclose(phi, expected, rtol=ROUNDING, atol=ROUNDING, err_msg=method)


@every_case
def test_gradient_is_the_own_derivative_of_the_values(case: Case) -> None:
    for s in some_profiles(case.n):
        expected = [derivative(lambda x, i=i: brute_shapley(case.plain, x, i), s, i) for i in range(case.n)]
        for method in methods_for(case):
            gradient = fs.shapley_gradient(game_of(case.payoff), s, method=method)
            assert_allclose(gradient, expected, rtol=ROUNDING, err_msg=method)


@every_case
def test_potential_is_hart_and_mas_colells(case: Case) -> None:
    for s in some_profiles(case.n):
        for method in methods_for(case):
            potential = fs.shapley_potential(game_of(case.payoff), s, method=method)
            assert_allclose(potential, brute_potential(case.plain, s.tolist()), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("case", random_cases(3, seed=12) + [custom_case(3, seed=12)], ids=lambda case: case.id)
def test_hessian_holds_the_second_derivatives_of_the_potential(case: Case) -> None:
    s = np.array([0.7, 2.0, 0.0])

    def gradient(x: list, i: int) -> np.ndarray:
        return derivative(lambda y: brute_shapley(case.plain, y, i), x, i)

    hessian = fs.shapley_hessian(game_of(case.payoff), s)
    step = 1e-5  # of plain differences of an exact gradient, forward at zero: error below 1e-8 at the centre
    for j in range(3):
        low, high = s.copy(), s.copy()
        high[j] += step
        low[j] -= step  # the transcripts are defined a little below zero too
        column = [(gradient(high, i) - gradient(low, i)) / (2 * step) for i in range(3)]
        # enumeration takes forward differences at zero: of first order in its step of 1e-5
        assert_allclose(hessian[:, j], column, rtol=1e-4 if case.id == "custom" else 1e-8, atol=1e-9)
    assert_allclose(hessian, hessian.T, rtol=0, atol=1e-14)


@every_case
def test_deviation_values_are_values_of_the_moved_profiles(case: Case) -> None:
    s = np.linspace(0.0, 3.0, case.n)
    x = np.random.default_rng(1).uniform(0.0, 8.0, (case.n, 3))
    x[:, 0] = 0.0
    found = deviation_values(game_of(case.payoff), s, x)
    for i in range(case.n):
        for p in range(3):
            moved = [x[i, p] if j == i else z for j, z in enumerate(s)]
            assert_allclose(found[i, p], brute_shapley(case.plain, moved, i), rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("case", random_cases(3, seed=13), ids=lambda case: case.id)
def test_deviations_may_go_far_beyond_the_profile(case: Case) -> None:
    s, far = [0.5, 1.0, 0.0], 1e6
    found = deviation_values(game_of(case.payoff), s, np.full((3, 1), far))
    for i in range(3):
        moved = [far if j == i else z for j, z in enumerate(s)]
        assert_allclose(found[i, 0], precise_shapley(case.plain, moved)[i], rtol=RELATIVE)


# ---- tiny and large contributions ------------------------------------------------------------------------


@pytest.mark.parametrize("case", random_cases(5, seed=21), ids=lambda case: case.id)
def test_quadrature_keeps_the_digits_of_the_smallest_agent(case: Case) -> None:
    for s in ([1e-6, 0.0, 1.0, 1e3, 1e6], [1e6, 1e6, 1e-6, 1e-6, 0.0], [1e-6, 1e-6, 1e-6, 1e-6, 1e-6]):
        phi = fs.shapley_values(game_of(case.payoff), s, method="quadrature")
        assert_allclose(phi, precise_shapley(case.plain, s), rtol=RELATIVE)


@properties
@given(st.data())
def test_quadrature_is_precise_for_any_power_law(data: st.DataObject) -> None:
    case = data.draw(power_laws())
    s = data.draw(profiles(case.n))
    game = game_of(case.payoff)
    phi, exact = fs.shapley_values(game, s, method="quadrature"), precise_shapley(case.plain, s)
    assert_allclose(phi, exact, rtol=RELATIVE)
    slopes = [derivative(lambda x, i=i: brute_shapley(case.plain, x, i), s, i) for i in range(case.n)]
    assert_allclose(fs.shapley_gradient(game, s, method="quadrature"), slopes, rtol=RELATIVE)


@pytest.mark.parametrize("n", [8, 16])
def test_quadrature_agrees_with_enumeration_of_more_agents(n: int) -> None:
    for case in random_cases(n, seed=31):
        game, s = game_of(case.payoff), np.geomspace(1e-3, 1e3, n)
        for function in (fs.shapley_values, fs.shapley_gradient, fs.shapley_potential):
            quick, slow = function(game, s, method="quadrature"), function(game, s, method="exact")
            # enumeration loses 1e-15 of the surplus, whoever's share it is
            atol = 0.0 if function is fs.shapley_gradient else 1e-14 * float(game.surplus(s))
            assert_allclose(quick, slow, rtol=RELATIVE, atol=atol, err_msg=f"{case.id} {function.__name__}")


# ---- axioms ----------------------------------------------------------------------------------------------


@every_case
def test_values_divide_the_surplus_above_nothing(case: Case) -> None:
    game = game_of(case.payoff)
    for s in [*some_profiles(case.n), np.geomspace(1e-6, 1e4, case.n)]:
        gap = sum(case.plain(s.tolist())) - sum(case.plain([0.0] * case.n))
        for method in methods_for(case):
            assert abs(fs.shapley_values(game, s, method=method).sum() - gap) <= 1e-10 * max(1.0, gap)


def test_interchangeable_agents_get_the_same() -> None:
    weights = [[1.0, 1.0, 0.2], [1.0, 1.0, 0.2], [0.3, 0.3, 1.0]]
    for payoff in (fs.PowerLaw(weights=weights), fs.CustomPayoff(fs.PowerLaw(weights=weights).values, 3)):
        phi = fs.shapley_values(game_of(payoff), [1.5, 1.5, 4.0])
        assert_allclose(phi[0], phi[1], rtol=1e-14)


@every_case
def test_who_gives_nothing_gets_nothing(case: Case) -> None:
    s = np.full(case.n, 2.0)
    s[1] = 0.0
    for method in methods_for(case):
        assert fs.shapley_values(game_of(case.payoff), s, method=method)[1] == 0.0


def test_whose_data_nobody_can_use_gets_nothing() -> None:
    payoff = fs.PowerLaw(weights=[[1.0, 0.0, 0.2], [0.5, 0.0, 0.1], [0.3, 0.0, 1.0]])
    for method in ("exact", "quadrature"):
        assert abs(fs.shapley_values(game_of(payoff), [1.0, 9.0, 2.0], method=method)[1]) < 1e-15


def test_values_of_a_sum_are_the_sum_of_the_values() -> None:
    one, other = (case.payoff for case in random_cases(4, seed=5)[1:4:2])
    both = fs.CustomPayoff(lambda s: one.values(s) + other.values(s), 4)
    s = [1.0, 0.2, 3.0, 0.7]
    parts = [fs.shapley_values(game_of(payoff), s) for payoff in (one, other)]
    assert_allclose(fs.shapley_values(game_of(both), s), sum(parts), rtol=ROUNDING)


@every_case
def test_differences_of_the_potential_are_the_values(case: Case) -> None:
    game, s = game_of(case.payoff), np.linspace(0.3, 3.0, case.n)
    for method in methods_for(case):
        potential = partial(fs.shapley_potential, game, method=method)
        phi = fs.shapley_values(game, s, method=method)
        for i in range(case.n):
            without = np.where(np.arange(case.n) == i, 0.0, s)
            assert_allclose(potential(s) - potential(without), phi[i], rtol=ROUNDING, atol=ROUNDING)


# ---- shapes and limits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["exact", "quadrature"])
def test_leading_axes_are_mapped_over(method: str) -> None:
    game = game_of(random_cases(3, seed=1)[1].payoff)
    s = np.random.default_rng(0).uniform(0.0, 3.0, (2, 4, 3))
    for function, shape in ((fs.shapley_values, (3,)), (fs.shapley_gradient, (3,)), (fs.shapley_potential, ())):
        together = function(game, s, method=method)
        assert together.shape == (2, 4, *shape)
        rows = [[function(game, row, method=method) for row in block] for block in s]
        assert_allclose(together, rows, rtol=1e-14)


@pytest.mark.parametrize("function", [fs.shapley_values, fs.shapley_gradient], ids=["values", "gradient"])
def test_no_profiles_give_no_values(function: Callable) -> None:
    assert function(game_of(fs.PowerLaw(3)), np.zeros((0, 3))).shape == (0, 3)


def test_enumeration_takes_twenty_agents() -> None:
    n = 20
    game, s = game_of(fs.CustomPayoff(lambda s: np.log1p(s.sum(axis=-1, keepdims=True)) * np.ones(n), n)), np.ones(n)
    phi = fs.shapley_values(game, s)
    assert_allclose(phi, np.log(21.0), rtol=1e-11)  # equal agents share n log(1 + n)


def test_one_agent_gets_everything() -> None:
    for case in random_cases(1, seed=3):
        game, s = game_of(case.payoff), [2.5]
        gain = case.plain(s)[0] - case.plain([0.0])[0]
        for method in ("exact", "quadrature"):
            assert_allclose(fs.shapley_values(game, s, method=method), [gain], rtol=ROUNDING)
            assert_allclose(fs.shapley_potential(game, s, method=method), gain, rtol=ROUNDING)
