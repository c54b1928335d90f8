"""Many names: numbers of the book, brute force over the named game, and rules under which names are worth nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.payoffs.regrouped import Regrouped
from games import (
    THREE_AGENTS,
    TWO_AGENTS,
    brute_participants,
    brute_shapley,
    custom_case,
    power_law,
    random_cases,
    saturating,
)

FAIR = fs.find_equilibrium(THREE_AGENTS, fs.ShapleyPayment()).contributions


def test_example_4_split() -> None:
    shares = [fs.names(TWO_AGENTS, fs.ShapleyPayment(), 0, k).received for k in (1, 2, 3, 8)]
    assert_allclose(shares, [1.017, 1.131, 1.176, 1.235], atol=6e-4)


def test_three_hospitals_split_and_choose_anew() -> None:
    best = [
        [fs.names(THREE_AGENTS, rule, 0, k, FAIR).best_utility for k in (1, 2, 4)]
        for rule in (fs.ShapleyPayment(), fs.AumannShapleyPayment())
    ]
    assert_allclose(best, [[0.8942, 1.1275, 1.3092], [1.3535] * 3], atol=6e-5)
    assert_allclose(fs.names(THREE_AGENTS, fs.ShapleyPayment(), 0, 1, FAIR).best_contribution, FAIR[0], rtol=1e-6)


@pytest.mark.parametrize("k", [2, 3])
def test_receipts_are_those_of_the_named_game(k: int) -> None:
    """Payoffs counted once, in whatever parts, by brute force over all coalitions of names."""
    rng = np.random.default_rng(k)
    for _ in range(3):
        weights, s = rng.uniform(0.0, 1.0, (3, 3)), rng.uniform(0.1, 3.0, 3)
        game = fs.Game(fs.PowerLaw(weights=weights), fs.LinearCost([0.1, 0.2, 0.3]))
        plain = power_law(weights)

        def named(x, plain=plain):
            payoffs = plain([x[0] + sum(x[3:]), x[1], x[2]])
            return [payoffs[0] / k, *payoffs[1:], *[payoffs[0] / k] * (k - 1)]

        split = [s[0] / k, s[1], s[2], *[s[0] / k] * (k - 1)]
        hers = [0, *range(3, 2 + k)]
        for rule, brute in ((fs.ShapleyPayment(), brute_shapley), (fs.ParticipantsShapley(), brute_participants)):
            expected = sum(float(brute(named, split, i)) for i in hers)
            found = fs.names(game, rule, 0, k, s)
            assert_allclose(found.received, expected, rtol=1e-12)
            assert_allclose(found.utility, expected - 0.1 * s[0], rtol=1e-11)


def test_splitting_pays_under_shapley_and_never_under_aumann_shapley() -> None:
    """200 draws. With diminishing returns a name comes in beside fewer of her own data: first where that is least."""
    rng, gains = np.random.default_rng(5), []
    for k in range(200):
        payoff = random_cases(3, seed=k % 11)[k % 4].payoff
        game = fs.Game(payoff, fs.LinearCost(np.ones(3)))
        s = rng.uniform(0.1, 3.0, 3) * (1e-6 if k < 50 else 1.0)
        split = Regrouped(payoff, np.array([0, 1, 2, 0]), np.array([0.5, 1.0, 1.0, 0.5]))
        named = fs.Game(split, fs.LinearCost(np.ones(4)))
        parts = np.array([s[0] / 2, s[1], s[2], s[0] / 2])
        for rule in (fs.ShapleyPayment(), fs.AumannShapleyPayment()):
            one, two = rule.received(game, s)[0], rule.received(named, parts)[[0, 3]].sum()
            if isinstance(rule, fs.AumannShapleyPayment):
                assert_allclose(two, one, rtol=1e-12)
            else:
                gains.append(two / one - 1.0)
    assert min(gains) >= -1e-9
    assert min(gains) < 1e-5 < 0.02 < max(gains)


def test_an_own_payoff_is_split_as_well() -> None:
    case = custom_case(3, seed=3)
    known = fs.Game(random_cases(3, seed=3)[1].payoff, fs.LinearCost([0.1, 0.2, 0.3]))
    own = fs.Game(case.payoff, known.cost)
    for rule in (fs.ShapleyPayment(), fs.ParticipantsShapley(), fs.AumannShapleyPayment(), fs.DampedShapley(0.5)):
        found, expected = (fs.names(game, rule, 1, 2, [1.0, 2.0, 0.5]) for game in (own, known))
        assert_allclose(found.received, expected.received, rtol=1e-9)
        assert_allclose(found.best_utility, expected.best_utility, rtol=1e-9)


def test_one_name_changes_nothing_and_no_payment_pays_no_names() -> None:
    for rule in (fs.NoPayment(), fs.ShapleyPayment(), fs.CostSharing(0.5)):
        found = fs.names(THREE_AGENTS, rule, 1, 1, FAIR)
        assert found.gain == 0.0
        assert_allclose(found.utility, rule.utilities(THREE_AGENTS, FAIR)[1], rtol=1e-12)
    assert abs(fs.names(THREE_AGENTS, fs.NoPayment(), 0, 3, FAIR).gain) < 1e-15


def test_capacities_and_minima_are_those_of_all_names_together() -> None:
    game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.01, 0.25, 0.4]), capacity=2.0, minimum=[0.5, 0.0, 0.0])
    assert fs.names(game, fs.ShapleyPayment(), 0, 3, [1.0, 1.0, 1.0]).best_contribution == 2.0
    dear = fs.Game(fs.PowerLaw(3), fs.LinearCost([50.0, 0.25, 0.4]), capacity=2.0, minimum=[0.5, 0.0, 0.0])
    assert fs.names(dear, fs.ShapleyPayment(), 0, 3, [1.0, 1.0, 1.0]).best_contribution == 0.5


@pytest.mark.parametrize("unit", [1e-15, 1e15])
def test_no_units(unit: float) -> None:
    there = fs.Game(saturating(unit, unit), fs.LinearCost([0.10, 0.25, 0.40]))
    for rule in (fs.ShapleyPayment(), fs.AumannShapleyPayment()):
        ours, theirs = (fs.names(g, rule, 0, 2, s) for g, s in ((THREE_AGENTS, FAIR), (there, FAIR * unit)))
        assert_allclose(theirs.received / unit, ours.received, rtol=1e-9)
        assert_allclose(theirs.best_utility / unit, ours.best_utility, rtol=1e-9)
        assert_allclose(theirs.best_contribution / unit, ours.best_contribution, rtol=1e-5)


@pytest.mark.parametrize(
    ("agent", "k", "message"),
    [(3, 2, r"agent must lie in 0\.\.2"), (-1, 2, "agent must be an integer"), (0, 0, "k must be an integer")],
    ids=["who", "negative", "none"],
)
def test_bad_arguments(agent: int, k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fs.names(THREE_AGENTS, fs.ShapleyPayment(), agent, k)


def test_giving_without_bound_is_refused() -> None:
    free = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.0, 0.25, 0.4]))
    with pytest.raises(ValueError, match="without bound"):
        fs.names(free, fs.ShapleyPayment(), 0, 2, [1.0, 1.0, 1.0])
