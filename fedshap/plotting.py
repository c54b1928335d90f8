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

from fedshap._types import Array
from fedshap._validation import as_array, as_instance
from fedshap.equilibrium import Equilibrium
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

_OTHERS = ("#CC79A7", "#56B4E9", "#882255", "#117733", "#AA4499", "#999933")  # of mechanisms that are not the book's
_MARKERS = ("v", "P", "X", "<", ">", "*", "h")

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
