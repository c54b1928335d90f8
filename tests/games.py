"""Games with known answers, random games, and the paper's formulas written out in plain Python.

Nothing here calls a formula of the package. A payoff comes as a `Case`: the package's object next to a function of
plain numbers that transcribes the paper. That function takes floats and mpmath numbers alike, so the same transcript
serves enumeration in double precision, in 50 digits, and exact derivatives.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from math import factorial
from typing import Any

import hypothesis
import mpmath as mp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

import fedshap as fs

DIGITS = 50
Plain = Callable[[Sequence[Any]], list[Any]]  # contributions -> payoffs, in plain arithmetic


def examples(most: int) -> hypothesis.settings:
    """Settings of a property test: the same examples on every run, and with ``--unit`` fewer of them (`conftest`)."""
    count = min(most, hypothesis.settings.default.max_examples)
    return hypothesis.settings(derandomize=True, max_examples=count, deadline=None, database=None)


properties = examples(40)


@dataclass(frozen=True)
class Case:
    """A payoff of the package and its transcript."""

    id: str
    payoff: fs.Payoff
    plain: Plain

    @property
    def n(self) -> int:
        return self.payoff.n_agents


# ---- transcripts of the paper's payoffs ------------------------------------------------------------


def power_law(weights: Any, alpha: float = 1.0, beta: float = 1.0) -> Plain:
    """Eq. (12) and Sec. 5.1: ``1 - alpha / (1 + sum_j w_ij s_j)^beta``."""
    rows = np.asarray(weights, dtype=float).tolist()
    return lambda s: [1 - alpha * (1 + sum(w * x for w, x in zip(row, s, strict=True))) ** (-beta) for row in rows]


def coverage(q: Any) -> Plain:
    """Eq. (13): ``1 - 1/2 sum_x q_ix prod_j (1 - q_jx)^s_j``."""
    q = np.asarray(q, dtype=float).tolist()

    def missed(x: int, s: Sequence[Any]) -> Any:
        product: Any = 1
        for row, contribution in zip(q, s, strict=True):
            product = product * (1 + 0 * contribution - row[x]) ** contribution  # 1 - q in the digits of s
        return product

    return lambda s: [1 - sum(row[x] * missed(x, s) for x in range(len(row))) / 2 for row in q]


def discovery(q: Any) -> Plain:
    """Example 5: ``(Q Q^T s)_i``."""
    q = np.asarray(q, dtype=float).tolist()
    gram = [[sum(a * b for a, b in zip(row, other, strict=True)) for other in q] for row in q]
    return lambda s: [sum(w * x for w, x in zip(row, s, strict=True)) for row in gram]


def pac_bound(n: int, optimum: float, complexity: float) -> Plain:
    """Eq. (2), cut off at zero, and zero for fewer data points than ``complexity``."""

    def common(m: Any) -> Any:
        if m < complexity:
            return 0.0
        bound = optimum - (4 + mp.sqrt(2 * complexity * (2 + mp.log(m / complexity)))) / mp.sqrt(m)
        return max(0.0, bound)

    return lambda s: [common(sum(s))] * n


# ---- random payoffs ---------------------------------------------------------------------------------


def random_cases(n: int, seed: int) -> list[Case]:
    """One random case of every payoff with diminishing returns, ``n`` agents each."""
    rng = np.random.default_rng([n, seed])
    alpha, beta = rng.uniform(0.3, 1.0), rng.uniform(0.05, 1.0)
    weights = rng.uniform(0.0, 1.0, (n, n))
    between, labels = rng.uniform(0.0, 1.0, (3, 3)), rng.integers(0, 3, n)
    seen = rng.uniform(0.0, 1.0, (n, 5))
    shown = rng.dirichlet(np.full(5, 0.5), n) * 0.98
    return [
        Case("common", fs.PowerLaw(n, alpha=alpha, beta=beta), power_law(np.ones((n, n)), alpha, beta)),
        Case(
            "weights",
            fs.PowerLaw(weights=weights, alpha=alpha, beta=beta),
            power_law(weights, alpha, beta),
        ),
        Case(
            "groups",
            fs.PowerLaw(weights=between, groups=labels, beta=beta),
            power_law(between[labels][:, labels], 1.0, beta),
        ),
        Case("coverage", fs.RandomCoverage(shown), coverage(shown)),
        Case("discovery", fs.RandomDiscovery(seen), discovery(seen)),
    ]


def custom_case(n: int, seed: int) -> Case:
    """A power law disguised as a `CustomPayoff`, so that only enumeration and sampling apply to it."""
    case = random_cases(n, seed)[1]
    return Case("custom", fs.CustomPayoff(case.payoff.values, n, case.payoff.jacobian, concave=True), case.plain)


def saturating(money: float, data: float, n: int = 3) -> fs.LearningCurve:
    """``z / (1 + z)`` of all data together, in units of money and data; nothing without data, in any unit."""
    return fs.LearningCurve(
        lambda z: money * (z / data) / (1.0 + z / data), lambda z: money / data / (1.0 + z / data) ** 2, n, concave=True
    )


def game_of(payoff: fs.Payoff) -> fs.Game:
    """A game where only the payoff matters."""
    return fs.Game(payoff, fs.LinearCost(np.ones(payoff.n_agents)))


def ids(cases: Sequence[Any]) -> list[str]:
    return [case.id for case in cases]


# ---- the paper's definitions, by brute force over coalitions -----------------------------------------


def coalitions(agents: Sequence[int]) -> list[tuple[int, ...]]:
    return [members for size in range(len(agents) + 1) for members in itertools.combinations(agents, size)]


def surplus(plain: Plain, s: Sequence[Any], members: Sequence[int] | None = None) -> Any:
    """``A(s[X])``: total payoff when only ``members`` contribute; everybody if None."""
    return sum(plain([x if members is None or i in members else 0 * x for i, x in enumerate(s)]))


def brute_shapley(plain: Plain, s: Sequence[Any], agent: int) -> Any:
    """Eq. (3), term by term."""
    n = len(s)
    others = [j for j in range(n) if j != agent]
    total: Any = 0
    for members in coalitions(others):
        size = len(members)
        gain = surplus(plain, s, (*members, agent)) - surplus(plain, s, members)
        total = total + gain * factorial(size) * factorial(n - 1 - size) / factorial(n)
    return total


def brute_participants(plain: Plain, s: Sequence[Any], agent: int) -> Any:
    """Eq. (3) for what the members of a coalition get out of its data."""

    def worth(members: tuple[int, ...]) -> Any:
        payoffs = plain([x if i in members else 0 * x for i, x in enumerate(s)])
        return sum(payoffs[j] for j in members)

    n = len(s)
    others = [j for j in range(n) if j != agent]
    return sum(
        (worth((*members, agent)) - worth(members))
        * (factorial(len(members)) * factorial(n - 1 - len(members)) / factorial(n))
        for members in coalitions(others)
    )


def brute_aumann_shapley(plain: Plain, s: Sequence[Any], agent: int) -> float:
    """``s_i int_0^1 dA/ds_i (q s) dq``: differences of surpluses, integrated over powers of two of q."""
    x, w = np.polynomial.legendre.leggauss(10)
    x, w, total = (x + 1.0) / 2.0, w / 2.0, 0.0
    for k in range(7):
        low, high = (0.0 if k == 6 else 0.5 ** (k + 1)), 0.5**k
        for at, weight in zip(low + (high - low) * x, (high - low) * w, strict=True):
            along = [at * y for y in s]
            step = 1e-3 * along[agent]
            # Central differences of sixth order: the step is a thousandth, rounding 1e-16 / 1e-3.
            sums = [surplus(plain, [y + m * step * (j == agent) for j, y in enumerate(along)]) for m in range(-3, 4)]
            slope = (sums[6] - sums[0] - 9 * (sums[5] - sums[1]) + 45 * (sums[4] - sums[2])) / 60
            total += weight * slope / at / 1e-3 if s[agent] else 0.0
    return total


def brute_potential(plain: Plain, s: Sequence[Any]) -> Any:
    """Hart and Mas-Colell's potential, term by term."""
    n = len(s)
    total: Any = 0
    for members in coalitions(range(n)):
        if members:
            weight = factorial(len(members) - 1) * factorial(n - len(members))
            total = total + (surplus(plain, s, members) - surplus(plain, s, ())) * weight / factorial(n)
    return total


