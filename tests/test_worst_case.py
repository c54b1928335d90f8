"""Worst-case reciprocity: closed forms met, searches that miss nothing seen elsewhere, and honest bounds."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from games import THREE_AGENTS, every_mechanism, random_cases, saturating


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("r", [0.0, 0.3, 1.0])
def test_closed_forms_are_attained(n: int, r: float) -> None:
    game = fs.Game(fs.PowerLaw(n), fs.LinearCost(np.ones(n)))
    found = fs.worst_case_reciprocity(game, fs.DampedShapley(r), draws=20)
    assert found.guaranteed
    assert_allclose([found.value, found.bound], r + (1 - r) / n, rtol=1e-9)


@every_mechanism
@pytest.mark.parametrize("kind", ["common", "weights"])
def test_nothing_drawn_elsewhere_is_worse_and_the_bound_is_below(mechanism: fs.Mechanism, kind: str) -> None:
    """20 draws for each of seven rules and two payoffs: 280 in all, that the search has not seen."""
    payoff = THREE_AGENTS.payoff if kind == "common" else random_cases(3, seed=1)[1].payoff
    game = fs.Game(payoff, THREE_AGENTS.cost, 10.0)
    found = fs.worst_case_reciprocity(game, mechanism, draws=150)
    assert fs.reciprocity(game, mechanism, found.contributions) == found.value
    assert found.bound <= found.value * (1.0 + 1e-9)
    rng = np.random.default_rng(77)
    for s in 10.0 ** rng.uniform(-5.0, 1.0, (20, 3)) * rng.integers(0, 2, (20, 3)):
        if s.any():
            assert fs.reciprocity(game, mechanism, s) >= found.value * (1.0 - 1e-6)


def test_it_is_no_better_than_at_the_equilibrium() -> None:
    for mechanism in (fs.NoPayment(), fs.DampedShapley(0.4), fs.ParticipantsShapley(), fs.AumannShapleyPayment()):
        settled = fs.find_equilibrium(THREE_AGENTS, mechanism).contributions
        worst = fs.worst_case_reciprocity(THREE_AGENTS, mechanism, draws=50)
        assert worst.value <= fs.reciprocity(THREE_AGENTS, mechanism, settled)


def test_an_infimum_that_is_not_attained_is_not_claimed() -> None:
    found = fs.worst_case_reciprocity(THREE_AGENTS, fs.AumannShapleyPayment(), draws=100)
    assert found.bound == 0.0 < found.value < 1e-4
    assert not found.guaranteed


def test_payoffs_below_zero_leave_no_bound() -> None:
    game = fs.Game(fs.PowerLaw(3, alpha=2.0), THREE_AGENTS.cost)
    found = fs.worst_case_reciprocity(game, fs.NoPayment(), draws=20)
    assert (found.bound, found.guaranteed) == (-np.inf, False)
    assert found.value < 1 / 3


def test_a_rule_of_ones_own_inherits_no_bound() -> None:
    class Less(fs.ShapleyPayment):
        def payments(self, game, s):
            return super().payments(game, s) - 0.01

    assert fs.ShapleyPayment().least_reciprocity(THREE_AGENTS) == 1.0
    assert Less().least_reciprocity(THREE_AGENTS) == -np.inf


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_no_units(unit: float) -> None:
    there, here = (fs.Game(saturating(x, x), fs.LinearCost([0.1, 0.2, 0.3]), 10.0 * x) for x in (unit, 1.0))
    for mechanism in (fs.ParticipantsShapley(), fs.AumannShapleyPayment()):
        ours, theirs = (fs.worst_case_reciprocity(game, mechanism, draws=30) for game in (here, there))
        assert_allclose(theirs.value, ours.value, rtol=0.05)  # units are powers of two, and draws fall elsewhere


def test_the_same_seed_finds_the_same() -> None:
    one, two = (fs.worst_case_reciprocity(THREE_AGENTS, fs.ParticipantsShapley(), draws=30, rng=3) for _ in range(2))
    assert one.value == two.value
    with pytest.raises(ValueError, match="draws must be an integer"):
        fs.worst_case_reciprocity(THREE_AGENTS, fs.NoPayment(), draws=0)
