"""Chapter "Welfare": Lemma D.1, Theorem 4.8 by brute force, and what breaks them.

Shapley values are means over orders of joining (three agents, whole games in integers) or sums over coalitions
(`games.brute_shapley`); derivatives are differences.
"""

from __future__ import annotations

import itertools

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import brentq

import fedshap as fs
import games

draws = games.examples(200)

SHAP = fs.ShapleyPayment()
seeds = st.integers(0, 2**32 - 1)


# ---- three agents, contributions 0, 1, 2, everything in integers ---------------------------------------------------

LEVELS = 3
PROFILES = list(itertools.product(range(LEVELS), repeat=3))
ORDERS = list(itertools.permutations(range(3)))
steps = st.lists(st.integers(0, 30), min_size=LEVELS - 1, max_size=LEVELS - 1)
numbers = st.integers(0, 8)


@st.composite
def whole_games(draw):
    """Six times a surplus with DR that need not be concave, and six times the costs.

    Steps that each agent earns by herself, minus a product of increasing functions for every pair (which lowers what
    one adds the more the other gives), and a step in the total that comes once.
    """
    own = [[0, *np.cumsum(draw(steps)).tolist()] for _ in range(3)]
    pairs = [(i, j, draw(st.integers(0, 3))) for i, j in itertools.combinations(range(3), 2)]
    height, start = draw(numbers), draw(st.integers(-5, 5))
    table = {
        s: start
        + sum(own[i][s[i]] for i in range(3))
        + height * (1 if any(s) else 0)
        - sum(k * s[i] * s[j] for i, j, k in pairs)
        for s in PROFILES
    }
    costs = [[0, *np.cumsum(draw(steps)).tolist()] for _ in range(3)]
    return table, costs


def has_dr(table):
    """Whether raising one contribution is worth less, or the same, if another agent gives more."""
    for s in PROFILES:
        for i, j in itertools.permutations(range(3), 2):
            if s[i] < LEVELS - 1 and s[j] < LEVELS - 1:
                up = lambda s, k: (*s[:k], s[k] + 1, *s[k + 1 :])  # noqa: E731
                if table[up(up(s, j), i)] - table[up(s, j)] > table[up(s, i)] - table[s]:
                    return False
    return True


def six_shapley(table, s):
    """Six times what each agent adds, averaged over the orders."""
    total = [0, 0, 0]
    for order in ORDERS:
        built = [0, 0, 0]
        for i in order:
            before = table[tuple(built)]
            built[i] = s[i]
            total[i] += table[tuple(built)] - before
    return total


def utilities(table, costs):
    """Six times the utilities under M^Shap, and the welfare, at every profile."""
    u = {s: [v - 6 * costs[i][s[i]] for i, v in enumerate(six_shapley(table, s))] for s in PROFILES}
    return u, {s: table[s] - sum(costs[i][s[i]] for i in range(3)) for s in PROFILES}


def gain(u, s, i, x):
    """Six times what agent i gains by going from s_i to x alone."""
    return u[(*s[:i], x, *s[i + 1 :])][i] - u[s][i]


def six_regret(u, s):
    return max(gain(u, s, i, x) for i in range(3) for x in range(LEVELS))


def larger(s):
    return [t for t in PROFILES if all(a >= b for a, b in zip(t, s, strict=True))]


@draws
@given(whole_games())
def test_thm_4_8_by_exhaustion(drawn):
    """Theorem 4.8 without concavity: every equilibrium of a game in integers against every larger profile."""
    table, costs = drawn
    assert has_dr(table)
    u, welfare = utilities(table, costs)
    equilibria = [s for s in PROFILES if six_regret(u, s) <= 0]
    assert equilibria  # Theorem 4.3, on integers
    for s in equilibria:
        assert max(welfare[t] for t in larger(s)) <= welfare[s]


@draws
@given(whole_games())
def test_thm_4_8_up_to_a_regret(drawn):
    """Theorem 4.8 at a profile of regret r: W(s) <= W(s*) + n r. Every profile has some regret."""
    table, costs = drawn
    u, welfare = utilities(table, costs)
    for s in PROFILES:
        assert 6 * max(welfare[t] for t in larger(s)) <= 6 * welfare[s] + 3 * six_regret(u, s)


@draws
@given(whole_games())
def test_thm_4_8_strict_where_somebody_would_lose(drawn):
    """Theorem 4.8: strict if some agent who gives more would be worse off by doing so alone."""
    table, costs = drawn
    u, welfare = utilities(table, costs)
    for s in (s for s in PROFILES if six_regret(u, s) <= 0):
        for t in larger(s):
            if any(t[i] > s[i] and gain(u, s, i, t[i]) < 0 for i in range(3)):
                assert welfare[t] < welfare[s]


# ---- the package's payoffs -------------------------------------------------------------------------------------------


