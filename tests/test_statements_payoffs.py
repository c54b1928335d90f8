"""Examples 1, 2, 5 and 6 and Eqs. (2), (12) and (13) of the paper: what holds, and what breaks.

By routes that share nothing with the package: 50-digit arithmetic, differences instead of derivatives, all outcomes
of a draw, all coalitions.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import e, factorial, inf, sqrt

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedshap as fs
from games import examples

draws = examples(200)
agents = st.integers(3, 7)
seeds = st.integers(0, 2**32 - 1)
difficulties = st.floats(0.05, 1e4)
optima = st.floats(0.05, 1.0)
HALF = Fraction(1, 2)


def eq2(m, k, a0):
    """Eq. (2) with at least 50 digits; complex where the root is not real."""
    with mpmath.workdps(max(50, mpmath.mp.dps)):
        m, k = mpmath.mpf(m), mpmath.mpf(k)
        return a0 - (4 + mpmath.sqrt(2 * k * (2 + mpmath.log(m / k)))) / mpmath.sqrt(m)


def worst_breach(payoff: fs.Payoff, rng: np.random.Generator, reach: float) -> np.ndarray:
    """By how much monotonicity, concavity and diminishing returns across agents fail at random points."""
    n = payoff.n_agents
    worst = np.full(3, -inf)
    for _ in range(5):
        s, other = rng.uniform(0.0, reach, (2, n))
        i, j = rng.choice(n, 2, replace=False)
        up_i, up_j = np.eye(n)[[i, j]] * rng.uniform(0.0, reach, (2, 1))
        low, high, far, middle = payoff.values([s, s + up_i, other, (s + other) / 2])
        corner = payoff.total([s, s + up_i, s + up_j, s + up_i + up_j])
        cross = corner[3] - corner[2] - corner[1] + corner[0]
        worst = np.maximum(worst, [(low - high).max(), ((low + far) / 2 - middle).max(), cross])
    return worst


# ---- Example 1, Eq. (2) -------------------------------------------------------------------------------------------


@draws
@given(k=difficulties, a0=optima, ratio=st.floats(1.0, 1e6), step=st.floats(1e-3, 1.0))
def test_example_1_is_increasing_concave_and_bounded_from_k_on(k, a0, ratio, step):
    """Eq. (2), where its learning theorem holds: m >= k."""
    m = ratio * k
    low, middle, high = (eq2(x, k, a0) for x in (m, m * (1 + step), m * (1 + 2 * step)))
    assert low < middle < high < a0
    assert high - middle < middle - low
    assert low >= a0 - 2 - 4 / mpmath.sqrt(k) - mpmath.mpf(10) ** -12


@draws
@given(k=difficulties, a0=optima)
def test_example_1_is_negative_at_k_and_falls_before_its_closed_form_minimum(k, a0):
    """Eq. (2) is real from k/e^2 on and increasing only from (k/e) exp((4 - 2 sqrt(4 + 2k))/k) on."""
    assert eq2(k, k, a0) < 0
    flat = k / e * mpmath.exp((4 - 2 * sqrt(4 + 2 * k)) / k)
    start = mpmath.mpf(k) * mpmath.exp(-2)
    assert start < flat < k / e
    assert mpmath.im(eq2(start * 0.99, k, a0)) != 0
    assert mpmath.im(eq2(start * 1.01, k, a0)) == 0
    r = mpmath.sqrt(2 * k * (2 + mpmath.log(flat / k)))
    assert mpmath.almosteq(r * (4 + r), 2 * k, rel_eps=1e-9)
    with mpmath.workdps(40):
        steps = [start + (flat - start) * f for f in (0.2, 0.6, 0.999)]
        values = [eq2(x, k, a0) for x in [*steps, flat * 1.001, flat * 1.5]]
    assert values[0] > values[1] > values[2]
    assert values[3] < values[4]


@draws
@given(k=difficulties)
def test_example_1_bends_once_between_its_minimum_and_0_637_k(k):
    """Eq. (2) is concave exactly where 3y^2 + 6 sqrt(2/k) y^1.5 - 4y - 1 >= 0, y = 2 + log(m/k)."""
    y = mpmath.findroot(
        lambda y: 3 * y**2 + 6 * mpmath.sqrt(2 / mpmath.mpf(k)) * y**1.5 - 4 * y - 1, (1e-6, 1.6), "anderson"
    )
    bend = k * mpmath.exp(y - 2)
    flat = k / e * mpmath.exp((4 - 2 * sqrt(4 + 2 * k)) / k)
    assert flat < bend < 0.6369 * k
    with mpmath.workdps(50):
        for x, sign in ((bend * (1 - 1e-3), 1), (bend * (1 + 1e-3), -1)):
            h = (x - k * mpmath.exp(-2)) * mpmath.mpf(10) ** -6
            second = eq2(x + h, k, 1) - 2 * eq2(x, k, 1) + eq2(x - h, k, 1)
            assert second * sign > 0


@draws
@given(k=difficulties, a0=optima, step=st.floats(1e-3, 0.5))
def test_prop_pac_no_extension_and_the_cut_off_bound_is_neither_concave_nor_dr(k, a0, step):
    """A non-negative payoff that equals Eq. (2) beyond m_0 breaks concavity at m_0, and DR with it."""
    bound = fs.PACBound(3, optimum=a0, complexity=k)
    at = bound.threshold
    assert at > k
    low, middle, high = bound.values([[x, 0.0, 0.0] for x in (at * (1 - step), at, at * (1 + step))])[:, 0]
    assert low == 0.0
    assert middle < 1e-9
    assert high > 0.0
    # Any value >= 0 on the left breaks the midpoint inequality as much as 0 does.
    assert (0.0 + high) / 2 > middle
    nothing, one, both = bound.total([[0.0, 0.0, 0.0], [at, 0.0, 0.0], [at, at, 0.0]])
    assert both - one > one - nothing


def test_example_1_a_federation_may_never_start():
    """Three agents with 200 scans each: giving all and giving nothing are both equilibria of M^Shap."""
    rate, full = 1 / 2000, 200.0

    def surplus(m):
        return 0.0 if m < 250 else 3 * max(0.0, float(eq2(m, 10, 0.9)))

    def share(x, others):
        return (
            surplus(x) / 3
            + (surplus(x + others) - surplus(others)) / 3
            + (surplus(x + 2 * others) - surplus(2 * others)) / 3
        )

    grid = np.linspace(0.0, full, 201)
    from_nothing = [share(x, 0.0) - rate * x for x in grid]
    from_all = [share(x, full) - rate * x for x in grid]
    assert max(from_nothing) == from_nothing[0] == 0.0
    assert max(from_all) == from_all[-1] > 0.1
    game = fs.Game(fs.PACBound(3, optimum=0.9, complexity=10.0), fs.LinearCost([rate] * 3), capacity=full)
    assert max(fs.regret(game, fs.ShapleyPayment(), [x] * 3) for x in (0.0, full)) < 1e-9


@draws
@given(k=difficulties, ratio=st.floats(1.0, 1e6))
def test_example_1_is_no_exact_power_law(k, ratio):
    """The shortfall of Eq. (2) has exponent 1/2 - k/(r(4 + r)), at least 1/4 and below 1/2 for m >= k."""
    m = mpmath.mpf(k) * ratio
    with mpmath.workdps(40):
        exponent = -mpmath.diff(lambda x: mpmath.log(1 - eq2(mpmath.exp(x), k, 1)), mpmath.log(m))
        r = mpmath.sqrt(2 * k * (2 + mpmath.log(m / k)))
        assert abs(exponent - (0.5 - k / (r * (4 + r)))) < 1e-12
    assert 0.25 < exponent < 0.5


# ---- Example 2, Eq. (12) ------------------------------------------------------------------------------------------


@draws
@given(n=agents, alpha=st.floats(0.05, 5.0), beta=st.floats(0.05, 1.0), seed=seeds)
def test_example_2_eq_12_is_monotone_concave_and_dr(n, alpha, beta, seed):
    """Eq. (12) for every alpha > 0; its values lie in [1 - alpha, 1), so in [0, 1] only for alpha <= 1."""
    payoff, rng = fs.PowerLaw(n, alpha=alpha, beta=beta), np.random.default_rng(seed)
    assert worst_breach(payoff, rng, 5.0).max() <= 1e-12
    s = rng.uniform(0.0, 5.0, n)
    with mpmath.workdps(50):
        exact = 1 - mpmath.mpf(alpha) * (1 + mpmath.fsum(map(mpmath.mpf, s))) ** -mpmath.mpf(beta)
    assert np.abs(payoff.values(s) - float(exact)).max() < 1e-13
    assert payoff.values(np.zeros(n)) == pytest.approx(np.full(n, 1 - alpha), abs=1e-15)
    assert (payoff.values(np.zeros(n))[0] < 0) == (alpha > 1)
    assert (payoff.values(s) < 1.0).all()


@draws
@given(n=agents, beta=st.floats(0.05, 1.0), seed=seeds)
def test_example_2_eq_12_is_not_strongly_concave(n, beta, seed):
    """Along any direction of zero sum Eq. (12) is constant: Lemma 4.5's lambda_1 > 0 is impossible for n >= 2."""
    rng = np.random.default_rng(seed)
    s, direction = rng.uniform(1.0, 2.0, n), rng.normal(size=n)
    direction -= direction.mean()
    direction /= np.abs(direction).max()
    values = fs.PowerLaw(n, beta=beta).values([s, s + direction / 2, s - direction / 2])[:, 0]
    assert np.ptp(values) < 1e-14


