"""Shapley shares among those who take part: against brute force, the budget, the potential, stand-alone payoffs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.payoffs.mixtures import Mixture
from fedshap.shapley.participants import ParticipantIntegrals
from games import brute_participants, custom_case, power_law, random_cases

RULE = fs.ParticipantsShapley()


@pytest.mark.parametrize("n", [3, 5])
def test_values_are_the_definition(n: int) -> None:
    rng = np.random.default_rng(n)
    for case in [*random_cases(n, seed=31), custom_case(n, seed=31)]:
        game = fs.Game(case.payoff, fs.LinearCost(np.ones(n)))
        for s in (
            rng.uniform(0.0, 4.0, n),
            np.append(np.zeros(n - 1), 2.0),
            np.zeros(n),
            10.0 ** -np.arange(1.0, n + 1),
        ):
            expected = [float(brute_participants(case.plain, s.tolist(), i)) for i in range(n)]
            assert_allclose(RULE.received(game, s), expected, rtol=1e-12, atol=1e-14, err_msg=case.id)


def test_by_hand() -> None:
    # v of coalitions with agent 0, who has data for f = 1/2: 1/2 for each member. In her place k she adds k/2.
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([1.0] * 3))
    assert_allclose(RULE.received(game, [1.0, 0.0, 0.0]), [1.0, 0.25, 0.25], rtol=1e-14)


@pytest.mark.parametrize("method", ["values", "own_gradient"])
def test_many_agents_as_a_few_points(method: str) -> None:
    rng = np.random.default_rng(4)
    payoff = fs.PowerLaw(weights=rng.uniform(0.1, 1.0, (3, 3)), groups=rng.integers(0, 3, 400), beta=0.4)
    game, s = fs.Game(payoff, fs.LinearCost(np.ones(400))), rng.uniform(0.0, 2.0, 400) * rng.integers(0, 2, 400)
    few, each = (getattr(ParticipantIntegrals(game, s, direct=direct), method)() for direct in (False, True))
    assert_allclose(few, each, rtol=1e-11)
    assert_allclose(ParticipantIntegrals(game, s).potential(), ParticipantIntegrals(game, s, direct=True).potential())


def test_curvature_of_points_bounds_that_of_agents() -> None:
    rng = np.random.default_rng(5)
    game, s = fs.Game(fs.PowerLaw(120), fs.LinearCost(np.ones(120))), rng.uniform(0.0, 0.2, 120)
    bound, exact = (ParticipantIntegrals(game, s, direct=direct).expansion().matrix() for direct in (False, True))
    slack = np.linalg.eigvalsh(bound - exact)
    assert slack.min() >= -1e-9 * np.abs(exact).max()
    assert slack.max() <= 0.2 * np.abs(exact).max()


def test_enumeration_and_quadrature_agree() -> None:
    rng = np.random.default_rng(6)
    for case in random_cases(6, seed=7):
        cost = fs.PowerCost(rng.uniform(0.1, 0.5, 6), 1.5)
        games = [
            fs.Game(payoff, cost, 10.0)
            for payoff in (case.payoff, fs.CustomPayoff(case.payoff.values, 6, case.payoff.jacobian, concave=True))
        ]
        s, x = rng.uniform(0.0, 3.0, 6), rng.uniform(0.0, 9.0, (6, 4))
        for name in ("received", "marginal_utilities"):
            one, two = (getattr(RULE, name)(game, s) for game in games)
            assert_allclose(one, two, rtol=1e-12, atol=1e-13, err_msg=case.id)
        one, two = (RULE.deviation_utilities(game, s, x) for game in games)
        assert_allclose(one - one[:, :1], two - two[:, :1], rtol=1e-11, atol=1e-12)
        one, two = (fs.find_equilibrium(game, RULE).contributions for game in games)
        assert_allclose(one, two, rtol=1e-6, atol=1e-8)


def test_the_budget_is_balanced_whatever_there_is_without_data() -> None:
    rng = np.random.default_rng(8)
    for k in range(200):
        n = int(rng.integers(2, 8))
        payoff = fs.PowerLaw(weights=rng.uniform(0.0, 1.0, (n, n)), alpha=rng.uniform(0.1, 1.0), beta=0.5)
        s = rng.uniform(0.0, 9.0, n) * (rng.integers(0, 2, n) if k % 2 else 1)
        assert abs(RULE.payments(fs.Game(payoff, fs.LinearCost(np.ones(n))), s).sum()) < 1e-13


def standalone_draws(count: int = 200) -> Any:
    """First those to whom others' data are (next to) nothing, where nothing is gained by joining."""
    rng = np.random.default_rng(9)
    for k in range(count):
        n, beta = int(rng.integers(3, 6)), float(rng.uniform(0.1, 1.0))
        weights = rng.uniform(0.1, 1.0, (n, n))
        if k < count // 2:
            weights = np.where(np.eye(n), weights, weights * 10.0 ** -rng.uniform(5.0, 12.0))
        yield weights, beta, rng.uniform(0.1, 5.0, n)


def test_nobody_receives_less_than_alone_and_some_no_more() -> None:
    slack = []
    for weights, beta, s in standalone_draws():
        game = fs.Game(fs.PowerLaw(weights=weights, beta=beta), fs.LinearCost(np.ones(len(s))))
        plain = power_law(weights, 1.0, beta)
        alone = [plain([x if j == i else 0.0 for j in range(len(s))])[i] for i, x in enumerate(s.tolist())]
        slack.append((RULE.received(game, s) / alone).min() - 1)
    assert min(slack) >= -1e-12
    assert min(slack) <= 1e-6


