"""No units: payoffs and costs times any factor, contributions in any unit, and the answers stay the same.

A game is drawn, and drawn again with payoffs and costs multiplied by ``money`` and contributions counted in units of
``data``: what was ``s`` is now ``s / data``. Both factors go from 1e-15 to 1e15.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.payoffs import fit_payoff

SAME = 1e-9  # relative: of the largest contribution, payment, utility
BOTH = [(1e-15, 1e15), (1e15, 1e-15), (1e15, 1e15), (1e-15, 1e-15), (1e7, 1.0), (1.0, 1e12)]
both_scales = pytest.mark.parametrize(("money", "data"), BOTH, ids=lambda factor: f"{factor:.0e}")


@dataclass(frozen=True)
class Drawn:
    """A game in its own units, to be expressed in others."""

    payoff: Callable[[float, float], fs.Payoff]  # money, data -> payoff
    rates: np.ndarray
    exponent: float
    capacity: Any
    minimum: Any = 0.0

    def game(self, money: float = 1.0, data: float = 1.0) -> fs.Game:
        rates = self.rates * money * data**self.exponent
        cost = fs.LinearCost(rates) if self.exponent == 1.0 else fs.PowerCost(rates, self.exponent)
        return fs.Game(self.payoff(money, data), cost, self.capacity / data, minimum=self.minimum / data)


def drawn(rng: np.random.Generator, kind: str, n: int) -> Drawn:
    """A random game of a kind."""
    alpha, beta = rng.uniform(0.3, 1.0), rng.uniform(0.2, 1.0)
    weights, groups = rng.uniform(0.0, 0.3, (3, 3)) + np.eye(3), rng.integers(0, 3, n)
    own = rng.uniform(0.05, 1.0, (n, n)) + np.eye(n)
    heights = rng.uniform(0.2, 1.0, n)
    payoffs: dict[str, Callable[[float, float], fs.Payoff]] = {
        "common": lambda m, d: fs.PowerLaw(alpha=m * alpha, beta=beta, weights=[[d]], groups=[0] * n),
        "weights": lambda m, d: fs.PowerLaw(alpha=m * alpha, beta=beta, weights=d * own),
        "groups": lambda m, d: fs.PowerLaw(alpha=m * alpha, beta=beta, weights=d * weights, groups=groups),
        "each her own": lambda m, d: fs.PowerLaw(alpha=m * heights, beta=beta, weights=d * own),
        "curve": lambda m, d: fs.LearningCurve(
            lambda z: m * np.log1p(z), lambda z: m / (1.0 + z), weights=d * weights, groups=groups, concave=True
        ),
        "custom": lambda m, d: fs.CustomPayoff(lambda s: m * np.log1p(d * s @ own.T), n, concave=True),
    }
    exponent = float(rng.choice([1.0, 1.5, 2.0]))
    rates = rng.uniform(0.05, 0.4, n) * (1.0 if exponent == 1.0 else 0.3)
    bounded = rng.random() < 0.5
    capacity = rng.uniform(0.5, 20.0, n) if bounded else np.inf
    minimum = rng.uniform(0.0, 0.2, n) * (rng.random(n) < 0.3)
    return Drawn(payoffs[kind], rates, exponent, capacity, minimum)


def factors(rng: np.random.Generator) -> tuple[float, float]:
    """Money and data, both from 1e-15 to 1e15: powers of ten and what lies between."""
    money, data = 10.0 ** rng.uniform(-15.0, 15.0, 2)
    return float(money), float(data)


def verdict(game: fs.Game, mechanism: fs.Mechanism) -> fs.Equilibrium | type[Exception]:
    try:
        return fs.find_equilibrium(game, mechanism)
    except (ValueError, fs.ConvergenceError) as error:
        return type(error)


def mechanisms(money: float, data: float) -> Iterator[fs.Mechanism]:
    """All, with the reward of accuracy shaping in the units of the game, and without one."""
    yield from (fs.NoPayment(), fs.CostSharing(0.6), fs.ShapleyPayment(), fs.AccuracyShaping())
    yield from (fs.DampedShapley(0.4), fs.ParticipantsShapley(), fs.AumannShapleyPayment())
    yield fs.AccuracyShaping(0.01 * money * data)


def assert_same(found: np.ndarray, expected: np.ndarray, factor: float, tolerance: float = SAME) -> None:
    """Equal, but for the factor, to ``tolerance`` of the largest."""
    largest = np.abs(expected).max(initial=1e-300)
    assert_allclose(found / factor / largest, expected / largest, rtol=0.0, atol=tolerance)


KINDS = ["common", "weights", "groups", "each her own", "curve", "custom"]
DRAWS = [
    pytest.param(kind, draw, marks=[pytest.mark.slow] if draw >= (0 if kind == "custom" else 1) else [])
    for kind in KINDS
    for draw in range(4 if kind == "custom" else 8)
]


@pytest.mark.parametrize(("kind", "draw"), DRAWS)
def test_equilibria(kind: str, draw: int) -> None:
    """44 games under five mechanisms: 220 pairs of equilibria or errors."""
    rng = np.random.default_rng([draw, KINDS.index(kind)])
    case = drawn(rng, kind, 3 if kind == "custom" else int(rng.integers(3, 7)))
    money, data = factors(rng)
    game, other = case.game(), case.game(money, data)
    tolerance = SAME if kind != "custom" else 2e-6  # by differences: flat to rounding
    for mechanism, theirs in zip(mechanisms(1.0, 1.0), mechanisms(money, data), strict=True):
        expected, found = verdict(game, mechanism), verdict(other, theirs)
        if isinstance(expected, type) or isinstance(found, type):
            assert found == expected
            continue
        assert_same(found.contributions, expected.contributions, 1.0 / data, tolerance)
        assert found.relative_regret <= 1e-9
        assert found.method == expected.method
        assert found.audited == expected.audited
        assert_allclose(found.scale, money * expected.scale, rtol=1e-6)


@both_scales
def test_regret(money: float, data: float) -> None:
    rng = np.random.default_rng(5)
    for kind in KINDS:
        case = drawn(rng, kind, 4)
        game, other = case.game(), case.game(money, data)
        s = np.clip(rng.uniform(0.0, 3.0, 4), case.minimum, case.capacity)
        for mechanism, theirs in zip(mechanisms(1.0, 1.0), mechanisms(money, data), strict=True):
            expected, found = fs.regret(game, mechanism, s), fs.regret(other, theirs, other_profile(other, s / data))
            assert_allclose(found, money * expected, rtol=1e-8)
            assert fs.regret(game, mechanism, s, agents=[2]) <= expected


def other_profile(game: fs.Game, s: np.ndarray) -> np.ndarray:
    """Within the bounds, whatever rounding says."""
    return np.clip(s, game.minimum, game.capacity)


@both_scales
def test_values_gradient_and_potential(money: float, data: float) -> None:
    rng = np.random.default_rng(6)
    for kind in KINDS:
        case = drawn(rng, kind, 5)
        s = np.array([0.0, 1.0, 0.3, 7.0, 1e-3])
        game, other = (fs.Game(case.payoff(*each), fs.LinearCost(case.rates)) for each in ((1.0, 1.0), (money, data)))
        for method in ("exact", "auto") if kind in ("curve", "custom") else ("exact", "quadrature"):
            tolerance = 1e-7 if kind == "custom" else 1e-9
            values, gradient, potential = (
                [quantity(g, x, method=method) for g, x in ((game, s), (other, s / data))]
                for quantity in (fs.shapley_values, fs.shapley_gradient, fs.shapley_potential)
            )
            assert_same(values[1], values[0], money, tolerance)
            assert_same(gradient[1], gradient[0], money * data, tolerance)
            assert_same(potential[1], potential[0], money, tolerance)
        sampled = [
            fs.shapley_values(g, x, method="permutation", permutations=50, rng=3)
            for g, x in ((game, s), (other, s / data))
        ]
        assert_same(sampled[1].values, sampled[0].values, money)
        assert_same(sampled[1].standard_errors, sampled[0].standard_errors, money)
        if kind != "custom":
            for correction in (False, True):
                limits = [
                    fs.aumann_shapley_values(g, x, correction=correction) for g, x in ((game, s), (other, s / data))
                ]
                assert_same(limits[1], limits[0], money)


@both_scales
def test_ranges_and_gains(money: float, data: float) -> None:
    rng = np.random.default_rng(7)
    for kind in ("common", "groups", "weights"):
        case = drawn(rng, kind, 4)
        games = case.game(), case.game(money, data)
        for mechanism in (fs.NoPayment(), fs.CostSharing(0.6), fs.ShapleyPayment()):
            expected, found = (fs.equilibrium_range(game, mechanism) for game in games)
            assert found.guaranteed == expected.guaranteed
            assert_same(found.smallest, expected.smallest, 1.0 / data, 1e-7)
            assert_same(found.largest, expected.largest, 1.0 / data, 1e-7)
        in_data = games[0], case.game(1.0, data)  # payoffs without data, 1 - alpha, are no multiples of each other
        for gain, pair in ((fs.data_gain, games), (fs.accuracy_gain, in_data)):
            ours, theirs = (gain(game, fs.ShapleyPayment()) for game in pair)
            assert theirs.guaranteed == ours.guaranteed
            assert_allclose(float(theirs), float(ours), rtol=1e-7)


@both_scales
@pytest.mark.parametrize("equal", [False, True], ids=["an end to each", "one point"])
def test_both_ends_of_a_continuum(money: float, data: float, equal: bool) -> None:
    """B15: agents of equal cost may split one total in any way."""
    rates = np.array([0.1, 0.1, 0.1, 0.3]) if not equal else np.array([0.1, 0.2, 0.3, 0.3])
    payoff = fs.PowerLaw(alpha=money, weights=[[data]], groups=[0] * 4)
    capacity = np.array([np.inf, 0.5, 2.0, 1.0]) / data
    smallest, largest, guaranteed = fs.equilibrium_range(
        fs.Game(payoff, fs.LinearCost(rates * money * data), capacity), fs.NoPayment()
    )
    total = 10.0**0.5 - 1.0
    assert guaranteed
    assert_same(smallest, np.array([total, 0.0, 0.0, 0.0]), 1.0 / data)
    assert_same(
        largest,
        np.array([total, 0.0, 0, 0])
        if equal
        else np.array([0.0, total - 2.0, 2.0, 0.0])
        + (np.array([total - 2.5, 2.5 - total, 0.0, 0.0]) if total > 2.5 else 0.0),
        1.0 / data,
    )


@both_scales
@pytest.mark.parametrize("kind", ["groups", "custom"])
def test_dynamics_with_the_step_in_the_units_of_the_game(money: float, data: float, kind: str) -> None:
    case = drawn(np.random.default_rng(8), kind, 4)
    for mechanism in (fs.NoPayment(), fs.ShapleyPayment()):
        paths = [
            fs.best_response_dynamics(
                game, mechanism, step=step, steps=20, sample_size=2, rng=1, start=other_profile(game, start)
            )
            for game, step, start in (
                (case.game(), 0.5, np.full(4, 0.7)),
                (case.game(money, data), 0.5 / (money * data**2), np.full(4, 0.7) / data),
            )
        ]
        assert_same(paths[1].contributions, paths[0].contributions, 1.0 / data, 1e-9 if kind == "groups" else 1e-6)
        assert_same(paths[1].residuals, paths[0].residuals, money * data, 1e-8 if kind == "groups" else 1e-6)


@pytest.mark.parametrize("data", [1e-15, 1e-6, 1e9, 1e15])
def test_a_fit(data: float) -> None:
    rng, groups = np.random.default_rng(9), [0, 0, 1, 2]
    runs = rng.uniform(0.0, 20.0, (30, 4))
    truth = fs.PowerLaw(weights=rng.uniform(0.01, 0.3, (3, 3)), groups=groups)
    measured = np.clip(truth.values(runs)[:, [0, 2, 3]] + rng.normal(0.0, 0.01, (30, 3)), 0.0, 1.0)
    expected, found = fit_payoff(runs, measured, groups), fit_payoff(runs / data, measured, groups)
    assert_same(found.weights, expected.weights, data, 1e-8)
    assert_same(found.standard_errors, expected.standard_errors, data, 1e-7)
    assert_allclose(found.r_squared, expected.r_squared, rtol=1e-9)


@both_scales
def test_three_hundred_agents_in_markets(money: float, data: float) -> None:
    rng = np.random.default_rng(10)
    groups, rates = rng.integers(0, 3, 300), rng.uniform(1e-3, 1e-2, 300)
    weights = np.array([[0.02, 0.002, 0.001], [0.003, 0.03, 0.002], [0.001, 0.001, 0.01]])
    for exponent in (1.0, 2.0):
        case = Drawn(
            lambda m, d: fs.PowerLaw(alpha=m, weights=d * weights, groups=groups), rates, exponent, np.full(300, 5.0)
        )
        for mechanism in (fs.NoPayment(), fs.CostSharing(0.6), fs.ShapleyPayment()):
            expected, found = (fs.find_equilibrium(game, mechanism) for game in (case.game(), case.game(money, data)))
            assert_same(found.contributions, expected.contributions, 1.0 / data)
            assert found.relative_regret <= 1e-9
            assert found.iterations == pytest.approx(expected.iterations, abs=2)


@pytest.mark.slow
@pytest.mark.parametrize(("money", "data"), BOTH[:3], ids=lambda factor: f"{factor:.0e}")
def test_nine_agents_and_nothing_but_a_function(money: float, data: float) -> None:
    worth = np.linspace(0.5, 1.5, 9)
    case = Drawn(
        lambda m, d: fs.CustomPayoff(lambda s: m * np.tanh(d * s @ worth)[..., None] * np.ones(9), 9, concave=True),
        np.linspace(0.5, 1.5, 9),
        2.0,
        np.inf,
    )
    expected, found = (fs.find_equilibrium(game, fs.ShapleyPayment()) for game in (case.game(), case.game(money, data)))
    assert_same(found.contributions, expected.contributions, 1.0 / data, 1e-5)
    assert found.relative_regret <= 1e-9
