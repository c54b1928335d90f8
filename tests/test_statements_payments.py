"""Chapter "Paying what is given": Lemmas 3.4 and 4.2, Thm 4.7, Example 7, and where each of them fails.

Statements about Shapley values are tested on arbitrary coalition games in exact fractions, and then the package on
the paper's payoffs against `games.brute_shapley`.
"""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import fedshap as fs
import games

draws = games.examples(200)

Coalition = frozenset[int]
Worth = dict[Coalition, Fraction]

COSTS = fs.LinearCost([0.10, 0.25, 0.40])
FAIR = fs.ShapleyPayment()


def coalitions(n: int) -> list[Coalition]:
    return [frozenset(members) for members in games.coalitions(range(n))]


@st.composite
def worths(draw: st.DrawFn, *, monotone: bool = False, least: int = -9) -> tuple[int, Worth]:
    """An arbitrary coalition game of 3 to 5 agents; ``monotone``: nobody's data do harm."""
    n = draw(st.integers(3, 5))
    numbers = draw(st.lists(st.integers(0 if monotone else -9, 9), min_size=2**n, max_size=2**n))
    own = dict(zip(coalitions(n), numbers, strict=True))
    if not monotone:
        return n, {X: Fraction(value) for X, value in own.items()}
    empty = draw(st.integers(least, 9))
    below = {X: max((own[Y] for Y in own if Y and Y <= X), default=0) for X in own}
    return n, {X: Fraction(empty + value) for X, value in below.items()}


def shapley(n: int, worth: Worth) -> list[Fraction]:
    """Average of what each agent adds, over the orders of arrival."""
    total = [Fraction(0)] * n
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        present: Coalition = frozenset()
        for i in order:
            total[i] += worth[present | {i}] - worth[present]
            present |= {i}
    return [value / len(orders) for value in total]


def restricted(payoffs, s) -> Worth:
    """``A(s[X])`` of a payoff function of contributions."""
    return {X: Fraction(sum(payoffs([x if i in X else 0 for i, x in enumerate(s)]))) for X in coalitions(len(s))}


def random_case(seed: int, n: int | None = None) -> tuple[games.Case, np.ndarray, np.random.Generator]:
    """One of the paper's payoffs, for 3 or 4 agents, and a profile with a zero in it now and then."""
    rng = np.random.default_rng(seed)
    cases = games.random_cases(n or int(rng.integers(3, 5)), seed)
    case = cases[int(rng.integers(len(cases)))]
    return case, rng.exponential(3.0, case.n) * (rng.uniform(size=case.n) > 0.1), rng


# ---- Lemma 4.2 ---------------------------------------------------------------------------------------------


@draws
@given(worths())
def test_lemma_4_2_payments_sum_to_minus_the_untrained_model(drawn):
    """Lemma 4.2 (with Lemma 2.3): sum phi = A(N) - A(0), so the payments sum to -A(0), whatever the game."""
    n, worth = drawn
    assert sum(shapley(n, worth)) == worth[frozenset(range(n))] - worth[frozenset()]


@draws
@given(st.integers(0, 10**6), st.floats(0.1, 2.5))
def test_lemma_4_2_of_the_package(seed, alpha):
    """The package's payments sum to -A(0), of either sign."""
    case, s, rng = random_case(seed)
    if case.id == "weights":
        case = games.Case("steep", fs.PowerLaw(weights=rng.uniform(0, 1, (case.n, case.n)), alpha=alpha), case.plain)
        assert case.payoff.total(np.zeros(case.n)) == pytest.approx(case.n * (1 - alpha))
    game = fs.Game(case.payoff, fs.LinearCost(np.ones(case.n)))
    gap = fs.budget_gap(game, FAIR, s)
    assert abs(gap + case.payoff.values(np.zeros(case.n)).sum()) <= 1e-10


@pytest.mark.parametrize(
    ("payoff", "paid"),
    [
        (fs.PowerLaw(3, alpha=0.5), -1.5),
        (fs.PowerLaw(3), 0.0),
        (fs.PowerLaw(3, alpha=2.0), 3.0),
        (fs.RandomCoverage([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5], [0.1, 0.0, 0.9]]), -1.5),
    ],
    ids=["keeps", "balances", "loses", "coverage keeps"],
)
def test_lemma_4_2_as_printed_needs_an_untrained_model_worth_nothing(payoff, paid):
    """Balanced only if A(0) = 0; with alpha > 1, admitted by Thm 4.9, the server loses at the equilibrium."""
    game = fs.Game(payoff, COSTS)
    s = fs.find_equilibrium(game, FAIR).contributions
    assert fs.budget_gap(game, FAIR, s) == pytest.approx(paid, abs=1e-12)


