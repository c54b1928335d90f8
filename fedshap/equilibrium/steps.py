"""What the solvers share: where they start, how they move one agent, whom they tell."""

from __future__ import annotations

import numpy as np

from fedshap._types import ArrayLike, Profile, Progress
from fedshap.game import Game

UNBOUNDED = 1e12
"""A contribution beyond this is taken for one without bound."""


def initial_profile(game: Game, start: ArrayLike | None) -> Profile:
    """``start`` as one profile of the game; ``min(1, capacity / 2)`` for every agent if None."""
    if start is None:
        return np.minimum(1.0, game.upper / 2.0)
    return game.one_profile(start, name="start")


def moved(s: Profile, agent: int, value: float) -> Profile:
    """``s`` with one agent's contribution replaced."""
    moved = s.copy()
    moved[agent] = value
    return moved


def tell(progress: Progress, iteration: int, move: Profile, s: Profile) -> None:
    if progress is not None:
        progress(iteration, float(np.abs(move).max()) / max(float(s.max()), 1e-300))
