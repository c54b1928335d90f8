"""Games whose coalitions are enumerated: derivatives, deviations, climbing and few-point certificates."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.equilibrium.few_points import best_points
from fedshap.equilibrium.quasi_newton import _corrected, climb
from fedshap.shapley import enumeration
from games import brute_potential, brute_shapley, power_law


def disguised(n: int, beta: float = 1.0, unit: float = 1.0, money: float = 1.0) -> tuple[fs.Game, fs.Game]:
    """A power law, and the same as a function of which nothing is known."""
    rng = np.random.default_rng(n)
    weights, rates = rng.uniform(0.2, 1.0, (n, n)), rng.uniform(0.1, 0.8, n)
    payoff = fs.CustomPayoff(lambda s: money * (1.0 - (1.0 + s / unit @ weights.T) ** -beta), n)
    cost = fs.LinearCost(rates)
    return fs.Game(fs.PowerLaw(weights=weights, beta=beta), cost), fs.Game(payoff, fs.LinearCost(rates * money / unit))


PROFILES = {
    "all give": [1.0, 2.0, 0.5, 3.0],
    "some give": [0.0, 2.0, 0.0, 3.0],
    "one gives": [0.0, 0.0, 4.0, 0.0],
    "none gives": [0.0, 0.0, 0.0, 0.0],
    "one gives next to nothing": [1e-12, 2.0, 0.5, 0.0],
}


@pytest.mark.parametrize("s", PROFILES.values(), ids=PROFILES)
def test_one_pass_gives_value_slopes_and_curvature(s: list[float]) -> None:
    known, game = disguised(4, 0.7)
    s = np.array(s)
    slopes = enumeration.exact_slopes(game.payoff, s, game.payoff.difference_steps(s, 2))
    plain = power_law(known.payoff.weights, 1.0, 0.7)
    assert slopes.value == pytest.approx(brute_potential(plain, s.tolist()), rel=1e-13)
    assert_allclose(slopes.first, fs.shapley_gradient(known, s), rtol=1e-7)
    hessian = enumeration.mixed_slopes(game.payoff, s, slopes, np.arange(4))
    # Next to zero differences are one-sided, of first order in a step of 1e-4.
    assert_allclose(hessian, fs.shapley_hessian(known, s), rtol=1e-6 if s.min() > 1e-3 else 5e-3)
    some = enumeration.mixed_slopes(game.payoff, s, slopes, np.array([1, 3]))
    assert_allclose(some, np.where(np.isin(np.arange(16).reshape(4, 4), [0, 5, 7, 10, 13, 15]), hessian, 0.0))


@pytest.mark.parametrize("s", PROFILES.values(), ids=PROFILES)
def test_who_gives_nothing_is_left_out_without_a_trace(s: list[float]) -> None:
    known, game = disguised(4)
    plain = power_law(known.payoff.weights)
    expected = [brute_shapley(plain, s, i) for i in range(4)]
    assert_allclose(fs.shapley_values(game, s, method="exact"), expected, rtol=1e-12, atol=1e-15)
    assert_allclose(fs.shapley_gradient(game, s), fs.shapley_gradient(known, s), rtol=1e-8)
    assert_allclose(fs.shapley_gradient(known, s, method="exact"), fs.shapley_gradient(known, s), rtol=1e-12)
    for agent in range(4):
        x = np.array([2.0, 0.0, 2.0, 7.0])
        moved = [[y if i == agent else z for i, z in enumerate(s)] for y in x.tolist()]
        found = enumeration.exact_deviations(game.payoff, np.array(s), agent, x)
        assert_allclose(found, [brute_shapley(plain, t, agent) for t in moved], rtol=1e-12, atol=1e-15)


def test_more_coalitions_than_a_chunk() -> None:
    known, game = disguised(13)
    s = np.linspace(0.2, 3.0, 13)
    assert_allclose(fs.shapley_values(game, s), fs.shapley_values(known, s), rtol=1e-12)
    assert float(fs.shapley_potential(game, s)) == pytest.approx(float(fs.shapley_potential(known, s)), rel=1e-13)
    assert_allclose(fs.shapley_gradient(game, s), fs.shapley_gradient(known, s), rtol=1e-8)
    assert_allclose(fs.shapley_gradient(known, s, method="exact"), fs.shapley_gradient(known, s), rtol=1e-12)
    assert_allclose(fs.shapley_hessian(game, s), fs.shapley_hessian(known, s), rtol=1e-3, atol=1e-5)


def test_a_correction_reproduces_the_fall_of_the_gradient() -> None:
    curvature, move = np.diag([1.0, 2.0, 3.0]), np.array([0.1, -0.2, 0.3])
    fallen = np.array([0.2, -0.3, 1.1])
    corrected = _corrected(curvature, move, fallen)
    assert_allclose(corrected @ move, fallen, rtol=1e-12)
    assert_allclose(corrected, corrected.T, rtol=1e-12)
    damped = _corrected(curvature, move, -fallen)  # the gradient rose: as much of it as leaves the curvature positive
    assert np.linalg.eigvalsh(damped).min() > 0.0
    assert float(move @ damped @ move) == pytest.approx(0.2 * float(move @ curvature @ move), rel=1e-12)


def test_an_equilibrium_takes_few_evaluations() -> None:
    """A count, not a time: about a hundred for each agent and each coalition of the others."""
    known, game = disguised(10)
    asked = 0

    def counted(s: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(s)
        return game.payoff.values(s)

    counting = fs.Game(fs.CustomPayoff(counted, 10), game.cost)
    asked = 0
    found = fs.find_equilibrium(counting, fs.ShapleyPayment())
    assert asked <= 120 * 10 * 2**9
    exact = fs.find_equilibrium(known, fs.ShapleyPayment())
    assert_allclose(found.contributions, exact.contributions, rtol=1e-8, atol=1e-9)
    assert fs.regret(known, fs.ShapleyPayment(), found.contributions) <= 1e-13
    assert found.regret <= 1e-13


@pytest.mark.parametrize("money", [1e-15, 1.0, 1e15], ids=str)
@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15], ids=str)
def test_climbing_knows_no_unit(unit: float, money: float) -> None:
    known, game = disguised(9, unit=unit, money=money)
    s, _ = climb(fs.ShapleyPayment().potential(game), np.full(9, unit))
    expected = fs.find_equilibrium(known, fs.ShapleyPayment()).contributions
    assert_allclose(s / unit, expected, rtol=1e-8, atol=1e-9)


KINKED = np.array([1.0, 1.5, 2.0, 1.0, 1.2, 1.7, 1.0, 1.1, 1.3])
DEAR = {
    "kinked": (lambda s: np.minimum((s * KINKED).sum(axis=-1, keepdims=True), 4.0) * np.ones(9), 0.05),
    "infinite slope at zero": (lambda s: np.sqrt(s) + np.log1p(s.sum(axis=-1, keepdims=True)), 0.4),
    "root of the sum": (lambda s: np.sqrt(s.sum(axis=-1, keepdims=True)) * np.ones(9), 0.3),
    "flat": (lambda s: 0.0 * s + 2.0, 0.1),
    "saturating": (lambda s: 1.0 - np.exp(-s.sum(axis=-1, keepdims=True)) * np.ones(9), 0.2),
    "not concave": (lambda s: 1.0 - 1.0 / (1.0 + s.sum(axis=-1, keepdims=True) ** 3) * np.ones(9), 0.3),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "kinked")) for name in DEAR])
def test_payoffs_that_are_hard_on_newton(name: str) -> None:
    function, rate = DEAR[name]
    rates = rate * np.linspace(0.8, 1.2, 9)
    game = fs.Game(fs.CustomPayoff(function, 9), fs.LinearCost(rates), 20.0)
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    # Judged by many points, spread otherwise than the certificate's.
    close = np.minimum(found.contributions[:, None] * [0.9, 0.9995, 1.0007, 1.1], 20.0)
    x = np.hstack([np.tile(np.linspace(0.0, 20.0, 150), (9, 1)), close])
    gains = fs.ShapleyPayment().deviation_utilities(game, found.contributions, x) - found.utilities[:, None]
    assert gains.max() <= 1e-9


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15], ids=str)
@pytest.mark.parametrize("peak", [1e-6, 0.03, 0.9, 1.0, 1.0 + 1e-6, 7.3, 2e4], ids=str)
@pytest.mark.parametrize("at", [0.0, 1.0, 5.0], ids=str)
def test_few_points_find_a_peak(peak: float, at: float, unit: float) -> None:
    def utilities(x: np.ndarray) -> np.ndarray:
        z = x / unit
        return np.stack([-(np.log((z[0] + 1e-7) / peak) ** 2), np.minimum(z[1], 2.0 * peak - z[1])])

    s, upper = unit * np.full(2, at), np.array([np.inf, 1e6 * unit])
    gain, where = best_points(utilities, s, np.full(2, unit), np.zeros(2), upper)
    exact = -utilities(np.stack([s, s]).T)[:, 0] + [0.0, peak]
    assert_allclose(gain[0], exact[0], rtol=1e-3 if peak < 1e3 else 1e-2)  # the first points lie wider far off
    assert 0.8 * exact[1] <= gain[1] <= exact[1] + 1e-9 * peak
    assert (where <= upper).all()
