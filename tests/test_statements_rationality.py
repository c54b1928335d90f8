"""Chapter "Who gains by joining": Lemma 4.6, joining against training alone, groups, several names.

Statements about equilibria are tested by exhaustion on integer grids in exact fractions, and then the package on the
paper's payoffs against `games.brute_shapley`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedshap as fs
import games

draws = games.examples(200)

SHAP = fs.ShapleyPayment()
HALF, ONE, THIRD, SIXTH = Fraction(1, 2), Fraction(1), Fraction(1, 3), Fraction(1, 6)

Profile = tuple[int, ...]
Surplus = Callable[[Sequence[Any]], Any]

CHOICES = range(3)
GRID = list(itertools.product(CHOICES, repeat=3))


def by_orders(surplus: Surplus, s: Sequence[Any]) -> list[Any]:
    """Average of what each agent adds, over the orders of arrival."""
    total = [0 * x for x in s]
    orders = list(itertools.permutations(range(len(s))))
    for order in orders:
        present = [0 * x for x in s]
        for i in order:
            before = surplus(present)
            present[i] = s[i]
            total[i] = total[i] + surplus(present) - before
    return [
        value / Fraction(len(orders)) if isinstance(value, Fraction | int) else value / len(orders) for value in total
    ]


def nash(u: dict[Profile, list[Fraction]]) -> list[Profile]:
    """All pure equilibria, by trying every change."""

    def moved(s: Profile, i: int, x: int) -> Profile:
        return (*s[:i], x, *s[i + 1 :])

    return [s for s in u if all(u[moved(s, i, x)][i] <= u[s][i] for i in range(3) for x in CHOICES)]


def utilities(worth: dict[Profile, int], costs: Sequence[Sequence[int]]) -> dict[Profile, list[Fraction]]:
    phi = {s: by_orders(lambda t: worth[tuple(t)], s) for s in GRID}
    return {s: [phi[s][i] - costs[i][s[i]] for i in range(3)] for s in GRID}


def non_decreasing(numbers: Sequence[int]) -> dict[Profile, int]:
    """The smallest non-decreasing table above arbitrary numbers."""
    cube = np.array(numbers).reshape(3, 3, 3)
    for axis in range(3):
        cube = np.maximum.accumulate(cube, axis=axis)
    return {s: int(cube[s]) for s in GRID}


def steps(least: int) -> st.SearchStrategy[list[list[int]]]:
    """Non-decreasing costs of three agents, each at least ``least`` at zero."""
    one = st.tuples(st.integers(least, 8), st.integers(0, 15), st.integers(0, 15))
    return st.lists(one.map(lambda c: list(itertools.accumulate(c))), min_size=3, max_size=3)


def table(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=len(GRID), max_size=len(GRID))


# ---- Lemma 4.6 ---------------------------------------------------------------------------------------------


@draws
@given(table(-30, 30), steps(0))
def test_lemma_4_6_no_less_than_minus_the_cost_of_nothing(numbers, costs):
    """Lemma 4.6: u_i >= -c_i(0) at every equilibrium, whatever the payoffs: any sign, not monotone, not concave."""
    u = utilities(dict(zip(GRID, numbers, strict=True)), costs)
    equilibria = nash(u)
    assert equilibria
    for s, i in itertools.product(equilibria, range(3)):
        assert u[s][i] >= -costs[i][0]


@draws
@given(st.integers(0, 10**6))
def test_lemma_4_6_of_the_package(seed):
    """Lemma 4.6 on the paper's payoffs, 3 or 4 agents: brute-force utilities, exactly -d_i for who gives nothing."""
    rng = np.random.default_rng(seed)
    cases = games.random_cases(int(rng.integers(3, 5)), seed)
    case = cases[seed % 4]
    rates, fixed = rng.uniform(0.05, 3.0, case.n), float(rng.uniform(0.0, 0.5))
    cost, own = games.linear_cost(rates, fixed)
    s = fs.find_equilibrium(fs.Game(case.payoff, cost, capacity=rng.uniform(0.5, 5.0, case.n)), SHAP).contributions
    for i in range(case.n):
        u = games.brute_shapley(case.plain, s, i) - own(s[i], i)
        assert u >= -fixed - 1e-9
        if s[i] == 0.0:
            assert u == pytest.approx(-fixed, abs=1e-12)


