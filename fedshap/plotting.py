"""The book's style, its recurring figures and its table of checks. The only module that imports matplotlib.

One colour belongs to each mechanism throughout: grey for no payment, orange for cost sharing, blue for accuracy
shaping, green for M^Shap (from the palette of Okabe and Ito, told apart by the colour-blind). Theory is dashed,
measurement solid.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes

from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_instance
from fedshap.equilibrium import Equilibrium
from fedshap.game import Game
from fedshap.mechanisms import (
    AccuracyShaping,
    AumannShapleyPayment,
    CostSharing,
    DampedShapley,
    Mechanism,
    NoPayment,
    ParticipantsShapley,
    ShapleyPayment,
)
from fedshap.shapley import shapley_potential

if TYPE_CHECKING:
    import pandas as pd

_STYLE: Mapping[type[Mechanism], tuple[str, str, str]] = {
    NoPayment: (r"$\mathcal{M}^{0}$", "#7F7F7F", "o"),
    CostSharing: (r"$\mathcal{M}^{BG}$", "#E69F00", "s"),
    AccuracyShaping: (r"$\mathcal{M}^{AS}$", "#0072B2", "^"),
    ShapleyPayment: (r"$\mathcal{M}^{Shap}$", "#009E73", "D"),
    DampedShapley: (r"$\mathcal{M}^{r}$", "#CC79A7", "v"),
    AumannShapleyPayment: (r"$\mathcal{M}^{Aum}$", "#882255", "X"),
    ParticipantsShapley: (r"$\mathcal{M}^{Part}$", "#56B4E9", "P"),
}

_AGENTS = ("#56B4E9", "#CC79A7", "#DDCC77", "#88CCEE", "#AA4499", "#999933")  # dark text can be read on them
_OTHERS = ("#117733", "#AA4499", "#999933", "#DDCC77", "#332288", "#CC6677")  # of mechanisms that are not the book's
_MARKERS = ("<", ">", "*", "h", "p", "d", "8")

INK = "#333333"
"""Colour of what belongs to no mechanism."""
ACCENT = "#D55E00"
"""Colour of what the reader should look at: a violated claim, an optimum."""


def use_style() -> None:
    """Set the book's figure style; call once, in a chapter's first cell."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "figure.constrained_layout.use": True,
            "font.size": 10.5,
            "axes.titlesize": 11,
            "axes.titlelocation": "left",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.7,
            "axes.edgecolor": INK,
            "axes.prop_cycle": cycler(color=["#009E73", "#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#7F7F7F"]),
            "legend.frameon": False,
            "lines.linewidth": 1.8,
        }
    )


def label(mechanism: Mechanism) -> str:
    """Name of a mechanism in a figure, as math text; of one of your own, the name of its class.

    Examples
    --------
    >>> import fedshap as fs
    >>> class FlatFee(fs.Mechanism):
    ...     def payments(self, game, s):
    ...         return -0.1 + 0.0 * game.profile(s)
    >>> label(FlatFee()), colour(FlatFee()) == colour(FlatFee())
    ('FlatFee', True)
    """
    return _style(mechanism)[0]


def colour(mechanism: Mechanism) -> str:
    """The mechanism's colour through the whole book; of one of your own, one that depends on its name alone."""
    return _style(mechanism)[1]


def marker(mechanism: Mechanism) -> str:
    """The mechanism's marker, so that colour is never the only difference."""
    return _style(mechanism)[2]


