"""The exercises "by hand" of chapters 6 to 14: each number of a folded solution, worked out here in another way."""

from __future__ import annotations

import math
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from scipy.integrate import quad

import fedshap as fs
import games

BOOK = Path(__file__).resolve().parent.parent / "book"


def solution(label: str) -> str:
    """The text of a solution, wherever it is."""
    for path in sorted(BOOK.glob("[01]*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            found = re.search(rf"\{{solution\}} {label}\n(.*?)```", cell.source, re.DOTALL)
            if found:
                return found[1]
    raise AssertionError(f"no solution of {label}")


def two_steps() -> list[str]:
    """Ada and Bea from (1, 1), step 1, own slopes by differences of brute-force shares."""
    plain, rates, s, told = games.power_law(np.ones((2, 2))), (0.10, 0.25), [1.0, 1.0], []
    for _ in range(2):
        slopes = [float(games.derivative(lambda x, i=i: [games.brute_shapley(plain, x, i)], s, i)[0]) for i in (0, 1)]
        s = [x + d - c for x, d, c in zip(s, slopes, rates, strict=True)]
        told += [f"{x:.3f}" for x in s]
    return told


def pair_and_three() -> list[str]:
    capped = lambda n: lambda s: [min(sum(s), 1.0)] * n  # noqa: E731
    bea = games.brute_shapley(capped(3), [0.5, 0.5, 1.0], 0)
    assert games.brute_shapley(capped(2), [0.5, 0.5], 0) - 0.5 == 0.5
    assert (bea, bea - 0.5) == (0.75, 0.25)
    assert games.brute_shapley(capped(3), [0.5, 0.5, 1.0], 2) - 0.5 * 1.0 == 1.0
    return [r"$\tfrac34$", r"utility $\tfrac14$"]


def ten_per_cent_more() -> list[str]:
    start = 10**0.5 - 1
    game = games.THREE_AGENTS
    regret = fs.regret(game, fs.ShapleyPayment(), [start, 0, 0])
    more = 3 * (1 - 1 / (1 + 1.1 * start))
    before = 3 * (1 - 1 / (1 + start)) - 0.1 * start
    after = more - 0.11 * start
    return [f"3 \\cdot {regret:.3f} = {3 * regret:.3f}", f"{more:.3f} - {0.11 * start:.3f} = {after:.3f}"] + [
        f"a gain of {after - before:.3f}"
    ]


def four_hospitals() -> list[str]:
    base, sharp = 16**0.5 - 1, 2 * 4.0 - 1
    accuracy = 1 - 1 / (1 + base)
    assert (base, sharp, accuracy) == (3.0, 7.0, 0.75)
    assert 1 + (1 - accuracy) / accuracy * 0.5 == pytest.approx(7 / 6)
    assert (1 - 1 / (1 + sharp)) / accuracy == pytest.approx(7 / 6)
    return [r"\tfrac98", r"\tfrac76", r"\tfrac43"]


def digits() -> list[str]:
    total = (12**0.5 - 1) / 0.3
    return [f"{4 / 0.9:.1f}", f"S = {total:.1f}", f"= {100 * (1 - 12**-0.5):.0f}$ %"]


def three_alike() -> list[str]:
    u = 1 - math.exp(-1)
    value = quad(lambda q: 3 * u * (1 - q * u) ** 2, 0, 1)[0]
    middle = 3 * u * (1 - u / 2) ** 2
    assert 3 * value == pytest.approx(3 * (1 - math.exp(-3)))
    return [f"{u:.3f}", f"{value:.3f}", f"{3 * value:.3f}", f"{middle:.3f}", f"{3 * middle:.3f}"]


def own_weight() -> list[str]:
    return [f"{(1 / 0.06 - 1) / each:.2g}" for each in (200, 2000)]


def steps_of_the_protocol() -> list[str]:
    return [f"{333 * 0.017:.1f}", f"{333 * 0.350:.0f}"]


def ratio_of_accuracies() -> list[str]:
    return [f"{63.3 / 60.9:.3f}", f"{63.35 / 60.85:.3f}"]


CASES = {
    "ex-dynamics-hand": two_steps,
    "ex-gains-hand": pair_and_three,
    "ex-welfare-regret": ten_per_cent_more,
    "ex-more-hand": four_hospitals,
    "ex-digits-hand": digits,
    "ex-agents-hand": three_alike,
    "ex-worth-hand": own_weight,
    "ex-table1-hand": steps_of_the_protocol,
    "ex-care-hand": ratio_of_accuracies,
}


@pytest.mark.parametrize("label", CASES)
def test_numbers_of_a_solution_by_hand(label: str) -> None:
    text = solution(label)
    assert [number for number in CASES[label]() if number not in text] == []