@draws
@given(table(0, 30), steps(1), st.integers(0, 2))
def test_lemma_4_6_converse(numbers, costs, agent):
    """If c_i(0) > 0 and no payoff depends on her data, agent i has -c_i(0) < 0 at every equilibrium."""
    worth = dict(zip(GRID, numbers, strict=True))
    worth = {s: worth[(*s[:agent], 0, *s[agent + 1 :])] for s in GRID}
    u = utilities(worth, costs)
    for s in nash(u):
        assert u[s][agent] == -costs[agent][0] < 0


@draws
@given(table(-30, 30), steps(0), st.integers(1, 20))
def test_lemma_4_6_holds_if_only_contributors_pay_the_fixed_cost(numbers, costs, fixed):
    """A cost that jumps behind zero: c_i(0) = 0, and nobody ends below zero."""
    costs = [[0, *(c + fixed for c in own[1:])] for own in costs]
    u = utilities(dict(zip(GRID, numbers, strict=True)), costs)
    assert all(min(u[s]) >= 0 for s in nash(u))


def test_lemma_4_6_fails_with_a_fixed_cost():
    """Thm 4.9's d_i > 0: the third of three hospitals ends below zero; so does a single agent, at exactly -1/10."""
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40], fixed=[0, 0, 0.25]))
    fair = fs.find_equilibrium(game, SHAP)
    s, plain = fair.contributions, games.power_law(np.ones((3, 3)))
    assert fair.regret < 1e-9
    assert games.brute_shapley(plain, s, 2) - 0.4 * s[2] - 0.25 < -0.03
    assert fs.rationality(game, SHAP, s) < -0.03
    alone = fs.Game(fs.PowerLaw(1), fs.LinearCost([1.0], fixed=0.1))
    assert fs.find_equilibrium(alone, SHAP).utilities.tolist() == [-0.1]


def test_lemma_4_6_the_bound_in_the_proof_fails():
    """The proof's u_i(s*) >= a_i(0, s*_-i) is false: 0.42 against 0.81 and 0.21 against 0.83."""
    fair = fs.find_equilibrium(games.THREE_AGENTS, SHAP)
    free_model = 1 - 1 / (1 + fair.total - fair.contributions)
    assert (fair.utilities[1:] < free_model[1:] - 0.3).all()


# ---- joining and training alone ------------------------------------------------------------------------------


@draws
@given(table(0, 40), steps(0), st.lists(st.integers(0, 6), min_size=3, max_size=3))
def test_thm_joining_by_exhaustion(numbers, costs, sixths):
    """A non-decreasing in s_i and (A(ye_i) - A(xe_i))/n >= a_i(ye_i) - a_i(xe_i): u_i >= o_i - a_i(0), s_i >= x_i."""
    worth = non_decreasing(numbers)
    u = utilities(worth, costs)
    for s, i in itertools.product(nash(u), range(3)):
        axis = [worth[tuple(x if j == i else 0 for j in range(3))] for x in CHOICES]
        alone = [Fraction(sixths[i], 6) * Fraction(axis[x] - axis[0], 3) - costs[i][x] for x in CHOICES]
        assert u[s][i] >= max(alone)
        assert s[i] >= alone.index(max(alone))


@pytest.mark.slow
@draws
@given(st.integers(0, 10**6))
def test_thm_joining_with_weights(seed):
    """Power laws with W_ji >= W_ii, 3 or 4 agents: nobody is worse off than alone, by brute force."""
    rng = np.random.default_rng(seed)
    n, beta = int(rng.integers(3, 5)), rng.uniform(0.2, 1.0)
    own = rng.uniform(0.2, 1.0, n)
    weights = own + rng.uniform(0.0, 1.0, (n, n)) * (seed % 2)
    np.fill_diagonal(weights, own)
    rates, upper = rng.uniform(0.02, 1.0, n), rng.uniform(0.3, 6.0, n)
    payoff, plain = fs.PowerLaw(weights=weights, beta=beta), games.power_law(weights, beta=beta)
    s = fs.find_equilibrium(fs.Game(payoff, fs.LinearCost(rates), capacity=upper), SHAP).contributions
    for i in range(n):
        x = float(np.clip(((own[i] * beta / rates[i]) ** (1 / (1 + beta)) - 1) / own[i], 0, upper[i]))
        alone = 1 - (1 + own[i] * x) ** -beta - rates[i] * x
        assert games.brute_shapley(plain, s, i) - rates[i] * s[i] >= alone - 1e-9