@draws
@given(st.integers(0, 10**6), st.floats(0.05, 1.0))
def test_def_3_2_the_other_mechanisms(seed, beta):
    """Cost sharing is balanced at every profile; accuracy shaping withholds and never hands out."""
    case, s, rng = random_case(seed)
    game = fs.Game(case.payoff, fs.LinearCost(rng.uniform(0.05, 0.5, case.n)), capacity=40.0)
    payments = fs.CostSharing(beta).payments(game, s)
    costs = game.costs(s)
    expected = [beta * (costs[i] - np.delete(costs, i).mean()) for i in range(case.n)]
    np.testing.assert_allclose(payments, expected, atol=1e-12)
    assert abs(fs.budget_gap(game, fs.CostSharing(beta), s)) <= 1e-12
    assert (fs.AccuracyShaping(1e-6).payments(game, s) <= 0).all()


@pytest.mark.parametrize("n", [3, 5, 8])
def test_cost_sharing_with_one_minus_one_over_n_maximises_welfare(n):
    """For a common payoff: at the equilibrium n f'(m) equals the lowest cost, the condition of the best total."""
    rates = np.linspace(0.1, 0.6, n)
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(rates))
    s = fs.find_equilibrium(game, fs.CostSharing(1 - 1 / n)).contributions
    np.testing.assert_allclose(s, [(n / 0.1) ** 0.5 - 1, *[0.0] * (n - 1)], atol=1e-9)
    others = np.random.default_rng(n).exponential(3.0, (200, n))
    assert (game.welfare(others) < game.welfare(s)).all()


# ---- Lemma 3.4 ---------------------------------------------------------------------------------------------


@draws
@given(worths(monotone=True), st.lists(st.integers(-3, 3), min_size=5, max_size=5), st.integers(0, 3))
def test_lemma_3_4_reciprocity_is_bounded(drawn, shifts, kept):
    """Lemma 3.4: phi >= 0, A(s) > A(0) and sum p <= 0 give min_i (a_i + p_i) / phi_i <= A(s) / (A(s) - A(0)).

    How A(s) is divided into the a_i does not matter: what is received sums to A(s) + sum p <= A(s). Drawn near the
    proportional division, where the bound is tight, so that bounding by 1 instead is refuted where A(0) > 0.
    """
    n, worth = drawn
    full, empty = worth[frozenset(range(n))], worth[frozenset()]
    assume(full > empty)
    phi = shapley(n, worth)
    received = [value * full / (full - empty) + Fraction(x, 50) for value, x in zip(phi, shifts, strict=False)]
    received[-1] -= Fraction(sum(shifts[:n]) + kept, 50)
    assert sum(received) <= full
    unpaid = [x for x, value in zip(received, phi, strict=True) if value == 0]
    assume(all(x >= 0 for x in unpaid))  # else the ratio is minus infinity
    ratio = min(x / value for x, value in zip(received, phi, strict=True) if value > 0)
    assert ratio <= full / (full - empty)


@draws
@given(worths(monotone=True))
def test_lemma_3_4_the_bound_is_attained(drawn):
    """Handing out all of A(s) in proportion to phi is balanced and has exactly that reciprocity: 1 if A(0) = 0."""
    n, worth = drawn
    full, empty = worth[frozenset(range(n))], worth[frozenset()]
    assume(full > empty)
    phi = shapley(n, worth)
    bound = full / (full - empty)
    received = [bound * value for value in phi]
    assert sum(received) == full
    assert {x / value for x, value in zip(received, phi, strict=True) if value > 0} == {bound}
    assert (bound == 1) == (empty == 0)


