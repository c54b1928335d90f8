"""Every inequality of chapters 6 to 9 where it is attained, or nearly: with the bound times 0.9 it must fail.

Each case is an instance worked out beforehand. It returns what is bounded and its bound, so that the statement says
``quantity <= bound``; a rate is the other way round, the promised decrease and the true one. Nothing here calls the
package: coalitions are enumerated, orders counted and expectations summed over all sets of agents.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from math import comb

import numpy as np
import pytest
from scipy.optimize import brentq

import games

Case = Callable[[], tuple[float, float]]


def decrease(before: np.ndarray, step: np.ndarray, k: int) -> float:
    """Mean relative decrease of the squared norm if k agents, drawn at random, take their part of the step."""
    sets = list(itertools.combinations(range(len(before)), k))
    after = [before + np.isin(np.arange(len(before)), R) * step for R in sets]
    return 1 - float(np.mean([(x**2).sum() for x in after]) / (before**2).sum())


def rotation(n: int, low: float, turn: float) -> np.ndarray:
    return np.kron(np.eye(n // 2), np.array([[-low, turn], [-turn, -low]]))


def tournament(n: int) -> np.ndarray:
    above = np.triu(np.ones((n, n)), 1)
    return above - above.T


ERROR = np.array([1.0, -0.4, 0.7, 2.0])


def all_agents() -> tuple[float, float]:
    """Thm 4.4 (a): the residual of a game that turns and shrinks every pair."""
    G, M2 = rotation(4, 0.6, 1.7), 0.6**2 + 1.7**2
    return 0.6**2 / M2, decrease(G @ ERROR, 0.6 / M2 * (G @ G @ ERROR), 4)


def any_number(k: int) -> Case:
    """Thm 4.4 (b): the distance, k of four agents moving."""

    def case() -> tuple[float, float]:
        G, M2 = rotation(4, 0.6, 1.7), 0.6**2 + 1.7**2
        return k / 4 * 0.6**2 / M2, decrease(ERROR, 0.6 / M2 * (G @ ERROR), k)

    return case


def affine() -> tuple[float, float]:
    """Thm 4.4 (c): one agent moves, -L on the diagonal and +-L off it; the residual moves by whole columns."""
    G, L, n = 0.8 * (tournament(4) - np.eye(4)), 0.8, 4
    step = L / (n * 1 * L**2)
    after = [ERROR + step * ERROR[j] * G[:, j] for j in range(n)]
    return 1 / n**2, 1 - float(np.mean([(g**2).sum() for g in after]) / (ERROR**2).sum())


def symmetric() -> tuple[float, float]:
    """Thm 4.4 (d): curvatures lambda and M only."""
    low, M = 0.5, 3.0
    G = -np.diag([low, M, low, M])
    return 4 * low * M / (M + low) ** 2, decrease(ERROR, 2 / (M + low) * (G @ ERROR), 4)


def pick() -> tuple[float, float]:
    return float(np.linalg.norm(tournament(7), 2)), 1 / math.tan(math.pi / 14)


def skew_rate() -> tuple[float, float]:
    """The rate with M' for a tournament with weak curvature, in the direction that it stretches most."""
    n, low = 7, 1e-5
    M = 1 / math.tan(math.pi / 14) + math.sqrt(low * n)
    turned = np.linalg.svd(tournament(n))[2][0]
    return (low / M) ** 2, decrease(turned, low / M**2 * ((tournament(n) - low * np.eye(n)) @ turned), n)


def hessian(H: np.ndarray) -> np.ndarray:
    """Hessian of the potential of a quadratic surplus, by enumeration."""
    n, total = len(H), np.zeros_like(H)
    for X in itertools.product((0.0, 1.0), repeat=n):
        if any(X):
            total += np.outer(X, X) * H / (n * comb(n - 1, int(sum(X)) - 1))
    return total


def curvature_below() -> tuple[float, float]:
    """Lemma 4.5: payoffs -|s|^2 / 2 for everybody, costs 0.3 s^2 / 2."""
    return 4 * 1.0 + 0.3, float(-np.linalg.eigvalsh(hessian(-4 * np.eye(4)) - 0.3 * np.eye(4)).max())


def curvature_above() -> tuple[float, float]:
    """Lemma 4.5: a common parabola in the total."""
    G = hessian(-4 * np.ones((4, 4))) - 0.3 * np.eye(4)
    return float(-np.linalg.eigvalsh(G).min()), 4 * 5 / 2 * 1.0 + 0.3


def entry(i: int, j: int) -> Case:
    def case() -> tuple[float, float]:
        G = hessian(-4 * np.ones((4, 4))) - 0.3 * np.eye(4)
        return abs(float(G[i, j])), 4 * 1.0 + 0.3 if i == j else 2.0

    return case