@draws
@given(table(-30, 30), st.sampled_from(GRID))
def test_thm_joining_what_is_received_beyond_the_value_alone(numbers, s):
    """Common payoff a: phi_i is the sum over k of the mean of a(s[X + i]) - a(s[X]) over the k-sets X of others."""
    a = dict(zip(GRID, numbers, strict=True))
    phi = by_orders(lambda t: 3 * a[tuple(t)], s)
    for i in range(3):
        others = [j for j in range(3) if j != i]
        total = Fraction(0)
        for k in range(3):
            sets = list(itertools.combinations(others, k))
            at = [[tuple(s[j] if j in {*X, *own} else 0 for j in range(3)) for own in ((), (i,))] for X in sets]
            total += Fraction(sum(a[more] - a[less] for less, more in at), len(sets))
        assert phi[i] == total


@pytest.mark.parametrize(("n", "joined"), [(2, 0.1558), (3, 0.0700), (4, 0.0348)])
def test_thm_joining_fails_if_her_data_serve_nobody_else(n, joined):
    """a_1 = f(sum), others f(sum without s_1), costs 0.1 and 0.01: alone she has 0.4675, and inside far less."""
    weights = np.ones((n, n))
    weights[1:, 0] = 0.0
    game = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost([0.1] + (n - 1) * [0.01]))
    fair = fs.find_equilibrium(game, SHAP)
    u = games.brute_shapley(games.power_law(weights), fair.contributions, 0) - 0.1 * fair.contributions[0]
    assert fair.regret < 1e-9
    assert u == pytest.approx(joined, abs=5e-5)
    assert u < 0.46 < 1 - 2 * 0.1**0.5 + 0.1  # o_1 = (1 - sqrt(0.1))^2


def test_thm_joining_needs_the_full_nth():
    """W_j1 = 0.99 instead of 1: with rich enough neighbours she is already better off alone."""
    weights = np.ones((3, 3))
    weights[1:, 0] = 0.99
    game = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost([0.1, 1e-7, 1e-7]))
    assert fs.find_equilibrium(game, SHAP, tol=1e-8).utilities[0] < (1 - 0.1**0.5) ** 2 - 1e-4


@draws
@given(table(0, 30), table(0, 30), table(0, 30), st.sampled_from(GRID))
def test_remedy_of_the_payoff_of_those_who_take_part(first, second, third, s):
    """Dividing sum_{i in X} a_i(s[X]) instead of A(s[X]): nobody has less than alone, and it adds up to A."""
    payoffs = [non_decreasing(numbers) for numbers in (first, second, third)]
    shares = [Fraction(0)] * 3
    for order in itertools.permutations(range(3)):
        worth, inside = 0, set()
        for i in order:
            inside.add(i)
            profile = tuple(s[j] if j in inside else 0 for j in range(3))
            now = sum(payoffs[j][profile] for j in inside)
            shares[i] += Fraction(now - worth, 6)
            worth = now
    assert sum(shares) == sum(a[s] for a in payoffs)
    for i in range(3):
        assert shares[i] >= payoffs[i][tuple(s[j] if j == i else 0 for j in range(3))]


@pytest.mark.slow
@draws
@given(st.floats(0.1, 1.0), st.floats(0.1, 1.0), st.lists(st.floats(0.05, 3.0), min_size=3, max_size=3))
def test_thm_joining_an_untrained_model_is_lost(alpha, beta, rates):
    """Eq. (12) with a(0) = 1 - alpha: inside u_i >= o_i - a(0), and exactly 0 < a(0) for who gives nothing."""
    rates[2] = 3.3 * alpha * beta  # never worth it
    fair = fs.find_equilibrium(fs.Game(fs.PowerLaw(3, alpha=alpha, beta=beta), fs.LinearCost(rates)), SHAP)
    x = np.maximum((alpha * beta / np.array(rates)) ** (1 / (1 + beta)) - 1, 0.0)
    gained = alpha - alpha * (1 + x) ** -beta - rates * x
    assert (fair.utilities >= gained - 1e-9).all()
    assert fair.contributions[2] == 0.0
    assert fair.utilities[2] == pytest.approx(0.0, abs=1e-12)
    assert fair.payments.sum() == pytest.approx(-3 * (1 - alpha), abs=1e-9)


