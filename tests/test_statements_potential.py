"""Chapter "The hidden potential": Thm 4.3, the potential behind it, which profiles are equilibria, and how many.

Statements about coalitions and integer contributions are tested in exact arithmetic. Shapley values come from orders
of arrival; equilibria from enumeration, from best replies or from closed forms; the package is compared at the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

import fedshap as fs
import games

draws = games.examples(200)

FAIR = fs.ShapleyPayment()
Surplus = Callable[[Sequence[Fraction]], Fraction]


def weight(n: int, k: int) -> Fraction:
    """``w_k`` of the potential."""
    return Fraction(factorial(k - 1) * factorial(n - k), factorial(n))


def restrict(s: Sequence, members: Sequence[int]) -> list:
    return [x if i in members else 0 for i, x in enumerate(s)]


def moved(s: Sequence, agent: int, x) -> tuple:
    return (*s[:agent], x, *s[agent + 1 :])


def potential(surplus: Surplus, s: Sequence) -> Fraction:
    """``P(s)``, term by term."""
    n, empty = len(s), surplus([0] * len(s))
    subsets = [X for X in games.coalitions(range(n)) if X]
    return sum((weight(n, len(X)) * (surplus(restrict(s, X)) - empty) for X in subsets), Fraction(0))


def arrivals(surplus: Surplus, s: Sequence) -> list[Fraction]:
    """Shapley values, from the orders of arrival."""
    total, orders = [Fraction(0)] * len(s), list(itertools.permutations(range(len(s))))
    for order in orders:
        for place, i in enumerate(order):
            before = restrict(s, order[:place])
            total[i] += surplus(restrict(s, order[: place + 1])) - surplus(before)
    return [value / len(orders) for value in total]


# ---- the potential -----------------------------------------------------------------------------------------


@draws
@given(st.integers(3, 5), st.data())
def test_thm_potential_arbitrary_worths(n, data):
    """phi_i = P(s) - P(s[N - i]) for any worths of the coalitions, A(0) included (own theorem)."""
    worth = data.draw(st.lists(st.integers(-9, 9), min_size=2**n, max_size=2**n))
    surplus = lambda s: Fraction(worth[sum(1 << i for i, x in enumerate(s) if x)])  # noqa: E731
    everybody = [1] * n
    phi, top = arrivals(surplus, everybody), potential(surplus, everybody)
    for i in range(n):
        assert phi[i] == top - potential(surplus, moved(everybody, i, 0))


@pytest.mark.parametrize("n", range(2, 40))
def test_thm_potential_weights(n):
    """The weight of P is that of Eq. (3); coalitions with i weigh 1 together, those with i and j one half."""
    for k in range(1, n + 1):
        assert weight(n, k) == Fraction(1, n * comb(n - 1, k - 1))
    assert sum(comb(n - 1, k - 1) * weight(n, k) for k in range(1, n + 1)) == 1
    assert sum(comb(n - 2, k - 2) * weight(n, k) for k in range(2, n + 1)) == Fraction(1, 2)


@draws
@given(st.integers(0, 10**6))
def test_thm_potential_every_deviation(seed):
    """A unilateral change of u_i, by Eq. (3), is the package's change of Phi; 3 or 4 agents, every payoff."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 5))
    case = games.random_cases(n, seed)[seed % 5]
    cost, own = games.power_cost(rng.uniform(0, 1, n).tolist(), float(rng.uniform(1, 2)))
    game = fs.Game(case.payoff, cost)
    s, i = rng.exponential(2.0, n) * (rng.uniform(size=n) > 0.2), int(rng.integers(n))
    t = np.where(np.arange(n) == i, rng.exponential(2.0), s)
    change = [games.brute_shapley(case.plain, x.tolist(), i) - own(float(x[i]), i) for x in (s, t)]
    phi = [float(fs.shapley_potential(game, x) - game.costs(x).sum()) for x in (s, t)]
    assert abs((change[1] - change[0]) - (phi[1] - phi[0])) < 1e-11


# ---- Thm 4.3 -----------------------------------------------------------------------------------------------

CHOICES = range(3)
PROFILES = list(itertools.product(CHOICES, repeat=3))
table = st.lists(st.integers(0, 30), min_size=27, max_size=27)
cost_tables = st.lists(st.lists(st.integers(0, 12), min_size=3, max_size=3), min_size=3, max_size=3)


def is_nash(u: dict, s: tuple) -> bool:
    return all(u[moved(s, i, x)][i] <= u[s][i] for i in range(3) for x in CHOICES)


