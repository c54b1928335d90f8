"""Ties, free data and the ends of sets of equilibria; what is guaranteed against all equilibria on a grid."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fedshap as fs
from fedshap.mechanisms import Potential
from games import MECHANISMS, brute_shapley, each_of, every_mechanism

INF = np.inf


def straight(weights: Any, groups: Any) -> fs.LearningCurve:
    """A learning curve that is a straight line."""
    return fs.LearningCurve(lambda z: z + 0.0, lambda z: np.ones_like(z), weights=weights, groups=groups, concave=True)


# ---- ties: who is indifferent does not gain without bound ---------------------------------------------------------


@pytest.mark.parametrize("capacity", [INF, 5.0])
@each_of(fs.NoPayment, fs.ShapleyPayment)
def test_one_agent_whose_data_are_worth_what_they_cost(mechanism: fs.Mechanism, capacity: float) -> None:
    game = fs.Game(fs.RandomDiscovery([[0.5]]), fs.LinearCost([0.25]), capacity)
    assert fs.find_equilibrium(game, mechanism).regret == 0.0
    smallest, largest, _ = fs.equilibrium_range(game, mechanism)
    assert_array_equal([smallest, largest], [[0.0], [capacity]])


@pytest.mark.parametrize("capacity", [INF, 5.0])
@pytest.mark.parametrize(
    ("mechanism", "rates"),
    [
        (fs.NoPayment(), [0.5, 0.5, 0.6]),
        (fs.CostSharing(0.6), [1.25, 1.25, 1.5]),
        (fs.ShapleyPayment(), [1.25, 1.25, 1.3]),
    ],
    ids=["NoPayment", "CostSharing", "ShapleyPayment"],
)
def test_groups_whose_data_are_worth_what_they_cost(
    mechanism: fs.Mechanism, rates: list[float], capacity: float
) -> None:
    game = fs.Game(straight([[0.5, 0.25], [0.25, 0.5]], [0, 0, 1]), fs.LinearCost(rates), capacity)
    assert fs.find_equilibrium(game, mechanism).relative_regret <= 1e-9
    smallest, largest, guaranteed = fs.equilibrium_range(game, mechanism)
    assert smallest.sum() == pytest.approx(0.0, abs=1e-6)
    assert largest.sum() == pytest.approx(2 * capacity)
    assert largest[2] == pytest.approx(0.0, abs=1e-6)  # hers are worth less
    assert guaranteed == isinstance(mechanism, fs.ShapleyPayment)


def test_who_is_indifferent_may_stop_far_out() -> None:
    game = fs.Game(straight([[0.5, 0.25], [0.25, 0.5]], [0, 0, 1]), fs.LinearCost([1.25, 1.25, 1.0]))
    found = fs.find_equilibrium(game, fs.ShapleyPayment(), start=[1e12, 1e12, 1e12])
    assert found.relative_regret <= 1e-9
    gaining = fs.Game(game.payoff, fs.LinearCost([1.25 * (1.0 - 1e-9), 1.25, 1.0]))
    with pytest.raises(ValueError, match="gains from contributing without bound"):
        fs.find_equilibrium(gaining, fs.ShapleyPayment(), start=[1e12, 1e12, 1e12])


@pytest.mark.parametrize("known", [True, False], ids=["derivative", "values alone"])
@pytest.mark.parametrize("capacity", [INF, 0.25])
@pytest.mark.parametrize("unit", [1e-9, 1.0, 1e5, 1e9])
def test_a_marginal_cost_that_is_flat_for_a_while(unit: float, capacity: float, known: bool) -> None:
    """The second agent's data are worth what they cost up to one unit, and then cost more: she may give up to that."""
    rates, bends, starts = np.array([0.12, 0.36, 0.9]), np.array([0.6, 0.25, 0.0]), np.array([0.0, unit, 0.0])

    def costs(s: np.ndarray) -> np.ndarray:
        return rates * s + bends * np.maximum(s - starts, 0.0) ** 2 / (2.0 * unit)

    def slopes(s: np.ndarray) -> np.ndarray:
        return rates + bends * np.maximum(s - starts, 0.0) / unit

    game = fs.Game(
        fs.RandomDiscovery([[0.6], [0.3], [0.3]]),
        fs.CustomCost(costs, 3, slopes if known else None),
        np.array([INF, capacity * unit, INF]),
    )
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.ShapleyPayment())
    assert guaranteed
    close = 1e-9 if known else 1e-4  # differences tell where a flat piece ends to half of their digits
    assert_allclose(smallest / unit, [1.0, 0.0, 0.0], atol=close)
    assert_allclose(largest / unit, [1.0, min(capacity, 1.0), 0.0], atol=close)
    assert smallest[0] == largest[0]  # hers are constant returns too, and her marginal cost rises
    for end in (smallest, largest):
        assert fs.regret(game, fs.ShapleyPayment(), end) <= 1e-9 * 0.25 * unit