def test_lemma_3_4_fails_if_the_untrained_model_is_worth_something():
    """M^0 is balanced and has reciprocity 19/3 with alpha = 1/10 and costs 1/40, 1/20, 1/10."""
    payoffs = lambda s: [1 - Fraction(1, 10) / (1 + sum(s))] * 3  # noqa: E731
    slope = lambda m: Fraction(1, 10) / (1 + m) ** 2  # noqa: E731
    assert slope(1) == Fraction(1, 40) < Fraction(1, 20) < Fraction(1, 10)  # so (1, 0, 0) is the equilibrium
    phi = shapley(3, restricted(payoffs, (1, 0, 0)))
    assert phi == [Fraction(3, 20), 0, 0]
    assert payoffs((1, 0, 0))[0] / phi[0] == Fraction(19, 3)
    game = fs.Game(fs.PowerLaw(3, alpha=0.1), fs.LinearCost([1 / 40, 1 / 20, 1 / 10]))
    s = fs.find_equilibrium(game, fs.NoPayment()).contributions
    np.testing.assert_allclose(s, [1, 0, 0], atol=1e-9)
    assert fs.budget_gap(game, fs.NoPayment(), s) == 0
    assert fs.reciprocity(game, fs.NoPayment(), s) == pytest.approx(19 / 3)


def test_lemma_3_4_fails_if_data_do_harm():
    """phi_3 < 0: constant balanced payments, one equilibrium, all ratios at least 2."""
    payoffs = lambda s: [2 * s[0] * (2 - s[2]), 2 * s[1] * (2 - s[2]), s[2]]  # noqa: E731
    payments = (4, 4, -8)
    utility = lambda s, i: payoffs(s)[i] + payments[i] - Fraction(s[i], 2)  # noqa: E731
    profiles = list(itertools.product(range(2), repeat=3))
    equilibria = [
        s for s in profiles if all(utility((*s[:i], 1 - s[i], *s[i + 1 :]), i) <= utility(s, i) for i in range(3))
    ]
    assert equilibria == [(1, 1, 1)]
    assert sum(payments) == 0
    phi = shapley(3, restricted(payoffs, (1, 1, 1)))
    assert phi == [3, 3, -1]
    assert [(a + p) / x for a, p, x in zip(payoffs((1, 1, 1)), payments, phi, strict=True)] == [2, 2, 7]
    harmful = fs.CustomPayoff(
        lambda s: np.stack([2 * s[..., 0] * (2 - s[..., 2]), 2 * s[..., 1] * (2 - s[..., 2]), s[..., 2]], -1), 3
    )
    with pytest.raises(ValueError, match="non-negative Shapley values"):
        fs.reciprocity(fs.Game(harmful, COSTS, capacity=1.0), fs.NoPayment(), [1.0, 1.0, 1.0])


# ---- Thm 4.7 -----------------------------------------------------------------------------------------------


@draws
@given(st.integers(0, 10**6))
def test_thm_4_7_everybody_receives_what_she_adds(seed):
    """Thm 4.7, first part, at every profile: a_i + p_i is the Shapley value by Eq. (3), and the reciprocity 1."""
    case, s, _ = random_case(seed, n=3)
    game = fs.Game(case.payoff, fs.LinearCost(np.ones(case.n)))
    received = case.payoff.values(s) + FAIR.payments(game, s)
    np.testing.assert_allclose(received, games.precise_shapley(case.plain, s), rtol=1e-9, atol=1e-12)
    assert fs.reciprocity(game, FAIR, s) == pytest.approx(1.0, abs=1e-12)


@draws
@given(worths())
def test_thm_4_7_difference_of_payments(drawn):
    """Thm 4.7, second part: phi_i - phi_j averages A(X + i) - A(X + j) over X as in a game of n - 1 agents."""
    n, worth = drawn
    phi = shapley(n, worth)
    swap = sum((worth[X | {0}] - worth[X | {1}]) / ((n - 1) * comb(n - 2, len(X))) for X in worth if not X & {0, 1})
    assert phi[0] - phi[1] == swap


