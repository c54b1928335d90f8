"""Lemma 2.3, Eqs. (3) and (27), the sample bound of App. E and the protocol of App. F: what holds, and what breaks.

Games are dicts from coalitions to values, in exact fractions where possible; the package is compared with them.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import ceil, comb, floor, log, sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

import fedshap as fs
from games import examples

draws = examples(200)
seeds = st.integers(0, 2**32 - 1)
values_of = st.integers(-20, 20)


def powerset(n):
    return [frozenset(X) for size in range(n + 1) for X in itertools.combinations(range(n), size)]


@st.composite
def games(draw, low=3, high=5):
    """Any game of ``low`` to ``high`` agents, the empty coalition included."""
    n = draw(st.integers(low, high))
    return n, {X: Fraction(draw(values_of), 4) for X in powerset(n)}


def by_orders(n, v):
    """Mean of what each agent adds over all orders."""
    total = [Fraction(0)] * n
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        here = frozenset()
        for i in order:
            total[i] += v[here | {i}] - v[here]
            here |= {i}
    return [x / len(orders) for x in total]


def weighted(n, v, weight):
    """Sum over coalitions without i of weight(size) times what i adds."""
    return [sum(weight(len(X)) * (v[X | {i}] - v[X]) for X in powerset(n) if i not in X) for i in range(n)]


def shapley(n, v):
    return weighted(n, v, lambda size: Fraction(1, n * comb(n - 1, size)))


def banzhaf(n, v):
    return weighted(n, v, lambda size: Fraction(1, 2 ** (n - 1)))


def dividends(n, v):
    return {T: sum((-1) ** len(T - R) * v[R] for R in powerset(n) if R <= T) for T in powerset(n) if T}


def symmetric(n, worth):
    return {X: Fraction(worth(len(X))) for X in powerset(n)}


def as_game(n, v):
    """A federation whose surplus at a 0-1 profile is v: agent 0 has all the payoff, multilinear in between."""
    sets = powerset(n)
    table = np.array([float(v[X]) for X in sets])
    inside = np.array([[i in X for i in range(n)] for X in sets])

    def payoff(s):
        s = s[..., None, :]
        chances = np.where(inside, s, 1 - s).prod(axis=-1)
        return np.concatenate([(chances @ table)[..., None], np.zeros((*s.shape[:-2], n - 1))], axis=-1)

    return fs.Game(fs.CustomPayoff(payoff, n), fs.LinearCost(np.zeros(n)))


# ---- Eq. (3), Lemma 2.3 and the axioms ----------------------------------------------------------------------------


@draws
@given(game=games())
def test_lemma_2_3_values_add_up_to_the_surplus_minus_that_of_nothing(game):
    """Lemma 2.3 with A(0): sum phi = A(s) - A(0), for the package and in fractions."""
    n, v = game
    exact = shapley(n, v)
    whole = v[frozenset(range(n))] - v[frozenset()]
    assert sum(exact) == whole
    packaged = fs.shapley_values(as_game(n, v), np.ones(n))
    assert packaged == pytest.approx([float(x) for x in exact], abs=1e-12)
    assert packaged.sum() == pytest.approx(float(whole), abs=1e-12)


@pytest.mark.parametrize(
    ("payoff", "start"),
    [
        (fs.PowerLaw(3, alpha=0.5), 1.5),
        (fs.PowerLaw(3, alpha=3.5), -7.5),
        (fs.RandomCoverage(np.full((3, 3), 1 / 3)), 1.5),
    ],
)
def test_lemma_2_3_as_printed_fails_where_nothing_is_worth_something(payoff, start):
    """sum phi = A(s) breaks for Eq. (12) with alpha != 1 and for Eq. (13), and Lemma 4.2's budget with it."""
    game, s = fs.Game(payoff, fs.LinearCost([0.1] * 3)), [3.0, 1.0, 1.0]
    assert game.surplus([0.0] * 3) == pytest.approx(start)
    assert abs(fs.shapley_values(game, s).sum() - game.surplus(s)) > 1.0
    assert fs.budget_gap(game, fs.ShapleyPayment(), s) == pytest.approx(-start)


@draws
@given(game=games(high=4))
def test_eq_3_is_the_mean_over_orders_and_the_split_of_dividends(game):
    """Eq. (3) by two other routes; the second is why the axioms leave no choice."""
    n, v = game
    split = [sum(d / len(T) for T, d in dividends(n, v).items() if i in T) for i in range(n)]
    assert shapley(n, v) == by_orders(n, v) == split


