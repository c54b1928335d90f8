"""The inequalities of chapters 1 to 5 where they are nearly attained: a bound that were 10 % better would be caught.

Each case gives ratios, the smaller side over the larger. None may exceed 1, and the largest is above 0.9: so a bound
multiplied by 0.9, or a rate by 1.1, would fail here. Nothing is computed with the package.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import comb, exp, sqrt

import mpmath as mp
import numpy as np
import pytest
from scipy.stats import binom

import games

Ratios = Sequence[float]


def f(m: float) -> float:
    """The payoff of the book's three hospitals."""
    return 1 - 1 / (1 + m)


def cleo(x: float, others: float) -> list[float]:
    """Shapley value and marginal value of an agent who gives x beside two who give ``others`` each; three in all."""
    slope = lambda m: (1 + m) ** -2  # noqa: E731
    before = [0.0, 0.0, others, others, 2 * others, 2 * others]  # what was there when she came, over the six orders
    return [sum(3 * (f(x + y) - f(y)) for y in before) / 6, sum(3 * slope(x + y) for y in before) / 6]


def no_less_than_alone() -> Ratios:
    """Thm "nobody gives less than alone": beside two who give very much Cleo gives hardly more (cost 1/4, alone 1)."""
    return [1.0 / float(mp.findroot(lambda x, o=o: cleo(x, o)[1] - 0.25, 1.0)) for o in (1.0, 10.0, 1e4)]


def no_worse_than_alone() -> Ratios:
    """... and has hardly more utility than alone: 1/4."""
    found = []
    for others in (1.0, 10.0, 1e4):
        x = float(mp.findroot(lambda x, o=others: cleo(x, o)[1] - 0.25, 1.0))
        found.append(0.25 / (cleo(x, others)[0] - 0.25 * x))
    return found


def n_times_as_much() -> Ratios:
    """... and n equal agents with f = 1 - (1 - m)_+^2 give n times as much exactly, for costs from 0.1 to 1.9."""
    slope = lambda m: 2 * max(0, 1 - m)  # noqa: E731
    found = []
    for n, rate in itertools.product((3, 5), (0.1, 0.5, 0.9, 1.5, 1.9)):
        alone = 1 - rate / 2
        low, high = 0.0, 1.0
        for _ in range(80):
            x = (low + high) / 2
            low, high = (x, high) if sum(slope(k * x) for k in range(1, n + 1)) > rate else (low, x)
        found.append(alone / low)
    return found


def curvature() -> Ratios:
    """Prop. "the Shapley average is strongly concave", 1 - 1/(1 + m) on boxes of side 2, 0.1 and 0.001."""
    found = []
    for n, side in itertools.product((3, 4), (2.0, 0.1, 0.001)):
        s, seen = np.full(n, side), np.zeros((n, n))
        for X in itertools.product([0, 1], repeat=n):
            if any(X):
                x = np.array(X)
                seen += n * 2 / (1 + x @ s) ** 3 * np.outer(x, x) / (sum(X) * comb(n, sum(X)))
        bound = n / 2 * 2 / (1 + n * side) ** 3
        found.append(bound / np.linalg.eigvalsh(seen).min())
    return found


def bend_of_eq_2() -> Ratios:
    """Chapter 2: Eq. (2) is concave from some m < 0.637 k on; the more difficult, the closer."""
    found = []
    for k in (1.0, 1e3, 1e8):
        c = sqrt(2 / k)
        y = float(mp.findroot(lambda y, c=c: 3 * y**2 + 6 * c * y**1.5 - 4 * y - 1, 1.5))
        found.append(exp(y - 2) / 0.637)
    return found


def exponent_of_eq_2_from_below() -> Ratios:
    """Chapter 2: the exponent of the shortfall at m = k is more than 1/4; 1/2 - sqrt(k) / (8 + 4 sqrt(k))."""
    return [0.25 / (0.5 - sqrt(k) / (8 + 4 * sqrt(k))) for k in (1.0, 1e3, 1e8)]


def exponent_of_eq_2_from_above() -> Ratios:
    """... and less than 1/2."""
    return [(0.5 - sqrt(k) / (8 + 4 * sqrt(k))) / 0.5 for k in (1.0, 1e-3, 1e-8)]