@draws
@given(st.integers(0, 10**6), st.integers(3, 6))
def test_thm_4_7_interchangeable_agents_are_paid_alike(seed, n):
    """Thm 4.7, second part, with its hypothesis: rows and columns of 0 and 1 agree; costs may differ."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 1, (n, n))
    weights[1], weights[:, 1] = weights[0], weights[:, 0]
    weights[:2, :2] = weights[0, 0]
    s = rng.exponential(2.0, n)
    s[1] = s[0]
    game = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost(rng.uniform(0, 1, n)))
    p = FAIR.payments(game, s)
    assert abs(p[0] - p[1]) <= 1e-10


def test_thm_4_7_fails_for_agents_that_are_only_alike_themselves():
    """Equal payoff functions, costs and contributions, but agent 3 profits from agent 1 alone: paid 1 and 0.

    The profile (1, 1, 0) is the only equilibrium: the Shapley values are linear with slopes 3, 2, 0, costs 1/2.
    """
    payoffs = lambda s: [s[0] + s[1], s[0] + s[1], s[0]]  # noqa: E731
    assert shapley(3, restricted(payoffs, (1, 1, 1))) == [3, 2, 0]
    phi = shapley(3, restricted(payoffs, (1, 1, 0)))
    assert [x - a for x, a in zip(phi, payoffs((1, 1, 0)), strict=True)] == [1, 0, -1]
    matrix = np.array([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    linear = fs.CustomPayoff(lambda s: s @ matrix, 3, concave=True)
    game = fs.Game(linear, fs.LinearCost([0.5] * 3), capacity=1.0)
    s = fs.find_equilibrium(game, FAIR).contributions
    np.testing.assert_allclose(s, [1, 1, 0], atol=1e-12)
    assert fs.unequal_treatment(game, FAIR, s, identical=[0, 1]) == pytest.approx(1.0)


def test_thm_4_7_fails_within_sec_5_1():
    """The same with the payoffs of Sec. 5.1: equal rows of weights, unequal columns."""
    payoff = fs.PowerLaw(weights=[[1, 1, 0], [1, 1, 0], [1, 0, 1]])
    game = fs.Game(payoff, fs.LinearCost([0.2, 0.2, 0.2]))
    s = np.array([1.0, 1.0, 1.0])
    plain = games.power_law([[1, 1, 0], [1, 1, 0], [1, 0, 1]])
    assert plain(s)[0] == plain(s)[1]
    phi = [games.brute_shapley(plain, s, i) for i in range(2)]
    gap = fs.unequal_treatment(game, FAIR, s, identical=[0, 1])
    assert gap == pytest.approx(abs(phi[0] - phi[1]))
    assert gap > 0.1


def test_thm_4_7_fails_for_two_agents_read_literally():
    """a_1 = a_2 = 2 s_1 + s_2: the same function of the profile, paid 1 and -1."""
    payoffs = lambda s: [2 * s[0] + s[1]] * 2  # noqa: E731
    phi = shapley(2, restricted(payoffs, (1, 1)))
    assert [x - a for x, a in zip(phi, payoffs((1, 1)), strict=True)] == [1, -1]


tenths = st.integers(0, 4).map(lambda k: Fraction(k, 10))


@draws
@given(st.lists(st.lists(tenths, min_size=3, max_size=3), min_size=3, max_size=3))
def test_thm_4_7_holds_as_printed_for_examples_5_and_6(q):
    """If two agents have the same payoff function there, they have the same row of Q, so they are interchangeable.

    Coverage is compared at all contributions 0..3: products in Eq. (13) that differ are independent there.
    """
    gram = [[sum(a * b for a, b in zip(row, other, strict=True)) for other in q] for row in q]
    assert (gram[0] == gram[1]) == (q[0] == q[1])
    missed = lambda x, s: (1 - q[0][x]) ** s[0] * (1 - q[1][x]) ** s[1] * (1 - q[2][x]) ** s[2]  # noqa: E731
    payoff = lambda i, s: sum(q[i][x] * missed(x, s) for x in range(3))  # noqa: E731
    same = all(payoff(0, s) == payoff(1, s) for s in itertools.product(range(4), repeat=3))
    assert same == (q[0] == q[1])


# ---- Example 7 ---------------------------------------------------------------------------------------------


def test_example_7_in_closed_form():
    """Example 7 in 40 digits: 1 + total = (3 + 2 sqrt 10 + sqrt(12 sqrt 10 - 7)) / 2, and the printed numbers."""
    with mp.workdps(40):
        ten = mp.sqrt(10)
        total = (3 + 2 * ten + mp.sqrt(12 * ten - 7)) / 2 - 1
        f = lambda m: 1 - 1 / (1 + m)  # noqa: E731
        solo, rates = [ten - 1, mp.mpf(1)], [mp.mpf(1) / 10, mp.mpf(1) / 4]
        s = [x + (f(total) - f(x)) / rate for x, rate in zip(solo, rates, strict=True)]
        assert mp.almosteq(sum(s), total, abs_eps=mp.mpf(10) ** -35)
        phi = [f(s[0]) + f(total) - f(s[1]), f(s[1]) + f(total) - f(s[0])]
        exact = [float(value) for value in (*s, *phi, f(total), f(total) / phi[0])]
    assert [round(x, 4) for x in exact] == [3.9812, 2.4626, 0.9537, 0.7776, 0.8657, 0.9077]
    printed = [3.98, 2.46, 0.9538, 0.7772, 0.8656, 0.9]
    assert [abs(a - b) < 0.01 for a, b in zip(exact, printed, strict=True)] == [True] * 6
    assert round(0.9538 + 0.7772, 4) != round(2 * 0.8656, 4)  # the printed values do not add up
    shaping = fs.AccuracyShaping(1e-10)
    found = fs.find_equilibrium(games.TWO_AGENTS, shaping).contributions
    np.testing.assert_allclose(found, exact[:2], rtol=1e-7)
    assert fs.reciprocity(games.TWO_AGENTS, shaping, found) == pytest.approx(exact[-1], rel=1e-7)
    cost, upper = games.linear_cost([0.1, 0.25])[1], [np.inf, np.inf]
    utility = games.utility_of(shaping, games.power_law(np.ones((2, 2))), cost, [50.0, 50.0])
    assert games.brute_regret(utility, found.tolist(), upper) < 1e-7


@pytest.mark.slow
@draws
@given(st.lists(st.floats(0.02, 0.7), min_size=3, max_size=6))
def test_example_7_nobody_is_better_off_than_alone(rates):
    """Accuracy shaping, eps -> 0, for n agents: the quadratic equation, and each has exactly her solo utility."""
    rates = np.array(rates)
    root = np.sqrt(rates)
    b, c = 1 + (2 / root - 1).sum(), (1 / rates).sum()
    total = (b + np.sqrt(b * b - 4 * c)) / 2 - 1
    expected = 2 / root - 1 - 1 / (rates * (1 + total))
    assert expected.sum() == pytest.approx(total)
    assert (expected >= 1 / root - 1 - 1e-9).all()
    game = fs.Game(fs.PowerLaw(len(rates)), fs.LinearCost(rates))
    shaping = fs.AccuracyShaping(1e-10)
    np.testing.assert_allclose(shaping.payments(game, expected), 0.0, atol=1e-8)
    assert fs.regret(game, shaping, expected) < 1e-7
    np.testing.assert_allclose(shaping.utilities(game, expected), (1 - root) ** 2, atol=1e-8)


# ---- who must know the costs ---------------------------------------------------------------------------------


@draws
@given(st.floats(0.02, 0.2), st.floats(1.01, 1.4), st.integers(3, 8))
def test_cost_sharing_rewards_a_lie(rate, factor, n):
    """M^BG pays more to the cheapest agent the more she says that her data cost; M^Shap does not ask."""
    beta = 1 - 1 / n
    rates = np.array([rate, *[3 * rate] * (n - 1)])

    def utility(told: float) -> float:
        """Hers at the equilibrium, where only she gives: f'(m) = rate - beta * told."""
        s = np.zeros(n)
        s[0] = (rate - beta * told) ** -0.5 - 1
        reported = fs.Game(fs.PowerLaw(n), fs.LinearCost([told, *rates[1:]]))
        return float(fs.CostSharing(beta).received(reported, s)[0] - rate * s[0])

    told = rate * min(factor, 0.5 * (1 + 1 / beta))
    r = rate - beta * told
    assert utility(told) == pytest.approx((1 - r**0.5) ** 2)
    assert utility(told) > utility(rate)
    payments = [FAIR.payments(fs.Game(fs.PowerLaw(n), fs.LinearCost(c * rates)), np.ones(n)) for c in (1, 2)]
    assert (payments[0] == payments[1]).all()


