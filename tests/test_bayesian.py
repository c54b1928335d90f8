"""Private costs: the expected potential, equilibria against brute force over types, priors of every kind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.interim import Interim, Players
from games import brute_potential, brute_shapley, maximiser, power_law, random_cases, saturating

FAIR = fs.ShapleyPayment()


def two_types(n: int, low: float = 0.1, high: float = 0.4) -> list[fs.Cost]:
    return [fs.LinearCost([low] * n), fs.LinearCost([high] * n)]


@pytest.mark.parametrize(("n", "expected"), [(2, [2.8816, 0.8117]), (3, [3.2352, 0.8892])])
def test_costs_of_a_tenth_or_four(n: int, expected: list[float]) -> None:
    found = fs.BayesianGame(fs.PowerLaw(n), two_types(n), [0.5, 0.5]).equilibrium(FAIR)
    assert_allclose(found.strategies, [expected] * n, atol=5e-5)
    assert found.method == "potential"
    assert found.relative_regret <= 1e-12


def expected_utility(plain, prior, rates, strategies, agent: int, own: int, x: float) -> float:
    """What agent i of a type expects who contributes x: by conditional probabilities, over all types of the others."""
    n, count = strategies.shape
    total, chance = 0.0, 0.0
    for types in itertools.product(range(count), repeat=n):
        if types[agent] == own and prior[types] > 0.0:
            s = [x if j == agent else strategies[j, t] for j, t in enumerate(types)]
            total += prior[types] * float(brute_shapley(plain, s, agent))
            chance += prior[types]
    return total / chance - rates[own][agent] * x


@pytest.mark.parametrize("kind", ["alike", "independent", "correlated"])
def test_no_type_gains_by_another_contribution(kind: str) -> None:
    rng = np.random.default_rng(3)
    weights, rates = rng.uniform(0.2, 1.0, (3, 3)), rng.uniform(0.05, 0.4, (2, 3))
    independent, correlated = rng.dirichlet([1, 1], 3), rng.dirichlet(np.ones(8)).reshape(2, 2, 2)
    given = {"alike": [0.3, 0.7], "independent": independent, "correlated": correlated}[kind]
    game = fs.BayesianGame(fs.PowerLaw(weights=weights), [fs.LinearCost(row) for row in rates], given, capacity=8.0)
    found, plain = game.equilibrium(FAIR), power_law(weights)
    for i, t in itertools.product(range(3), range(2)):

        def utility(x: float, i: int = i, t: int = t) -> float:
            return expected_utility(plain, game.prior, rates, found.strategies, i, t, x)

        here = utility(found.strategies[i, t])
        assert_allclose(found.utilities[i, t], here, rtol=1e-10)
        assert utility(maximiser(utility, 0.0, 8.0)) - here <= 1e-9


def test_moves_of_a_type_change_the_potential_by_what_she_gains_times_her_chance() -> None:
    """200 moves under correlated priors; the potential written out."""
    rng, plain = np.random.default_rng(4), power_law(np.ones((3, 3)), 0.8)
    for _ in range(200):
        prior, rates = rng.dirichlet(np.full(8, 0.5)).reshape(2, 2, 2), rng.uniform(0.1, 0.5, (2, 3))
        game = fs.BayesianGame(fs.PowerLaw(3, alpha=0.8), [fs.LinearCost(row) for row in rates], prior)
        players = Players(game.payoff, game.cost_types, game.prior, game.capacity)
        rule = Interim(players, FAIR)
        potential = rule.potential(players.game)
        assert potential is not None
        strategies, k = rng.uniform(0.0, 4.0, (3, 2)), int(rng.integers(6))
        moved = strategies.copy()
        moved[k // 2, k % 2] = rng.uniform(0.0, 6.0)

        def height(sigma, prior=prior, rates=rates) -> float:
            return sum(
                prior[types]
                * (
                    float(brute_potential(plain, [sigma[j, t] for j, t in enumerate(types)]))
                    - sum(rates[t][j] * sigma[j, t] for j, t in enumerate(types))
                )
                for types in itertools.product(range(2), repeat=3)
            )

        rise = potential.value(moved.ravel()) - potential.value(strategies.ravel())
        assert_allclose(rise, height(moved) - height(strategies), atol=1e-12)
        gained = rule.utilities(players.game, moved.ravel())[k] - rule.utilities(players.game, strategies.ravel())[k]
        assert_allclose(rise, gained, atol=1e-12)


def test_expansion_holds_the_derivatives_of_the_potential() -> None:
    prior = np.random.default_rng(5).dirichlet(np.ones(8)).reshape(2, 2, 2)
    players = Players(fs.PowerLaw(3), two_types(3), prior, np.full(3, np.inf))
    potential = Interim(players, FAIR).potential(players.game)
    assert potential is not None
    s, step = np.array([1.0, 2.0, 0.5, 3.0, 0.2, 1.5]), 1e-4
    here = potential.expansion(s)
    rises = [(potential.value(s + step * e) - potential.value(s - step * e)) / (2 * step) for e in np.eye(6)]
    slopes = [(potential.gradient(s + step * e) - potential.gradient(s - step * e)) / (2 * step) for e in np.eye(6)]
    assert_allclose(here.value, potential.value(s), rtol=1e-12)
    assert_allclose(here.gradient, rises, rtol=1e-6)
    assert_allclose(-here.matrix(), slopes, rtol=1e-5, atol=1e-7)


def test_one_type_is_the_game_itself() -> None:
    case, cost = random_cases(3, seed=8)[1], fs.PowerCost([0.1, 0.3, 0.2], 1.5)
    for mechanism in (FAIR, fs.ParticipantsShapley(), fs.NoPayment(), fs.AumannShapleyPayment()):
        found = fs.BayesianGame(case.payoff, [cost], [1.0], capacity=9.0).equilibrium(mechanism)
        expected = fs.find_equilibrium(fs.Game(case.payoff, cost, 9.0), mechanism)
        assert_allclose(found.strategies[:, 0], expected.contributions, rtol=1e-6, atol=1e-8)
        assert_allclose(found.utilities[:, 0], expected.utilities, rtol=1e-8)


def test_a_common_prior_and_its_product_are_the_same() -> None:
    product = np.einsum("i,j,k->ijk", [0.3, 0.7], [0.3, 0.7], [0.3, 0.7])
    one, two = (fs.BayesianGame(fs.PowerLaw(3), two_types(3), prior) for prior in ([0.3, 0.7], product))
    assert_allclose(one.equilibrium(FAIR).strategies, two.equilibrium(FAIR).strategies, rtol=1e-9)


def test_types_known_to_all_are_games_of_their_own() -> None:
    """All low or all high: knowing her own type an agent knows all, and plays as in the game of that type."""
    prior = np.zeros((2, 2, 2))
    prior[0, 0, 0], prior[1, 1, 1] = 0.25, 0.75
    found = fs.BayesianGame(fs.PowerLaw(3), two_types(3), prior).equilibrium(FAIR).strategies
    for t, cost in enumerate(two_types(3)):
        assert_allclose(found[:, t], fs.find_equilibrium(fs.Game(fs.PowerLaw(3), cost), FAIR).contributions, rtol=1e-7)


def test_a_type_that_never_occurs_has_no_strategy() -> None:
    found = fs.BayesianGame(fs.PowerLaw(3), two_types(3), [[1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]).equilibrium(FAIR)
    assert np.isnan(found.strategies[0, 1])
    assert np.isfinite(found.strategies).sum() == 5


@pytest.mark.parametrize(("money", "data"), [(1e-15, 1e15), (1e15, 1e15), (1e15, 1e-15)])
def test_no_units(money: float, data: float) -> None:
    costs = two_types(3, 0.1 * money / data, 0.4 * money / data)
    found = fs.BayesianGame(saturating(money, data), costs, [0.5, 0.5]).equilibrium(FAIR)
    assert_allclose(found.strategies / data, [[3.2352, 0.8892]] * 3, atol=5e-5)
    assert found.relative_regret <= 1e-9


BAD = {
    "sum": ([0.5, 0.6], "must sum up to 1"),
    "shape": ([0.2, 0.3, 0.5], "prior must have shape"),
    "joint sum": (np.full((2, 2, 2), 0.2), "must sum up to 1"),
    "negative": ([1.5, -0.5], "prior must"),
}


@pytest.mark.parametrize(("prior", "message"), BAD.values(), ids=BAD)
def test_bad_priors_are_refused(prior, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fs.BayesianGame(fs.PowerLaw(3), two_types(3), prior)


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="cost_types must be at least one cost"):
        fs.BayesianGame(fs.PowerLaw(3), two_types(2), [0.5, 0.5])
    with pytest.raises(ValueError, match="combinations; at most 4096"):
        fs.BayesianGame(fs.PowerLaw(13), two_types(13), [0.5, 0.5])
    with pytest.raises(ValueError, match="depend on costs, which are private"):
        fs.BayesianGame(fs.PowerLaw(3), two_types(3), [0.5, 0.5]).equilibrium(fs.CostSharing(0.5))
