"""Exponential mixtures: the power law in 50 digits, the rule on [0, 1] against exact integrals."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.mixtures import has_mixture, mixture, power_law_rule
from fedshap.summation import coalition_rule
from games import DIGITS, Case, custom_case, ids, random_cases

ARGUMENTS = [0.0, 1e-9, 1e-3, 0.5, 1.0, 30.0, 1e3, 1e5, 1e8]
betas = pytest.mark.parametrize("beta", [0.05, 0.3, 1.0])

# The rule is built for 1e-14; double precision adds 1e-16 for each of some hundred terms.
VALUE, DERIVATIVES = 3e-14, 3e-13


def rule_at(beta: float, order: int) -> list[float]:
    """The sum of exponentials (its derivative of this order) at ARGUMENTS, one rule for all of them."""
    t, w = power_law_rule(beta, 1e8)
    z = np.array(ARGUMENTS)[:, None]
    constant = 1.0 - w.sum() if order == 0 else 0.0
    return list(constant + (w * (-t) ** order * np.exp(-t * z)).sum(axis=1))


def exact_at(beta: float, order: int) -> list[float]:
    """``(1+z)^-beta`` (its derivative of this order) at ARGUMENTS in 50 digits."""
    with mp.workdps(DIGITS):
        b = mp.mpf(beta)
        factor = mp.fprod(-b - k for k in range(order))
        return [float(factor * (1 + mp.mpf(z)) ** (-b - order)) for z in ARGUMENTS]


@betas
def test_power_law_values_to_absolute_accuracy(beta: float) -> None:
    assert_allclose(rule_at(beta, 0), exact_at(beta, 0), rtol=0, atol=VALUE)


@betas
@pytest.mark.parametrize("order", [1, 2])
def test_power_law_derivatives_to_relative_accuracy(beta: float, order: int) -> None:
    assert_allclose(rule_at(beta, order), exact_at(beta, order), rtol=DERIVATIVES)


@betas
def test_power_law_rule_has_positive_weights_and_nodes(beta: float) -> None:
    t, w = power_law_rule(beta, 1e8)
    assert (t > 0).all()
    assert (w >= 0).all()
    assert w.sum() <= 1.0 + 1e-15


@betas
def test_a_coarser_tolerance_gives_a_shorter_and_worse_rule(beta: float) -> None:
    (t, w), (fine, _) = power_law_rule(beta, 10.0, 1e-5), power_law_rule(beta, 10.0)
    assert len(t) < len(fine) / 2
    error = abs(1 - w.sum() + w @ np.exp(-10.0 * t) - 11.0**-beta)
    assert 1e-9 < error < 1e-4


def integral_of_product(m: np.ndarray) -> float:
    """``int_0^1 prod_j (1 - q m_j) dq`` from the coefficients of the polynomial, in as many digits as it takes."""
    with mp.workdps(DIGITS + len(m)):
        coefficients = [mp.mpf(1)]
        for share in m.tolist():
            shifted = [mp.mpf(0), *(-mp.mpf(share) * c for c in coefficients)]
            coefficients = [a + b for a, b in zip([*coefficients, mp.mpf(0)], shifted, strict=True)]
        return float(sum(c / (k + 1) for k, c in enumerate(coefficients)))


@pytest.mark.parametrize("n", [1, 2, 3, 8, 31, 64, 65, 150])
@pytest.mark.parametrize("kind", ["spread", "all in", "hardly any", "one in"])
def test_rule_over_coalitions_integrates_products_of_everyone_else(n: int, kind: str) -> None:
    m = np.random.default_rng(n).uniform(0.0, 1.0, n)
    if kind == "all in":
        m = np.ones(n)
    elif kind == "hardly any":
        m *= 1e-8
    elif kind == "one in":
        m = np.eye(n)[0]
    q, weights, reach = coalition_rule(m.sum()[None], nodes=min(32, -(-n // 2)))
    for left_out in {0, n - 1}:
        others = np.delete(m, left_out)
        products = (1.0 - q[0, :, None] * others).prod(axis=1)
        assert_allclose(weights[0] @ products, integral_of_product(others), rtol=1e-13)
    assert 0.0 < reach[0] <= 1.0


@pytest.mark.parametrize("n", [200, 2000, 10**5])
@pytest.mark.parametrize("share", [1e-7, 1e-3, 0.3, 1.0 - 1e-12])
def test_rule_over_coalitions_of_many_equal_agents(n: int, share: float) -> None:
    q, weights, _ = coalition_rule(np.array([n * share]), nodes=32)
    exact = -np.expm1(n * np.log1p(-share)) / (n * share)  # int_0^1 (1 - share q)^(n-1) dq
    assert_allclose(weights[0] @ np.exp((n - 1) * np.log1p(-share * q[0])), exact, rtol=1e-12)


CASES = random_cases(4, seed=3)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_a_mixture_is_its_payoffs_surplus(case: Case) -> None:
    rng = np.random.default_rng(0)
    largest = np.array([10.0, 1e3, 1.0, 0.0])
    form = mixture(case.payoff, largest)
    for s in [np.zeros(4), largest, *(rng.uniform(0.0, 1.0, (5, 4)) * largest)]:
        assert_allclose(form.value(s), sum(case.plain(s.tolist())), rtol=1e-13, atol=1e-13)
    assert (form.coefficients >= 0).all()
    assert (form.rates >= 0).all()


def test_only_payoffs_with_diminishing_returns_of_known_form_have_a_mixture() -> None:
    assert all(has_mixture(case.payoff) for case in CASES)
    for payoff in (custom_case(3, 0).payoff, fs.PACBound(3, optimum=0.9, complexity=10.0)):
        assert not has_mixture(payoff)
        with pytest.raises(TypeError, match=type(payoff).__name__):
            mixture(payoff, np.ones(3))