def test_accuracy_shaping_rewards_a_lie():
    """Ada says 0.14 instead of 0.10, gives less for the same full model, and gains; the profile is an equilibrium."""
    true, shaping = np.array([0.10, 0.25, 0.40]), fs.AccuracyShaping(1e-10)
    reported = fs.Game(fs.PowerLaw(3), fs.LinearCost(true * [1.4, 1, 1]))
    s = fs.find_equilibrium(reported, shaping).contributions
    utility = shaping.received(reported, s) - true * s
    honest = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), fs.LinearCost(true)), shaping)
    assert utility[0] > honest.utilities[0] + 0.06
    assert s[0] < honest.contributions[0]
    for x in np.linspace(0, 12, 400):  # with her true costs she would not move
        moved = s.copy()
        moved[0] = x
        assert shaping.received(reported, moved)[0] - true[0] * x <= utility[0] + 1e-12


# ---- the range of reciprocity, costs, and collecting payments -------------------------------------------------


@draws
@given(worths(monotone=True, least=0), st.lists(st.integers(0, 9), min_size=5, max_size=5), st.integers(0, 9))
def test_prop_reciprocity_range_is_not_negative_if_utilities_are_not(drawn, utilities, costs):
    """a_i + p_i = u_i + c_i >= 0 and phi_i >= 0 with non-decreasing payoffs: no ratio is negative."""
    n, worth = drawn
    phi = shapley(n, worth)
    assert all(value >= 0 for value in phi)
    received = [u + costs for u in utilities[:n]]
    ratios = [Fraction(r) / x for r, x in zip(received, phi, strict=True) if x > 0]
    assert all(ratio >= 0 for ratio in ratios)