def precise(values: Sequence[Any]) -> list[Any]:
    """The same numbers, to be computed with in 50 digits; call within ``mp.workdps(DIGITS)``."""
    return [mp.mpf(float(x)) for x in values]


def precise_shapley(plain: Plain, s: Sequence[float]) -> np.ndarray:
    """Eq. (3) in 50 digits, for every agent."""
    with mp.workdps(DIGITS):
        return np.array([float(brute_shapley(plain, precise(s), i)) for i in range(len(s))])


def derivative(function: Callable[[Sequence[Any]], Any], s: Sequence[float], j: int) -> np.ndarray:
    """``d function / d s_j`` by central differences in 50 digits: right to about 30 digits, at zero too."""
    with mp.workdps(DIGITS):
        step = mp.mpf(10) ** -16
        ahead, behind = precise(s), precise(s)
        ahead[j] += step
        behind[j] -= step
        high, low = np.array(function(ahead), dtype=object), np.array(function(behind), dtype=object)
        return np.asarray((high - low) / (2 * step), dtype=float)


# ---- utilities, and the most that anybody gains by deviating, by brute force ------------------------------

OwnCost = Callable[[Any, int], Any]  # contribution and agent -> cost
Utility = Callable[[Sequence[float], int], float]  # profile and agent -> utility