@pytest.mark.parametrize("unit", [1e-9, 1e9])
@pytest.mark.parametrize(
    ("weights", "totals"),
    [([[0.5, 1.0], [1.0, 0.5]], [0.0, 2.0]), ([[1.0, 1.0], [1.0, 1.0]], [0.0, 1.0])],
    ids=["no P-matrix", "common"],
)
def test_a_price_that_holds_for_a_while_holds_in_any_unit(weights: Any, totals: Any, unit: float) -> None:
    """Two groups and a curve that is straight up to 1, at cost 1: all are content with anything at that price."""
    payoff = fs.LearningCurve(
        lambda z: bent(z / unit),
        lambda z: slope_of_bent(z / unit) / unit,
        weights=weights,
        groups=[0, 0, 1],
        concave=True,
    )
    game = fs.Game(payoff, fs.LinearCost(np.full(3, weights[0][0] / unit)))
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.NoPayment())
    assert not guaranteed
    assert_allclose([smallest.sum() / unit, largest.sum() / unit], totals, atol=1e-9)


@pytest.mark.parametrize("capacity", [INF, 5.0])
def test_one_straight_curve_for_all(capacity: float) -> None:
    game = fs.Game(straight([[1.0]], [0, 0, 0]), fs.LinearCost([1.0, 1.0, 2.0]), capacity)
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.NoPayment())
    assert guaranteed
    assert_array_equal([smallest, largest], [[0.0] * 3, [capacity, capacity, 0.0]])


def test_data_worth_nothing_and_for_free_are_no_gain() -> None:
    """Agent 0's data are worth nothing to her and cost nothing; she is no reason to refuse the game."""
    game = fs.Game(fs.PowerLaw(weights=[[0, 1, 1]] * 3), fs.LinearCost([0, 0.9, 0.9]), [INF, 3, 3])
    for mechanism in (fs.NoPayment(), fs.CostSharing(0.6), fs.ShapleyPayment()):
        found = fs.find_equilibrium(game, mechanism)
        assert found.relative_regret <= 1e-9
        smallest, largest, _ = fs.equilibrium_range(game, mechanism)
        assert smallest[0] == 0.0
        assert largest[0] == INF
    assert_allclose(found.contributions[1:], [0.5968128] * 2, rtol=1e-6)


@every_mechanism
def test_a_group_without_members_is_no_error(mechanism: fs.Mechanism) -> None:
    cost = fs.LinearCost([0.10, 0.25, 0.40])
    found = fs.find_equilibrium(fs.Game(fs.PowerLaw(weights=np.eye(2), groups=[0, 0, 0]), cost), mechanism)
    expected = fs.find_equilibrium(fs.Game(fs.PowerLaw(3), cost), mechanism)
    assert_allclose(found.contributions, expected.contributions, rtol=1e-8)
    game = fs.Game(fs.PowerLaw(weights=np.eye(2), groups=[0, 0, 0]), cost)
    found_range = fs.equilibrium_range(game, mechanism)
    if isinstance(mechanism, fs.ParticipantsShapley):  # found by a tilt: an equilibrium as far as `tol` tells
        assert fs.regret(game, mechanism, found_range.largest) <= 1e-9 * expected.scale
    else:
        assert_allclose(found_range.largest, expected.contributions, rtol=1e-8)


