"""Outside the federation: stand-alone values, blocking, core-stable partitions and transfers, against brute force."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fedshap as fs
from fedshap.federations import _least_transfers, _Leaving
from games import THREE_AGENTS, random_cases, saturating

DEAR = fs.Game(fs.PowerLaw(3), fs.LinearCost([1.2, 1.2, 0.01]))


def test_two_of_three_leave_and_three_hundredths_keep_them() -> None:
    found = fs.participation(DEAR, fs.ShapleyPayment())
    assert found.blocking == ((0, 1),)
    assert found.stable == (((0, 1), (2,)),)
    assert_allclose(found.alone, [0.0, 0.0, 0.81], atol=1e-9)
    lacking = found.table[0b011, :2].sum() - found.together[:2].sum()
    assert_allclose(found.transfers, [lacking / 2, lacking / 2, -lacking], rtol=1e-7)
    assert_allclose(found.least_transfer / found.together[2], 0.0293, atol=5e-5)


def test_alone_each_trains_for_herself() -> None:
    found = fs.participation(THREE_AGENTS, fs.CostSharing(0.5))  # which one agent cannot play
    rates = np.array([0.10, 0.25, 0.40])
    assert_allclose(found.alone, (1 - rates**0.5) ** 2, rtol=1e-9)


@pytest.mark.parametrize("mechanism", [fs.ShapleyPayment(), fs.NoPayment()], ids=["ShapleyPayment", "NoPayment"])
def test_smaller_federations_are_games_of_their_members(mechanism: fs.Mechanism) -> None:
    weights, rates = np.random.default_rng(1).uniform(0.1, 1.0, (4, 4)), np.array([0.1, 0.2, 0.05, 0.3])
    game = fs.Game(fs.PowerLaw(weights=weights, beta=0.7), fs.LinearCost(rates), [1.0, 5.0, 2.0, 4.0])
    table = fs.participation(game, mechanism).table
    for members in ([0, 2], [1, 2, 3], [0, 1, 2, 3]):
        small = fs.PowerLaw(weights=weights[members][:, members], beta=0.7)
        own = fs.Game(small, fs.LinearCost(rates[members]), game.capacity[members])
        expected = fs.find_equilibrium(own, mechanism).utilities
        assert_allclose(table[sum(1 << i for i in members), members], expected, rtol=1e-9, atol=1e-12)
    assert np.isnan(table[0b0101, [1, 3]]).all()


@pytest.mark.parametrize("kind", range(5))
def test_other_payoffs_have_federations_too(kind: int) -> None:
    case = random_cases(3, seed=6)[kind]
    game = fs.Game(case.payoff, fs.LinearCost([0.2, 0.3, 0.25]), 5.0)
    plain = fs.Game(fs.CustomPayoff(case.payoff.values, 3, case.payoff.jacobian, concave=True), game.cost, 5.0)
    one, two = (fs.participation(each, fs.ShapleyPayment()) for each in (game, plain))
    assert_allclose(one.table, two.table, rtol=1e-8, atol=1e-9)


# ---- blocking and stability, by brute force over tables ------------------------------------------------------------


def partitions(agents: list[int]) -> Iterator[list[tuple[int, ...]]]:
    if not agents:
        yield []
        return
    for size in range(len(agents)):
        for others in itertools.combinations(agents[1:], size):
            block = (agents[0], *others)
            yield from ([block, *rest] for rest in partitions([i for i in agents if i not in block]))


def drawn_table(rng: np.random.Generator, n: int, ties: bool) -> np.ndarray:
    members = (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(bool)
    values = rng.integers(0, 3, members.shape).astype(float) if ties else rng.uniform(0.0, 1.0, members.shape)
    return np.where(members, values, np.nan)


def test_stable_partitions_are_those_that_nobody_blocks() -> None:
    """200 tables, ties first: all partitions against all coalitions."""
    rng, seen = np.random.default_rng(2), []
    for k in range(200):
        n = int(rng.integers(2, 6))
        table = drawn_table(rng, n, ties=k < 100)
        expected = []
        for partition in partitions(list(range(n))):
            have = {i: table[sum(1 << j for j in block), i] for block in partition for i in block}
            leaves = any(all(table[m, i] > have[i] for i in range(n) if m >> i & 1) for m in range(1, 1 << n))
            if not leaves:
                expected.append(tuple(sorted(partition)))
        assert sorted(tuple(sorted(each)) for each in _Leaving(table).stable()) == sorted(expected)
        seen.append(len(expected))
    assert min(seen) == 0
    assert max(seen) > 1


def test_transfers_leave_every_coalition_what_it_has_and_are_least() -> None:
    """200 tables: the core holds; a tenth less does not do."""
    rng, some, none = np.random.default_rng(3), 0, 0
    for _ in range(200):
        n = int(rng.integers(2, 6))
        table = drawn_table(rng, n, ties=False) * rng.uniform(0.2, 1.0)
        table[-1] *= rng.uniform(0.8, 3.0)
        transfers = _least_transfers(table)
        if transfers is None:
            none += 1
            continue
        assert abs(transfers.sum()) < 1e-9
        inside = ~np.isnan(table[1:])
        alone = np.nansum(table[1:], axis=1)
        assert (alone - inside @ (table[-1] + transfers)).max() < 1e-8
        if np.abs(transfers).max() > 1e-6:
            some += 1
            assert (alone - inside @ (table[-1] + 0.9 * transfers)).max() > 1e-8
    assert some > 20
    assert none > 20


def test_nine_agents_are_searched_to_the_end() -> None:
    table = drawn_table(np.random.default_rng(4), 9, ties=False)
    table[-1] = 2.0  # nobody has as much anywhere else
    assert list(_Leaving(table).stable()) == [(tuple(range(9)),)]


@pytest.mark.parametrize(("money", "data"), [(1e-15, 1e15), (1e15, 1e15), (1e15, 1e-15)])
def test_no_units(money: float, data: float) -> None:
    rates = np.array([1.2, 1.2, 0.01]) * money / data
    there = fs.participation(fs.Game(saturating(money, data), fs.LinearCost(rates)), fs.ShapleyPayment())
    here = fs.participation(DEAR, fs.ShapleyPayment())
    assert (there.blocking, there.stable) == (here.blocking, here.stable)
    assert_allclose(there.transfers / money, here.transfers, rtol=1e-6)


def test_too_many_agents_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 12 agents"):
        fs.participation(fs.Game(fs.PowerLaw(13), fs.LinearCost(np.ones(13))), fs.ShapleyPayment())