# ---- groups ------------------------------------------------------------------------------------------------------


def capped(profile: Sequence[Any]) -> Any:
    return min(sum(profile), ONE)


def test_prop_groups_a_pair_regrets_the_newcomer():
    """f = min(z, 1), costs 1, 1, 1/2, exact: the pair falls from 1/2 to 1/4 each, the newcomer gains 1/2."""
    together = by_orders(lambda t: 3 * capped(t), [HALF, HALF, ONE])
    apart = by_orders(lambda t: 2 * capped(t), [HALF, HALF])
    assert [together[0] - HALF, together[2] - HALF] == [Fraction(1, 4), ONE]
    assert [apart[0] - HALF, capped([ONE]) - HALF] == [HALF, HALF]
    quarters = [Fraction(k, 4) for k in range(13)]  # utilities are linear between multiples of 1/4
    rates = [ONE, ONE, HALF]
    for i, x in itertools.product(range(3), quarters):
        s = [HALF, HALF, ONE]
        s[i] = x
        assert by_orders(lambda t: 3 * capped(t), s)[i] - rates[i] * x <= together[i] - rates[i] * [HALF, HALF, ONE][i]
    for x in quarters:
        assert by_orders(lambda t: 2 * capped(t), [x, HALF])[0] - x <= HALF
        assert capped([x]) - HALF * x <= HALF


def test_prop_groups_the_three_hospitals_of_the_story():
    """Smooth payoffs, costs 1.2, 1.2, 0.01: the incumbents lose four fifths, the newcomer gains 1.6."""
    pair, alone, three = (
        fs.find_equilibrium(fs.Game(fs.PowerLaw(len(rates)), fs.LinearCost(rates)), SHAP)
        for rates in ([1.2, 1.2], [0.01], [1.2, 1.2, 0.01])
    )
    s, plain = three.contributions, games.power_law(np.ones((3, 3)))
    inside = [games.brute_shapley(plain, s, i) - rate * s[i] for i, rate in enumerate([1.2, 1.2, 0.01])]
    assert inside[0] < 0.25 * pair.utilities[0]
    assert inside[2] - alone.utilities[0] == pytest.approx(1.615, abs=1e-3)
    assert alone.utilities[0] == pytest.approx(0.81, abs=1e-12)