def test_equal_agents_share_evenly_what_others_cannot_give() -> None:
    """Four agents of equal cost, one who has 0.2 alone: the other three share the rest."""
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.1] * 4), [INF, INF, 0.2, 5.0])
    share = (10.0**0.5 - 1.0 - 0.2) / 3.0
    assert_allclose(fs.find_equilibrium(game, fs.NoPayment()).contributions, [share, share, 0.2, share], rtol=1e-9)
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.NoPayment())
    assert guaranteed
    assert_allclose([smallest, largest], [[10.0**0.5 - 1.0, 0, 0, 0], [0, 0, 0, 10.0**0.5 - 1.0]], rtol=1e-9)


# ---- free data ------------------------------------------------------------------------------------------------------


@each_of(fs.NoPayment, fs.CostSharing, fs.ShapleyPayment)
def test_free_data_reach_a_bound_at_which_exponentials_underflow(mechanism: fs.Mechanism) -> None:
    game = fs.Game(fs.RandomCoverage([[0.5, 0.5], [0.5, 0.5]]), fs.LinearCost([0.0, 0.1]), [1e5, 10.0])
    assert fs.find_equilibrium(game, mechanism).contributions[0] == 1e5
    smallest, largest, _ = fs.equilibrium_range(game, mechanism)
    assert smallest[0] == largest[0] == 1e5
    assert fs.data_gain(game, mechanism) >= 1.0 - 1e-12


@every_mechanism
def test_free_data_of_very_different_amounts(mechanism: fs.Mechanism) -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.0, 0.0, 0.1]), [1e-6, 1e6, 1.0])
    assert_array_equal(fs.find_equilibrium(game, mechanism).contributions[:2], [1e-6, 1e6])
    smallest, largest, _ = fs.equilibrium_range(game, mechanism)
    assert_array_equal([smallest[:2], largest[:2]], [[1e-6, 1e6]] * 2)


# ---- games in money and games in tokens --------------------------------------------------------------------------


def test_a_game_in_money_is_certified_like_any_other() -> None:
    rates = np.linspace(0.1, 0.5, 10)
    rich = fs.find_equilibrium(fs.Game(fs.PowerLaw(10, alpha=1e7), fs.LinearCost(rates * 1e7)), fs.ShapleyPayment())
    expected = fs.find_equilibrium(fs.Game(fs.PowerLaw(10), fs.LinearCost(rates)), fs.ShapleyPayment())
    assert_allclose(rich.contributions, expected.contributions, rtol=1e-9)
    poor = fs.Game(fs.PowerLaw(10, alpha=1e-15), fs.LinearCost(rates * 1e-15))
    with pytest.raises(fs.ConvergenceError):  # a relative regret of 8 % is none to certify, however small in numbers
        fs.find_equilibrium(poor, fs.ShapleyPayment(), options=fs.SolverOptions(ascent_iterations=1))


def test_1e12_is_no_bound() -> None:
    game = fs.Game(fs.PowerLaw(weights=np.full((3, 3), 1e-12)), fs.LinearCost([1e-13, 2.5e-13, 4e-13]), 1e14)
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert_allclose(found.contributions, [3.588911e12, 1.447243e12, 7.863107e11], rtol=1e-6)


@pytest.mark.parametrize("optimum", [0.8, 0.9, 1.0])
def test_the_generalisation_bound_is_solved_from_the_default_start(optimum: float) -> None:
    """A payoff that is flat at first: further starts find where everybody gives 323.26."""
    game = fs.Game(fs.PACBound(3, optimum=optimum, complexity=1.0), fs.LinearCost([1e-3] * 3))
    found = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert_allclose(found.contributions, [323.2633] * 3, rtol=1e-6)
    smallest, largest, guaranteed = fs.equilibrium_range(game, fs.ShapleyPayment())
    assert_allclose([smallest, largest], [[323.2633] * 3] * 2, rtol=1e-4)
    assert not guaranteed
    gain = fs.data_gain(game, fs.ShapleyPayment())
    assert gain > 1.0
    assert not gain.guaranteed