def enumerated_curvature(s, W, bend):
    """Minus the Hessian of P for payoffs of (W s)_i, over all coalitions; ``bend`` maps (W s) to -f''."""
    n, total = len(s), np.zeros((len(s), len(s)))
    for X in itertools.product([0.0, 1.0], repeat=n):
        if size := int(sum(X)):
            v = W * X
            weight = factorial(size - 1) * factorial(n - size) / factorial(n)
            total += weight * np.einsum("i,ij,il->jl", bend(v @ s), v, v)
    return total


@draws
@given(n=st.integers(3, 6), alpha=st.floats(0.1, 3.0), beta=st.floats(0.05, 1.0), common=st.booleans(), seed=seeds)
def test_prop_shapley_curvature(n, alpha, beta, common, seed):
    """What is true instead of Lemma 4.5 for Eqs. (2) and (12): -Hess P >= diag(sum_i kappa_i W_ij^2) / 2."""
    rng = np.random.default_rng(seed)
    W, tau = rng.uniform(0.0, 1.0, (n, n)), rng.uniform(0.1, 2.0, n) * 10 ** rng.uniform(-4.0, 0.0)
    W = np.ones((n, n)) if common else W
    s = rng.uniform(0.0, tau)

    def bend(z):
        return alpha * beta * (beta + 1) * (1 + z) ** (-beta - 2)

    curvature = enumerated_curvature(s, W, bend)
    assert np.linalg.eigvalsh(curvature - np.diag(bend(W @ tau) @ W**2) / 2).min() > -1e-12
    game = fs.Game(fs.PowerLaw(weights=W, alpha=alpha, beta=beta), fs.LinearCost(np.zeros(n)))
    assert np.abs(fs.shapley_hessian(game, s) + curvature).max() < 1e-10