@draws
@given(table, cost_tables, st.integers(0, 26))
def test_thm_4_3_any_integer_game(worth, costs, start):
    """Thm 4.3 without concavity: any surplus, any costs (set-up costs too), contributions 0, 1, 2.

    The maximiser of Phi is an equilibrium, and improvements by single agents come to an end, from anywhere.
    """
    A = dict(zip(PROFILES, map(Fraction, worth), strict=True))
    surplus = lambda s: A[tuple(s)]  # noqa: E731
    own = lambda s: [Fraction(costs[i][s[i]]) for i in range(3)]  # noqa: E731
    u = {s: [p - c for p, c in zip(arrivals(surplus, s), own(s), strict=True)] for s in PROFILES}
    phi = {s: potential(surplus, s) - sum(own(s)) for s in PROFILES}
    assert is_nash(u, max(phi, key=phi.__getitem__))
    s, visited = PROFILES[start], set()
    while not is_nash(u, s):
        assert s not in visited
        visited.add(s)
        better = [moved(s, i, x) for i in range(3) for x in CHOICES if u[moved(s, i, x)][i] > u[s][i]]
        s = better[start % len(better)]


@draws
@given(st.lists(st.one_of(st.just(0.0), st.floats(1e-9, 4.0)), min_size=3, max_size=3), st.floats(1e-6, 0.4))
def test_thm_4_3_fails_without_continuity(s, rate):
    """Eq. (13) with q = 1: concave, bounded, non-decreasing, but it jumps at zero. Nobody is ever at rest."""
    plain = lambda t: [1.0 if sum(t) > 0 else 0.5] * 3  # noqa: E731

    def utility(t, i):
        return games.brute_shapley(plain, t, i) - rate * t[i]

    gains = [utility(moved(s, i, x / 2 if x > 0 else 1e-3), i) - utility(s, i) for i, x in enumerate(s)]
    assert max(gains) > 0


# ---- equilibria are maximisers -----------------------------------------------------------------------------


class Quadratic:
    """Surplus ``b.s - s.H.s / 2`` on a box with costs ``gamma_i s_i + kink_i |s_i - t_i|``; best replies exact."""

    def __init__(self, rng: np.random.Generator, rank: int, kinks: bool) -> None:
        self.n = n = int(rng.integers(3, 6))
        v = rng.normal(size=(rank, n))
        v = np.where(np.abs(v) < 0.2, 0.2, v)
        self.b, self.tau = rng.uniform(0.2, 3, n), rng.uniform(0.5, 4, n)
        self.rates, self.at = rng.uniform(0, 1, n), rng.uniform(0, 1, n) * self.tau
        self.kink = rng.uniform(0, 1, n) * kinks
        H, D = v.T @ v, [np.isin(np.arange(n), X).astype(float) for X in games.coalitions(range(n)) if X]
        self.K = sum(float(weight(n, int(d.sum()))) * d[:, None] * H * d for d in D)  # minus the Hessian of P

    def phi(self, s: np.ndarray) -> np.ndarray:
        gain = s @ self.b - 0.5 * np.einsum("...i,ij,...j->...", s, self.K, s)
        return gain - s @ self.rates - np.abs(s - self.at) @ self.kink

    def best_replies(self, s: np.ndarray) -> np.ndarray:
        """One agent after the other, until nobody moves."""
        for _ in range(20000):
            before = s.copy()
            for i in range(self.n):
                free = self.b[i] - self.rates[i] - self.K[i] @ s + self.K[i, i] * s[i]
                low, high = ((free + sign * self.kink[i]) / self.K[i, i] for sign in (-1, 1))
                s[i] = np.clip(np.clip(self.at[i], low, high), 0, self.tau[i])
            if np.abs(s - before).max() < 1e-13:
                break
        return s


@draws
@given(st.integers(0, 10**6), st.integers(1, 4), st.booleans())
def test_thm_equilibria_are_maximisers(seed, rank, kinks):
    """Concave differentiable surplus, convex costs with kinks: where best replies stop, Phi is highest."""
    rng = np.random.default_rng(seed)
    game = Quadratic(rng, rank, kinks)
    s = game.best_replies(rng.uniform(0, 1, game.n) * game.tau)
    others = rng.uniform(0, 1, (200, game.n)) * game.tau
    assert game.phi(np.vstack([others, s + 1e-3 * (others - s)])).max() <= game.phi(s) + 1e-9
    if not kinks:  # a box-constrained least-squares problem
        root = np.linalg.cholesky(game.K).T
        target = np.linalg.solve(root.T, game.b - game.rates)
        best = lsq_linear(root, target, (np.zeros(game.n), game.tau), tol=1e-14).x
        np.testing.assert_allclose(s, best, atol=1e-5)