@pytest.mark.parametrize("lump", [0.0, 1.0, 2.0, 50.0])
def test_prop_reciprocity_range_a_lump_sum_makes_it_as_low_as_one_likes(lump):
    """Ada pays Bea a constant: balanced, the same equilibrium, reciprocity (a - k) / 3a: not in [0, 1]."""

    class LumpSum(fs.Mechanism):
        def payments(self, game, s):
            return lump * np.array([-1.0, 1.0, 0.0]) + 0 * game.profile(s)

    game = fs.Game(fs.PowerLaw(3), COSTS)
    s = fs.find_equilibrium(game, LumpSum()).contributions
    np.testing.assert_allclose(s, [10**0.5 - 1, 0, 0], atol=1e-6)
    assert abs(fs.budget_gap(game, LumpSum(), s)) < 1e-12
    a = 1 - 10**-0.5
    ratio = (a - lump) / (3 * a)
    assert fs.reciprocity(game, LumpSum(), s) == pytest.approx(ratio, abs=1e-6)
    assert (ratio < 0) == (lump > a)


def test_prop_costs_covered_not_by_the_payment():
    """Sec. 4 says the payment compensates the costs. Bea is charged 0.071 and bears 0.362; she receives 0.782."""
    game = fs.Game(fs.PowerLaw(3), COSTS)
    fair = fs.find_equilibrium(game, FAIR)
    costs = np.array([0.10, 0.25, 0.40]) * fair.contributions
    phi = np.array([games.brute_shapley(games.power_law(np.ones((3, 3))), fair.contributions, i) for i in range(3)])
    payoff = 1 - 1 / (1 + fair.contributions.sum())
    assert (phi - payoff)[1].round(3) == -0.071
    assert costs[1].round(3) == 0.362
    assert (phi >= costs).all()
    assert phi.round(3).tolist() == [1.253, 0.782, 0.525]


@draws
@given(st.integers(0, 10**6))
def test_prop_costs_covered_by_what_is_received(seed):
    """At an equilibrium of M^Shap phi_i >= c_i where giving nothing costs nothing; 3 or 4 agents, every payoff."""
    case, _, rng = random_case(seed)
    rates = rng.uniform(0.02, 0.8, case.n)
    game = fs.Game(case.payoff, fs.LinearCost(rates), capacity=rng.uniform(0.5, 5.0, case.n))
    s = fs.find_equilibrium(game, FAIR).contributions
    phi = [games.brute_shapley(case.plain, s, i) for i in range(case.n)]
    assert all(value >= rate * x - 1e-8 for value, rate, x in zip(phi, rates, s, strict=True))


@draws
@given(st.integers(0, 10**6), st.sampled_from(games.MECHANISMS))
def test_prop_costs_covered_by_no_balanced_mechanism(seed, mechanism):
    """At random profiles with costs somebody's payment falls short of her cost, under each mechanism of the book."""
    case, s, rng = random_case(seed, n=3)
    game = fs.Game(case.payoff, fs.LinearCost(rng.uniform(0.05, 0.5, 3)), capacity=40.0)
    costs = game.costs(s)
    assume(costs.sum() > 1e-3)
    payments = mechanism.payments(game, s)
    assert payments.sum() <= 1e-9  # weakly balanced: A(0) >= 0 here
    assert (payments - costs).min() < 0