@pytest.mark.parametrize("n", range(2, 9))
def test_prop_shapley_curvature_is_sharp(n):
    """For a quadratic payoff of the total the factor 1/2 is attained for every n >= 2: (I + 11^T)/2."""
    curvature = enumerated_curvature(np.zeros(n), np.ones((1, n)), lambda z: np.ones(1))
    assert np.abs(curvature - (np.eye(n) + 1) / 2).max() < 1e-12


def test_lemma_4_5_does_not_apply_without_payments():
    """Equal costs under M^0: every split of the total is an equilibrium, so no constant lambda > 0 exists."""
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.25] * 3))
    splits = [[1, 0, 0], [0, 0.5, 0.5], [0.2, 0.3, 0.5]]
    assert max(fs.regret(game, fs.NoPayment(), s) for s in splits) < 1e-12


# ---- Examples 5 and 6 ---------------------------------------------------------------------------------------------


def distributions(rng, n, m):
    return rng.dirichlet(np.ones(m), n)


def all_outcomes(Q, who):
    """Every outcome of the draws of the agents listed in ``who``, with its probability."""
    for seen in itertools.product(range(len(Q[0])), repeat=len(who)):
        chance = Fraction(1)
        for agent, x in zip(who, seen, strict=True):
            chance *= Q[agent][x]
        yield seen, chance


