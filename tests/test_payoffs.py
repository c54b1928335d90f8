"""Payoffs against the paper's formulas, their Jacobians against exact derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from games import Case, custom_case, derivative, ids, pac_bound, power_laws, profiles, properties, random_cases

ROUNDING = 1e-13  # a few dozen operations in double precision
LAST_PLACE = 1e-15  # a payoff is 1 less something: however small it is, its last place is that of 1
DIFFERENCES = 1e-6  # CustomPayoff without a gradient: differences of relative step 6e-6

CASES = [case for n in (3, 6) for case in random_cases(n, seed=1)]
every_payoff = pytest.mark.parametrize("case", CASES, ids=[f"{case.id}-{case.n}" for case in CASES])


def some_profiles(n: int) -> np.ndarray:
    """Ordinary, empty, partly empty, tiny and large contributions side by side."""
    rng = np.random.default_rng(n)
    s = rng.uniform(0.0, 5.0, (6, n))
    s[1] = 0.0
    s[2, ::2] = 0.0
    s[3] = np.geomspace(1e-6, 1e6, n)
    s[4] *= 1e-6
    return s


@every_payoff
def test_values_are_the_papers_formula(case: Case) -> None:
    for s in some_profiles(case.n):
        assert_allclose(case.payoff.values(s), np.array(case.plain(s.tolist())), rtol=ROUNDING, atol=LAST_PLACE)


@every_payoff
def test_jacobian_holds_the_derivatives_with_payoffs_in_rows(case: Case) -> None:
    for s in some_profiles(case.n):
        columns = [derivative(case.plain, s, j) for j in range(case.n)]
        # coverage at 1e6 data points: the derivative is below 1e-300, where double precision has no digits left
        assert_allclose(case.payoff.jacobian(s), np.stack(columns, axis=-1), rtol=1e-9, atol=1e-290)


@every_payoff
def test_total_and_its_gradient_sum_over_the_payoffs(case: Case) -> None:
    for s in some_profiles(case.n):
        total = sum(case.plain(s.tolist()))
        assert_allclose(case.payoff.total(s), total, rtol=ROUNDING, atol=case.n * LAST_PLACE)
        gradient = [derivative(lambda x: sum(case.plain(x)), s, j) for j in range(case.n)]
        assert_allclose(case.payoff.total_gradient(s), gradient, rtol=1e-9, atol=1e-290)


@every_payoff
def test_own_gradient_is_the_diagonal_of_the_jacobian(case: Case) -> None:
    for s in some_profiles(case.n):
        own = [derivative(lambda x, i=i: case.plain(x)[i], s, i) for i in range(case.n)]
        assert_allclose(case.payoff.own_gradient(s), own, rtol=1e-9, atol=1e-290)


@every_payoff
def test_own_gains_are_what_the_moved_profiles_gain(case: Case) -> None:
    s = np.linspace(0.5, 3.0, case.n)
    x = np.random.default_rng(0).uniform(0.0, 9.0, (case.n, 7))
    x[:, 0], x[:, 1] = 0.0, s
    expected = [
        [case.plain([y if j == i else z for j, z in enumerate(s)])[i] for y in x[i].tolist()] for i in range(case.n)
    ]
    nothing = np.array(case.plain([0.0] * case.n))
    assert_allclose(case.payoff.own_gains(s, x) + nothing[:, None], expected, rtol=ROUNDING)


@every_payoff
def test_leading_axes_are_mapped_over(case: Case) -> None:
    n, s = case.n, np.random.default_rng(2).uniform(0.0, 4.0, (2, 3, case.n))
    payoff = case.payoff
    for function, shape in [
        (payoff.values, (n,)),
        (payoff.jacobian, (n, n)),
        (payoff.total, ()),
        (payoff.total_gradient, (n,)),
        (payoff.own_gradient, (n,)),
    ]:
        together = function(s)
        assert together.shape == (2, 3, *shape)
        one_by_one = np.array([[function(row) for row in block] for block in s])
        assert_allclose(together, one_by_one, rtol=ROUNDING)


@every_payoff
def test_payoffs_called_concave_are_concave_and_never_fall(case: Case) -> None:
    assert case.payoff.concave is True
    rng = np.random.default_rng(5)
    a, b = rng.uniform(0.0, 10.0, (2, 400, case.n)) * rng.integers(0, 2, (2, 400, case.n))
    middle = case.payoff.values((a + b) / 2)
    assert (middle >= (case.payoff.values(a) + case.payoff.values(b)) / 2 - 1e-14 * (1 + middle)).all()
    assert (case.payoff.values(a + b) >= case.payoff.values(a) - 1e-14 * (1 + middle)).all()


@properties
@given(st.data())
def test_power_laws_with_tiny_and_large_weights(data: st.DataObject) -> None:
    case = data.draw(power_laws())
    s = data.draw(profiles(case.n))
    assert_allclose(case.payoff.values(s), np.array(case.plain(s)), rtol=0, atol=ROUNDING)
    for i in range(case.n):
        exact = [derivative(lambda x, i=i: case.plain(x)[i], s, j) for j in range(case.n)]
        assert_allclose(case.payoff.jacobian(s)[i], exact, rtol=1e-12)


def test_groups_are_the_expanded_weights() -> None:
    between = np.array([[1.0, 0.2, 0.0], [0.1, 2.0, 0.3], [0.5, 0.0, 0.7]])
    labels = np.array([2, 0, 0, 1, 2])
    grouped = fs.PowerLaw(alpha=0.8, beta=0.6, weights=between, groups=labels)
    expanded = fs.PowerLaw(alpha=0.8, beta=0.6, weights=[[between[a, b] for b in labels] for a in labels])
    s, x = np.array([1.0, 0.0, 3.0, 0.5, 2.0]), np.tile([0.0, 1.5, 8.0], (5, 1))
    for name in ("values", "jacobian", "total", "total_gradient", "own_gradient"):
        assert_allclose(getattr(grouped, name)(s), getattr(expanded, name)(s), rtol=ROUNDING, err_msg=name)
    assert_allclose(grouped.own_gains(s, x), expanded.own_gains(s, x), rtol=ROUNDING)


def test_a_group_without_agents_changes_nothing() -> None:
    with_empty = fs.PowerLaw(weights=[[1.0, 9.0, 0.5], [9.0, 9.0, 9.0], [0.2, 9.0, 1.0]], groups=[0, 2, 2])
    without = fs.PowerLaw(weights=[[1.0, 0.5], [0.2, 1.0]], groups=[0, 1, 1])
    s = [1.0, 2.0, 0.5]
    assert_allclose(with_empty.values(s), without.values(s), rtol=ROUNDING)
    assert_allclose(with_empty.total_gradient(s), without.total_gradient(s), rtol=ROUNDING)


def test_leaving_a_huge_contribution_keeps_the_digits_of_the_others() -> None:
    payoff = fs.PowerLaw(3)
    s, x = np.array([1e8 / 3, 2.1, 3.3]), np.array([[1e-3], [1.0], [1.0]])
    # tol of find_equilibrium is 1e-9: a certificate needs values better than that
    assert_allclose(payoff.own_gains(s, x)[0, 0], 1.0 - 1.0 / 6.401, rtol=0, atol=1e-10)


# ---- PACBound --------------------------------------------------------------------------------------

PAC = fs.PACBound(3, optimum=0.9, complexity=10.0)


@pytest.mark.parametrize("total", [250.0, 300.0, 1e3, 1e6])
def test_pac_bound_is_equation_2(total: float) -> None:
    s = [0.5 * total, 0.0, 0.5 * total]
    plain = pac_bound(3, 0.9, 10.0)
    assert_allclose(PAC.values(s), np.array(plain(s), dtype=float), rtol=1e-12, atol=1e-14)
    columns = [derivative(plain, s, j) for j in range(3)]
    assert_allclose(PAC.jacobian(s), np.stack(columns, axis=-1), rtol=1e-10)


def test_pac_bound_is_zero_up_to_its_threshold() -> None:
    at = PAC.threshold
    assert (PAC.values([[0.0, 0.0, 0.0], [5.0, 4.0, 0.9], [10.0, 0.0, 0.0], [at / 2, at / 4, 0.0]]) == 0.0).all()
    assert (PAC.jacobian([at / 2, 0.0, 0.0]) == 0.0).all()
    plain = pac_bound(3, 0.9, 10.0)
    assert plain([at * (1 - 1e-9), 0.0, 0.0])[0] == 0.0 < plain([at * (1 + 1e-9), 0.0, 0.0])[0]


@pytest.mark.parametrize("optimum", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("complexity", [1e-3, 1.0, 1e4])
def test_pac_bound_never_falls_and_is_concave_past_its_threshold(optimum: float, complexity: float) -> None:
    payoff = fs.PACBound(1, optimum=optimum, complexity=complexity)
    m = payoff.threshold * np.geomspace(1.0, 1e4, 4001)[:, None]
    values, slopes = payoff.values(m)[:, 0], payoff.jacobian(m)[1:, 0, 0]
    assert (np.diff(values) > 0.0).all()
    assert (np.diff(slopes) < 0.0).all()
    assert ((values >= 0.0) & (values < optimum)).all()


def test_pac_bound_is_not_concave_on_the_whole_orthant() -> None:
    assert PAC.concave is False
    nothing, plenty = np.zeros(3), np.array([1000.0, 0.0, 0.0])
    assert PAC.values((nothing + plenty) / 5)[0] < PAC.values(plenty)[0] / 5


# ---- RandomCoverage, CustomPayoff ------------------------------------------------------------------


def test_coverage_starts_at_one_half() -> None:
    q = np.random.default_rng(0).dirichlet(np.ones(6), 4) * (1 - 1e-15)
    assert_allclose(fs.RandomCoverage(q).values(np.zeros(4)), 0.5, rtol=1e-14)


def test_coverage_of_two_coins_by_hand() -> None:
    # Nobody saw heads with chance (1/2)(3/4)^2, nobody saw tails with chance (1/2)(1/4)^2.
    payoff = fs.RandomCoverage([[0.5, 0.5], [0.25, 0.75], [0.9, 0.1]])
    heads, tails = 0.5 * 0.75**2, 0.5 * 0.25**2
    by_hand = [1 - (p * heads + (1 - p) * tails) / 2 for p in (0.5, 0.25, 0.9)]
    assert_allclose(payoff.values([1.0, 2.0, 0.0]), by_hand, rtol=1e-14)


CUSTOM = [custom_case(3, seed) for seed in (3, 4)]


@pytest.mark.parametrize("case", CUSTOM, ids=ids(CUSTOM))
@pytest.mark.parametrize("s", [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [0.0, 1e-7, 50.0], [1e4, 1.0, 0.0]], ids=str)
def test_differences_stand_in_for_a_missing_gradient(case: Case, s: list[float]) -> None:
    without = fs.CustomPayoff(case.payoff.values, 3)
    exact = np.stack([derivative(case.plain, s, j) for j in range(3)], axis=-1)
    assert_allclose(without.jacobian(s), exact, rtol=DIFFERENCES, atol=1e-10)


def test_a_given_gradient_is_used_as_it_is() -> None:
    nearly_seven = fs.CustomPayoff(lambda s: 7.0 * s, 3, gradient=lambda s: 7.001 * np.eye(3) + 0.0 * s[..., None])
    assert (nearly_seven.jacobian(np.ones((2, 3))) == 7.001 * np.eye(3)).all()


def test_differences_never_leave_the_orthant() -> None:
    asked: list[np.ndarray] = []

    def root(s: np.ndarray) -> np.ndarray:
        asked.append(s.copy())
        return np.sqrt(1.0 + s)

    fs.CustomPayoff(root, 3).jacobian([[0.0, 1e-9, 1e-5], [0.0, 0.0, 2.0]])
    assert all((s >= 0.0).all() for s in asked)


# ---- ownership -------------------------------------------------------------------------------------


def test_parameters_are_copied() -> None:
    weights, labels = np.array([[1.0, 0.1], [0.2, 1.0]]), np.array([0, 0, 1])
    q = np.array([[0.2, 0.3], [0.4, 0.1], [0.1, 0.5]])
    payoffs = [fs.PowerLaw(weights=weights, groups=labels), fs.RandomDiscovery(q), fs.RandomCoverage(q)]
    before = [payoff.values([1.0, 2.0, 3.0]) for payoff in payoffs]
    weights[:], labels[:], q[:] = 7.0, 1, 0.01
    for payoff, expected in zip(payoffs, before, strict=True):
        assert_array_equal(payoff.values([1.0, 2.0, 3.0]), expected)


def test_contributions_are_not_written_to() -> None:
    def greedy(s: np.ndarray) -> np.ndarray:
        s *= 2.0  # a user's function that ruins its input
        return np.sqrt(s)

    for payoff in [*(case.payoff for case in random_cases(3, seed=2)), PAC, fs.CustomPayoff(greedy, 3)]:
        s = np.array([1.0, 2.0, 3.0])
        for function in (payoff.values, payoff.jacobian, payoff.total, payoff.total_gradient, payoff.own_gradient):
            function(s)
        payoff.own_gains(s, np.ones((3, 2)))
        assert_array_equal(s, [1.0, 2.0, 3.0])


def test_a_function_that_ruins_its_input_gets_a_copy_each_time() -> None:
    def greedy(s: np.ndarray) -> np.ndarray:
        values = np.sqrt(s)
        s *= 0.0
        return values

    s = [1.0, 4.0, 9.0]
    assert_allclose(fs.CustomPayoff(greedy, 3).jacobian(s), np.diag([0.5, 0.25, 1 / 6]), rtol=1e-6, atol=1e-10)