@draws
@given(st.integers(0, 10**6))
def test_prop_groups_bounds(seed):
    """DR, non-decreasing: max(A(s[X])/(n-m+1), A(s) - A(s[N-X])) <= phi_X <= A(s[X]), A measured from A(0)."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 5))
    case = games.random_cases(n, seed)[seed % 5]
    s = rng.exponential(3.0, n) * (rng.uniform(size=n) > 0.1)
    m = int(rng.integers(1, n))
    group, rest = range(m), range(m, n)
    zero = games.surplus(case.plain, s, ())
    own, whole, without = (games.surplus(case.plain, s, X) - zero for X in (group, None, rest))
    share = sum(games.brute_shapley(case.plain, s, i) for i in group)
    assert max(own / (n - m + 1), whole - without) - 1e-9 <= share <= own + 1e-9


@pytest.mark.parametrize(("n", "m"), [(n, m) for n in range(3, 7) for m in range(1, n)])
def test_prop_groups_the_lower_bound_is_attained(n, m):
    """f = min(z, 1), members 1/m each, outsiders 1: phi_X = A(s[X])/(n-m+1), less than m a(s[X]) for 1 < m < n."""
    s = m * [Fraction(1, m)] + (n - m) * [ONE]
    share = sum(by_orders(lambda t: n * capped(t), s)[:m])
    assert share == Fraction(n, n - m + 1)
    assert (share < m) == (1 < m < n)


# ---- several names -----------------------------------------------------------------------------------------------


def joint_share(plain: games.Plain, parts: Sequence[Any], rest: Sequence[Any], agent: int = 0) -> Any:
    """Shapley shares of all names of one agent together, by enumeration of coalitions of names."""

    def of_names(names: Sequence[Any]) -> list[Any]:
        s = list(names[len(parts) :])
        s.insert(agent, sum(names[: len(parts)]))
        return plain(s)

    return sum(games.brute_shapley(of_names, [*parts, *rest], k) for k in range(len(parts)))


@draws
@given(st.integers(0, 10**6))
def test_thm_names_more_names_never_pay_less(seed):
    """Three agents, the paper's payoffs: dividing, and dividing again, never lowers the joint share of an agent."""
    rng = np.random.default_rng(seed)
    case = games.random_cases(3, seed)[seed % 5]
    s, agent = rng.exponential(3.0, 3), int(rng.integers(3))
    rest = [s[j] for j in range(3) if j != agent]
    first, second = np.sort(rng.uniform(0.0, s[agent], 2))
    shares = [
        joint_share(case.plain, parts, rest, agent)
        for parts in ([s[agent]], [first, s[agent] - first], [first, second - first, s[agent] - second])
    ]
    assert shares[0] == pytest.approx(fs.shapley_values(fs.Game(case.payoff, fs.LinearCost([1, 1, 1])), s)[agent])
    assert (np.diff(shares) >= -1e-9).all()


@pytest.mark.parametrize(("names", "share"), [(1, 1.017), (2, 1.131), (3, 1.176), (8, 1.235)])
def test_thm_names_in_example_4(names, share):
    """Agent 1 of Example 4 under several names of equal size; her further names have no use for the model."""
    s = fs.find_equilibrium(games.TWO_AGENTS, SHAP).contributions
    by_hand = joint_share(games.power_law(np.ones((2, 2))), names * [s[0] / names], [s[1]])
    assert by_hand == pytest.approx(share, abs=5e-4)
    weights = np.zeros((names + 1, names + 1))
    weights[[0, -1]] = 1.0  # who has use for the model: agent 1, once, and agent 2
    sold = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost(np.ones(names + 1)))
    assert fs.shapley_values(sold, [*(names * [s[0] / names]), s[1]])[:-1].sum() == pytest.approx(by_hand, abs=1e-12)


def test_thm_names_limit():
    """The limit of ever more names is s_i times the integral of E[dA/ds_i(q s_i, s[R_q])], here for three agents."""
    s = [3.0, 1.4, 0.8]

    def slope(q):
        chance = {0.0: (1 - q) ** 2, s[1]: q * (1 - q), s[2]: q * (1 - q), s[1] + s[2]: q**2}
        return sum(p * 3 / (1 + q * s[0] + rest) ** 2 for rest, p in chance.items())

    limit = float(s[0] * mp.quad(slope, [0, 1]))
    gaps = []
    for names in (50, 100):
        weights = np.zeros((names + 2, names + 2))
        weights[[0, -1, -2]] = 1.0
        sold = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost(np.ones(names + 2)))
        gaps.append(limit - fs.shapley_values(sold, [*(names * [s[0] / names]), *s[1:]])[:-2].sum())
    assert 0 < gaps[1] < gaps[0] < 0.02
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.1)


@draws
@given(st.lists(st.integers(1, 5), min_size=4, max_size=4))
def test_thm_names_the_sign_of_the_third_derivative(sizes):
    """f = 40z - z^2: names do not matter; f = 1200z - z^3: they cost; f = -(20-z)^3: they pay. Exact; 3 agents."""
    first, second, *rest = sizes  # at most 20 together, where all three are concave

    def gain(f: Callable[[int], int]) -> Fraction:
        split = by_orders(lambda t: f(sum(t)), [first, second, *rest])
        return split[0] + split[1] - by_orders(lambda t: f(sum(t)), [first + second, *rest])[0]

    assert gain(lambda z: 40 * z - z**2) == 0
    assert gain(lambda z: 1200 * z - z**3) < 0
    assert gain(lambda z: -((20 - z) ** 3)) > 0