STORY = [[HALF, HALF, 0], [0, HALF, HALF], [HALF / 2, HALF, HALF / 2]]


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 0, 2), (2, 1, 1), (0, 3, 1)])
@pytest.mark.parametrize("agent", range(3))
def test_examples_5_and_6_are_the_expected_values_of_their_stories(counts, agent):
    """Example 5 as told; Eq. (13) is a test with guessing, and the paper's reward told once is 2a - 1."""
    who = [j for j, count in enumerate(counts) for _ in range(count)]
    each_time = once = tested = Fraction(0)
    for seen, chance in all_outcomes(STORY, who):
        each_time += chance * sum(STORY[agent][x] for x in seen)
        once += chance * sum(STORY[agent][x] for x in set(seen))
        tested += chance * sum(STORY[agent][x] * (1 if x in seen else HALF) for x in range(3))
    Q = np.array(STORY, dtype=float)
    assert fs.RandomDiscovery(Q).values(counts)[agent] == pytest.approx(float(each_time), abs=1e-15)
    assert fs.RandomCoverage(Q).values(counts)[agent] == pytest.approx(float(tested), abs=1e-15)
    assert once == 2 * tested - 1


@draws
@given(n=agents, m=st.integers(2, 6), seed=seeds)
def test_example_5_is_linear_and_unbounded(n, m, seed):
    """Example 5: monotone, concave and DR with equality; bounded on S only."""
    rng = np.random.default_rng(seed)
    payoff = fs.RandomDiscovery(distributions(rng, n, m))
    assert worst_breach(payoff, rng, 3.0).max() <= 1e-12
    assert np.linalg.eigvalsh(payoff.weights).min() > -1e-12
    s = rng.uniform(0.1, 1.0, n)
    assert payoff.values(1000 * s) == pytest.approx(1000 * payoff.values(s))


@draws
@given(parts=st.lists(st.integers(0, 5), min_size=2, max_size=6).filter(any))
def test_example_5_has_an_all_one_diagonal_for_point_masses_only(parts):
    """Example 5 claims W = QQ^T with ones on the diagonal; for a distribution that means a point mass."""
    row = [Fraction(p, sum(parts)) for p in parts]
    diagonal = sum(q * q for q in row)
    assert diagonal == 1 - sum(q * (1 - q) for q in row)
    assert (diagonal == 1) == (max(row) == 1)


@draws
@given(n=agents, m=st.integers(2, 6), seed=seeds)
def test_example_6_eq_13_is_monotone_concave_and_dr(n, m, seed):
    """Eq. (13) with all q < 1: values in [1/2, 1], a(0) = 1/2."""
    rng = np.random.default_rng(seed)
    Q, s = distributions(rng, n, m), rng.uniform(0.0, 3.0, n)
    payoff = fs.RandomCoverage(Q)
    assert worst_breach(payoff, rng, 3.0).max() <= 1e-12
    assert payoff.values(np.zeros(n)) == pytest.approx(np.full(n, 0.5), abs=1e-12)
    assert ((payoff.values(s) >= 0.5 - 1e-12) & (payoff.values(s) <= 1.0)).all()
    with mpmath.workdps(50):
        missed = [mpmath.fprod((1 - mpmath.mpf(Q[j, x])) ** mpmath.mpf(s[j]) for j in range(n)) for x in range(m)]
        exact = [float(1 - mpmath.fdot(map(mpmath.mpf, row), missed) / 2) for row in Q]
    assert np.abs(payoff.values(s) - exact).max() < 1e-13
    h = 1e-6
    up, down = payoff.values(s + h * np.eye(n)), payoff.values(np.maximum(s - h * np.eye(n), 0.0))
    width = (s + h) - np.maximum(s - h, 0.0)
    assert np.abs(((up - down) / width[:, None]).T - payoff.jacobian(s)).max() < 1e-5


