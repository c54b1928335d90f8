"""Markets of groups against best responses, first-order conditions and the sorted costs of a common payoff."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.equilibrium.best_responses import best_responses
from fedshap.equilibrium.clearing import clear
from fedshap.mechanisms.markets import Markets
from games import MECHANISMS, each_of

MNIST = np.array([[3.1e-3, 4.7e-4, 4.4e-4], [6.7e-4, 1.9e-3, 6.5e-4], [9.3e-4, 8.3e-4, 2.1e-3]])
MARKETS = fs.NoPayment, fs.CostSharing  # whose groups are markets that clear


def grouped_game(n: int, seed: int, capacity: float, *, exponent: float = 1.0, beta: float = 1.0) -> fs.Game:
    rng = np.random.default_rng(seed)
    rates = rng.uniform(0.0005, 0.001, n)
    cost = fs.LinearCost(rates) if exponent == 1.0 else fs.PowerCost(rates, exponent)
    weights = MNIST * rng.uniform(0.5, 2.0, (3, 3)) * 30.0 / n
    return fs.Game(fs.PowerLaw(weights=weights, groups=np.arange(n) % 3, beta=beta), cost, capacity)


def violation(game: fs.Game, mechanism: fs.Mechanism, s: np.ndarray) -> np.ndarray:
    """How far each agent's first-order condition is missed, relative to her marginal cost."""
    slope = mechanism.marginal_utilities(game, s)
    at_zero, full = s == 0.0, s == game.capacity
    missed = np.where(at_zero, np.maximum(slope, 0.0), np.where(full, np.maximum(-slope, 0.0), np.abs(slope)))
    return missed / game.cost.derivatives(np.maximum(s, 1e-3))


@each_of(*MARKETS)
@pytest.mark.parametrize("capacity", [5.0, 100.0, np.inf])
@pytest.mark.parametrize("exponent", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("n", [3, 30, 3000])
def test_first_order_conditions_hold(mechanism: fs.Mechanism, capacity: float, exponent: float, n: int) -> None:
    game = grouped_game(n, seed=n, capacity=capacity, exponent=exponent)
    found = fs.find_equilibrium(game, mechanism)
    # With n = 3 each agent is a group of her own, and best responses do it.
    assert found.method == ("best responses" if n == 3 else "market clearing")
    assert violation(game, mechanism, found.contributions).max() < 1e-9
    assert found.regret < 1e-12


@each_of(*MARKETS)
@pytest.mark.parametrize("seed", range(4))
def test_best_responses_end_in_the_same_totals(mechanism: fs.Mechanism, seed: int) -> None:
    game = grouped_game(12, seed, capacity=40.0, exponent=1.5, beta=0.5)
    s = fs.find_equilibrium(game, mechanism).contributions
    other, _ = best_responses(game, mechanism, np.full(12, 20.0))
    assert_allclose(s, other, rtol=1e-8, atol=1e-8)


def test_a_common_payoff_is_supplied_in_order_of_cost() -> None:
    """Sorted by hand: the cheapest give all they have until the price 1/(1+S)^2 meets the next one's rate."""
    rng = np.random.default_rng(0)
    rates, capacity = rng.uniform(1e-4, 1e-2, 200), rng.uniform(0.1, 1.0, 200)
    expected, total = np.zeros(200), 0.0
    for agent in np.argsort(rates):
        gives = np.clip(rates[agent] ** -0.5 - 1.0 - total, 0.0, capacity[agent])
        expected[agent] = gives
        total += gives
    s = fs.find_equilibrium(fs.Game(fs.PowerLaw(200), fs.LinearCost(rates), capacity), fs.NoPayment()).contributions
    assert_allclose(s, expected, rtol=1e-10, atol=1e-10)
    assert 0 < (s > 0).sum() < 200


def test_equal_agents_share_evenly() -> None:
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.1, 0.1, 0.1, 0.4]), [0.2, np.inf, np.inf, np.inf])
    s = fs.find_equilibrium(game, fs.NoPayment()).contributions
    assert_allclose(s.sum(), 10.0**0.5 - 1.0, rtol=1e-12)
    assert s[1] == pytest.approx(s[2], rel=1e-12)
    assert s[0] <= 0.2
    assert s[3] == 0.0


@pytest.mark.parametrize("n", [10**5])
def test_many_agents(n: int) -> None:
    for mechanism in (m for m in MECHANISMS if isinstance(m, MARKETS)):
        game = grouped_game(n, seed=1, capacity=100.0)
        s = fs.find_equilibrium(game, mechanism).contributions
        assert violation(game, mechanism, s).max() < 1e-9


def test_progress_is_told() -> None:
    for mechanism in MECHANISMS:
        told: dict[int, float] = {}
        found = fs.find_equilibrium(grouped_game(6, seed=0, capacity=50.0), mechanism, progress=told.__setitem__)
        assert list(told) == list(range(1, found.iterations + 1))