def drawn_game(seed):
    """Three to five agents, a payoff with DR, linear or power costs, capacities that may bind."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    case = games.random_cases(n, seed)[int(rng.integers(0, 4))]
    rates, upper = rng.uniform(0.02, 1.0, n), rng.uniform(0.3, 6.0, n)
    if rng.integers(0, 2):
        cost, own = games.linear_cost(rates.tolist())
    else:
        cost, own = games.power_cost((0.3 * rates).tolist(), 1.7)
    return rng, case, fs.Game(case.payoff, cost, capacity=upper), own, upper


@pytest.mark.slow
@draws
@given(seeds)
def test_thm_4_8_on_the_continuum(seed):
    """Theorem 4.8 up to the regret of the package's equilibrium, and the telescope of its proof from below."""
    rng, case, game, own, upper = drawn_game(seed)
    n = case.n
    found = fs.find_equilibrium(game, SHAP, on_failure="return")
    assert found.regret < 1e-4
    s = found.contributions

    def welfare(t):
        return sum(case.plain(t)) - sum(own(float(t[i]), i) for i in range(n))

    here = welfare(s)
    for _ in range(5):
        above = s + rng.uniform(0, 1) * rng.uniform(0, 1, n) * (upper - s)
        assert welfare(above) <= here + n * found.regret + 1e-9
    start = s * rng.uniform(0.5, 1.0, n)
    slack = sum(
        max(0.0, games.brute_shapley(case.plain, moved, i) - own(moved[i], i) - before)
        for i in range(n)
        for before in [games.brute_shapley(case.plain, start.tolist(), i) - own(float(start[i]), i)]
        for moved in [[*start[:i].tolist(), float(s[i]), *start[i + 1 :].tolist()]]
    )
    assert here - welfare(start) <= slack + 1e-9  # the sum of the unilateral gains


@draws
@given(seeds)
def test_lemma_d1_by_differences(seed):
    """Lemma D.1 for Eqs. (12) and (13), Example 5 and weights: slopes by small steps, coalitions by brute force."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    case = games.random_cases(n, seed)[int(rng.integers(0, 5))]
    s, i, step = (rng.uniform(0, 5, n) * rng.integers(0, 2, n)).tolist(), int(rng.integers(0, n)), 1e-3
    more = [*s[:i], s[i] + step, *s[i + 1 :]]
    of_the_surplus = games.surplus(case.plain, more) - games.surplus(case.plain, s)
    of_her_share = games.brute_shapley(case.plain, more, i) - games.brute_shapley(case.plain, s, i)
    assert of_the_surplus <= of_her_share + 1e-12  # for a whole step, not only in the limit


@draws
@given(seeds)
def test_lemma_d1_of_the_package(seed):
    """The package's own-gradients of Shapley value and surplus, in the same order."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 7))
    payoff = games.random_cases(n, seed)[int(rng.integers(0, 5))].payoff
    s = rng.uniform(0, 5, n) * rng.integers(0, 2, n)
    assert (payoff.total_gradient(s) <= fs.shapley_gradient(games.game_of(payoff), s) + 1e-12).all()


