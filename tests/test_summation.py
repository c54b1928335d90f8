"""Integrals over random coalitions: the direct sum, the compressed one, and closed forms for many equal agents."""

import numpy as np
import pytest
from scipy.optimize import brentq

import fedshap as fs
from fedshap.shapley.compression import compress
from fedshap.shapley.mixtures import mixture_of
from fedshap.shapley.quadrature import CoalitionIntegrals, coalition_rule

RELATIVE = 1e-11  # compression aims at 1e-13; products over thousands of agents add their rounding
WEIGHTS = np.array([[3.1e-3, 4.7e-4, 4.4e-4], [6.7e-4, 1.9e-3, 6.5e-4], [9.3e-4, 8.3e-4, 2.1e-3]])


def contributions(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    return {
        "even": lambda: rng.uniform(0, 100, n),
        "twelve decades": lambda: 10.0 ** rng.uniform(-6, 6, n),
        "half of them zero": lambda: np.where(rng.random(n) < 0.5, 0.0, rng.uniform(0, 100, n)),
        "identical": lambda: np.full(n, 7.0),
        "one dominant": lambda: np.append(rng.uniform(0, 1e-3, n - 1), 1e4),
        "all zero": lambda: np.zeros(n),
    }[kind]()


def pair(kind: str, beta: float, n: int = 700) -> tuple[CoalitionIntegrals, CoalitionIntegrals, np.ndarray]:
    rng = np.random.default_rng(5)
    s = contributions(kind, n, rng)
    payoff = fs.PowerLaw(weights=WEIGHTS, groups=rng.integers(0, 3, n), beta=beta)
    surplus = mixture_of(payoff, s)
    return CoalitionIntegrals(surplus, s, direct=False), CoalitionIntegrals(surplus, s, direct=True), s


KINDS = ["even", "twelve decades", "half of them zero", "identical", "one dominant", "all zero"]


@pytest.mark.parametrize("beta", [0.05, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_compression_changes_no_agent_by_more_than_rounding(kind, beta):
    compressed, direct, s = pair(kind, beta)
    np.testing.assert_allclose(compressed.values(), direct.values(), rtol=RELATIVE, atol=0)
    np.testing.assert_allclose(compressed.own_gradient(), direct.own_gradient(), rtol=RELATIVE, atol=0)
    np.testing.assert_allclose(compressed.potential(), direct.potential(), rtol=RELATIVE, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_compressed_curvature_is_the_hessian(kind):
    compressed, direct, _ = pair(kind, 1.0, n=200)
    ours, theirs = (e.expansion() for e in (compressed, direct))
    np.testing.assert_allclose(ours.own, theirs.own, rtol=1e-10, atol=0)
    dense, reference = (e.shared @ e.shared.T for e in (ours, theirs))
    # `shared` drops directions below 1e-12 of the largest, which is at most the trace.
    np.testing.assert_allclose(dense, reference, rtol=0, atol=1e-12 * np.trace(reference))


def test_compression_keeps_zeroth_and_first_moments_and_is_small():
    rng = np.random.default_rng(0)
    s = rng.uniform(0, 100, 20_000)
    payoff = fs.PowerLaw(weights=WEIGHTS, groups=rng.integers(0, 3, 20_000))
    points = compress(mixture_of(payoff, s), s)
    assert len(points.positions) < 1000
    for group in range(3):
        mine = points.classes == group
        members = s[payoff.groups == group]
        assert points.weights[mine].sum() == pytest.approx(len(members), rel=1e-12)
        assert points.weights[mine] @ points.positions[mine] == pytest.approx(members.sum(), rel=1e-12)
    np.testing.assert_allclose(points.spread(points.positions), s, rtol=1e-13)


def test_forced_compression_of_few_agents_is_still_exact():
    game = fs.Game(fs.PowerLaw(weights=WEIGHTS, groups=[0, 1, 2, 0, 1, 2, 0]), fs.LinearCost(np.ones(7)))
    s = np.array([0.0, 1e-6, 1e6, 5.0, 5.0, 1e3, 0.3])
    integrals = CoalitionIntegrals(mixture_of(game.payoff, s), s, direct=False)
    exact = fs.shapley_values(game, s, method="exact")
    np.testing.assert_allclose(integrals.values(), exact, rtol=0, atol=1e-13 * exact.max())


@pytest.mark.parametrize("n", [50, 64, 65, 1000, 100_000, 1_000_000])
@pytest.mark.parametrize("total", [1e-3, 3.0, 1e4])
def test_equal_agents_have_closed_forms(n, total):
    """phi = A/n; the own-gradient is the mean of A' over coalition sizes; P the sum of A(k)/k."""
    beta = 0.5
    game = fs.Game(fs.PowerLaw(n, beta=beta), fs.LinearCost(np.ones(n)))
    s = np.full(n, total / n)
    k = np.arange(1, n + 1)
    surplus = -n * np.expm1(-beta * np.log1p(k * total / n))
    slope = (beta * (1 + k * total / n) ** (-beta - 1)).sum()
    np.testing.assert_allclose(fs.shapley_values(game, s), surplus[-1] / n, rtol=1e-12)
    np.testing.assert_allclose(fs.shapley_gradient(game, s), slope, rtol=1e-12)
    np.testing.assert_allclose(fs.shapley_potential(game, s), (surplus / k).sum(), rtol=1e-12)


def test_the_rule_integrates_every_product_it_may_meet():
    """Against a rule with many more nodes on graded panels, for sums of m_j from tiny to far beyond 40."""
    rng = np.random.default_rng(1)
    x, w = np.polynomial.legendre.leggauss(40)
    edges = np.append(0.0, 2.0 ** np.arange(-30.0, 1.0))
    q = (edges[:-1, None] + np.diff(edges)[:, None] * (x + 1) / 2).ravel()
    weights = (np.diff(edges)[:, None] * w / 2).ravel()
    for n in (100, 3000):
        for scale in (1e-6, 1e-2, 1.0):
            m = np.minimum(scale * rng.random(n), 1.0)
            ours_q, ours_w, reach = coalition_rule(np.array([m.sum()]), n)
            ours = ours_w[0] @ np.prod(1 - ours_q[0][:, None] * m, axis=1)
            reference = weights @ np.prod(1 - q[:, None] * m, axis=1)
            assert ours == pytest.approx(reference, rel=1e-13)


@pytest.mark.parametrize("n", [100, 10_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_the_equilibrium_of_equal_agents_solves_their_one_equation(n):
    rate = n / 4
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(np.full(n, rate)))
    k = np.arange(1, n + 1)
    total = brentq(lambda m: (1 / (1 + k * m / n) ** 2).sum() - rate, 1e-9, 10, xtol=1e-14)
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert found.total == pytest.approx(total, rel=1e-9)
    assert np.ptp(found.contributions) <= 1e-9 * found.contributions.max()
    assert found.audited == min(n, 1000)
    assert found.regret <= 1e-9


@pytest.mark.parametrize("capacity", [100.0, np.inf], ids=["capacity", "no capacity"])
def test_equilibrium_conditions_hold_for_every_one_of_many_agents(capacity):
    rng = np.random.default_rng(1)
    n = 20_000
    rates = rng.uniform(0.2, 1, n) * 0.04
    payoff = fs.PowerLaw(weights=WEIGHTS * 30 / n, groups=rng.integers(0, 3, n))
    game = fs.Game(payoff, fs.LinearCost(rates), capacity)
    s = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions
    slack = (fs.ShapleyPayment().marginal_utilities(game, s)) / rates
    assert 0 < s.sum() < 100.0 * n
    assert slack[s == 0].max() <= 1e-9
    assert abs(slack[(s > 0) & (s < game.capacity)]).max() <= 1e-9
    assert slack[s == game.capacity].min(initial=np.inf) >= -1e-9


def test_groups_of_two_equal_agents_are_counted_twice() -> None:
    """More than 96 agents, each twice: the points' weights are all two, and not all one."""
    halves = np.linspace(0.1, 3.0, 60)
    s = np.repeat(halves, 2)
    rng = np.random.default_rng(0)
    payoff = fs.PowerLaw(weights=rng.uniform(0.0, 1.0, (60, 60)), groups=np.repeat(np.arange(60), 2))
    surplus = mixture_of(payoff, s)
    compressed, each = CoalitionIntegrals(surplus, s), CoalitionIntegrals(surplus, s, direct=True)
    assert (compressed.points.weights == 2.0).all()
    np.testing.assert_allclose(compressed.values(), each.values(), rtol=RELATIVE)


def test_an_agent_exactly_on_a_node_is_interpolated() -> None:
    """Chebyshev nodes of the panel of all agents; one of them sits on each."""
    from fedshap.shapley.compression import _interpolation

    nodes = 1.0 + np.cos((2.0 * np.arange(20) + 1.0) * np.pi / 40.0)
    x = np.concatenate([[0.0, 2.0], np.linspace(0.01, 1.99, 40)])
    found, _ = _interpolation(x, 20)
    x = np.concatenate([x, found[3:5]])
    again, matrix = _interpolation(x, 20)
    np.testing.assert_allclose(again, nodes, rtol=1e-12)
    assert matrix is not None
    np.testing.assert_allclose(matrix @ np.exp(-again), np.exp(-x), rtol=1e-12)


def test_what_a_million_agents_miss_does_not_add_up() -> None:
    """Most give nothing or next to nothing: their interpolation must be exact to their own size."""
    n = 200_000
    rng = np.random.default_rng(0)
    s = np.where(rng.uniform(size=n) < 0.01, rng.uniform(0.0, 5e4, n), 0.0)
    s[: n // 4] = rng.uniform(0.0, 1e-9, n // 4)
    payoff = fs.PowerLaw(weights=np.array([[3.0, 0.5], [0.7, 2.0]]) * 0.1 / n, groups=rng.integers(0, 2, n))
    values = CoalitionIntegrals(mixture_of(payoff, s), s).values()
    assert abs(values.sum() / payoff.total_gain(s) - 1.0) < 1e-13