def test_who_bears_no_cost_gives_everything() -> None:
    game = grouped_game(6, seed=0, capacity=7.0)
    assert (fs.find_equilibrium(game, fs.CostSharing(1.0)).contributions == 7.0).all()


def test_no_market_without_a_concave_curve_or_groups() -> None:
    assert Markets.of(grouped_game(3, 0, 1.0)) is None  # everybody a group of her own
    curve = fs.LearningCurve(lambda z: z**2, lambda z: 2.0 * z, 4)
    assert Markets.of(fs.Game(curve, fs.LinearCost([1.0] * 4), 1.0)) is None
    discovery = fs.RandomDiscovery(np.full((4, 1), 0.1))
    assert Markets.of(fs.Game(discovery, fs.LinearCost([1.0] * 4), 1.0)) is None


@pytest.mark.parametrize(
    ("weights", "unique"),
    [
        (np.eye(3), True),
        (MNIST, True),
        ([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]], False),  # a negative minor
        ([[1.0, 0.0, 2.0], [2.0, 1.0, 0.0], [0.0, 2.0, 1.0]], True),  # a P-matrix that is not positive definite
        (np.ones((3, 3)), False),
    ],
)
def test_p_matrices_are_told(weights: np.ndarray, unique: bool) -> None:
    payoff = fs.PowerLaw(weights=weights, groups=[0, 1, 2, 0])
    clearing = Markets.of(fs.Game(payoff, fs.LinearCost([0.1] * 4)))
    assert clearing is not None
    assert clearing.unique is unique


def test_without_a_p_matrix_totals_need_not_be_unique() -> None:
    """Two groups whose data are worth more to the other than to themselves: either may feed both."""
    payoff = fs.PowerLaw(weights=[[1.0, 3.0, 0.0], [3.0, 1.0, 0.0], [0.0, 0.0, 1.0]], groups=[0, 0, 1, 1, 2, 2])
    game = fs.Game(payoff, fs.LinearCost([0.1] * 6))
    ends = [clear(Markets.of(game), np.array(start)) for start in ([9.0, 0, 0, 0, 1, 1], [0, 0, 9.0, 0, 1, 1])]
    profiles = [end[0] for end in ends if end is not None]
    assert len(profiles) == 2
    for s in profiles:
        assert fs.regret(game, fs.NoPayment(), s) < 1e-12
    assert abs(profiles[0] - profiles[1]).max() > 0.5
    assert not fs.equilibrium_range(game, fs.NoPayment()).guaranteed


def test_more_than_twelve_groups_are_unique_if_the_symmetric_part_is_positive() -> None:
    """Beyond twelve groups no minors are computed: a positive definite symmetric part is asked for, and found out."""
    n = 13
    payoffs = {
        True: fs.PowerLaw(weights=np.eye(n) + 0.05, groups=np.repeat(np.arange(n), 2)),
        False: fs.PowerLaw(weights=np.eye(n) + 2.0 * (1.0 - np.eye(n)), groups=np.repeat(np.arange(n), 2)),
    }
    for unique, payoff in payoffs.items():
        markets = Markets.of(fs.Game(payoff, fs.LinearCost([0.1] * 2 * n)))
        assert markets is not None
        assert markets.unique is unique


def test_sweeps_that_creep_are_extrapolated() -> None:
    """Groups that nearly replace one another: 5 sweeps, which are 717 without extrapolation."""
    payoff = fs.PowerLaw(weights=[[1.0, 0.98], [0.98, 1.0]], groups=[0, 1, 0, 1])
    markets = fs.NoPayment().markets(fs.Game(payoff, fs.LinearCost([0.1, 0.101, 0.1, 0.101])))
    assert markets is not None
    cleared = clear(markets, np.ones(4))
    assert cleared is not None
    assert cleared[1] <= 10


@pytest.mark.parametrize("capacity", [[np.inf, np.inf, 0.2, 5.0], [5.0, 0.2, np.inf, 0.1], [0.2, 0.3, 0.1, 9.0]])
def test_indifferent_agents_share_evenly_up_to_their_capacities(capacity: list[float]) -> None:
    """1/(1+S)^2 = 0.1: nobody gives more than her capacity, and those below it give the same."""
    game = fs.Game(fs.PowerLaw(4), fs.LinearCost([0.1] * 4), capacity)
    s = fs.find_equilibrium(game, fs.NoPayment()).contributions
    assert_allclose(s.sum(), 10.0**0.5 - 1.0, rtol=1e-12)
    open_ones = s < np.array(capacity)
    assert_allclose(s[open_ones], s[open_ones].max(), rtol=1e-12)
    assert (s[~open_ones] <= s[open_ones].max()).all()