def linear_cost(rates: Sequence[float], fixed: float = 0.0) -> tuple[fs.Cost, OwnCost]:
    return fs.LinearCost(rates, fixed), lambda x, i: rates[i] * x + fixed


def power_cost(rates: Sequence[float], exponent: float) -> tuple[fs.Cost, OwnCost]:
    return fs.PowerCost(rates, exponent), lambda x, i: rates[i] * x**exponent


def utility_of(mechanism: fs.Mechanism, plain: Plain, cost: OwnCost, upper: Sequence[float]) -> Utility:
    """``a_i + p_i - c_i`` of one agent: Defs. 3.1 and 4.1, Murhekar et al. (2023), Karimireddy et al. (2022)."""

    def alone(x: float, i: int, n: int) -> float:
        return plain([x if j == i else 0.0 for j in range(n)])[i]

    @cache
    def solo(i: int, n: int) -> float:
        return maximiser(lambda y: alone(y, i, n) - cost(y, i), 0.0, min(upper[i], 1e3))

    def shaped(x: float, i: int, n: int) -> float:
        """What accuracy shaping gives for x: what x is worth alone, then costs and a premium from x0 on."""
        x0 = solo(i, n)
        return alone(x, i, n) if x <= x0 else alone(x0, i, n) + cost(x, i) - cost(x0, i) + mechanism.epsilon * (x - x0)

    def utility(s: Sequence[float], i: int) -> float:
        own, n = cost(s[i], i), len(s)
        if isinstance(mechanism, fs.ShapleyPayment):
            return brute_shapley(plain, s, i) - own
        if isinstance(mechanism, fs.ParticipantsShapley):
            return brute_participants(plain, s, i) - own
        if isinstance(mechanism, fs.AumannShapleyPayment):
            return brute_aumann_shapley(plain, s, i) - own
        received = plain(s)[i]
        if isinstance(mechanism, fs.DampedShapley):
            received += mechanism.r * (brute_shapley(plain, s, i) - received)
        if isinstance(mechanism, fs.CostSharing):
            others = [cost(s[j], j) for j in range(n) if j != i]
            received += mechanism.beta * (own - sum(others) / (n - 1))
        if isinstance(mechanism, fs.AccuracyShaping):
            received = min(received, shaped(s[i], i, n))
        return received - own

    return utility


