"""Chapter "Free riding": Prop. 2.2, Examples 3 and 4, and what they become with three agents and more.

Shapley values come from orders of arrival or from `games.brute_shapley`, equilibria from enumeration or closed forms.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fedshap as fs
import games

draws = games.examples(200)

Profile = tuple[int, ...]
Table = dict[Profile, list]  # profile -> what each of three agents has


def moved(s: Profile, agent: int, x: int) -> Profile:
    return (*s[:agent], x, *s[agent + 1 :])


def nash(u: Table, choices: Sequence[int]) -> list[Profile]:
    """Definition 2.1, by trying every change."""
    return [s for s in u if all(u[moved(s, i, x)][i] <= u[s][i] for i in range(3) for x in choices)]


def fixed_points(u: Table, choices: Sequence[int]) -> list[Profile]:
    """The profiles in the product of everybody's best responses to them."""

    def responses(s: Profile, i: int) -> set[int]:
        top = max(u[moved(s, i, x)][i] for x in choices)
        return {x for x in choices if u[moved(s, i, x)][i] == top}

    return [s for s in u if s in set(itertools.product(*(responses(s, i) for i in range(3))))]


def arrivals(surplus: Callable[[list[int]], int], s: Profile) -> list[Fraction]:
    """Shapley values from the orders of arrival, exactly."""
    total = [Fraction(0)] * len(s)
    orders = list(itertools.permutations(range(len(s))))
    for order in orders:
        present = [0] * len(s)
        for i in order:
            before = surplus(present)
            present[i] = s[i]
            total[i] += surplus(present) - before
    return [value / len(orders) for value in total]


def steps(count: int, most: int) -> st.SearchStrategy[list[int]]:
    """A non-decreasing sequence that begins with 0."""
    jumps = st.lists(st.integers(0, most), min_size=count, max_size=count)
    return jumps.map(lambda values: [0, *itertools.accumulate(values)])


# ---- Prop. 2.2 ---------------------------------------------------------------------------------------------


@draws
@given(st.lists(st.integers(0, 3), min_size=81, max_size=81))
def test_prop_2_2_equilibria_are_fixed_points(numbers):
    """Prop. 2.2, all games of three agents with three choices: two lists of the same profiles, ties included."""
    choices, values = range(3), iter(numbers)
    u = {s: [next(values) for _ in range(3)] for s in itertools.product(choices, repeat=3)}
    assert nash(u, choices) == fixed_points(u, choices)


@pytest.mark.slow
@draws
@given(st.integers(0, 10**6), st.sampled_from([fs.NoPayment(), fs.ShapleyPayment()]))
def test_prop_2_2_an_equilibrium_is_everybodys_best_response(seed, mechanism):
    """Prop. 2.2 on the continuum: nobody's own search from the package's equilibrium gains anything."""
    rng = np.random.default_rng(seed)
    weights, rates = rng.uniform(0.2, 1.0, (3, 3)), rng.uniform(0.05, 0.8, 3)
    upper = rng.uniform(0.5, 6.0, 3)
    game = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost(rates), capacity=upper)
    found = fs.find_equilibrium(game, mechanism).contributions
    cost = games.linear_cost(rates.tolist())[1]
    utility = games.utility_of(mechanism, games.power_law(weights), cost, upper)
    for i in range(3):
        best = games.maximiser(lambda x, i=i: utility([*found[:i], x, *found[i + 1 :]], i), 0.0, upper[i])
        here = utility(found, i)
        assert utility([*found[:i], best, *found[i + 1 :]], i) <= here + 1e-9
        assert abs(best - found[i]) < 1e-3


# ---- Example 3 ---------------------------------------------------------------------------------------------


def cheapest_first(wanted: Sequence, upper: Sequence) -> list:
    """Each gives, in order of cost, what is missing of the total that she wants."""
    s = [0 * wanted[0]] * len(wanted)
    for i in sorted(range(len(wanted)), key=lambda i: -wanted[i]):
        s[i] = min(upper[i], max(0, wanted[i] - sum(s)))
    return s


def test_example_3_the_printed_equilibrium():
    """Example 3: (2.16, 0), that is (sqrt(10) - 1, 0); with a third agent at 0.40 she rides free as well."""
    for game in (games.TWO_AGENTS, games.THREE_AGENTS):
        s = fs.find_equilibrium(game, fs.NoPayment()).contributions
        np.testing.assert_allclose(s, [10**0.5 - 1] + [0.0] * (game.n_agents - 1), atol=1e-12)
        assert round(s[0], 2) == 2.16