@draws
@given(seeds)
def test_the_payoffs_of_the_paper_have_diminishing_returns(seed):
    """DR: what one step of agent i adds does not grow with a step of agent j."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    for case in games.random_cases(n, seed):
        s = rng.uniform(0, 5, n)
        i, j = rng.choice(n, 2, replace=False)
        a, b = np.eye(n)[i] * rng.uniform(0, 3), np.eye(n)[j] * rng.uniform(0, 3)
        A = [sum(case.plain((s + x).tolist())) for x in (0 * a, a, b, a + b)]
        assert A[3] - A[2] <= A[1] - A[0] + 1e-12


# ---- where it fails ------------------------------------------------------------------------------------------------


def together(s):
    """Everybody's payoff (s_1 s_2 s_3)^(3/10): concave, but nobody's data are worth anything alone."""
    product = mp.mpf(1)
    for x in s:
        product *= x
    return [product ** (mp.mpf(3) / 10)] * len(s)


def test_lemma_d1_fails_without_diminishing_returns():
    """(s_1 s_2 s_3)^(3/10): the surplus is three times as steep as the Shapley share."""
    s = [3**10, 3**10, 3**10]
    share = games.derivative(lambda x: [games.brute_shapley(together, x, 0)], s, 0)[0]
    whole = games.derivative(lambda x: [games.surplus(together, x)], s, 0)[0]
    assert whole / share == pytest.approx(3, rel=1e-12)


def test_thm_4_8_fails_without_diminishing_returns():
    """(s_1 s_2 s_3)^(3/10) at a cost of 1/10: at 3^10 each an equilibrium, and W grows from 41334.3 to 58481.9."""
    tenth = mp.mpf(1) / 10
    with mp.workdps(games.DIGITS):
        at, above = ([factor * mp.mpf(3) ** 10] * 3 for factor in (1, mp.mpf(3) / 2))
        welfare = [float(sum(together(s)) - tenth * sum(s)) for s in (at, above)]
        slope = games.derivative(lambda x: [games.brute_shapley(together, x, 1) - x[1] / 10], at, 1)[0]
    assert [round(w, 1) for w in welfare] == [41334.3, 58481.9]
    assert abs(slope) < 1e-12  # and the share x^(3/10) times a constant is concave in her own contribution
    cost, upper = games.linear_cost([0.1] * 3)[1], [1e6] * 3
    utility = games.utility_of(SHAP, lambda s: [float(np.prod(s)) ** 0.3] * 3, cost, upper)
    assert games.brute_regret(utility, [3.0**10] * 3, upper) < 1e-6


def test_thm_4_8_fails_for_two_agents_too():
    """(s_1 s_2)^(2/5) at a cost of c: the share is the whole payoff of one; W at the equilibrium and above it."""
    c = 0.1
    s = (0.4 / c) ** 5  # d/dx (x s)^0.4 = 0.4 s^-0.2 = c at x = s
    share = lambda x: (x * s) ** 0.4 - c * x  # noqa: E731
    assert max(share(s * f) for f in np.linspace(0.1, 5, 200)) <= share(s)
    welfare = [2 * (f * s) ** 0.8 - 2 * c * f * s for f in (1.0, 1.5)]
    assert welfare[1] > 1.05 * welfare[0]


@pytest.mark.slow
@draws
@given(
    st.lists(st.lists(st.integers(0, 10), min_size=3, max_size=3), min_size=3, max_size=3),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
)
def test_thm_4_8_is_not_strict(q, s, more):
    """Example 5 with costs equal to the marginal surplus: every profile is an equilibrium, all with welfare 0."""
    plain = lambda s: [sum(q[i][x] * q[j][x] * s[j] for x in range(3) for j in range(3)) for i in range(3)]  # noqa: E731
    rates = [games.surplus(plain, [int(i == j) for j in range(3)]) for i in range(3)]
    above = [a + b for a, b in zip(s, more, strict=True)]
    for profile in (s, above):
        for i in range(3):
            moves = [[*profile[:i], x, *profile[i + 1 :]] for x in (0, 1, 7)]
            utility = [games.brute_shapley(plain, m, i) - rates[i] * m[i] for m in (profile, *moves)]
            assert np.abs(utility).max() <= 1e-9
        assert games.surplus(plain, profile) == sum(r * x for r, x in zip(rates, profile, strict=True))


# ---- the surplus that reciprocity burns ----------------------------------------------------------------------------


def equal_agents(n):
    """n agents, payoff 1 - 1/(1+m), cost n/4 per data point: total and welfare over n/4, from one equation."""

    k = np.arange(1, n + 1)

    def excess(m):
        return (1 / (1 + k * m / n) ** 2).sum() - n / 4

    m = brentq(excess, 1e-9, 10, xtol=1e-14)
    return m, 4 * (1 - 1 / (1 + m)) - m


@pytest.mark.parametrize("n", [3, 5, 8])
def test_surplus_burning_one_equation(n):
    """At the root of the one equation nobody gains by moving, by brute force over coalitions."""
    m, kept = equal_agents(n)
    plain, cost = games.power_law(np.ones((n, n))), games.linear_cost([n / 4] * n)[1]
    s = [m / n] * n
    own = lambda x: games.brute_shapley(plain, [x, *s[1:]], 0) - cost(x, 0)  # noqa: E731
    assert max(own(m / n * f) for f in np.linspace(0, 3, 61)) <= own(m / n) + 1e-12
    assert (sum(plain(s)) - n / 4 * m) / (n / 4) == pytest.approx(kept)


@pytest.mark.parametrize("n", [3, 10, 100])
def test_surplus_burning_of_the_package(n):
    """The package, which knows nothing of the symmetry, finds the same total and welfare."""
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(np.full(n, n / 4)))
    found = fs.find_equilibrium(game, SHAP)
    total, kept = equal_agents(n)
    assert found.total == pytest.approx(total, rel=1e-8)
    assert float(game.welfare(found.contributions)) / (n / 4) == pytest.approx(kept, rel=1e-6)


def test_surplus_burning():
    """W / optimum falls like 45/(8n), and the total tends to 3."""
    scaled = [n * equal_agents(n)[1] for n in (100, 1000, 10000)]
    errors = [abs(x - 45 / 8) for x in scaled]
    assert errors[1] < errors[0] / 5
    assert errors[2] < 0.005
    assert equal_agents(10000)[0] == pytest.approx(3, abs=2e-3)


# ---- what no mechanism can do, and what a fixed price keeps ----------------------------------------------------------


@draws
@given(whole_games())
def test_cor_pareto_of_every_profile(drawn):
    """The two implications: as much from everybody is no more welfare, and more welfare is less from somebody."""
    table, costs = drawn
    u, welfare = utilities(table, costs)
    for star in (s for s in PROFILES if six_regret(u, s) <= 0):
        for s in PROFILES:
            if all(a >= b for a, b in zip(s, star, strict=True)):
                assert welfare[s] <= welfare[star]
            if welfare[s] > welfare[star]:
                assert any(a < b for a, b in zip(s, star, strict=True))


def test_cor_pareto_as_printed_fails_at_a_tie():
    """A surplus of 2 per data point at a cost of 2: (1, 1, 1) is above the equilibrium 0, with equal welfare."""
    table = {s: 2 * sum(s) for s in PROFILES}
    u, welfare = utilities(table, [[0, 2, 4]] * 3)
    assert six_regret(u, (0, 0, 0)) == 0
    assert welfare[1, 1, 1] == welfare[0, 0, 0]  # not <, as implication 1 has it, and >= does not prevent it


def test_thm_4_8_says_nothing_of_totals():
    """Ada with ten thousand scans: more in total and more welfare than at the equilibrium; and Bea gives less."""
    star = fs.find_equilibrium(games.THREE_AGENTS, SHAP).contributions
    cost = np.array([0.10, 0.25, 0.40])
    welfare = lambda s: 3 * (1 - 1 / (1 + sum(s))) - cost @ s  # noqa: E731
    assert sum(star) < 5.83 < 10
    assert welfare(star) == pytest.approx(1.525, abs=5e-4)
    assert welfare(np.array([10.0, 0, 0])) > 1.72


def kept(n, rate, slope=lambda m: (1 + m) ** -2.0, payoff=lambda m: 1 - 1 / (1 + m), best=None):
    """Contribution of each of n equal agents, and welfare over the best, from the one equation."""
    k = np.arange(1, n + 1)
    x = brentq(lambda x: slope(k * x).sum() - rate, 1e-12, 100 / rate, xtol=1e-15)
    top = (n**0.5 - rate**0.5) ** 2 if best is None else best
    return x, (n * payoff(n * x) - n * rate * x) / top


def test_thm_fixed_price_limit():
    """A data point costs 0.1 for every n: W / optimum is .91 .80 .74 .705 .667, and tends to .663, not to 0."""
    shares = [kept(n, 0.1)[1] for n in (3, 10, 30, 100, 10_000)]
    assert shares == pytest.approx([0.912, 0.801, 0.742, 0.705, 0.667], abs=1e-3)
    x = brentq(lambda x: float(mp.zeta(2, 1 + 1 / mp.mpf(x))) / x**2 - 0.1, 1, 10)
    assert 1 - 0.1 * x == pytest.approx(0.6626, abs=1e-4)
    assert min(shares) > 1 - 0.1 * x  # "a large federation loses its surplus" is wrong at a fixed price
    assert kept(1_000_000, 0.1)[1] == pytest.approx(1 - 0.1 * x, abs=1e-3)


@pytest.mark.parametrize("rate", [0.01, 0.3, 5.0])
def test_thm_fixed_price_of_any_payoff(rate):
    """1 - e^-m: sum_k e^-kx = gamma at x = log(1 + 1/gamma); the best is n - gamma (1 + log(n/gamma))."""
    n = 200_000
    best = n - rate * (1 + np.log(n / rate))
    x, share = kept(n, rate, lambda m: np.exp(-m), lambda m: 1 - np.exp(-m), best)
    assert x == pytest.approx(np.log1p(1 / rate), rel=1e-4)
    assert share == pytest.approx(1 - rate * np.log1p(1 / rate), abs=1e-3)


def test_thm_fixed_price_of_the_package():
    """The equation against the package's equilibrium and optimum, which know nothing of the symmetry."""
    for n in (3, 10, 30):
        game = fs.Game(fs.PowerLaw(n), fs.LinearCost(np.full(n, 0.1)))
        found = fs.find_equilibrium(game, SHAP)
        x, share = kept(n, 0.1)
        assert found.total == pytest.approx(n * x, rel=1e-8)
        reached = float(game.welfare(found.contributions)) / fs.welfare_optimum(game).welfare
        assert reached == pytest.approx(share, rel=1e-6)


def test_surplus_burning_the_cap_of_the_figure_does_not_bind_for_two():
    """Cost n/4, capacity 1.5/n: two agents give 0.729 each, below 0.75, and keep .915; three would give more."""
    (two, share), (three, _) = equal_agents(2), equal_agents(3)
    assert (two, share) == (pytest.approx(1.458, abs=1e-3), pytest.approx(0.915, abs=1e-3))
    assert two < 1.5 < three
