"""What clients make of offers: the step of Eq. (11), the search over amounts, costs that are refused."""

from __future__ import annotations

import numpy as np
import pytest

import fedshap as fs
from fedshap.federated.choices import check_cost, choose, decide
from fedshap.federated.exchange import Curve, Keep, Slope

COST = fs.PowerCost([0.01], 2.0)  # 0.01 s^2: at 5 batches a further one costs 0.1


@pytest.mark.parametrize(
    ("offer", "expected"),
    [
        (Keep(5.0), 5.0),
        (Keep(50.0), 20.0),
        (Slope(5.0, 0.1, 30.0), 5.0),
        (Slope(5.0, 0.2, 30.0), 8.0),
        (Slope(5.0, 0.0, 30.0), 2.0),
        (Slope(5.0, -0.1, 30.0), 0.0),
        (Slope(5.0, 1.0, 30.0), 20.0),
    ],
)
def test_the_step_of_eq_11(offer, expected) -> None:
    decision, amount = choose(offer, COST, 20.0)
    assert decision is None
    assert amount == pytest.approx(expected, abs=1e-12)


def curve(gains: np.ndarray, amounts: list[float], level: float = 0.95) -> Curve:
    """Shares with which utilities exceed the present one's by ``gains`` (K, k - 1)."""
    at = np.array(amounts)
    shares = np.hstack([np.zeros((len(gains), 1)), gains]) + COST.values(at[:, None])[:, 0]
    return Curve(at, shares, level)


def test_a_sure_gain_is_taken_wherever_it_lies() -> None:
    gains = np.tile([-0.1, 0.3, 0.2], (6, 1))
    decision = decide(curve(gains, [5.0, 0.0, 19.0, 7.0]), COST)
    assert (decision.amount, decision.standard_error) == (19.0, 0.0)
    assert decision.gain == pytest.approx(0.3, abs=1e-12)
    assert decision.bound == pytest.approx(0.3, abs=1e-12)


def test_where_nothing_gains_she_stays_and_the_bound_is_zero() -> None:
    decision = decide(curve(np.tile([-0.1, -0.2], (6, 1)), [5.0, 0.0, 9.0]), COST)
    assert (decision.amount, decision.gain, decision.bound) == (5.0, 0.0, 0.0)


def test_the_second_half_judges_what_the_first_proposes() -> None:
    """All of the apparent gain lies in the first half: nothing is confirmed."""
    gains = np.concatenate([np.full((4, 1), 1.0), [[-0.1], [0.1], [-0.2], [0.2]]])
    decision = decide(curve(gains, [5.0, 0.0]), COST)
    assert decision.amount == 5.0
    assert decision.gain == pytest.approx(0.0, abs=1e-12)
    assert decision.bound > 0.5  # of all shuffles


def test_one_amounts_bound_holds_as_often_as_it_says() -> None:
    """With one other amount there is no maximum to err on the safe side, and the level is met, not exceeded."""
    rng = np.random.default_rng(1)
    found = [decide(curve(0.02 + rng.normal(0.0, 0.1, (8, 1)), [5.0, 0.0], 0.9), COST) for _ in range(4000)]
    covered = [np.mean([factor * each.bound >= 0.02 for each in found]) for factor in (1.0, 0.9)]
    assert abs(covered[0] - 0.9) <= 0.015
    assert covered[1] < 0.9 - 0.003


def test_gains_are_unbiased_and_bounds_hold_as_often_as_they_say() -> None:
    """Levels that truly gain 0, .02 and -.03, with noise of .1 a shuffle: 2000 curves."""
    rng, true = np.random.default_rng(0), np.array([0.0, 0.02, -0.03])
    found = [decide(curve(true + rng.normal(0.0, 0.1, (8, 3)), [5.0, 0.0, 2.0, 9.0], 0.9), COST) for _ in range(2000)]
    covered = np.mean([each.bound >= 0.02 for each in found])
    assert covered >= 0.9 - 0.02  # binomial noise of 2000 curves
    # Her best amount by the first half, read on the second: its mean is at most the true maximum, not beyond.
    gains = np.array([each.gain for each in found])
    assert gains.mean() <= 0.02 + 4.0 * gains.std() / np.sqrt(2000)
    maximum = np.mean([(true + rng.normal(0.0, 0.1, (8, 3))).mean(axis=0).max() for _ in range(2000)])
    assert maximum > 0.03  # a maximum of means on the same shuffles is too high


class Falling(fs.Cost):
    n_agents = 1

    def values(self, s):
        return np.exp(-np.asarray(s))


class Bent(fs.Cost):
    n_agents = 1

    def values(self, s):
        return np.sqrt(s)


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (Bent(), "must be convex; .* bends down at about 0"),
        (Falling(), "must not fall; .* does beyond 0 batches"),
        (fs.LinearCost([0.1, 0.2, 0.3]), "must be that of one agent; got .* of 3"),
        (0.1, "cost must be a Cost"),
    ],
)
def test_costs_that_are_not_one_agents_or_not_convex_are_refused(cost, message) -> None:
    with pytest.raises(ValueError, match=message):
        check_cost(cost, 20.0, "client 2")


@pytest.mark.parametrize("unit", [1e-15, 1.0, 1e15])
def test_convexity_has_no_unit(unit) -> None:
    assert check_cost(unit * COST, 20.0, "client 0").n_agents == 1
    with pytest.raises(ValueError, match="must be convex"):
        check_cost(unit * Bent(), 20.0, "client 0")