def test_in_equilibrium_nobody_has_less_than_her_best_alone() -> None:
    """The game in which M^Shap leaves agent 0 with 0.156 of the 0.468 that she has alone."""
    payoff = fs.PowerLaw(weights=[[1.0, 1.0], [0.0, 1.0]])
    game = fs.Game(payoff, fs.LinearCost([0.1, 0.01]))
    fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    assert_allclose(fair.utilities[0], 0.156, atol=5e-4)
    joined = fs.find_equilibrium(game, RULE)
    alone = [1 - 0.1**0.5 - 0.1 * (0.1**-0.5 - 1), 1 - 0.1 - 0.01 * 9.0]
    assert_allclose(alone, [0.4675, 0.81], atol=5e-5)
    assert (joined.utilities >= alone).all()


def test_moves_change_utilities_as_they_change_the_potential() -> None:
    rng = np.random.default_rng(10)
    for k in range(200):
        n = int(rng.integers(3, 6))
        game = fs.Game(fs.PowerLaw(weights=rng.uniform(0.0, 1.0, (n, n)), alpha=0.8), fs.PowerCost(np.ones(n), 1.5))
        plain = power_law(game.payoff.weights, 0.8)  # type: ignore[attr-defined]
        s, i = rng.uniform(0.0, 4.0, n), int(rng.integers(n))
        moved = np.where(np.arange(n) == i, rng.uniform(0.0, 9.0) * (k % 3 > 0), s)
        earned = [float(brute_participants(plain, x.tolist(), i)) - x[i] ** 1.5 for x in (s, moved)]
        potential = RULE.potential(game)
        assert_allclose(potential.value(moved) - potential.value(s), earned[1] - earned[0], atol=1e-12)
        assert potential.concave is True


@pytest.mark.parametrize("kind", ["mixture", "custom"])
def test_expansion_holds_the_derivatives_of_the_potential(kind: str) -> None:
    case = random_cases(3, seed=11)[1] if kind == "mixture" else custom_case(3, seed=11)
    potential = RULE.potential(fs.Game(case.payoff, fs.PowerCost([0.1, 0.3, 0.2], 2.0)))
    s, step = np.array([1.0, 2.0, 0.5]), 1e-4
    here = potential.expansion(s)
    slopes = [(potential.gradient(s + step * e) - potential.gradient(s - step * e)) / (2 * step) for e in np.eye(3)]
    rises = [(potential.value(s + step * e) - potential.value(s - step * e)) / (2 * step) for e in np.eye(3)]
    assert_allclose(here.value, potential.value(s), rtol=1e-12)
    assert_allclose(here.gradient, rises, rtol=1e-6)
    assert_allclose(-here.matrix(), slopes, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("n", "k"), [(8, 4), (12, 8)])
def test_it_is_not_approximately_reciprocal(n: int, k: int) -> None:
    """One brings 1, where ``min(m, 1)`` is full; the others 1/k each. The sums over coalition sizes by hand."""
    payoff = fs.LearningCurve(lambda z: np.minimum(z, 1.0), lambda z: (z < 1.0) * 1.0, n, concave=True)
    s = np.append(1.0, np.full(n - 1, 1.0 / k))
    sizes = np.arange(n)
    lacking = np.maximum(1.0 - sizes / k, 0.0)
    ratio = (1.0 + (sizes * lacking).sum() / n) / lacking.sum()
    game = fs.Game(payoff, fs.LinearCost(np.ones(n)))
    assert_allclose(RULE.received(game, s)[0] / fs.shapley_values(game, s)[0], ratio, rtol=1e-12)
    assert ratio < 2.4 / np.sqrt(n)


def test_one_of_a_thousand_agents_is_left_an_eighth() -> None:
    game = fs.Game(fs.PowerLaw(1000), fs.LinearCost(np.ones(1000)))
    assert fs.reciprocity(game, RULE, np.append(10.0, np.full(999, 0.1))) < 0.131


def test_a_hundred_and_fifty_agents_are_solved_by_the_potential() -> None:
    rates = np.random.default_rng(0).uniform(0.5, 2.0, 150)
    found = fs.find_equilibrium(fs.Game(fs.PowerLaw(150), fs.PowerCost(rates, 1.5)), RULE)
    assert found.method == "potential"
    assert found.iterations < 30
    assert found.relative_regret <= 1e-12


def test_more_than_twenty_agents_need_a_mixture() -> None:
    payoff = fs.CustomPayoff(lambda s: np.tanh(s), 21, concave=True)
    with pytest.raises(ValueError, match="ParticipantsShapley needs at most 20 agents"):
        RULE.payments(fs.Game(payoff, fs.LinearCost(np.ones(21))), np.ones(21))


def test_wrong_parts_of_a_mixture_are_refused() -> None:
    class Wrong(fs.PowerLaw):
        def mixture(self, s: Any, tolerance: float = 1e-14) -> Mixture:
            form = super().mixture(s, tolerance)
            assert form is not None
            assert form.shares is not None
            return dataclasses.replace(
                form, shares=dataclasses.replace(form.shares, coefficients=2.0 * form.shares.coefficients)
            )

    with pytest.raises(ValueError, match="not its payoffs, agent by agent"):
        RULE.payments(fs.Game(Wrong(3), fs.LinearCost([0.1] * 3)), [1.0, 2.0, 3.0])


def test_parts_of_a_mixture_add_up_to_it() -> None:
    rng = np.random.default_rng(3)
    payoffs = [case.payoff for case in random_cases(5, seed=2)]
    payoffs.append(fs.PowerLaw(weights=rng.uniform(0.0, 1.0, (3, 3)), groups=[0, 0, 2, 2, 2]))
    for payoff in payoffs:
        s = rng.uniform(0.0, 3.0, 5)
        form = payoff.mixture(s)
        assert form is not None
        assert_allclose(form.own_gains(s)[form.classes], payoff.gains(s), rtol=1e-11)