def test_prop_footnote_3_an_agent_pays_if_the_model_is_worth_it():
    """Under M^Shap a + p = phi >= 0 everywhere; cost sharing charges Bea 3.33 for a model worth 0.99 at (100, 0, 0)."""
    game, much = fs.Game(fs.PowerLaw(3), COSTS), np.array([100.0, 0.0, 0.0])
    received = fs.CostSharing(2 / 3).received(game, much)
    np.testing.assert_allclose(received[1:], 1 - 1 / 101 - 10 / 3, atol=1e-12)
    plain = games.power_law(np.ones((3, 3)))
    for s in np.random.default_rng(3).exponential(20.0, (50, 3)):
        assert min(games.brute_shapley(plain, s, i) for i in range(3)) > 0
    assert [games.brute_shapley(plain, much, i) for i in range(3)][1:] == [0, 0]  # indifferent: they gave nothing


# ---- is it fair to Cleo? ---------------------------------------------------------------------------------------


@draws
@given(worths(), st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_shapley_of_welfare_is_the_utility_under_shapley_payments(drawn, costs):
    """Costs add up over a coalition, so the Shapley value of A(s[X]) - sum of costs is phi_i - c_i."""
    n, worth = drawn
    net = {X: value - sum(costs[i] for i in X) for X, value in worth.items()}
    assert shapley(n, net) == [value - c for value, c in zip(shapley(n, worth), costs, strict=False)]


def test_the_shares_of_the_chapter():
    """0.894, 0.420, 0.210 and the other divisions of 1.525; no division gives everybody what she had: 1.835."""
    rates = np.array([0.10, 0.25, 0.40])
    game = fs.Game(fs.PowerLaw(3), COSTS)
    fair, free = (fs.find_equilibrium(game, m) for m in (FAIR, fs.NoPayment()))
    plain = games.power_law(np.ones((3, 3)))
    phi = np.array([games.brute_shapley(plain, fair.contributions, i) for i in range(3)])
    u, welfare = phi - rates * fair.contributions, (phi - rates * fair.contributions).sum()
    alone = (1 - np.sqrt(rates)) ** 2
    assert u.round(3).tolist() == [0.894, 0.420, 0.210]
    assert alone.round(3).tolist() == [0.468, 0.250, 0.135]
    assert (u > alone).all()
    assert (welfare * phi / phi.sum()).round(3).tolist() == [0.746, 0.466, 0.313]
    assert (alone + (welfare - alone.sum()) / 3).round(3).tolist() == [0.692, 0.474, 0.359]
    best = 3 - 2 * np.sqrt(3 * 0.1) + 0.1  # max over m of 3 m / (1 + m) - 0.1 m
    assert [round(x, 3) for x in (welfare, free.utilities.sum(), best)] == [1.525, 1.835, 2.005]
    sharing = fs.find_equilibrium(game, fs.CostSharing(2 / 3))
    np.testing.assert_allclose(sharing.utilities, best / 3, atol=1e-9)


# ---- exercises ---------------------------------------------------------------------------------------------------


def test_exercise_paying_by_hand():
    """(1, 1, 1): nothing under M^Shap, -0.15, 0, 0.15 under cost sharing. (1, 0, 0): 1, -1/2, -1/2 and 0.067."""
    payoffs = lambda s: [Fraction(sum(s), 1 + sum(s))] * 3  # noqa: E731
    rates = [Fraction(1, 10), Fraction(1, 4), Fraction(2, 5)]
    sharing = lambda c: [Fraction(2, 3) * (c[i] - (sum(c) - c[i]) / 2) for i in range(3)]  # noqa: E731
    phi = shapley(3, restricted(payoffs, (1, 1, 1)))
    assert [x - a for x, a in zip(phi, payoffs((1, 1, 1)), strict=True)] == [0, 0, 0]
    assert sharing(rates) == [Fraction(-3, 20), 0, Fraction(3, 20)]
    phi = shapley(3, restricted(payoffs, (1, 0, 0)))
    halves = [Fraction(1), Fraction(-1, 2), Fraction(-1, 2)]
    assert [x - a for x, a in zip(phi, payoffs((1, 0, 0)), strict=True)] == halves
    assert sharing([rates[0], 0, 0])[0] == Fraction(1, 15)