def test_the_ends_are_those_of_the_mechanisms_own_potential() -> None:
    """Half of Shapley's potential is tilted itself, and as it says nothing of its shape, nothing is guaranteed."""

    class HalfPotential(Potential):
        def value(self, s: np.ndarray) -> float:
            return 0.5 * float(fs.shapley_potential(self.game, s)) - float(self.game.costs(s).sum())

        def expansion(self, s: np.ndarray) -> Any:
            whole, cost = super().expansion(s), self.game.cost
            curvature = whole.own - cost.second_derivatives(s)
            return type(whole)(
                value=self.value(s),
                gradient=0.5 * (whole.gradient + cost.derivatives(s)) - cost.derivatives(s),
                own=0.5 * curvature + cost.second_derivatives(s),
                shared=np.sqrt(0.5) * whole.shared,
                magnitude=whole.magnitude,
            )

    class Half(fs.Mechanism):
        def payments(self, game: fs.Game, s: Any) -> np.ndarray:
            return 0.5 * fs.shapley_values(game, s) - game.payoff.values(s)

        def potential(self, game: fs.Game) -> Potential:
            return HalfPotential(game)

    payoff = fs.RandomDiscovery([[0.5], [0.25], [0.25]])  # worth 0.5, 0.25 and 0.25 a unit, of which half is hers
    game = fs.Game(payoff, fs.LinearCost([0.1, 0.125, 0.9]), capacity=[1.0, 1.0, 2.0])
    smallest, largest, guaranteed = fs.equilibrium_range(game, Half())
    assert_allclose([smallest, largest], [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], atol=1e-6)
    assert not guaranteed


# ---- what is guaranteed, by brute force ------------------------------------------------------------------------------


def bent(z: np.ndarray) -> np.ndarray:
    """Straight up to 1, then a logarithm: concave, with a slope that is flat and then falls."""
    return np.where(z < 1.0, z, 1.0 + np.log(np.maximum(z, 1.0)))


def slope_of_bent(z: np.ndarray) -> np.ndarray:
    return 1.0 / np.maximum(z, 1.0)


def bent_curve(weights: Any, groups: Any) -> fs.LearningCurve:
    return fs.LearningCurve(bent, slope_of_bent, weights=weights, groups=groups, concave=True)


def totals_on_a_grid(game: fs.Game, mechanism: fs.Mechanism, points: int, slack: float) -> tuple[float, float]:
    """Smallest and largest total of all profiles on a grid at which nobody gains more than ``slack`` on the grid.

    Utilities by the definition, from payoff values alone.
    """
    axes = [np.linspace(0.0, each, points) for each in game.capacity]
    shape, n = (points,) * game.n_agents, game.n_agents
    utilities = np.empty((*shape, n))
    share = 1.0 - mechanism.beta if isinstance(mechanism, fs.CostSharing) else 1.0
    plain = lambda s: game.payoff.values(np.asarray(s, dtype=float)).tolist()  # noqa: E731
    for place in itertools.product(range(points), repeat=n):
        s = [axis[k] for axis, k in zip(axes, place, strict=True)]
        costs = game.cost.values(s)
        for i in range(n):
            shapley = isinstance(mechanism, fs.ShapleyPayment)
            received = brute_shapley(plain, s, i) if shapley else plain(s)[i]
            utilities[(*place, i)] = received - share * costs[i]
    calm = np.ones(shape, dtype=bool)
    for i in range(n):
        calm &= utilities[..., i] >= utilities[..., i].max(axis=i, keepdims=True) - slack
    totals = np.sum(np.meshgrid(*axes, indexing="ij"), axis=0)
    return float(totals[calm].min()), float(totals[calm].max())