def start_of_eq_2() -> Ratios:
    """Chapter 2: Eq. (2) falls to m_flat, which is below k / e."""
    return [exp((4 - 2 * sqrt(4 + 2 * k)) / k) for k in (1.0, 1e3, 1e6)]


def hoeffding_rate() -> Ratios:
    """App. E: P(error > eps) <= 2 exp(-2 m eps^2 / R^2); fair coins come close to the rate, far out."""
    found = []
    for m in (10**4, 10**6, 10**8):
        eps = sqrt(200 / m)  # 2 m eps^2 = 400
        found.append(2 * m * eps**2 / -(binom(m, 0.5).logsf(np.floor(m * (0.5 + eps)))))
    return found


def ranges_from_dr() -> Ratios:
    """App. E with DR: R_i = gain when first - gain when last; no gain lies outside."""
    found = []
    for s in ((3, 1, 1), (1, 2, 5, 4)):
        n = len(s)
        worth = lambda m, n=n: Fraction(n * m, 1 + m)  # noqa: E731
        for i in range(n):
            gains = [
                worth(sum(s[j] for j in X) + s[i]) - worth(sum(s[j] for j in X))
                for X in games.coalitions([j for j in range(n) if j != i])
            ]
            most, least = worth(s[i]), worth(sum(s)) - worth(sum(s) - s[i])
            found.append(float((max(gains) - min(gains)) / (most - least)))
    return found


def banzhaf_below_shapley() -> Ratios:
    """Chapter 3: psi_i <= phi_i for power laws; equal in the limit of little data."""
    found = []
    for scale in (1.0, 0.1, 0.001):
        gains = [3 * (f((k + 1) * scale) - f(k * scale)) for k in range(3)]
        phi, psi = sum(gains) / 3, (gains[0] + 2 * gains[1] + gains[2]) / 4
        found.append(psi / phi)
    return found


def reciprocity_bound() -> Ratios:
    """Lemma 3.4 near the proportional division; A(0) = 1 and 2, A(s) = 5/2."""
    rng, found = np.random.default_rng(0), []
    phi0 = games.brute_shapley(games.power_law(np.ones((3, 3))), [3, 1, 1], 0)
    for empty in (1.0, 2.0):
        full = empty + 2.5
        phi = np.array([phi0, (2.5 - phi0) / 2, (2.5 - phi0) / 2])
        for _ in range(50):
            received = phi * full / 2.5 + rng.uniform(-0.05, 0.05, 3)
            received -= max(0.0, (received.sum() - full) / 3)
            found.append((received / phi).min() / (full / 2.5))
    return found


def surplus_below_potential() -> Ratios:
    """Chapter 5: A <= P under DR; equal in the limit of little data."""
    plain = games.power_law(np.ones((3, 3)))
    return [games.surplus(plain, [x] * 3) / games.brute_potential(plain, [x] * 3) for x in (1.0, 0.1, 0.001)]


def potential_below_harmonic_multiple() -> Ratios:
    """Chapter 5: P <= H_n A; equal in the limit of very much data."""
    plain = games.power_law(np.ones((3, 3)))
    return [games.brute_potential(plain, [x] * 3) / (11 / 6 * games.surplus(plain, [x] * 3)) for x in (1.0, 1e2, 1e5)]


CASES: list[Callable[[], Ratios]] = [
    no_less_than_alone,
    no_worse_than_alone,
    n_times_as_much,
    curvature,
    bend_of_eq_2,
    exponent_of_eq_2_from_below,
    exponent_of_eq_2_from_above,
    start_of_eq_2,
    hoeffding_rate,
    ranges_from_dr,
    banzhaf_below_shapley,
    reciprocity_bound,
    surplus_below_potential,
    potential_below_harmonic_multiple,
]


def holds(ratios: Ratios, factor: float) -> bool:
    """Whether a bound multiplied by ``factor`` holds."""
    return max(ratios) <= factor * (1 + 1e-12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_bound_holds_and_one_better_by_a_tenth_is_caught(case):
    ratios = case()
    assert min(ratios) > 0
    assert holds(ratios, 1.0)
    assert not holds(ratios, 0.9)
    assert not holds(ratios, 1 / 1.1)
