"""What callers mix up: each bad call is refused by the argument's name, with what was probably meant."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fedshap as fs
from fedshap._validation import as_array, as_integer_labels
from games import THREE_AGENTS, TWO_AGENTS

COST, S = fs.LinearCost([0.1, 0.2, 0.3]), np.ones(3)
SOLVE = partial(fs.find_equilibrium, THREE_AGENTS)
WALK = partial(fs.best_response_dynamics, step=1.0, steps=1)
FREE = fs.find_equilibrium(THREE_AGENTS, fs.NoPayment())
OTHERS = fs.find_equilibrium(TWO_AGENTS, fs.NoPayment())
GAIN = partial(fs.data_gain, THREE_AGENTS, fs.ShapleyPayment())
MASKED = np.ma.masked_array([1.0, 2.0, 3.0], mask=[False, True, False])
A_GAME, A_RULE = r"game must be a Game; got 'game'", r"mechanism must be a Mechanism; got "
METRICS = {"budget_gap": (), "reciprocity": (), "rationality": (), "unequal_treatment": ([0, 1],)}

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    # a class or a word for a mechanism
    "the class": (lambda: SOLVE(fs.NoPayment), A_RULE + r"NoPayment: that is the class, NoPayment\(\) is"),
    "a word": (lambda: SOLVE("shapley"), A_RULE + r"'shapley': did you mean ShapleyPayment\(\)\?"),
    "a misspelt word": (lambda: SOLVE("NoPaymnt"), A_RULE + r"'NoPaymnt': did you mean NoPayment\(\)\?"),
    "another word": (lambda: SOLVE("q"), A_RULE + r"'q'$"),
    "nothing": (lambda: SOLVE(None), A_RULE + "None"),
    "the wrong way round": (
        lambda: fs.find_equilibrium(fs.NoPayment(), THREE_AGENTS),
        r"game must be a Game; got NoPay",
    ),
    "payoff for a game": (lambda: fs.regret(fs.PowerLaw(3), fs.NoPayment(), S), r"game must be a Game; got PowerLaw"),
    "the game's class": (lambda: fs.shapley_values(fs.Game, S), r"game must be a Game; got Game: that is the class"),
    "regret of a word": (lambda: fs.regret(THREE_AGENTS, "none", S), A_RULE + "'none'"),
    "range of a word": (lambda: fs.equilibrium_range(THREE_AGENTS, "none"), A_RULE + "'none'"),
    "range of no game": (lambda: fs.equilibrium_range("game", fs.NoPayment()), A_GAME),
    "walk of a word": (lambda: WALK(THREE_AGENTS, "none"), A_RULE + "'none'"),
    "walk of no game": (lambda: WALK("game", fs.NoPayment()), A_GAME),
    "values of no game": (lambda: fs.shapley_values("game", S), A_GAME),
    "gradient of no game": (lambda: fs.shapley_gradient("game", S), A_GAME),
    "potential of no game": (lambda: fs.shapley_potential("game", S), A_GAME),
    "Hessian of no game": (lambda: fs.shapley_hessian("game", S), A_GAME),
    "limit of no game": (lambda: fs.aumann_shapley_values("game", S), A_GAME),
    "gain of a class": (lambda: fs.data_gain(THREE_AGENTS, fs.NoPayment), A_RULE + "NoPayment: that is the class"),
    "payoff's class": (lambda: fs.Game(fs.PowerLaw, COST), r"payoff must be a Payoff, such as .*got PowerLaw: that is"),
    "payoff a word": (
        lambda: fs.Game("power", COST),
        r"payoff must be .*CustomPayoff.* 'power': did you mean PowerLaw",
    ),
    "cost a number": (lambda: fs.Game(fs.PowerLaw(3), 0.1), r"cost must be a Cost, such as LinearCost.*; got 0.1"),
    # settings
    "progress a number": (
        lambda: SOLVE(fs.NoPayment(), progress=3),
        r"progress must be callable, such as print; got 3",
    ),
    "on_failure misspelt": (lambda: SOLVE(fs.NoPayment(), on_failure="raised"), r"on_failure .*did you mean \"raise\""),
    "tol a truth value": (lambda: SOLVE(fs.NoPayment(), tol=True), r"tol must be a number in .* got True"),
    "tol a word": (lambda: SOLVE(fs.NoPayment(), tol="1e-9"), r"tol must be a number in .* got '1e-9'"),
    "tol several": (lambda: SOLVE(fs.NoPayment(), tol=[1e-9]), r"tol must be a number in .* got \[1e-09\]"),
    "concave a word": (lambda: fs.CustomPayoff(np.sqrt, 3, concave="no"), r"concave must be True or False; got 'no'"),
    "curve's concave": (
        lambda: fs.LearningCurve(np.log1p, lambda z: 1 / (1 + z), 3, concave=1),
        r"concave must be True or False; got 1",
    ),
    "correction a word": (
        lambda: fs.aumann_shapley_values(THREE_AGENTS, S, correction="x"),
        r"correction must be True or False; got 'x'",
    ),
    "method misspelt": (
        lambda: fs.shapley_values(THREE_AGENTS, S, method="quadratur"),
        r"method .* mean \"quadrature\"",
    ),
    # arguments that do not apply
    "rng for exact": (lambda: fs.shapley_values(THREE_AGENTS, S, method="exact", rng=0), r"rng does not apply .*exact"),
    "rng for auto": (
        lambda: fs.shapley_gradient(THREE_AGENTS, S, rng=0),
        r"rng does not apply to method=\"auto\"; got 0",
    ),
    "permutations for quadrature": (
        lambda: fs.shapley_potential(THREE_AGENTS, S, method="quadrature", permutations=10),
        r"permutations does not apply to method=\"quadrature\"; got 10",
    ),
    "tol for permutation": (
        lambda: fs.shapley_values(THREE_AGENTS, S, method="permutation", rng=0, tol=1e-3),
        r"tol does not apply to method=\"permutation\"; got 0.001",
    ),
    # equilibria of other games
    "equilibrium zero": (lambda: GAIN(equilibrium=0), r"equilibrium must be an Equilibrium; got 0"),
    "baseline a profile": (lambda: GAIN(baseline=S), r"baseline must be an Equilibrium; got array"),
    "equilibrium of others": (
        lambda: GAIN(equilibrium=OTHERS),
        r"equilibrium.contributions .*\(3,\).* got shape \(2,\)",
    ),
    "baseline of others": (lambda: GAIN(baseline=OTHERS), r"baseline.contributions .*\(3,\).* got shape \(2,\)"),
    "beyond the capacities": (
        lambda: fs.accuracy_gain(fs.Game(fs.PowerLaw(3), COST, 1.0), fs.NoPayment(), baseline=FREE),
        r"baseline.contributions must not exceed the capacities",
    ),
    # numbers that are none
    "masked profile": (lambda: THREE_AGENTS.surplus(MASKED), r"s must not be masked: .*\.filled"),
    "masked in a list": (lambda: THREE_AGENTS.surplus([1.0, np.ma.masked, 2.0]), r"s must not be masked"),
    "masked rates": (lambda: fs.LinearCost(MASKED), r"rates must not be masked"),
    "masked number": (lambda: fs.CostSharing(np.ma.masked), r"beta must be a number"),
    "complex profile": (lambda: THREE_AGENTS.surplus(S + 0j), r"s must be an array of numbers; .*take \.real"),
    "complex number": (lambda: fs.CostSharing(0.5 + 0j), r"beta must be a number in \(0, 1\]; got \(0.5\+0j\)"),
    "complex objects": (lambda: THREE_AGENTS.surplus(np.array([1, 2, 1j], dtype=object)), r"s must be an array of num"),
    "a truth value": (lambda: fs.PowerLaw(3, alpha=True), r"alpha must be a number .* got True"),
    "words": (lambda: fs.LinearCost(["0.1", "0.2", "0.3"]), r"rates must be an array of numbers; got \['0.1'"),
    "words as objects": (lambda: fs.LinearCost(np.array(["0.1", 0.2], dtype=object)), r"rates must be an array of num"),
    "None among them": (lambda: fs.LinearCost([0.1, None, 0.3]), r"rates must be an array of numbers; got \[0.1, None"),
    "times": (lambda: fs.LinearCost(np.array(["2026-01-01"], dtype="M8[D]")), r"rates must be an array of numbers"),
    "a long array": (lambda: fs.LinearCost(np.full(9, "x")), r"rates .* got an array of shape \(9,\)$"),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"(?s)^{message}") as refused:
        call()
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("name", METRICS)
def test_yardsticks_refuse_by_name(name: str) -> None:
    yardstick, more = getattr(fs, name), METRICS[name]
    with pytest.raises(ValueError, match="^game must be a Game; got 'game'"):
        yardstick("game", fs.NoPayment(), S, *more)
    with pytest.raises(ValueError, match="^mechanism must be a Mechanism; got NoPayment: that is the class"):
        yardstick(THREE_AGENTS, fs.NoPayment, S, *more)


def test_what_is_a_number_is_taken() -> None:
    for given in (
        [Fraction(1, 2), Decimal("0.25"), 1],
        np.array([0.5, 0.25, 1.0], dtype=np.float32),
        np.array([0.5, 0.25, 1], dtype=object),
        (0.5, 0.25, 1.0),
        np.ma.masked_array([0.5, 0.25, 1.0]).filled(0.0),
    ):
        assert_array_equal(as_array("s", given), [0.5, 0.25, 1.0])
    assert fs.CostSharing(np.array(0.5)).beta == 0.5
    assert_array_equal(as_integer_labels("labels", [True, False, np.True_]), [1, 0, 1])
    assert as_array("s", []).shape == (0,)


def test_plain_tensors_are_numbers_and_others_are_told_what_to_do() -> None:
    torch = pytest.importorskip("torch")
    assert_array_equal(THREE_AGENTS.payoff.values(torch.ones(3)), THREE_AGENTS.payoff.values(np.ones(3)))
    for tensor, advice in (
        (torch.ones(3, requires_grad=True), r"\.detach\(\)"),
        (torch.ones(3).bfloat16(), r"\.cpu\(\)"),
    ):
        with pytest.raises(ValueError, match=rf"^s must be .*{advice}"):
            THREE_AGENTS.payoff.values(tensor)


def test_equilibria_of_the_game_are_taken_as_they_are() -> None:
    assert GAIN(equilibrium=FREE, baseline=FREE) == 1.0