@draws
@given(game=games(), other=st.data())
def test_prop_shapley_axioms(game, other):
    """Symmetry, null player (an agent with s_i = 0 too) and additivity, in the package."""
    n, v = game
    w = {X: Fraction(other.draw(values_of)) for X in powerset(n)}
    phi = {name: fs.shapley_values(as_game(n, u), np.ones(n)) for name, u in (("v", v), ("w", w))}
    both = fs.shapley_values(as_game(n, {X: v[X] + w[X] for X in v}), np.ones(n))
    assert both == pytest.approx(phi["v"] + phi["w"], abs=1e-11)
    swap = {0: 1, 1: 0}
    even = {X: v[X] + v[frozenset(swap.get(i, i) for i in X)] for X in v}
    assert np.ptp(fs.shapley_values(as_game(n, even), np.ones(n))[:2]) < 1e-11
    null = {X: v[X - {0}] for X in v}
    assert fs.shapley_values(as_game(n, null), np.ones(n))[0] == pytest.approx(0.0, abs=1e-12)
    assert fs.shapley_values(as_game(n, v), np.arange(n) > 0)[0] == pytest.approx(0.0, abs=1e-12)


@draws
@given(game=games())
def test_owen_integral(game):
    """phi_i is the mean over q of what i adds to a random coalition; ceil(n/2) Gauss nodes are exact."""
    n, v = game
    nodes, node_weights = np.polynomial.legendre.leggauss(ceil(n / 2))
    mean = np.zeros(n)
    for q, w in zip((nodes + 1) / 2, node_weights / 2, strict=True):
        mean += w * np.array(weighted(n, v, lambda size, q=q: q**size * (1 - q) ** (n - 1 - size)), dtype=float)
    assert mean == pytest.approx([float(x) for x in shapley(n, v)], abs=1e-11)


# ---- Banzhaf's weights (App. F.2) ---------------------------------------------------------------------------------


@draws
@given(game=games(low=2, high=5))
def test_prop_banzhaf_budget(game):
    """1/2^(n-1) misses the budget by sum over |T| >= 3 of d_T (1 - |T| / 2^(|T|-1)); never at n = 2."""
    n, v = game
    gap = sum(shapley(n, v)) - sum(banzhaf(n, v))
    d = dividends(n, v)
    assert gap == sum(d[T] * (1 - Fraction(len(T), 2 ** (len(T) - 1))) for T in d if len(T) >= 3)
    if n == 2:
        assert shapley(n, v) == banzhaf(n, v)
    if n == 3:
        assert gap == d[frozenset(range(3))] / 4


@pytest.mark.parametrize(
    ("worth", "paid"),
    [
        (lambda k: Fraction(3 * k, 1 + k), Fraction(33, 16)),  # Eq. (12), one scan each; the surplus is 9/4
        (lambda k: k == 3, Fraction(3, 4)),
        (lambda k: k >= 2, Fraction(3, 2)),
        (lambda k: min(k, 2), Fraction(9, 4)),  # concave, bounded, DR; the surplus is 2
    ],
)
def test_weights_of_f_2_lose_the_budget_at_three_agents(worth, paid):
    """Smallest rational counterexamples, in both directions, to the weights printed in App. F.2."""
    v = symmetric(3, worth)
    assert sum(banzhaf(3, v)) == paid != v[frozenset(range(3))]
    assert sum(shapley(3, v)) == v[frozenset(range(3))]