@draws
@given(
    st.lists(st.integers(1, 7), min_size=3, max_size=3, unique=True),
    st.lists(st.integers(1, 4), min_size=3, max_size=3),
)
def test_example_3_unique_when_costs_differ(wanted, upper):
    """Example 3, "the only NE": among all profiles of half units exactly one is everybody's best response.

    Agent i wants a total of ``wanted[i]`` (lower cost, larger total), so her best response is what is missing of it.
    """
    halves = [[Fraction(k, 2) for k in range(2 * top + 1)] for top in upper]
    at_rest = [
        s
        for s in itertools.product(*halves)
        if all(s[i] == min(upper[i], max(0, wanted[i] - (sum(s) - s[i]))) for i in range(3))
    ]
    assert at_rest == [tuple(cheapest_first(wanted, upper))]


@draws
@given(st.floats(0.01, 0.5), st.floats(0.0, 1.0), st.integers(3, 8))
def test_example_3_a_continuum_when_costs_are_equal(rate, share, n):
    """Example 3 with equal costs: every division of the same total among the cheapest is an equilibrium."""
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost([rate, rate, *[2 * rate] * (n - 2)]))
    total = rate**-0.5 - 1
    s = np.zeros(n)
    s[:2] = total * share, total * (1 - share)
    assert fs.regret(game, fs.NoPayment(), s) < 1e-12
    uneven = s.copy()
    uneven[2] += 0.1
    assert fs.regret(game, fs.NoPayment(), uneven) > 1e-6


@draws
@given(st.integers(0, 10**6))
def test_prop_cheapest_first_on_the_continuum(seed):
    """Example 3 for 3 to 8 agents, any power law and capacities: the package fills up in order of cost."""
    rng = np.random.default_rng(seed)
    n, alpha, beta = int(rng.integers(3, 9)), rng.uniform(0.3, 1), rng.uniform(0.3, 1)
    rates = rng.permutation(0.01 * np.cumprod(rng.uniform(1.1, 2.0, n)))  # apart, or best responses take long
    upper = rng.uniform(0.2, 8.0, n)
    game = fs.Game(fs.PowerLaw(n, alpha=alpha, beta=beta), fs.LinearCost(rates), capacity=upper)
    wanted = (alpha * beta / rates) ** (1 / (1 + beta)) - 1
    expected = cheapest_first(wanted.tolist(), upper.tolist())
    np.testing.assert_allclose(fs.find_equilibrium(game, fs.NoPayment()).contributions, expected, atol=1e-9)


# ---- Example 4 ---------------------------------------------------------------------------------------------


def test_example_4_the_printed_equilibrium():
    """Example 4: (3, 1.17), from the two first-order conditions in 30 digits; "almost twice" is 1.93."""
    with mp.workdps(30):
        tenth, quarter = mp.mpf(1) / 10, mp.mpf(1) / 4
        slope = lambda m: (1 + m) ** -2  # noqa: E731
        equations = [lambda x, y: slope(x) + slope(x + y) - tenth, lambda x, y: slope(y) + slope(x + y) - quarter]
        exact = [float(value) for value in mp.findroot(equations, (3, 1))]
    found = fs.find_equilibrium(games.TWO_AGENTS, fs.ShapleyPayment()).contributions
    np.testing.assert_allclose(found, exact, rtol=1e-10)
    assert [round(exact[0], 2), round(exact[1], 2)] == [3.0, 1.17]
    free = fs.find_equilibrium(games.TWO_AGENTS, fs.NoPayment()).contributions
    assert (found > free).all()
    assert round(found.sum() / free.sum(), 2) == 1.93


@pytest.mark.parametrize("n", [3, 4, 6])
def test_example_4_unique_when_costs_are_equal(n):
    """Where the equilibria of M^0 form a continuum, that of M^Shap is one and symmetric, from any start."""
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost([0.1] * n))
    starts = np.random.default_rng(n).exponential(3.0, (5, n))
    ends = [fs.find_equilibrium(game, fs.ShapleyPayment(), start=s).contributions for s in starts]
    slope = lambda x: float(np.mean([n / (1 + k * x) ** 2 for k in range(1, n + 1)])) - 0.1  # noqa: E731
    np.testing.assert_allclose(ends, np.full((5, n), float(mp.findroot(slope, 2.0))), rtol=1e-7)


# ---- under M^Shap nobody gives less than alone --------------------------------------------------------------


