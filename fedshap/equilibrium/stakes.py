"""What there is to gain and to lose: the unit in which regrets are measured."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, Profile
from fedshap.game import Game
from fedshap.mechanisms.base import costs_of


class Certificate(NamedTuple):
    """The most that any audited agent gains by deviating alone, and the size of what is at stake, in payoff units."""

    regret: float
    scale: float


def stakes(game: Game, s: Profile) -> float:
    """The most that the data are worth to any agent, or cost her, at ``s``."""
    costs = game.cost.values(s) - game.cost.values(np.zeros(game.n_agents))
    return max(float(np.abs(game.payoff.gains(s)).max()), float(costs.max()))


def costs_elsewhere(game: Game, x: Array, who: NDArray[np.intp]) -> float:
    """The most that going to ``x``, shape (m, 1), would cost one of some agents."""
    return float((costs_of(game, x, who) - costs_of(game, np.zeros_like(x), who)).max())
