"""Shapley values of many agents: closed forms, and coalitions counted by size and sum."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import hypergeom

import fedshap as fs
from games import game_of

RELATIVE = 1e-10  # what the quadrature promises for each agent, however small her share


@pytest.mark.parametrize("n", [60, 200, 2000])
@pytest.mark.parametrize("beta", [0.05, 1.0])
@pytest.mark.parametrize("each", [1e-6, 0.1, 100.0])
def test_equal_agents_share_equally_however_many(n: int, beta: float, each: float) -> None:
    game, s = game_of(fs.PowerLaw(n, beta=beta)), np.full(n, each)
    total = -n * np.expm1(-beta * np.log1p(n * each))  # A(s) - A(0)
    assert_allclose(fs.shapley_values(game, s), total / n, rtol=RELATIVE)
    # every size of coalition is equally likely: d phi/ds = 1/n sum_k A'(k s), P = sum_k A(k s) / k
    sizes = np.arange(1, n + 1)
    slopes = beta * (1 + sizes * each) ** (-beta - 1)
    assert_allclose(fs.shapley_gradient(game, s), slopes.sum(), rtol=RELATIVE)
    heights = -n * np.expm1(-beta * np.log1p(sizes * each))
    assert_allclose(fs.shapley_potential(game, s), (heights / sizes).sum(), rtol=RELATIVE)


@pytest.mark.parametrize("n", [60, 150])
def test_two_kinds_of_agents_however_many(n: int) -> None:
    few, x, y = 3, 40.0, 0.2  # three large contributors among many small ones
    s = np.array([x] * few + [y] * (n - few))
    phi = fs.shapley_values(game_of(fs.PowerLaw(n)), s)

    def surplus(large: int, small: int) -> float:
        return n - n / (1 + large * x + small * y)

    # A random order puts a small agent behind k others, `large` of them large: hypergeometric, k uniform.
    gains = [
        hypergeom.pmf(large, n - 1, few, k) * (surplus(large, k - large + 1) - surplus(large, k - large))
        for k in range(n)
        for large in range(min(few, k) + 1)
        if k - large <= n - few - 1
    ]
    assert_allclose(phi[few:], sum(gains) / n, rtol=RELATIVE)
    assert_allclose(phi[:few], (surplus(few, n - few) - (n - few) * sum(gains) / n) / few, rtol=RELATIVE)


def counted(parts: list[int]) -> np.ndarray:
    """Share of the sets of k agents that contribute m together, row k, column m: counted exactly, then divided."""
    count = np.zeros((len(parts) + 1, sum(parts) + 1), dtype=object)
    count[0, 0] = 1
    for part in parts:
        joined = np.zeros_like(count)
        joined[1:, part:] = count[:-1, : count.shape[1] - part]
        count = count + joined
    total = np.array([[comb(len(parts), k)] for k in range(len(parts) + 1)], dtype=object)
    return (count / total).astype(float)


def test_many_different_agents_by_counting_coalitions() -> None:
    unit, beta, parts = 0.3, 0.4, [0, 9, 10, 11, 12] * 16 + [300]
    n, s = len(parts), 0.3 * np.array(parts)
    game = game_of(fs.PowerLaw(n, beta=beta))
    values, slopes = fs.shapley_values(game, s), fs.shapley_gradient(game, s)

    def surplus(m: np.ndarray) -> np.ndarray:
        return -n * np.expm1(-beta * np.log1p(unit * m))

    for agent in (0, 1, 2, 3, 4, n - 1):
        part = parts[agent]
        share = counted(parts[:agent] + parts[agent + 1 :]) / n  # every size of coalition is equally likely
        m = np.arange(share.shape[1])
        gain, slope = surplus(m + part) - surplus(m), n * beta * (1 + unit * (m + part)) ** (-beta - 1)
        same = [i for i in range(n) if parts[i] == part]
        assert_allclose(values[same], (share * gain).sum(), rtol=RELATIVE)
        assert_allclose(slopes[same], (share * slope).sum(), rtol=RELATIVE)
    share = counted(parts)
    means = share[1:] @ surplus(np.arange(share.shape[1]))
    assert_allclose(fs.shapley_potential(game, s), (means / np.arange(1, n + 1)).sum(), rtol=RELATIVE)
