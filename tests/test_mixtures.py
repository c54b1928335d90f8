"""Exponential mixtures: payoffs against their mixtures, the rule on [0, 1] against exact integrals."""

from __future__ import annotations

import mpmath as mp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.shapley.mixtures import mixture_of
from fedshap.shapley.quadrature import coalition_rule
from games import DIGITS, Case, custom_case, ids, random_cases


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
    q, weights, reach = coalition_rule(m.sum()[None], n)
    for left_out in {0, n - 1}:
        others = np.delete(m, left_out)
        products = (1.0 - q[0, :, None] * others).prod(axis=1)
        assert_allclose(weights[0] @ products, integral_of_product(others), rtol=1e-13)
    assert 0.0 < reach[0] <= 1.0


@pytest.mark.parametrize("n", [200, 2000, 10**5])
@pytest.mark.parametrize("share", [1e-7, 1e-3, 0.3, 1.0 - 1e-12])
def test_rule_over_coalitions_of_many_equal_agents(n: int, share: float) -> None:
    q, weights, _ = coalition_rule(np.array([n * share]), n)
    exact = -np.expm1(n * np.log1p(-share)) / (n * share)  # int_0^1 (1 - share q)^(n-1) dq
    assert_allclose(weights[0] @ np.exp((n - 1) * np.log1p(-share * q[0])), exact, rtol=1e-12)


CASES = random_cases(4, seed=3)


@pytest.mark.parametrize("case", CASES, ids=ids(CASES))
def test_a_mixture_is_its_payoffs_surplus(case: Case) -> None:
    rng = np.random.default_rng(0)
    largest = np.array([10.0, 1e3, 1.0, 0.0])
    form = mixture_of(case.payoff, largest)
    for s in [np.zeros(4), largest, *(rng.uniform(0.0, 1.0, (5, 4)) * largest)]:
        assert_allclose(form.value(s), sum(case.plain(s.tolist())), rtol=1e-13, atol=1e-13)
    assert (form.coefficients >= 0).all()
    assert (form.rates >= 0).all()


def test_a_mixture_reports_the_error_of_its_fit() -> None:
    assert mixture_of(fs.RandomDiscovery([[0.5], [0.2], [0.1]]), np.ones(3)).error == 0.0
    fitted = mixture_of(fs.LearningCurve(np.log1p, lambda z: 1.0 / (1.0 + z), n_agents=3), np.full(3, 1e3))
    assert 0.0 < fitted.error < 1e-14
    coarse = mixture_of(fs.PowerLaw(3), np.full(3, 1e3), 1e-5)
    assert 1e-14 < coarse.error < 1e-5
    assert len(coarse.coefficients) < len(mixture_of(fs.PowerLaw(3), np.full(3, 1e3)).coefficients)


def test_payoffs_without_a_mixture_are_refused() -> None:
    assert not any(case.payoff.fitted_mixture for case in CASES)
    custom, pac = custom_case(3, 0).payoff, fs.PACBound(3, optimum=0.9, complexity=10.0)
    assert pac.fitted_mixture
    with pytest.raises(ValueError, match="no exponential mixture is known for CustomPayoff"):
        mixture_of(custom, np.ones(3))
    with pytest.raises(ValueError, match=r"PACBound is no exponential mixture: .*relative error of .*permutation"):
        mixture_of(pac, np.full(3, 1e3))