@draws
@given(st.integers(0, 10**6), st.booleans())
def test_thm_unique_equilibrium_rank_one(seed, kinks):
    """A surplus of one weighted sum is strictly concave in one direction only; still there is one equilibrium."""
    rng = np.random.default_rng(seed)
    game = Quadratic(rng, 1, kinks)
    ends = [game.best_replies(rng.uniform(0, 1, game.n) * game.tau) for _ in range(3)]
    np.testing.assert_allclose(ends, np.tile(ends[0], (3, 1)), atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_thm_unique_equilibrium_package(seed):
    """Weighted power laws and coverage, 3 to 6 agents, equal costs: one equilibrium from any start."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 7))
    payoff = fs.PowerLaw(n) if seed % 2 else fs.RandomCoverage(rng.dirichlet(np.ones(4), n) * 0.99)
    game = fs.Game(payoff, fs.LinearCost([0.1] * n), capacity=8.0)
    ends = [fs.find_equilibrium(game, FAIR, start=rng.uniform(0, 8, n)).contributions for _ in range(4)]
    np.testing.assert_allclose(ends, np.tile(ends[0], (4, 1)), atol=1e-7)


ROOTS = [Fraction(k, 4) for k in range(25)]  # sqrt(s_2) on the grid below


@pytest.mark.parametrize("t", [Fraction(k, 2) for k in range(11)])
def test_thm_equilibria_are_maximisers_fails_with_kinks(t):
    """``min(s_1, sqrt(s_2), s_3)``, cost 1/10: (t, t^2, t) is an equilibrium for t <= 5, a maximiser only for t = 4."""
    tenth = Fraction(1, 10)
    utility = lambda a, root, c, own: min(a, root, c) - tenth * own  # noqa: E731  # phi_i: only all three have a surplus
    phi = lambda x: x - tenth * (2 * x + x * x)  # noqa: E731
    here = utility(t, t, t, t)
    assert all(utility(x, t, t, x) <= here for x in ROOTS)
    assert all(utility(t, root, t, root**2) <= utility(t, t, t, t**2) for root in ROOTS)
    assert (phi(t) == max(map(phi, ROOTS))) == (t == 4)


def test_thm_equilibria_are_maximisers_fails_with_kinks_not_convex():
    """Halfway between (0, 0, 0) and (4, 16, 4) agent 2 would go from 8 down to 4."""
    study = fs.CustomPayoff(lambda s: np.minimum(s[..., [0, 2]].min(-1), s[..., 1] ** 0.5)[..., None] * np.ones(3), 3)
    game = fs.Game(study, fs.LinearCost([0.1] * 3), capacity=30.0)
    assert fs.regret(game, FAIR, [4, 16, 4]) < 1e-12
    assert abs(fs.regret(game, FAIR, [2, 8, 2]) - 0.4) < 1e-6


@pytest.mark.parametrize("alone", [1e-6, 0.1, 5.0])
def test_thm_equilibria_are_maximisers_fails_at_the_boundary(alone):
    """``(s_1 s_2 s_3)^0.3`` is smooth inside the box only: zero is an equilibrium and no maximiser."""
    plain = lambda s: [(s[0] * s[1] * s[2]) ** 0.3] * 3  # noqa: E731
    for i in range(3):
        assert games.brute_shapley(plain, moved((0.0, 0.0, 0.0), i, alone), i) - 0.1 * alone < 0
    assert games.brute_potential(plain, [1.0] * 3) - 0.3 > 0


def test_thm_equilibria_are_maximisers_fails_on_integers():
    """One scan is enough, costs 2, 2.2, 2.6: whoever gives alone is at rest; Phi tells the three apart."""
    enough = lambda s: Fraction(3 * min(1, sum(s)))  # noqa: E731
    costs = [Fraction(2), Fraction(11, 5), Fraction(13, 5)]
    u = {s: [p - c * x for p, c, x in zip(arrivals(enough, s), costs, s, strict=True)] for s in PROFILES}
    stable = [s for s in PROFILES if is_nash(u, s)]
    assert stable == [(0, 0, 1), (0, 1, 0), (1, 0, 0)]
    heights = [potential(enough, s) - sum(c * x for c, x in zip(costs, s, strict=True)) for s in stable]
    assert heights == [Fraction(2, 5), Fraction(4, 5), Fraction(1)]


# ---- the set of equilibria ---------------------------------------------------------------------------------


def catalogue_slopes(s, worth, line, cost):
    """Exact marginal utilities where the surplus is f(worth . s) and f levels off from ``line`` to ``line + 1``."""
    slope = lambda z: min(Fraction(1), max(Fraction(0), 1 + line - z))  # noqa: E731
    n = len(s)
    return [
        worth[i]
        * (
            sum(
                weight(n, len(X)) * slope(sum(worth[j] * s[j] for j in X)) for X in games.coalitions(range(n)) if i in X
            )
            - cost
        )
        for i in range(n)
    ]


@draws
@given(
    st.fractions(Fraction(3, 4), Fraction(19, 20), max_denominator=40),
    st.fractions(Fraction(1, 10), 2, max_denominator=20),
    st.integers(2, 5),
    st.lists(st.integers(0, 9), min_size=3, max_size=3).filter(any),
)
def test_prop_equilibrium_set_catalogue(cost, spare, double, shares):
    """A continuum: z* = line + 3 (1 - cost); all equilibria share it, the surplus and the welfare, not the total."""
    least = 3 * (1 - cost)  # of the worth, from each
    line = 2 * least + spare
    worth = [Fraction(1), Fraction(double), Fraction(1)]
    split = [least + spare * Fraction(share, sum(shares)) for share in shares]
    s = [z / w for z, w in zip(split, worth, strict=True)]
    assert sum(split) == line + least
    assert catalogue_slopes(s, worth, line, cost) == [0, 0, 0]
    lowest = least * (2 + Fraction(1, double)) + spare / double
    highest = least * (2 + Fraction(1, double)) + spare
    assert lowest <= sum(s) <= highest
    past = [least + spare + least / 9, least, least - least / 9]  # past a corner: agents 1 and 2 now level off
    assert catalogue_slopes([z / w for z, w in zip(past, worth, strict=True)], worth, line, cost) != [0, 0, 0]


def test_prop_equilibrium_set_numbers_of_the_chapter():
    """Worth 19/10, totals from 5/4 to 7/4; a tax (subsidy) of 1/10000 leads to the small (large) end."""
    worth, line = np.array([1.0, 2.0, 1.0]), 1.6

    def level(s):
        over = np.clip(s @ worth - line, 0, 1)
        return (np.minimum(s @ worth, line + 1) - over**2 / 2)[..., None] * np.ones(3) / 3

    payoff = fs.CustomPayoff(level, 3, concave=True)
    game = fs.Game(payoff, fs.LinearCost(0.9 * worth), capacity=4.0)
    corners = np.array([[1.3, 0.15, 0.3], [0.3, 0.65, 0.3], [0.3, 0.15, 1.3]])
    assert np.ptp(game.surplus(corners)) < 1e-12
    assert np.ptp(game.welfare(corners)) < 1e-12
    assert max(fs.regret(game, FAIR, s) for s in corners) < 1e-12
    assert min(fs.regret(game, FAIR, s) for s in 1.2 * corners - 0.2 * corners.mean(axis=0)) > 1e-4
    for eta, total in [(1e-4, 1.25), (-1e-4, 1.75)]:
        nudged = fs.Game(payoff, fs.LinearCost(0.9 * worth + eta), capacity=4.0)
        end = fs.find_equilibrium(nudged, FAIR, start=[0.7, 0.4, 0.6], tol=1e-7)
        assert abs(end.total - total) < 2e-3


@draws
@given(st.integers(0, 10**6))
def test_prop_equilibrium_set_affine(seed):
    """Agents whose data are worth exactly their cost: a continuum on which every u_i is affine, not constant."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 6))
    gram = rng.uniform(0, 1, (n, n))
    tied = np.arange(n) < 2
    rates = np.where(tied, gram.sum(axis=0), gram.sum(axis=0) - 0.1)  # the others give all they have
    low, high = (np.where(tied, rng.uniform(0, 4, n), 4.0) for _ in range(2))
    plain = lambda s: (gram @ np.asarray(s)).tolist()  # noqa: E731
    for i in range(2):  # moving alone changes nothing: all of these are equilibria
        values = [games.brute_shapley(plain, moved(low.tolist(), i, x), i) - rates[i] * x for x in (0.0, 1.3, 4.0)]
        assert np.ptp(values) < 1e-12
    mix = rng.uniform()
    ends = [np.array([games.brute_shapley(plain, s.tolist(), i) for i in range(n)]) for s in (low, high)]
    middle = mix * low + (1 - mix) * high
    between = [games.brute_shapley(plain, middle.tolist(), i) for i in range(n)]
    np.testing.assert_allclose(between, mix * ends[0] + (1 - mix) * ends[1], atol=1e-12)


# ---- how high the hill is ----------------------------------------------------------------------------------


@pytest.mark.slow
@draws
@given(st.integers(3, 5), st.data())
def test_potential_between_surplus_and_harmonic_multiple(n, data):
    """Exercise: with DR and monotone surplus (weighted coverage) A <= P <= H_n A; attained at both ends."""
    owners = st.lists(st.booleans(), min_size=n, max_size=n).filter(any)
    items = data.draw(st.lists(st.tuples(owners, st.integers(1, 9)), min_size=1, max_size=6))
    surplus = lambda s: Fraction(sum(v for own, v in items if any(x and o for x, o in zip(s, own, strict=True))))  # noqa: E731
    A, P = surplus([1] * n), potential(surplus, [1] * n)
    harmonic = sum(Fraction(1, k) for k in range(1, n + 1))
    assert A <= P <= harmonic * A
    additive, shared = (lambda s: Fraction(sum(s))), (lambda s: Fraction(min(1, sum(s))))
    assert potential(additive, [1] * n) == n
    assert potential(shared, [1] * n) == harmonic


def test_potential_below_surplus_without_dr():
    """If only all three together have a surplus, P = A / 3."""
    assert potential(lambda s: Fraction(min(s)), [1, 1, 1]) == Fraction(1, 3)


def test_prop_equilibrium_set_not_every_end_is_a_limit():
    """A = z - (z-1)_+^2 / (1+s_1) on [0, 1]^2, cost 1: all z <= 1 are at rest, a subsidy leads to (1, 0) alone."""
    tenths = [Fraction(k, 20) for k in range(21)]

    def surplus(s):
        z = sum(s)
        return z - max(Fraction(0), z - 1) ** 2 / (1 + s[0])

    phi = lambda s, eta=0: potential(surplus, s) - sum(s) * (1 - eta)  # noqa: E731
    grid = list(itertools.product(tenths, repeat=2))
    top = max(map(phi, grid))
    assert {s for s in grid if phi(s) == top} == {s for s in grid if sum(s) <= 1}
    for s in grid:  # by deviations too, from the definition
        u = lambda t: [p - x for p, x in zip(arrivals(surplus, t), t, strict=True)]  # noqa: E731
        stays = all(u(moved(s, i, x))[i] <= u(s)[i] for i in range(2) for x in tenths)
        assert stays == (sum(s) <= 1)
    for eta in (Fraction(1, 10), Fraction(1, 100), Fraction(1, 1000)):
        end = (Fraction(1), 2 * eta)
        assert phi(end, eta) == eta + eta**2
        assert all(phi(s, eta) < phi(end, eta) for s in grid if s != end)


def test_thm_equilibria_are_maximisers_not_closed_if_a_cost_jumps():
    """A = s_1 + s_2 + s_3, cost s_i below the capacity 1 and 2 there: every s below it is at rest, none at it."""
    surplus = lambda s: sum(s, Fraction(0))  # noqa: E731
    cost = lambda x: x + (x == 1)  # noqa: E731
    levels = [Fraction(k, 4) for k in range(5)]
    for s in itertools.product(levels, repeat=3):
        u = [p - cost(x) for p, x in zip(arrivals(surplus, s), s, strict=True)]
        better = [arrivals(surplus, moved(s, i, x))[i] - cost(x) > u[i] for i in range(3) for x in levels]
        assert any(better) == (Fraction(1) in s)


# ---- exercises and Kakutani's route --------------------------------------------------------------------------


def test_the_ring_without_payments_has_no_potential_and_rests_at_one_half():
    """Round the square of agents 1 and 2 the movers' changes add up to -1; the fixed point of 1 - s_{i-1} is 1/2."""
    u = lambda s, i: min(Fraction(1), Fraction(s[i] + s[i - 1])) - Fraction(s[i], 2)  # noqa: E731
    tour = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 0)]
    assert sum(u(t, i) - u(s, i) for (s, t), i in zip(itertools.pairwise(tour), (0, 1, 0, 1), strict=True)) == -1
    half = (Fraction(1, 2),) * 3
    for i, x in itertools.product(range(3), [Fraction(k, 20) for k in range(21)]):
        assert u(moved(half, i, x), i) <= u(half, i) or x == half[i]


def test_exercise_potential_by_hand():
    """P(1,1,1) = 13/4 and P(1,1,0) = 5/2: the difference is Cleo's 3/4."""
    surplus = lambda s: Fraction(3 * sum(s), 1 + sum(s))  # noqa: E731
    assert (potential(surplus, (1, 1, 1)), potential(surplus, (1, 1, 0))) == (Fraction(13, 4), Fraction(5, 2))
    assert arrivals(surplus, (1, 1, 1))[2] == Fraction(3, 4)