def _style(mechanism: Mechanism) -> tuple[str, str, str]:
    """Label, colour and marker: of the nearest class that has them, else from the name of the mechanism's own."""
    kind = type(as_instance("mechanism", mechanism, Mechanism))
    for each in kind.__mro__:
        if each in _STYLE:
            return _STYLE[each]
    number = zlib.crc32(kind.__name__.encode())  # hash() is another one in each process
    name = kind.__name__.replace("$", r"\$")
    return name, _OTHERS[number % len(_OTHERS)], _MARKERS[number // len(_OTHERS) % len(_MARKERS)]


def plot_contributions(
    equilibria: Mapping[Mechanism, Equilibrium],
    *,
    names: Sequence[str] | None = None,
    unit: str = "data points",
    ax: Axes | None = None,
) -> Axes:
    """Bars of what each agent contributes under each mechanism.

    Parameters
    ----------
    equilibria : mapping of Mechanism to Equilibrium
        What to show, in order.
    names : sequence of str, optional
        Names of the agents; 1..n if left out.
    unit : str
        Unit of the contributions, for the axis label.
    ax : Axes, optional
        Where to draw; the current axes if left out.
    """
    if not equilibria:
        raise ValueError("equilibria must hold at least one mechanism and its equilibrium; got none")
    found = [as_instance("each value of equilibria", each, Equilibrium) for each in equilibria.values()]
    n = found[0].n_agents
    if any(each.n_agents != n for each in found):
        raise ValueError(f"equilibria must be of one game; got {[each.n_agents for each in found]} agents")
    ticks, ax = _names(names, n), ax or plt.gca()
    positions = np.arange(n)
    width = 0.8 / len(equilibria)
    for k, (mechanism, equilibrium) in enumerate(equilibria.items()):
        offset = (k - (len(equilibria) - 1) / 2) * width
        ax.bar(
            positions + offset,
            equilibrium.contributions,
            0.92 * width,
            color=colour(mechanism),
            label=label(mechanism),
        )
    ax.set_xticks(positions, ticks)
    ax.grid(axis="x", visible=False)
    ax.set_ylabel(f"contribution $s_i$ ({unit})")
    ax.legend(ncols=len(equilibria))
    return ax


def plot_balance(
    received: Array, contributed: Array, mechanism: Mechanism, *, names: Sequence[str] | None = None, ax: Axes
) -> Axes:
    """What each agent receives (filled) against what she contributes (hollow): reciprocity at a glance.

    Parameters
    ----------
    received : Array
        ``a_i + p_i``, shape (n,).
    contributed : Array
        Shapley values ``phi_i``, shape (n,).
    mechanism : Mechanism
        For colour and title.
    names : sequence of str, optional
        Names of the agents; 1..n if left out.
    ax : Axes
        Where to draw.
    """
    received, contributed = as_array("received", received), as_array("contributed", contributed)
    n = len(received) if received.ndim == 1 else 0
    if n == 0 or contributed.shape != (n,):
        raise ValueError(f"received and contributed must have shape (n,); got {received.shape} and {contributed.shape}")
    rows, ticks = np.arange(n)[::-1], _names(names, n)
    ax.hlines(rows, contributed, received, color=colour(mechanism), alpha=0.45, linewidth=5)
    ax.plot(contributed, rows, "o", color=INK, markerfacecolor="white", markersize=13, label=r"contributes $\varphi_i$")
    ax.plot(received, rows, marker(mechanism), color=colour(mechanism), markersize=7, label="receives $a_i + p_i$")
    ax.set_yticks(rows, ticks)
    ax.set_ylim(-0.6, n - 0.4)
    ax.axvline(0.0, color=INK, linewidth=0.8)
    ax.set_title(label(mechanism))
    return ax


def plot_arrivals(
    orders: Sequence[Sequence[int]], gains: Array, *, names: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Bars of what each agent adds on arriving, one bar an order, and below them the mean: the Shapley value.

    Parameters
    ----------
    orders : sequence of sequences of int
        Orders of arrival, agents counted from 0.
    gains : Array
        What each agent adds in each order, shape (len(orders), n), in the agents' own order; none negative.
    names : sequence of str, optional
        Names of the agents; 1..n if left out.
    ax : Axes, optional
        Where to draw; the current axes if left out.
    """
    gains = as_array("gains", gains)
    if gains.ndim != 2 or len(gains) != len(orders) or gains.size == 0:
        raise ValueError(f"gains must have shape (len(orders), n); got {gains.shape} for {len(orders)} orders")
    n = gains.shape[1]
    if any(sorted(order) != list(range(n)) for order in orders):
        raise ValueError(f"orders must each name the agents 0 to {n - 1} once; got {[tuple(o) for o in orders]}")
    who, ax = _names(names, n), ax or plt.gca()
    bars = [*zip(orders, gains, strict=True), (range(n), gains.mean(axis=0))]
    places = [*range(len(orders)), len(orders) + 0.4]
    for place, (order, gain) in zip(places, bars, strict=True):
        left = 0.0
        for i in order:
            ax.barh(place, gain[i], 0.8, left=left, color=_AGENTS[i % len(_AGENTS)], edgecolor="white")
            text = f"{who[i]} {gain[i]:.2f}" if gain[i] > 0.18 * gain.sum() else f"{gain[i]:.2f}"
            if gain[i] > 0.03 * gain.sum():
                ax.text(left + gain[i] / 2, place, text, ha="center", va="center", fontsize=8.5, color="black")
            left += gain[i]
    ax.set_yticks(places, [*(", ".join(who[i] for i in order) for order in orders), "mean"])
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("added to the payoffs of all")
    return ax


def _names(names: Sequence[str] | None, n: int) -> Sequence[str]:
    """What the agents are called in a figure."""
    if names is not None and len(names) != n:
        raise ValueError(f"names must hold one for each of {n} agents; got {len(names)}")
    return [f"agent {i + 1}" for i in range(n)] if names is None else list(names)


def check_table(rows: Sequence[tuple[str, int, float, float]]) -> pd.DataFrame:
    """The table of a chapter's checks: case, draws, tolerance and the worst error seen.

    An error below a thousandth of its tolerance is shown as such: its digits are rounding, and differ from one
    processor to the next.

    Parameters
    ----------
    rows : sequence of (case, draws, tolerance, worst)
        One row per check.

    Examples
    --------
    >>> print(check_table([("budget", 200, 1e-10, 3e-15), ("sampling", 50, 1e-2, 4.2e-3)]).to_string(index=False))
        case  draws tolerance    worst
      budget    200     1e-10 <= 1e-13
    sampling     50      0.01    0.004
    """
    import pandas as pd

    shown = [
        (case, draws, f"{tolerance:.0g}", f"{worst:.1g}" if worst > tolerance / 1e3 else f"<= {tolerance / 1e3:.0g}")
        for case, draws, tolerance, worst in rows
    ]
    return pd.DataFrame(shown, columns=["case", "draws", "tolerance", "worst"])


def bound_table(cases: Mapping[str, ArrayLike]) -> pd.DataFrame:
    """The table of a chapter's inequalities: how often each was tried, and how close it came to being attained.

    Parameters
    ----------
    cases : mapping of str to Array
        For each inequality the ratios of what is bounded to its bound, shape (tried,): 1 is attained, more violates.

    Examples
    --------
    >>> table = bound_table({"budget": [0.2, 0.5, 1.0], "rate": [0.1, 0.3, 0.98]})
    >>> table.index.to_list(), table["closest"].to_list(), table["violated"].to_list()
    (['budget', 'rate'], ['1.0000', '0.9800'], [0, 0])
    """
    import pandas as pd

    rows = []
    for case, ratios in cases.items():
        found = as_array(f"the ratios of {case!r}", ratios)
        if found.ndim != 1 or found.size == 0:
            raise ValueError(f"the ratios of {case!r} must have shape (tried,) with at least one; got {found.shape}")
        closest, violated = found.max(), int((found > 1 + 1e-9).sum())
        rows.append((case, found.size, f"{np.median(found):.2f}", f"{closest:.4f}", violated))
    columns = ["inequality", "tried", "typical", "closest", "violated"]
    return pd.DataFrame(rows, columns=columns).set_index("inequality").rename_axis(None)


def plot_dynamics(game: Game, paths: Mapping[str, Array], *, reach: Sequence[float], ax: Axes | None = None) -> Axes:
    """Paths of the dynamics of two agents on the level lines of the potential of M^Shap.

    Parameters
    ----------
    game : Game
        A game of two agents. Capacities within ``reach`` are drawn as walls.
    paths : mapping of str to Array
        Name and contributions of each path, shape (steps + 1, 2).
    reach : sequence of two floats
        How far the axes go, > 0.
    ax : Axes, optional
        Where to draw; the current axes if left out.
    """
    if game.n_agents != 2 or len(reach) != 2:
        raise ValueError(f"the picture has two axes: game and reach must be of 2 agents; got {game.n_agents}, {reach}")
    ax = ax or plt.gca()
    axes = [np.linspace(0.0, min(far, cap), 61) for far, cap in zip(reach, game.capacity, strict=True)]
    s = np.stack(np.meshgrid(*axes), axis=-1)
    height = shapley_potential(game, s) - game.costs(s).sum(axis=-1)
    levels = height.max() - np.ptp(height) * np.linspace(1.0, 0.0, 15) ** 2
    ax.contour(axes[0], axes[1], height, levels, colors=colour(ShapleyPayment()), alpha=0.45, linewidths=1.0)
    for (name, path), look in zip(paths.items(), ("-", "--", ":"), strict=False):
        x, y = as_array(f"the path {name!r}", path).T
        ax.plot(x, y, look, color=INK if look == "-" else _STYLE[AccuracyShaping][1], label=name)
        ax.plot(x[-1], y[-1], marker(ShapleyPayment()), color=ACCENT)
    for line, cap, far in zip((ax.axvline, ax.axhline), game.capacity, reach, strict=True):
        if cap < far:
            line(cap, color="#BBBBBB", linewidth=6, zorder=0.5)
    ax.set(xlim=(0.0, reach[0]), ylim=(0.0, reach[1]))
    return ax