def test_example_6_is_strongly_concave_only_with_enough_instances():
    """Three agents: two instances leave a flat direction, three in general position do not."""
    few = np.array([[0.6, 0.4], [0.4, 0.6], [0.5, 0.5]])
    for Q, curved in ((few, False), (0.2 + 0.4 * np.eye(3), True)):
        rho, missed = -np.log1p(-Q), np.exp(np.log1p(-Q).T @ np.ones(3))
        curvature = np.einsum("x,jx,lx->jl", Q[0] * missed / 2, rho, rho)
        assert (np.linalg.eigvalsh(curvature).min() > 1e-6) == curved


@pytest.mark.parametrize("rate", [Fraction(1, 10), Fraction(1, 3), Fraction(2)])
def test_example_6_with_point_masses_has_no_equilibrium(rate):
    """Q = I is what Example 5's diagonal asks for. Concave, yet it jumps at 0: Thm 4.3 needs continuity."""

    def payoff(x):
        return 1 - HALF * (1 if x == 0 else 0)  # Eq. (13): (1 - 1)^0 = 1

    def utility(x):
        return payoff(x) - payoff(0) - rate * x  # the surplus is a sum over agents

    grid = [Fraction(i, 16) for i in range(33)]
    for x, z in itertools.product(grid, repeat=2):
        assert payoff((x + z) / 2) >= (payoff(x) + payoff(z)) / 2
    assert utility(HALF / rate / 100) > utility(0)
    for x in grid[1:]:
        assert utility(x / 2) > utility(x)
    with pytest.raises(ValueError, match="probabilities"):
        fs.RandomCoverage(np.eye(3))


# ---- Costs --------------------------------------------------------------------------------------------------------


@draws
@given(rate=st.floats(0.01, 5.0), exponent=st.floats(1.0, 4.0), seed=seeds)
def test_costs_are_continuous_monotone_and_convex(rate, exponent, seed):
    """Sec. 2.1's assumptions on costs."""
    rng = np.random.default_rng(seed)
    for cost in (fs.LinearCost([rate] * 3, fixed=0.5), fs.PowerCost([rate] * 3, exponent)):
        low, high = np.sort(rng.uniform(0.0, 4.0, (2, 3)), axis=0)
        values = cost.values([low, (low + high) / 2, high])
        assert (np.diff(values, axis=0) >= -1e-12).all()
        assert (values[1] <= (values[0] + values[2]) / 2 + 1e-12).all()
        assert np.abs(cost.values(low + 1e-9) - cost.values(low)).max() < 1e-6


def test_lemma_4_5_among_powers_only_squares_are_strongly_convex_and_smooth():
    """Second derivative of gamma s^e at 0: infinite for 1 < e < 2, 2 gamma at e = 2, zero otherwise."""
    powers = (1.0, 1.5, 2.0, 3.0)
    at_zero = {power: fs.PowerCost([0.3] * 3, power).second_derivatives([0.0] * 3)[0] for power in powers}
    assert at_zero == {1.0: 0.0, 1.5: inf, 2.0: pytest.approx(0.6), 3.0: 0.0}
    h = 1e-6
    for exponent in (1.5, 2.0, 3.0):
        slope = fs.PowerCost([0.3] * 3, exponent).derivatives([[0.0] * 3, [h] * 3])[:, 0]
        assert np.diff(slope)[0] / h == pytest.approx(0.3 * exponent * h ** (exponent - 2))


# ---- what the headlines of the chapter need -------------------------------------------------------------------------


@draws
@given(k=difficulties, a0=optima)
def test_prop_payoffs_zero_where_eq_2_is_not_positive_is_monotone_iff(k, a0):
    """max(0, Eq. (2)), and 0 where it is not real: non-decreasing exactly if k <= (4e/a0)^2."""
    first, near = a0 - 4 * e / sqrt(k), k / mpmath.e**2 * (1 + mpmath.mpf(10) ** -16)
    assert abs(eq2(near, k, a0) - first) < 1e-7  # the formula begins there
    assert (first > 0) == (k > (4 * e / a0) ** 2)
    flat = k / e * mpmath.exp((4 - 2 * sqrt(4 + 2 * k)) / k)  # it falls up to here and rises from here on
    assert eq2(flat, k, a0) < eq2(k, k, a0) < 0  # so max(0, .) falls from first to 0, or is 0 until it rises