@draws
@given(steps(9, 12), st.lists(steps(3, 25), min_size=3, max_size=3), st.integers(0, 5))
def test_thm_no_less_than_alone_in_integers(worth, costs, start):
    """Any non-decreasing f, any costs: at all equilibria of M^Shap s_i >= x_i^0 and u_i >= v_i(x_i^0) - f(0)."""
    choices, f = range(4), [start + value for value in worth]
    phi = {s: arrivals(lambda t: 3 * f[sum(t)], s) for s in itertools.product(choices, repeat=3)}
    u = {s: [phi[s][i] - costs[i][s[i]] for i in range(3)] for s in phi}
    equilibria = nash(u, choices)
    assert equilibria  # the potential has a maximiser
    for s, i in itertools.product(equilibria, range(3)):
        alone = [f[x] - costs[i][x] for x in choices]
        assert s[i] >= alone.index(max(alone))
        assert u[s][i] >= max(alone) - f[0]


@draws
@given(st.lists(st.integers(0, 12), min_size=9, max_size=9), st.lists(steps(3, 25), min_size=3, max_size=3))
def test_thm_no_less_than_alone_no_more_without_payments(jumps, costs):
    """Concave f: at equilibria of M^0 nobody gives more than the largest solo optimum."""
    f = [0, *itertools.accumulate(sorted(jumps, reverse=True))]
    choices = range(4)
    u = {s: [f[sum(s)] - costs[i][s[i]] for i in range(3)] for s in itertools.product(choices, repeat=3)}
    for s, i in itertools.product(nash(u, choices), range(3)):
        alone = [f[x] - costs[i][x] for x in choices]
        if alone.count(max(alone)) == 1:
            assert s[i] <= alone.index(max(alone))


@pytest.mark.slow
@draws
@given(st.integers(0, 10**6))
def test_thm_no_less_than_alone_on_the_continuum(seed):
    """3 to 8 agents, power laws, capacities that bind: contributions and utilities against the solo optima."""
    rng = np.random.default_rng(seed)
    n, alpha, beta = int(rng.integers(3, 9)), rng.uniform(0.3, 1), rng.uniform(0.3, 1)
    rates, upper = rng.uniform(0.01, 0.6, n), rng.uniform(0.2, 8.0, n)
    game = fs.Game(fs.PowerLaw(n, alpha=alpha, beta=beta), fs.LinearCost(rates), capacity=upper)
    solo = np.clip((alpha * beta / rates) ** (1 / (1 + beta)) - 1, 0, upper)
    added_alone = alpha * (1 - (1 + solo) ** -beta) - rates * solo
    fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert (fair.contributions >= solo - 1e-9).all()
    assert (fair.utilities >= added_alone - 1e-9).all()


def test_thm_no_less_than_alone_fails_without_a_common_payoff():
    """An agent whose data serve nobody else gives nothing under M^Shap, where alone she would, and is worse off."""
    payoff = fs.PowerLaw(weights=[[1, 1, 1], [0, 1, 1], [0, 1, 1]])
    fair = fs.find_equilibrium(fs.Game(payoff, fs.LinearCost([0.40, 0.01, 0.01])), fs.ShapleyPayment())
    solo = 0.4**-0.5 - 1
    assert fair.contributions[0] == 0 < solo
    assert abs(fair.utilities[0]) < 1e-12 < 1 - 1 / (1 + solo) - 0.4 * solo


# ---- no equilibrium -----------------------------------------------------------------------------------------


def ring(k: int) -> tuple[Table, Table]:
    """Utilities in parts of 1/(2k) without payments and under M^Shap: ``a_i = min(1, s_i + s_{i-1})``, cost s_i / 2."""

    def payoffs(s: Sequence[int]) -> list[int]:
        return [2 * min(k, s[i] + s[i - 1]) for i in range(3)]

    free, fair = {}, {}
    for s in itertools.product(range(k + 1), repeat=3):
        phi = arrivals(lambda t: sum(payoffs(t)), s)
        free[s] = [payoffs(s)[i] - s[i] for i in range(3)]
        fair[s] = [phi[i] - s[i] for i in range(3)]
    return free, fair