def maximiser(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function of one peak is highest: a bounded search, and the ends."""
    found = minimize_scalar(lambda x: -function(x), bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    return max((float(found.x), low, high), key=function)


def brute_regret(utility: Utility, s: Sequence[float], upper: Sequence[float]) -> float:
    """The most that one agent gains by moving: bounded searches far and near, on either side of where she is."""
    s, gains = [float(x) for x in s], [0.0]
    for i in range(len(s)):

        def at(x: float, i: int = i) -> float:
            return float(utility([*s[:i], x, *s[i + 1 :]], i))

        reach = min(upper[i], 16.0 + 16.0 * s[i])
        for low, high in [(0.0, s[i]), (s[i], reach), (0.8 * s[i], s[i]), (s[i], min(reach, 1.2 * s[i] + 0.01))]:
            if low < high:
                gains.append(at(maximiser(at, low, high)) - at(s[i]))
    return max(gains)


# ---- games with known answers ------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """An equilibrium known to ``tolerance``, and where it is known from."""

    id: str
    game: fs.Game
    mechanism: fs.Mechanism
    contributions: tuple[float, ...]
    tolerance: float
    source: str


TWO_AGENTS = fs.Game(fs.PowerLaw(2), fs.LinearCost([0.10, 0.25]))
"""Examples 3, 4 and 7 of the paper."""

THREE_AGENTS = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
"""The smallest common-payoff game in which weights of coalitions matter."""

DOMINANT = fs.Game(fs.PowerLaw(4, beta=0.3), fs.LinearCost([0.002, 0.9, 0.8, 0.7]))
"""One agent far cheaper than the rest."""

EXAMPLES = [
    Known("example 3", TWO_AGENTS, fs.NoPayment(), (10**0.5 - 1.0, 0.0), 1e-9, "1/(1+s)^2 = 0.1"),
    Known("example 4", TWO_AGENTS, fs.ShapleyPayment(), (2.998, 1.169), 5e-4, "printed (3, 1.17)"),
    Known("example 7", TWO_AGENTS, fs.AccuracyShaping(1e-9), (3.981, 2.463), 5e-4, "printed (3.98, 2.46)"),
]

APPENDIX_E = {
    "mnist": ((3.1e-3, 4.7e-4, 4.4e-4), (6.7e-4, 1.9e-3, 6.5e-4), (9.3e-4, 8.3e-4, 2.1e-3)),
    "fashion": ((1.3e-3, 3.1e-4, 5.7e-4), (1.0e-4, 1.5e-3, 2.6e-4), (4.9e-4, 4.4e-4, 1.6e-3)),
    "cifar10": ((5.8e-3, 1.4e-3, 7.9e-4), (2.5e-3, 6.1e-3, 7.4e-4), (4.2e-3, 3.0e-3, 1.8e-3)),
}
"""Fitted weights between the three groups of ten agents, App. E."""


def appendix_e(data: str, seed: int) -> fs.Game:
    """App. E's game of thirty agents: gamma ~ U[0, 0.001], at most 100 batches each (CIFAR-10: 27)."""
    rates = np.random.default_rng(seed).uniform(0.0, 1e-3, 30)
    payoff = fs.PowerLaw(weights=APPENDIX_E[data], groups=np.repeat([0, 1, 2], 10))
    return fs.Game(payoff, fs.LinearCost(rates), capacity=27.0 if data == "cifar10" else 100.0)


def plain_group_totals(data: str, s: np.ndarray) -> np.ndarray:
    """``1 / (1 + (W s)_t)^2`` for each group of `appendix_e`, shape (3,)."""
    sums = s.reshape(3, 10).sum(axis=1)
    return (1.0 + np.array(APPENDIX_E[data]) @ sums) ** -2.0


# ---- mechanisms: what holds for all is tested for all --------------------------------------------------

MECHANISMS = (
    fs.NoPayment(),
    fs.CostSharing(0.6),
    fs.ShapleyPayment(),
    fs.AccuracyShaping(0.01),
    fs.DampedShapley(0.4),
    fs.ParticipantsShapley(),
    fs.AumannShapleyPayment(),
)
"""Every mechanism of the package, each with the parameter that the tests play it with."""


def each_of(*kinds: type[fs.Mechanism], slow: tuple[type[fs.Mechanism], ...] = ()) -> pytest.MarkDecorator:
    """Run a test once for each of these kinds of `MECHANISMS`, with the kind's name as its id.

    For the ``slow`` ones it takes more than a second, and is left out by ``--unit``.
    """
    chosen = [
        pytest.param(mechanism, id=type(mechanism).__name__, marks=[pytest.mark.slow] * isinstance(mechanism, slow))
        for mechanism in MECHANISMS
        if isinstance(mechanism, kinds)
    ]
    return pytest.mark.parametrize("mechanism", chosen)


every_mechanism = each_of(fs.Mechanism)

# ---- strategies of the property tests -----------------------------------------------------------------

contributions = st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.floats(0.01, 20.0))


@st.composite
def power_laws(draw: st.DrawFn, max_agents: int = 4) -> Case:
    """Weighted power laws of 1..max_agents agents, weights from 1e-4 to 100 and zero among them."""
    n = draw(st.integers(1, max_agents))
    entry = st.one_of(st.just(0.0), st.floats(1e-4, 100.0))
    weights = draw(st.lists(st.lists(entry, min_size=n, max_size=n), min_size=n, max_size=n))
    alpha, beta = draw(st.floats(0.1, 1.0)), draw(st.floats(0.05, 1.0))
    return Case("drawn", fs.PowerLaw(weights=weights, alpha=alpha, beta=beta), power_law(weights, alpha, beta))


def profiles(n: int) -> st.SearchStrategy[list[float]]:
    return st.lists(contributions, min_size=n, max_size=n)