@pytest.mark.parametrize("n", range(1, 9))
def test_banzhaf_closed_forms(n):
    """Power law, one scan each: (4 - (n + 2) 2^(1-n)) / n of the surplus; half are needed: n C(n-1, .) / 2^(n-1)."""
    power = symmetric(n, lambda k: Fraction(n * k, 1 + k))
    assert sum(banzhaf(n, power)) / power[frozenset(range(n))] == (4 - (n + 2) * Fraction(2, 2**n)) / n
    quota = symmetric(n, lambda k: 2 * k >= n)
    assert sum(banzhaf(n, quota)) == Fraction(n * comb(n - 1, (n + 1) // 2 - 1), 2 ** (n - 1))


@draws
@given(n=st.integers(3, 7), coverage=st.booleans(), seed=seeds)
def test_banzhaf_never_exceeds_shapley_for_exponential_mixtures(n, coverage, seed):
    """Power laws and coverage: a convex function of q lies at its midpoint below its mean."""
    rng = np.random.default_rng(seed)
    payoff = fs.RandomCoverage(rng.dirichlet(np.ones(4), n)) if coverage else fs.PowerLaw(weights=rng.random((n, n)))
    s = rng.uniform(0.0, 4.0, n)
    members = np.array(list(itertools.product([0, 1], repeat=n)))
    A = payoff.total(members * s)
    psi = np.array([(A[members[:, i] == 1] - A[members[:, i] == 0]).mean() for i in range(n)])
    assert (psi <= fs.shapley_values(fs.Game(payoff, fs.LinearCost(np.zeros(n))), s) + 1e-12).all()


# ---- Eq. (27) and the sample bound of App. E ----------------------------------------------------------------------

W = np.array([[3.1, 0.47, 0.44], [0.67, 1.9, 0.65], [0.93, 0.83, 2.1]]) / 1000
GROUPS = np.repeat([0, 1, 2], 10)
MNIST = fs.Game(fs.PowerLaw(weights=W, groups=GROUPS), fs.LinearCost(np.zeros(30)))
FULL = np.full(30, 100.0)


def failure_rate(orders, n, error):
    """P(|n B/m - n/2| > error), B binomial: agents 1 and 2 own copies, and one of them adds n."""
    law = binom(orders, 0.5)
    return law.cdf(ceil(orders * (0.5 - error / n)) - 1) + law.sf(floor(orders * (0.5 + error / n)))


@draws
@given(n=st.integers(3, 200), error=st.floats(0.01, 3.0), failure=st.floats(0.001, 0.3))
def test_bound_app_e_with_the_range_in_it(n, error, failure):
    """Hoeffding with R = n for a sum of n accuracies holds where the printed bound fails."""
    orders = ceil(n**2 / (2 * error**2) * log(2 * n / failure))
    assert failure_rate(orders, n, error) <= failure


@pytest.mark.parametrize(("n", "least"), [(30, 0.15), (100, 0.4), (1000, 0.75)])
def test_bound_app_e_as_printed_fails_for_a_sum_of_accuracies(n, least):
    """m = 2n/eps^2 ln(2n/delta) orders, eps = 1, delta = 0.05: the failure rate is 0.16 at n = 30, then worse."""
    assert failure_rate(ceil(2 * n * log(2 * n / 0.05)), n, 1.0) > least > 0.05


@draws
@given(n=st.integers(3, 200), error=st.floats(0.01, 3.0), failure=st.floats(0.001, 0.3))
def test_bound_app_e_is_the_euclidean_bound_for_gains_in_minus_one_to_one(n, error, failure):
    """Union over agents of 2 exp(-2 m (eps/sqrt n)^2 / 2^2) equals delta at the printed m."""
    orders = 2 * n / error**2 * log(2 * n / failure)
    assert n * 2 * np.exp(-2 * orders * (error / sqrt(n)) ** 2 / 4) == pytest.approx(failure)


@draws
@given(n=st.integers(3, 6), coverage=st.booleans(), seed=seeds)
def test_bound_app_e_ranges_from_diminishing_returns(n, coverage, seed):
    """Under DR what i adds lies between what she adds last and what she adds first."""
    rng = np.random.default_rng(seed)
    payoff = fs.RandomCoverage(rng.dirichlet(np.ones(4), n)) if coverage else fs.PowerLaw(weights=rng.random((n, n)))
    s = rng.uniform(0.0, 4.0, n)
    members = np.array(list(itertools.product([0, 1], repeat=n)))
    A = payoff.total(members * s)
    for i in range(n):
        gains = A[members[:, i] == 1] - A[members[:, i] == 0]  # the first without anybody, the last with all
        assert gains.min() >= gains[-1] - 1e-12
        assert gains.max() <= gains[0] + 1e-12


def test_the_exact_values_of_the_mnist_federation_by_counting():
    """n = 30, App. E: agents of a group are alike, so 10 x 11^2 cases replace 2^29."""
    exact = []
    for own in range(3):
        others = [10 - (t == own) for t in range(3)]
        value = 0.0
        for counts in itertools.product(*(range(o + 1) for o in others)):
            ways = np.prod([comb(o, c) for o, c in zip(others, counts, strict=True)])
            batches = 100 * np.array([counts, np.array(counts) + np.eye(3)[own]])
            before, after = (10 * (1 - 1 / (1 + batches @ W.T))).sum(axis=1)
            value += ways / (30 * comb(29, sum(counts))) * (after - before)
        exact.append(value)
    assert exact == pytest.approx([0.9628, 0.7186, 0.6763], abs=5e-5)
    assert fs.shapley_values(MNIST, FULL) == pytest.approx(np.repeat(exact, 10), rel=1e-11)


def test_eq_27_with_102_orders_is_off_by_a_fifth_and_balances_exactly():
    """The largest error relative to an agent's own value is about 0.22; the sum is exact in every sample."""
    exact, surplus = fs.shapley_values(MNIST, FULL), float(MNIST.surplus(FULL))
    errors = []
    for seed in range(60):
        values, spread = fs.shapley_values(MNIST, FULL, method="permutation", permutations=102, rng=seed)
        assert values.sum() == pytest.approx(surplus, abs=1e-10)
        assert (np.abs(values - exact) < 6 * spread).all()
        errors.append((np.abs(values - exact) / exact).max())
    assert 0.19 < np.mean(errors) < 0.25


def test_eq_27_rotations_of_three_orders_beat_102_orders():
    """Every agent takes every place once in a block of rotations: 90 orders, less than half the error."""
    rng, exact = np.random.default_rng(27), fs.shapley_values(MNIST, FULL)
    errors = []
    for _ in range(60):
        orders = [np.roll(head, k) for head in rng.permuted(np.tile(np.arange(30), (3, 1)), axis=1) for k in range(30)]
        total = np.zeros(30)
        for order in orders:
            there = np.vstack([np.zeros(30), np.cumsum(np.eye(30)[order], axis=0)])
            total[order] += np.diff(MNIST.surplus(there * FULL))
        errors.append((np.abs(total / len(orders) - exact) / exact).max())
    assert np.mean(errors) < 0.11


# ---- The payments of App. F and Algorithm 1 -----------------------------------------------------------------------


@draws
@given(n=st.integers(3, 4), stages=st.integers(1, 4), data=st.data())
def test_payments_app_f_balance_in_each_stage_and_telescope(n, stages, data):
    """sum_i p_i^h = 0 if v(empty) = 0 and v(N) is the increase; a_i(end) + sum_h p_i^h = a_i(0) + sum_h phi_i^h."""
    accuracies = [[Fraction(data.draw(values_of), 8) for _ in range(n)] for _ in range(stages + 1)]
    received, values = list(accuracies[-1]), list(accuracies[0])
    for before, after in itertools.pairwise(accuracies):
        v = {X: Fraction(data.draw(values_of)) for X in powerset(n)}
        v[frozenset()], v[frozenset(range(n))] = Fraction(0), sum(after) - sum(before)
        phi = shapley(n, v)
        payments = [phi[i] - (after[i] - before[i]) for i in range(n)]
        assert sum(payments) == 0
        received = [r + p for r, p in zip(received, payments, strict=True)]
        values = [x + p for x, p in zip(values, phi, strict=True)]
    assert received == values


def surplus(scans):
    return Fraction(3 * scans, 1 + scans)


def test_payments_app_f_reward_those_who_come_early():
    """One scan each, one agent per stage: 3/2, 1/2, 1/4 by stages, 3/4 each at once."""
    by_stage = [surplus(h + 1) - surplus(h) for h in range(3)]
    assert by_stage == [Fraction(3, 2), Fraction(1, 2), Fraction(1, 4)]
    assert shapley(3, symmetric(3, surplus)) == [Fraction(3, 4)] * 3


def test_payments_app_f_lose_the_budget_if_contributions_move_within_a_window():
    """W phi^alpha(s^t) distributes W times the last increase; under Assumption F.1 that is not the increase."""
    moves = [1, 2]
    increase, distributed = sum(surplus(3 * x) for x in moves), len(moves) * surplus(3 * moves[-1])
    assert (increase, distributed) == (Fraction(135, 28), Fraction(36, 7))
    still = [2, 2]
    assert sum(surplus(3 * x) for x in still) == len(still) * surplus(3 * still[-1])


def test_utility_of_app_f_counts_costs_once_per_window():
    """u = W phi - gamma s: grouping four iterations into a stage more than doubles what agents give."""
    rates = np.array([0.1, 0.25, 0.4])
    totals = []
    for window in (1, 4):
        game = fs.Game(fs.PowerLaw(3), fs.LinearCost(rates / window))
        totals.append(fs.find_equilibrium(game, fs.ShapleyPayment()).total)
    assert totals[1] > 2 * totals[0]


def averaged(local, weights):
    """The game of App. F.2 with scalar models: the model of X is a weighted average, A(x) = 3 (1 - (1 - x)^2)."""
    v = {}
    for X in powerset(3):
        mass = sum(weights[i] for i in X)
        theta = Fraction(sum(weights[i] * local[i] for i in X), mass) if mass else Fraction(0)
        v[X] = 3 * (1 - (1 - theta) ** 2)
    return v


def test_algorithm_1_charges_an_agent_who_does_nothing():
    """Plain averages: an agent with s_i = 0 returns the old model and is no null player. By batches she is."""
    assert shapley(3, averaged([1, 1, 0], [1, 1, 1])) == [Fraction(109, 72), Fraction(109, 72), Fraction(-13, 36)]
    assert shapley(3, averaged([1, 1, 0], [5, 5, 0])) == [Fraction(3, 2), Fraction(3, 2), 0]


def test_algorithm_1_shrinks_the_model_if_fewer_are_sampled():
    """Line 10 divides the sum over R^t by n: two models equal to 1 out of three agents give 2/3."""
    assert Fraction(sum([1, 1]), 3) != 1 == Fraction(sum([1, 1]), 2)


@draws
@given(seed=seeds)
def test_algorithm_1_moves_the_output_bias_of_a_zero_model_and_no_weight(seed):
    """A ReLU network at zero: its loss changes with the output bias, by differences, and with nothing else."""
    rng = np.random.default_rng(seed)
    inputs, targets = rng.normal(size=(6, 3)), rng.normal(size=6) + 2

    def loss(p):
        hidden = np.maximum(inputs @ p[:12].reshape(3, 4) + p[12:16], 0.0)
        return ((hidden @ p[16:20] + p[20] - targets) ** 2).sum()

    zero = loss(np.zeros(21))
    changes = [[loss(sign * 1e-3 * row) - zero for sign in (1, -1)] for row in np.eye(21)]
    assert not np.any(changes[:20])
    assert changes[20][0] < 0 < changes[20][1]


def test_algorithm_1_runs_too_many_iterations():
    """Line 8 to W H instead of W h: 27 iterations for 12 with H = 3, W = 4, and h must be advanced by hand."""
    H, window = 3, 4
    printed = [t for h in range(1, H + 1) for t in range(window * (h - 1), window * H + 1)]
    intended = [t for h in range(1, H + 1) for t in range(window * (h - 1) + 1, window * h + 1)]
    assert (len(printed), printed[0]) == (27, 0)
    assert intended == list(range(1, H * window + 1))


# ---- exercises ----------------------------------------------------------------------------------------------------


def test_exercise_shapley_by_hand():
    """(a) 3/4 each, dividends 3/2, -1, 3/4. (b) 2/3, 1/6, 1/6. In the text: 1.217 with dividends -1.35, -1, 0.95."""
    one_each = symmetric(3, surplus)
    assert shapley(3, one_each) == [Fraction(3, 4)] * 3
    by_size = {len(T): value for T, value in dividends(3, one_each).items() if T}
    assert [by_size[size] for size in (1, 2, 3)] == [Fraction(3, 2), -1, Fraction(3, 4)]
    needs_ada = {X: Fraction(0 in X and len(X) >= 2) for X in powerset(3)}
    assert shapley(3, needs_ada) == [Fraction(2, 3), Fraction(1, 6), Fraction(1, 6)]
    hospitals = {X: surplus(sum((3, 1, 1)[i] for i in X)) for X in powerset(3)}
    d = dividends(3, hospitals)
    pairs = [d[frozenset(T)] for T in ((0, 1), (0, 2), (1, 2), (0, 1, 2))]
    assert [float(x) for x in pairs] == [-1.35, -1.35, -1.0, 0.95]
    assert [round(float(x), 3) for x in shapley(3, hospitals)] == [1.217, 0.642, 0.642]
    assert [round(float(x), 4) for x in banzhaf(3, hospitals)] == [1.1375, 0.5625, 0.5625]


def test_exercise_shapley_a_concave_surplus_for_two_of_three():
    """The least of 1, m/2 and the three pair sums is concave, and has the corners of "two of three"; DR fails."""

    def two_of_three(s):
        a, b, c = s
        return min(1, Fraction(a + b + c) / 2, a + b, a + c, b + c)

    corners = list(itertools.product([0, 1], repeat=3))
    assert all(two_of_three(X) == (sum(X) >= 2) for X in corners)
    thirds = [[Fraction(x, 3) for x in p] for p in itertools.product(range(4), repeat=3)]
    for p, other in itertools.product(thirds, repeat=2):
        middle = [(x + y) / 2 for x, y in zip(p, other, strict=True)]
        assert two_of_three(middle) >= (two_of_three(p) + two_of_three(other)) / 2
    alone, second = two_of_three((1, 0, 0)), two_of_three((1, 1, 0)) - two_of_three((0, 1, 0))
    assert (alone, second) == (0, 1)