@pytest.mark.parametrize("k", range(1, 8))
def test_counterexample_no_equilibrium_with_indivisible_data(k):
    """Concave payoffs, linear costs: without payments an equilibrium exists only if a batch can be halved."""
    free, fair = ring(k)
    assert nash(free, range(k + 1)) == ([] if k % 2 else [(k // 2,) * 3])
    assert nash(fair, range(k + 1))


def test_counterexample_no_equilibrium_the_potential_finds_one():
    """Under M^Shap the maximiser of P(s) - sum c_i is an equilibrium of the ring."""
    plain = lambda s: [min(1, s[i] + s[i - 1]) for i in range(3)]  # noqa: E731
    potential = {
        s: games.brute_potential(plain, [Fraction(x) for x in s]) - Fraction(sum(s), 2)
        for s in itertools.product(range(2), repeat=3)
    }
    assert max(potential, key=potential.__getitem__) == (1, 1, 1)
    assert nash(ring(1)[1], range(2)) == [(1, 1, 1)]


def test_counterexample_no_equilibrium_without_concavity():
    """Real contributions in [0, 1], ``a_i = s_{i-1} + (1 - s_{i-1}) s_i^2``, costs s_i / 2: convex in the own one."""
    tenths = [Fraction(k, 20) for k in range(21)]
    payoff = lambda own, left: left + (1 - left) * own**2  # noqa: E731
    for left in tenths:
        utilities = {own: payoff(own, left) - own / 2 for own in tenths}
        best = {own for own in tenths if utilities[own] == max(utilities.values())}
        assert best == ({1} if left < Fraction(1, 2) else {0} if left > Fraction(1, 2) else {0, 1})
        assert all(payoff(a, left) <= payoff(b, left) for a, b in itertools.pairwise(tenths))
        assert all(payoff(left, a) <= payoff(left, b) for a, b in itertools.pairwise(tenths))
    corners = {
        s: [payoff(s[i], s[i - 1]) - Fraction(s[i], 2) for i in range(3)] for s in itertools.product(range(2), repeat=3)
    }
    assert nash(corners, range(2)) == []


@draws
@given(st.lists(steps(4, 9), min_size=1, max_size=1), st.lists(steps(2, 9), min_size=3, max_size=3))
def test_a_common_payoff_always_has_an_equilibrium_without_payments(worth, costs):
    """With one payoff for all, ``a(s) - sum c_i`` is a potential: the ring needs payoffs that differ."""
    choices, f = range(3), [*worth[0], worth[0][-1] + 1, worth[0][-1] + 9]
    u = {s: [f[sum(s)] - costs[i][s[i]] for i in range(3)] for s in itertools.product(choices, repeat=3)}
    assert nash(u, choices)


# ---- what the headlines of the chapter need -----------------------------------------------------------------


def at_rest_on_grid(f: Sequence[int], costs: Sequence[int]) -> list[list[Profile]]:
    """The equilibria of three equal agents with the payoff f of the total: without payments, under M^Shap."""
    choices, free, fair = range(len(costs)), {}, {}
    for s in itertools.product(choices, repeat=3):
        phi = arrivals(lambda t: 3 * f[sum(t)], s)
        free[s] = [f[sum(s)] - costs[x] for x in s]
        fair[s] = [value - costs[x] for value, x in zip(phi, s, strict=True)]
    return [nash(u, choices) for u in (free, fair)]


def test_thm_no_less_than_alone_more_than_without_payments_needs_concavity():
    """f = 10 from a total of 2 on, cost 8: (1, 1, 0) without payments, (2, 0, 0) under M^Shap; agent 2 gives less."""
    free, fair = at_rest_on_grid([10 * (m >= 2) for m in range(7)], [0, 8, 16])
    assert (1, 1, 0) in free
    assert (2, 0, 0) in fair


def test_thm_no_less_than_alone_n_times_needs_one_solo_optimum():
    """f = min(m, 4), cost 1: totals of 4 without payments and of 6 under M^Shap, not of 12."""
    free, fair = at_rest_on_grid([min(m, 4) for m in range(13)], range(5))
    assert max(map(sum, free)) == 4
    assert min(map(sum, fair)) == 6


def test_thm_no_less_than_alone_n_times_needs_linear_costs():
    """1 - 1/(1 + m), costs x^2 / 8: alone 1, without payments 1.676 in all, under M^Shap 3.808: 2.27 times."""
    slope = lambda m: (1 + m) ** -2  # noqa: E731
    assert slope(1.0) == 2 * 1.0 / 8
    free = 3 * float(mp.findroot(lambda x: slope(3 * x) - x / 4, 0.6))
    fair = 3 * float(mp.findroot(lambda x: slope(x) + slope(2 * x) + slope(3 * x) - x / 4, 1.2))
    assert [round(free, 3), round(fair, 3)] == [1.676, 3.808]
    assert fair < 3 * free
    assert fair >= 3 * 1.0  # still no less than alone
    game = fs.Game(fs.PowerLaw(3), fs.PowerCost([1 / 8] * 3, exponent=2))
    found = [fs.find_equilibrium(game, m).total for m in (fs.NoPayment(), fs.ShapleyPayment())]
    np.testing.assert_allclose(found, [free, fair], rtol=1e-9)


@pytest.mark.parametrize("n", [3, 4, 8])
@pytest.mark.parametrize("beta", [0.3, 1.0])
def test_thm_no_less_than_alone_n_times_with_linear_costs(n, beta):
    """Concave f with one solo optimum, equal linear costs, no capacity: at least n times, from the slopes."""
    slope, rate = lambda m: beta * (1 + m) ** (-1 - beta), 0.05
    alone = (beta / rate) ** (1 / (1 + beta)) - 1
    each = mp.findroot(lambda x: sum(slope(k * x) for k in range(1, n + 1)) - rate, alone)
    assert n * each >= n * alone
    game = fs.Game(fs.PowerLaw(n, beta=beta), fs.LinearCost([rate] * n))
    assert fs.find_equilibrium(game, fs.ShapleyPayment()).total == pytest.approx(float(n * each), rel=1e-8)


# ---- Sec. 2.2: existence without payments -------------------------------------------------------------------


@draws
@given(st.integers(0, 10**6))
def test_prop_existence_without_payments_concave_in_the_own_contribution(seed):
    """Best responses have a fixed point, where nobody gains on a grid of 501 contributions.

    Concave in the own contribution alone, b_i s_i - q_i s_i^2 + sum_j m_ij s_i s_j with m_ij of either sign, so that
    neither the potential nor concavity in all contributions helps.
    """
    rng = np.random.default_rng(seed)
    slope, bend, cross = rng.uniform(0, 2, 3), rng.uniform(1, 3, 3), rng.uniform(-1, 1, (3, 3))
    np.fill_diagonal(cross, 0)
    s, best = np.full(3, 0.5), np.zeros(3)
    for _ in range(2000):
        best = np.clip((slope + cross @ s) / (2 * bend), 0, 1)
        s += 0.2 * (best - s)
    np.testing.assert_allclose(s, best, atol=1e-6)
    utility = lambda x, i: (slope[i] + cross[i] @ s) * x - bend[i] * x**2  # noqa: E731
    grid = np.linspace(0, 1, 501)
    assert all(utility(grid, i).max() <= utility(s[i], i) + 1e-6 for i in range(3))


@pytest.mark.parametrize("rate", [Fraction(1, 10), Fraction(1, 3)])
def test_prop_existence_without_payments_needs_continuity(rate):
    """A payoff of 1/2 at zero and of 1 beyond it is concave; from every profile somebody gains."""
    payoff = lambda s: Fraction(1) if sum(s) > 0 else Fraction(1, 2)  # noqa: E731
    for s in itertools.product([Fraction(0), Fraction(1, 1000), Fraction(1, 3), Fraction(1)], repeat=3):
        better = [x / 2 if x > 0 else Fraction(1, 1000) for x in s]
        gains = [payoff(t := moved(s, i, y)) - rate * t[i] - payoff(s) + rate * s[i] for i, y in enumerate(better)]
        assert max(gains) > 0


# ---- exercises ----------------------------------------------------------------------------------------------


def test_exercise_free_riding_by_hand():
    """One thousand scans each from Ada and Bea: 1, 1, 0 added; payments 1/3, 1/3, -2/3; utilities .9, .75, 0."""
    worth = lambda s: Fraction(sum(s), 1 + sum(s))  # noqa: E731
    phi = arrivals(lambda s: 3 * Fraction(sum(s), 1 + sum(s)), (1, 1, 0))
    assert phi == [1, 1, 0]
    assert [x - worth((1, 1, 0)) for x in phi] == [Fraction(1, 3), Fraction(1, 3), Fraction(-2, 3)]
    costs = [Fraction(1, 10), Fraction(1, 4), 0]
    assert [x - c for x, c in zip(phi, costs, strict=True)] == [Fraction(9, 10), Fraction(3, 4), 0]
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.30, 0.25, 0.40]))
    np.testing.assert_allclose(fs.find_equilibrium(game, fs.NoPayment()).contributions, [0, 1, 0], atol=1e-9)
    assert round(0.3**-0.5 - 1, 3) == 0.826