def strong_concavity() -> tuple[float, float]:
    """Eq. (12) with capacity 2: lambda against the curvature where everybody gives it."""
    n, cap = 4, 2.0
    lam = 2 * sum((n - k) / (n - 1) * (1 + k * cap) ** -3 for k in range(1, n + 1))
    G = np.zeros((n, n))
    for X in itertools.product((0.0, 1.0), repeat=n):
        k = int(sum(X))
        if k:
            G -= np.outer(X, X) * n * 2 * (1 + k * cap) ** -3 / (n * comb(n - 1, k - 1))
    return lam, float(-np.linalg.eigvalsh(G).max())


def residual_and_regret() -> tuple[float, float]:
    """A linear utility 0.3 s at zero, capacity 5: the regret is slope times capacity."""
    slope, cap, step = 0.3, 5.0, 0.1
    return slope * cap, slope * max(cap, step * slope)


# ---- chapter 7 -----------------------------------------------------------------------------------------------


def common(f: Callable[[float], float], n: int) -> games.Plain:
    return lambda s: [f(sum(s))] * n


def alone_inside() -> tuple[float, float]:
    """Beside two agents with very much data, hers add nothing but to the empty coalition."""
    f = lambda m: 1 - 1 / (1 + m)  # noqa: E731
    own = 10**0.5 - 1
    inside = games.brute_shapley(common(f, 3), [own, 1e7, 1e7], 0) - 0.1 * own
    return f(own) - 0.1 * own, inside


def group_below() -> tuple[float, float]:
    """f = min(z, 1): two of four, with one half each, beside two who have one."""
    s = [0.5, 0.5, 1.0, 1.0]
    share = sum(games.brute_shapley(common(lambda m: min(m, 1.0), 4), s, i) for i in range(2))
    return 4 * 1.0 / (4 - 2 + 1), share


def group_above() -> tuple[float, float]:
    """A linear surplus: a group receives what it has alone."""
    s = [0.5, 0.8, 1.0, 1.3]
    share = sum(games.brute_shapley(common(lambda m: m, 4), s, i) for i in range(2))
    return share, 4 * 1.3


def many_names() -> tuple[float, float]:
    """Example 4's agent 1 under ten names, by enumeration, against the limit by quadrature."""
    s, names = (2.998393, 1.169048), 10
    f = lambda m: 1 - 1 / (1 + m)  # noqa: E731
    split = [s[0] / names] * names
    plain = lambda t: [f(sum(t))] * 2 + [0.0] * (len(t) - 2)  # noqa: E731 - the further names have no use for it
    share = sum(games.brute_shapley(plain, [*split, s[1]], i) for i in range(1)) * names
    q = (np.arange(2000) + 0.5) / 2000
    others = np.mean([2 * (f(x * s[0] + s[1]) - f(x * s[0])) for x in q])
    return share, 2 * f(sum(s)) - float(others)


# ---- chapter 8 -----------------------------------------------------------------------------------------------


def slopes_agree() -> tuple[float, float]:
    """Lemma D.1 for a linear surplus."""
    plain, s, h = games.discovery(np.array([[0.5, 0.5], [0.2, 0.8], [1.0, 0.0]])), [1.0, 2.0, 0.5], 0.5
    more = [s[0] + h, *s[1:]]
    return (
        games.surplus(plain, more) - games.surplus(plain, s),
        games.brute_shapley(plain, more, 0) - games.brute_shapley(plain, s, 0),
    )


def up_to_a_regret() -> tuple[float, float]:
    """W(s) <= W(s*) + n r: everybody gives nothing, and each would gain 0.4 by giving all she has."""
    n, worth, cost = 3, 1.0, 0.6
    share = games.brute_shapley(common(lambda m: m * worth / n, n), [1.0, 0.0, 0.0], 0)
    return n * (worth - cost), n * (share - cost)


def spent_at_a_fixed_price() -> tuple[float, float]:
    """gamma x < 1, nearly attained where data are dear: for f = 1 - e^-m, gamma x = gamma log(1 + 1/gamma)."""
    return 20 * math.log1p(1 / 20), 1.0


# ---- chapter 9 -----------------------------------------------------------------------------------------------


def own_gradient(s: np.ndarray) -> np.ndarray:
    """Of the common payoff 1 - 1/(1+m), by enumeration."""
    n, total = len(s), np.zeros(len(s))
    for X in itertools.product((0.0, 1.0), repeat=n):
        if any(X):
            total += np.array(X) * n * (1 + np.dot(X, s)) ** -2 / (n * comb(n - 1, int(sum(X)) - 1))
    return total