GRIDS: dict[str, tuple[fs.Game, fs.Mechanism]] = {
    "equal costs": (fs.Game(fs.PowerLaw(2), fs.LinearCost([0.16, 0.16]), 3.0), fs.NoPayment()),
    "a flat piece": (fs.Game(bent_curve([[1.0]], [0, 0]), fs.LinearCost([1.0, 1.0]), 2.0), fs.NoPayment()),
    "a flat piece, costs shared": (
        fs.Game(bent_curve([[1.0]], [0, 0]), fs.LinearCost([2.0, 2.0]), 2.0), fs.CostSharing(0.5),
    ),
    "a flat piece, Shapley": (
        fs.Game(bent_curve([[1.0]], [0, 0]), fs.LinearCost([2.0, 2.0]), 2.0), fs.ShapleyPayment(),
    ),
    "unlike groups": (
        fs.Game(fs.PowerLaw(weights=[[1.0, 0.2], [0.1, 0.8]], groups=[0, 0, 1]), fs.LinearCost([0.2, 0.2, 0.3]), 2.0),
        fs.NoPayment(),
    ),
    "no P-matrix": (
        fs.Game(fs.PowerLaw(weights=[[0.5, 1.0], [1.0, 0.5]], groups=[0, 0, 1]), fs.LinearCost([0.1, 0.1, 0.1]), 4.0),
        fs.NoPayment(),
    ),
    "free": (fs.Game(fs.RandomCoverage([[0.9, 0.0], [0.0, 0.9]]), fs.LinearCost([0.0, 0.0]), 4.0), fs.ShapleyPayment()),
    "linear and tied": (
        fs.Game(fs.RandomDiscovery([[0.5], [0.25]]), fs.LinearCost([0.375, 0.1875]), 2.0), fs.ShapleyPayment(),
    ),
    "islands": (
        fs.Game(fs.CustomPayoff(lambda s: (s.prod(axis=-1, keepdims=True) ** 0.3) * np.ones(2), 2, concave=True),
                fs.LinearCost([0.3, 0.3]), 4.0),
        fs.NoPayment(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRIDS)
def test_no_equilibrium_lies_outside_a_guaranteed_range(name: str) -> None:
    game, mechanism = GRIDS[name]
    points = 17 if game.n_agents == 3 else 41
    step = float((game.capacity / (points - 1)).sum())
    low, high = totals_on_a_grid(game, mechanism, points, slack=1e-12)
    smallest, largest, guaranteed = fs.equilibrium_range(game, mechanism)
    for end in (smallest, largest):
        assert fs.regret(game, mechanism, end) <= 1e-8
    if guaranteed:
        assert smallest.sum() - step - 1e-3 <= low
        assert high <= largest.sum() + step + 1e-3
    else:
        assert name in ("no P-matrix", "islands", "unlike groups")


def test_what_is_guaranteed_and_what_not() -> None:
    expected = {"no P-matrix": False, "islands": False}
    found = {name: fs.equilibrium_range(*game).guaranteed for name, game in GRIDS.items()}
    assert found == dict.fromkeys(GRIDS, True) | expected


def test_a_flat_piece_gives_the_whole_interval_of_totals() -> None:
    """Cost 1 a unit on a curve of slope 1 up to 1: every total up to 1 is an equilibrium, and none beyond."""
    smallest, largest, guaranteed = fs.equilibrium_range(*GRIDS["a flat piece"])
    assert guaranteed
    assert_allclose([smallest.sum(), largest.sum()], [0.0, 1.0], atol=1e-9)


@pytest.mark.slow
def test_gains_say_what_their_ranges_say() -> None:
    for mechanism in MECHANISMS:
        game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.1, 0.25, 0.4]))
        known = all(fs.equilibrium_range(game, each).guaranteed for each in (mechanism, fs.NoPayment()))
        assert fs.data_gain(game, mechanism).guaranteed == known
        assert fs.accuracy_gain(game, mechanism).guaranteed == known


@each_of(fs.NoPayment, fs.CostSharing, fs.ShapleyPayment)
@pytest.mark.parametrize("rates", [[0.0, 0.0], [0.0, 0.1]], ids=str)
def test_a_price_that_underflows_is_a_price(mechanism: fs.Mechanism, rates: list[float]) -> None:
    """``exp(-z)`` is no number from 745 on, and yet every free unit is worth something: both ends are the bound."""
    payoff = fs.LearningCurve(lambda z: -np.expm1(-z), lambda z: np.exp(-z), 2, concave=True)
    game = fs.Game(payoff, fs.LinearCost(rates), 1e5)
    for end in fs.equilibrium_range(game, mechanism)[:2]:
        assert end[0] == 1e5
        assert rates[1] > 0.0 or end[1] == 1e5