def test_prop_payoffs_zero_where_eq_2_is_not_positive_falls_in_the_chapter():
    """k = 1000, a0 = 0.9: 0.29 at 136 scans, 0 at 200."""
    assert round(float(eq2(136, 1000, 0.9)), 2) == 0.29
    assert float(eq2(200, 1000, 0.9)) < 0


def test_two_islands_of_equilibria_with_concave_payoffs():
    """a_i = (s1 s2 s3)^(3/10), cost 1/5: concave, at rest at 0 and at 1.5^10 each, not halfway between."""
    high, grid = 1.5**10, np.linspace(0.0, 300.0, 300_001)
    gain = lambda each: ((grid * each**2) ** 0.3 - grid / 5).max() - (each**0.9 - each / 5)  # noqa: E731
    assert gain(0.0) == 0.0
    assert gain(high) < 1e-9 < 0.02 < gain(high / 2)
    stuck = fs.CustomPayoff(lambda s: s.prod(axis=-1, keepdims=True) ** 0.3 * np.ones(3), 3)
    game = fs.Game(stuck, fs.LinearCost([0.2] * 3), capacity=300.0)
    assert fs.regret(game, fs.ShapleyPayment(), [0.0] * 3) < 1e-9
    assert fs.regret(game, fs.ShapleyPayment(), [high] * 3) < 1e-6
    rng = np.random.default_rng(0)
    for _ in range(200):
        s, t = rng.exponential(5.0, (2, 3))
        assert stuck.total((s + t) / 2) >= (stuck.total(s) + stuck.total(t)) / 2 - 1e-12


# ---- exercises ------------------------------------------------------------------------------------------------------


def test_exercise_payoffs_by_hand():
    """(a) 1/2, 1/6, 1/12; 9 and 99 thousand. (b) 0.601 at k e^6 and -3.1 at k, for k = 4."""
    worth = [Fraction(m, 1 + m) for m in range(4)]
    assert [b - a for a, b in itertools.pairwise(worth)] == [Fraction(1, 2), Fraction(1, 6), Fraction(1, 12)]
    assert fs.PowerLaw(3).values([9.0, 0.0, 0.0])[0] == pytest.approx(0.9)
    assert fs.PowerLaw(3, beta=0.5).values([99.0, 0.0, 0.0])[0] == pytest.approx(0.9)
    assert round(float(eq2(4 * mpmath.exp(6), 4, 0.9)), 3) == 0.601
    assert round(float(eq2(4, 4, 0.9)), 6) == -3.1


def test_exercise_payoffs_concave_without_dr():
    """(s1 s2)^(2/5): a concave payoff whose cross-difference is positive."""
    a = lambda x, y: (x * y) ** 0.4  # noqa: E731
    assert a(1, 1) - a(0, 1) - a(1, 0) + a(0, 0) > 0


def test_exercise_payoffs_a_public_data_set():
    """Eq. (2) from 260 samples on: concave, monotone, DR; nobody giving is no equilibrium; payments sum to -0.048."""
    worth = lambda m: float(eq2(260 + m, 10, 0.9))  # noqa: E731
    gains = [3 * (worth(x) - worth(0)) - x / 2000 for x in np.linspace(0, 200, 401)]  # nobody else gives
    assert round(max(gains), 3) == 0.482
    assert round(-3 * worth(0), 3) == -0.048

    def with_public(s):
        m = 260 + s.sum(axis=-1, keepdims=True)
        return np.repeat(0.9 - (4 + np.sqrt(20 * (2 + np.log(m / 10)))) / np.sqrt(m), 3, axis=-1)

    seeded = fs.CustomPayoff(with_public, n_agents=3, concave=True)
    assert (worst_breach(seeded, np.random.default_rng(3), 300.0) < 1e-12).all()
    game = fs.Game(seeded, fs.LinearCost([1 / 2000] * 3), capacity=200)
    assert fs.regret(game, fs.ShapleyPayment(), [0, 0, 0]) == pytest.approx(max(gains), abs=1e-4)
    assert fs.budget_gap(game, fs.ShapleyPayment(), [200, 200, 200]) == pytest.approx(-3 * worth(0), abs=1e-12)