def one_cheap(rate: float, n: int = 4) -> float:
    """The total where all others are too dear to give: she stops at n a'(S) = gamma."""
    total = math.sqrt(n / rate) - 1
    pull = own_gradient(np.append(total, np.zeros(n - 1)))
    assert pull[0] == pytest.approx(rate)
    assert pull[1] == pytest.approx((n + rate) / 2)  # what a dear agent must cost
    return total


def equal_share(n: int, rate: float) -> float:
    x = brentq(lambda x: sum((1 + k * x) ** -2 for k in range(1, n + 1)) - rate, 0, 2 / rate)
    if n < 8:
        assert own_gradient(np.full(n, x)) == pytest.approx(rate)
    return x


def data_gain_printed() -> tuple[float, float]:
    rate = 1e-4
    return 2.0, one_cheap(rate) / (rate**-0.5 - 1)


def data_gain_sharp() -> tuple[float, float]:
    rate = 0.1
    base = rate**-0.5 - 1
    return 2 + 1 / base, one_cheap(rate) / base


def accuracy_gain_sharp() -> tuple[float, float]:
    rate = 0.1
    before, after = 1 - rate**0.5, 1 - 1 / (1 + one_cheap(rate))
    return 1 + (1 - before) / before * 0.5, after / before


def accuracy_ceiling() -> tuple[float, float]:
    before, total = 1 - 0.1**0.5, 300 * equal_share(300, 0.1)
    return (1 - 1 / (1 + total)) / before, 1 / before


def equal_costs() -> tuple[float, float]:
    """DataGain >= n (sum k^-2)^(1/2), approached for cheap data."""
    rate, n = 1e-4, 5
    return n * sum(k**-2.0 for k in range(1, n + 1)) ** 0.5, n * equal_share(n, rate) / (rate**-0.5 - 1)


def from_above() -> tuple[float, float]:
    """S* <= n x_n, with costs that differ by one in a thousand."""
    n, rate = 3, 0.2
    x = equal_share(n, rate)
    s = np.full(n, x) - np.array([0.0, 0.001, 0.001])
    rates = own_gradient(s)  # at which s is the equilibrium
    return s.sum(), n * equal_share(n, float(rates.min()))


def mean_field() -> tuple[float, float]:
    """Equal agents: J(x, S) = gamma at the equilibrium."""
    n, rate = 5, 0.2
    x = equal_share(n, rate)

    def J(y: float, S: float) -> float:
        return sum((1 + y + k / (n - 1) * (S - y)) ** -2 for k in range(n))

    def wanted(S: float) -> float:
        return brentq(lambda y: J(y, max(S, y)) - rate, 0, 10 / rate) if J(0, S) > rate else 0.0

    bound = brentq(lambda S: n * wanted(S) - S, 1e-6, 10 * n * x)
    return bound, n * x


CASES: dict[str, Case] = {
    "Theorem 4.4 (a)": all_agents,
    "Theorem 4.4 (b), one of four": any_number(1),
    "Theorem 4.4 (b), three of four": any_number(3),
    "Theorem 4.4 (c)": affine,
    "Theorem 4.4 (d)": symmetric,
    "Pick's inequality": pick,
    "rate without a potential": skew_rate,
    "Lemma 4.5, lambda": curvature_below,
    "Lemma 4.5, M": curvature_above,
    "Lemma 4.5, diagonal": entry(1, 1),
    "Lemma 4.5, off it": entry(0, 2),
    "strong concavity": strong_concavity,
    "regret by the residual": residual_and_regret,
    "joining, utility": alone_inside,
    "groups, from below": group_below,
    "groups, from above": group_above,
    "names, limit": many_names,
    "Lemma D.1": slopes_agree,
    "Theorem 4.8, up to a regret": up_to_a_regret,
    "fixed price, spent": spent_at_a_fixed_price,
    "Theorem 4.9 (i), printed": data_gain_printed,
    "Theorem 4.9 (i), sharp": data_gain_sharp,
    "Theorem 4.9 (ii), sharp": accuracy_gain_sharp,
    "accuracy gain, ceiling": accuracy_ceiling,
    "equal costs": equal_costs,
    "data gain, from above": from_above,
    "mean field": mean_field,
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_bound_is_attained(case: Case) -> None:
    """The statement holds, and would be seen to fail with its bound times 0.9 or its rate times 1.1."""
    quantity, bound = case()
    assert 0 < quantity <= bound * (1 + 1e-9)
    assert quantity > 0.9 * bound
    assert 1.1 * quantity > bound


def test_lemma_4_6_is_attained() -> None:
    """u_i = -c_i(0) exactly for an agent who gives nothing: no share, and her fixed cost."""
    f = lambda m: 1 - 1 / (1 + m)  # noqa: E731
    assert games.brute_shapley(common(f, 3), [0.0, 1.0, 2.0], 0) == 0
