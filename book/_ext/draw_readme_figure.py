"""Draw the README's figure into book/_static/first-figure.png: `make figure`."""

from pathlib import Path

import fedshap as fs
import matplotlib as mpl
import numpy as np
from fedshap import plotting

mpl.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

plotting.use_style()
game = fs.Game(fs.PowerLaw(n_agents=3), fs.LinearCost([0.10, 0.25, 0.40]))
mechanisms = [fs.NoPayment(), fs.ShapleyPayment()]
found = {mechanism: fs.find_equilibrium(game, mechanism) for mechanism in mechanisms}

fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.1), width_ratios=[1.25, 1])
plotting.plot_contributions(found, ax=left)
left.set_title("Without payments two of three ride free")
fair = found[mechanisms[1]]
value = game.payoff.values(fair.contributions)
rows = np.arange(3)[::-1]
right.barh(rows + 0.2, value, 0.36, color="#BBBBBB", label="value of the model")
right.barh(
    rows - 0.2,
    fair.payments,
    0.36,
    color=plotting.colour(mechanisms[1]),
    label="payment",
)
right.axvline(0.0, color=plotting.INK, linewidth=1)
right.set_yticks(rows, [f"agent {i + 1}" for i in range(3)])
right.set_xlabel("payoff units")
right.grid(axis="y", visible=False)
right.set_ylim(-1.2, 2.5)
right.legend(loc="lower right", fontsize=9, ncols=2)
right.set_title(r"$\mathcal{M}^{Shap}$ pays what was given")
fig.savefig(
    Path(__file__).parents[1] / "_static" / "first-figure.png",
    dpi=160,
    metadata={"Software": None},
)
