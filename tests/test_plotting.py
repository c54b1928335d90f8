"""Figures: names, colours and markers of mechanisms, one's own included, and what is refused."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fedshap as fs
from games import MECHANISMS, THREE_AGENTS

pytest.importorskip("matplotlib").use("Agg")
from fedshap import plotting  # noqa: E402


class Flat_Fee(fs.Mechanism):  # noqa: N801 - an underscore, which math text would lower
    def payments(self, game, s):
        return -0.1 + 0.0 * game.profile(s)


class Damped(fs.ShapleyPayment):
    """A child of a shipped one."""


def test_every_shipped_mechanism_looks_different() -> None:
    for look in (plotting.label, plotting.colour, plotting.marker):
        assert len({look(mechanism) for mechanism in MECHANISMS}) == len(MECHANISMS)


def test_a_subclass_looks_like_its_nearest_parent() -> None:
    class Grandchild(Damped):
        pass

    for look in (plotting.label, plotting.colour, plotting.marker):
        assert look(Damped()) == look(Grandchild()) == look(fs.ShapleyPayment())


def test_own_mechanisms_go_by_their_names_and_keep_their_colours() -> None:
    assert plotting.label(Flat_Fee()) == "Flat_Fee"
    assert plotting.colour(Flat_Fee()) not in {plotting.colour(mechanism) for mechanism in MECHANISMS}
    assert plotting.marker(Flat_Fee()) not in {plotting.marker(mechanism) for mechanism in MECHANISMS}
    code = (
        "import fedshap as fs; from fedshap import plotting\n"
        "class Flat_Fee(fs.Mechanism):\n    def payments(self, game, s): return 0.0 * game.profile(s)\n"
        "print(plotting.colour(Flat_Fee()), plotting.marker(Flat_Fee()))"
    )
    root = Path(fs.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.split() == [plotting.colour(Flat_Fee()), plotting.marker(Flat_Fee())]


def test_colours_spread_over_the_cycle() -> None:
    kinds = [type(f"Rule{k}", (Flat_Fee,), {})() for k in range(40)]
    assert len({(plotting.colour(kind), plotting.marker(kind)) for kind in kinds}) > 20


def test_figures_accept_own_mechanisms() -> None:
    import matplotlib.pyplot as plt

    found = {m: fs.find_equilibrium(THREE_AGENTS, m) for m in (fs.NoPayment(), Flat_Fee())}
    axes = plotting.plot_contributions(found, names=["Ada", "Bea", "Cleo"], ax=plt.figure().gca())
    assert [text.get_text() for text in axes.get_legend().get_texts()][1] == "Flat_Fee"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["Ada", "Bea", "Cleo"]
    axes = plotting.plot_balance(np.ones(3), np.ones(3), Flat_Fee(), ax=plt.figure().gca())
    assert axes.get_title(loc="left") + axes.get_title() == "Flat_Fee"
    plt.close("all")


def test_arrivals_stack_the_gains_in_the_order_of_arrival() -> None:
    import matplotlib.pyplot as plt

    orders, gains = [(2, 0, 1), (0, 1, 2)], np.array([[0.5, 0.25, 1.5], [2.0, 0.2, 0.05]])
    axes = plotting.plot_arrivals(orders, gains, names=["Ada", "Bea", "Cleo"], ax=plt.figure().gca())
    bars = [(bar.get_x(), bar.get_width()) for bar in axes.patches]  # type: ignore[attr-defined]
    assert np.allclose(bars[:3], [(0, 1.5), (1.5, 0.5), (2.0, 0.25)])  # Cleo, then Ada, then Bea
    assert np.allclose([width for _, width in bars[6:]], gains.mean(axis=0))  # the last bar: the mean
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["Cleo, Ada, Bea", "Ada, Bea, Cleo", "mean"]
    assert "Cleo 1.50" in [text.get_text() for text in axes.texts]
    colours = {bar.get_facecolor() for bar in axes.patches}
    assert len(colours) == 3
    plt.close("all")


FOUND = fs.find_equilibrium(THREE_AGENTS, fs.NoPayment())
OTHER = fs.find_equilibrium(fs.Game(fs.PowerLaw(2), fs.LinearCost([0.1, 0.2])), fs.NoPayment())
REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "the class": (
        lambda: plotting.colour(fs.NoPayment),
        "mechanism must be a Mechanism; got NoPayment: that is the class",
    ),
    "a word": (lambda: plotting.label("shapley"), "mechanism must be a Mechanism; got 'shapley': did you mean Shapley"),
    "nothing": (lambda: plotting.plot_contributions({}), "equilibria must hold at least one"),
    "arrays": (
        lambda: plotting.plot_contributions({MECHANISMS[0]: np.ones(3)}),
        "each value of equilibria must be an Equ",
    ),
    "two games": (
        lambda: plotting.plot_contributions({MECHANISMS[0]: FOUND, MECHANISMS[1]: OTHER}),
        "equilibria must be of one",
    ),
    "names": (
        lambda: plotting.plot_contributions({MECHANISMS[0]: FOUND}, names=["Ada"]),
        "names must hold one for each of 3",
    ),
    "orders": (
        lambda: plotting.plot_arrivals([(0, 1), (1, 1)], np.ones((2, 2))),
        "orders must each name the agents 0 to 1 once; got [(0, 1), (1, 1)]",
    ),
    "gains": (lambda: plotting.plot_arrivals([(0, 1)], np.ones((2, 2))), "gains must have shape (len(orders), n); got"),
    "shapes": (
        lambda: plotting.plot_balance(np.ones(3), np.ones(2), MECHANISMS[0], ax=None),  # type: ignore[arg-type]
        "received and contributed must have shape (n,); got (3,) and (2,)",
    ),
}


@pytest.mark.parametrize(("call", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


def test_bounds_are_counted_where_they_are_attained_and_where_they_fail() -> None:
    table = plotting.bound_table({"sharp": np.array([0.5, 1.0]), "wrong": np.array([0.2, 1.0 + 1e-6])})
    assert table["closest"].tolist() == ["1.0000", "1.0000"]
    assert table["violated"].tolist() == [0, 1]
    assert table["tried"].tolist() == [2, 2]
    for ratios in (np.array([]), np.array([np.nan]), np.ones((1, 1))):
        with pytest.raises(ValueError, match="the ratios of 'empty'"):
            plotting.bound_table({"empty": ratios})


def test_paths_of_the_dynamics_lie_on_the_hill_they_climb() -> None:
    from matplotlib.figure import Figure

    game = fs.Game(fs.PowerLaw(2), fs.LinearCost([0.10, 0.25]), capacity=[2.0, 6.0])
    path = fs.best_response_dynamics(game, fs.ShapleyPayment(), step=1.0, steps=200, start=[0.2, 2.6]).contributions
    ax = plotting.plot_dynamics(game, {"both": path}, reach=(4.0, 3.0), ax=Figure().add_subplot())
    drawn, end, wall = ax.lines
    assert np.array_equal(np.array(drawn.get_xydata()), path)
    assert np.allclose(end.get_xydata(), fs.find_equilibrium(game, fs.ShapleyPayment()).contributions, atol=1e-6)
    assert list(np.atleast_1d(wall.get_xdata())) == [2.0, 2.0]  # only Ada's capacity is within reach
    ada, bea, both = (game.surplus(s) for s in ([2.0, 0.0], [0.0, 1.25], [2.0, 1.25]))
    top = (ada + bea + both) / 2 - 0.10 * 2.0 - 0.25 * 1.25  # the potential by hand, near its maximum
    assert ax.collections[0].levels.max() == pytest.approx(top, abs=2e-3)  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="of 2 agents; got 3"):
        plotting.plot_dynamics(THREE_AGENTS, {}, reach=(1.0, 1.0))
