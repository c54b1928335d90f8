"""Smallest and largest equilibria: closed-form boxes, unique points, tilted potentials."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from games import each_of

LINEAR = fs.RandomDiscovery([[0.5, 0.1], [0.25, 0.2], [0.25, 0.0], [0.0, 0.7]])


def test_indifferent_agents_may_give_anything() -> None:
    worth = fs.shapley_gradient(fs.Game(LINEAR, fs.LinearCost([1.0] * 4)), np.ones(4))
    game = fs.Game(LINEAR, fs.LinearCost(worth * [0.5, 1.0, 2.0, 1.0]), capacity=[1.0, 2.0, 3.0, 4.0])
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.ShapleyPayment())
    assert guaranteed
    assert smallest.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert largest.tolist() == [1.0, 2.0, 0.0, 4.0]
    for s in (smallest, largest, (smallest + largest) / 2.0):
        assert fs.regret(game, fs.ShapleyPayment(), s) < 1e-12


def test_gains_use_the_extremes() -> None:
    """Def. 3.6: smallest total of the mechanism over the largest of no payments; Def. 3.7 the same for payoffs."""
    worth = fs.shapley_gradient(fs.Game(LINEAR, fs.LinearCost([1.0] * 4)), np.ones(4))
    game = fs.Game(LINEAR, fs.LinearCost(worth * [0.2, 1.0, 2.0, 1.0]), capacity=[1.0, 2.0, 3.0, 4.0])
    without = fs.equilibrium_range(game, fs.NoPayment()).largest
    assert fs.data_gain(game, fs.ShapleyPayment()) == pytest.approx(1.0 / without.sum())
    expected = game.surplus([1.0, 0.0, 0.0, 0.0]) / game.surplus(without)
    assert fs.accuracy_gain(game, fs.ShapleyPayment()) == pytest.approx(float(expected))
    # A given equilibrium is used as it is.
    found = fs.find_equilibrium(game, fs.ShapleyPayment(), start=[1.0, 2.0, 0.0, 4.0])
    assert fs.data_gain(game, fs.ShapleyPayment(), equilibrium=found) == pytest.approx(found.total / without.sum())


def test_the_baseline_is_the_largest_without_payments(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges = {
        fs.NoPayment: fs.EquilibriumRange(np.array([1.0, 0.0, 0.0]), np.array([1.0, 2.0, 0.0]), False),
        fs.ShapleyPayment: fs.EquilibriumRange(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]), False),
    }
    monkeypatch.setattr("fedshap.metrics.equilibrium_range", lambda _, mechanism: ranges[type(mechanism)])
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1] * 3))
    assert fs.data_gain(game, fs.ShapleyPayment()) == 2.0
    assert fs.accuracy_gain(game, fs.ShapleyPayment()) == pytest.approx((1 - 1 / 7) / (1 - 1 / 4))


@each_of(fs.NoPayment, fs.CostSharing, fs.ShapleyPayment)
def test_strictly_concave_games_have_one(mechanism: fs.Mechanism) -> None:
    game = fs.Game(fs.PowerLaw(4, beta=0.5), fs.LinearCost([0.05, 0.1, 0.1, 0.3]), 20.0)
    smallest, largest, guaranteed = fs.equilibrium_range(game, mechanism)
    assert guaranteed
    assert_allclose(smallest, largest)
    assert_allclose(smallest.sum(), fs.find_equilibrium(game, mechanism).total)


@pytest.mark.slow
def test_a_flat_potential_of_a_custom_payoff_is_walked_to_its_ends() -> None:
    """Payoff min(S, 1) for each of three agents, smoothly: any total beyond 1 costs, and below it who gives is open."""

    def capped(s: np.ndarray) -> np.ndarray:
        return np.repeat(np.minimum(s, 1.0).sum(axis=-1, keepdims=True), 3, axis=-1)  # linear up to one unit each

    payoff = fs.CustomPayoff(capped, 3, concave=True)
    game = fs.Game(payoff, fs.LinearCost([1.0, 3.0, 5.0]), capacity=1.0)  # each unit is worth 3: the second is torn
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.ShapleyPayment())
    assert guaranteed
    assert_allclose(smallest, [1.0, 0.0, 0.0], atol=1e-6)
    assert_allclose(largest, [1.0, 1.0, 0.0], atol=1e-6)


def test_what_cannot_be_guaranteed_is_said() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.2, 0.4]))
    assert not fs.equilibrium_range(game, fs.AccuracyShaping(0.01)).guaranteed