def test_thm_names_diminishing_returns_are_not_enough():
    """f = z - z^3/3 is concave on [0, 1]; one third each: 2/3 under one name, 35/54 under two."""

    def cubic(t: Sequence[Fraction]) -> Fraction:
        return 3 * (sum(t, Fraction(0)) - sum(t, Fraction(0)) ** 3 / 3)

    assert by_orders(cubic, 3 * [THIRD])[0] == Fraction(2, 3)
    assert sum(by_orders(cubic, [SIXTH, SIXTH, THIRD, THIRD])[:2]) == Fraction(35, 54)


# ---- the headlines of the chapter ------------------------------------------------------------------------------


def test_thm_joining_headline_needs_a_worthless_untrained_model():
    """The old headline with a(0) = 1/10: Cleo, at a cost of 3, has 0 inside and 1/10 outside."""
    game = fs.Game(fs.PowerLaw(3, alpha=0.9), fs.LinearCost([0.10, 0.25, 3.0]))
    s = fs.find_equilibrium(game, SHAP).contributions
    plain = games.power_law(np.ones((3, 3)), alpha=0.9)
    assert s[2] == 0.0
    assert games.brute_shapley(plain, s.tolist(), 2) == 0.0 < plain([0.0, 0.0, 0.0])[2]


def test_thm_joining_needs_the_condition_at_every_contribution():
    """Less than her own at her solo optimum alone: a_1 = min(x, 1), cost x/2, a nth of A jumps to 2 at 2. She gains."""
    quarters = [Fraction(k, 4) for k in range(13)]
    own = [min(x, ONE) - x / 2 for x in quarters]
    average = [min(x, Fraction(99, 100)) if x < 2 else Fraction(2) for x in quarters]
    solo = quarters[own.index(max(own))]
    assert (solo, max(own)) == (ONE, HALF)
    assert average[quarters.index(solo)] < min(solo, ONE)
    assert max(a - x / 2 for a, x in zip(average, quarters, strict=True)) == ONE > max(own)


def test_prop_groups_ada_at_the_door():
    """Bea and Cleo, at 0.25 and 0.40, have .478 and .221 as a pair and .420 and .210 with Ada, at 0.10."""
    utilities = []
    for rates in ([0.25, 0.40], [0.10, 0.25, 0.40]):
        n = len(rates)
        s = fs.find_equilibrium(fs.Game(fs.PowerLaw(n), fs.LinearCost(rates)), SHAP).contributions.tolist()
        plain = games.power_law(np.ones((n, n)))
        utilities.append([games.brute_shapley(plain, s, i) - rates[i] * s[i] for i in range(n)])
    assert utilities[0] == pytest.approx([0.478, 0.221], abs=5e-4)
    assert utilities[1] == pytest.approx([0.894, 0.420, 0.210], abs=5e-4)


def test_prop_groups_the_dearer_the_newcomer_the_better():
    """Two incumbents at 0.5: their utility rises with the newcomer's cost, up to one who gives nothing and pays."""
    costs = (0.005, 0.1, 0.27, 0.5, 0.9, 1.2, 1.6)
    found = [fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.LinearCost([0.5, 0.5, c])), SHAP) for c in costs]
    assert (np.diff([e.utilities[0] for e in found]) > 0).all()
    assert found[-1].contributions[2] == 0.0
    assert found[-1].payments[2] < -0.6


@pytest.mark.parametrize(("names", "bea", "cleo"), [(2, 0.251, 0.104), (4, 0.110, 0.026)])
def test_thm_names_two_names_leave_bea_more_than_half(names, bea, cleo):
    """Ada's names choose for themselves: with two of them Bea keeps more than half of her 0.420, with four less."""
    weights = np.zeros((2 + names, 2 + names))
    weights[:3] = 1.0
    rates = [0.10, 0.25, 0.40] + [0.10] * (names - 1)
    s = fs.find_equilibrium(fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost(rates)), SHAP).contributions.tolist()
    plain = games.power_law(weights)
    left = [games.brute_shapley(plain, s, i) - rates[i] * s[i] for i in (1, 2)]
    assert left == pytest.approx([bea, cleo], abs=5e-4)
    assert (left[0] > 0.420 / 2) == (names == 2)
