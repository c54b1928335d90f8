"""What the solvers share: where they start, how they move one agent, whom they tell."""

from __future__ import annotations

import numpy as np

from fedshap._types import ArrayLike, Profile, Progress
from fedshap.game import Game


def initial_profile(game: Game, start: ArrayLike | None) -> Profile:
    """``start`` as one profile of the game, lifted to the minimum; ``min(units / n, capacity / 2)`` if None."""
    s = (
        np.minimum(game.units / game.n_agents, game.capacity / 2.0)
        if start is None
        else game.one_profile(start, name="start")
    )
    return np.maximum(s, game.minimum)


def moved(s: Profile, agent: int, value: float) -> Profile:
    """``s`` with one agent's contribution replaced."""
    changed = s.copy()
    changed[agent] = value
    return changed


def tell(progress: Progress, iteration: int, move: Profile, s: Profile) -> None:
    """Report an iteration, and its largest move relative to the largest contribution."""
    if progress is not None:
        largest = float(s.max())
        progress(iteration, float(np.abs(move).max()) / largest if largest > 0.0 else 0.0)


class WithoutBound(ValueError):
    """Somebody wants ever more.

    Attributes
    ----------
    agent : int
        Who.
    """

    def __init__(self, agent: int) -> None:
        super().__init__(agent)  # what it is made of again when it comes back from another process
        self.agent = agent

    def __str__(self) -> str:
        return (
            f"agent {self.agent} gains from contributing without bound: give the game a finite capacity, or the agent "
            "a cost that outgrows her payoff"
        )


def without_bound(agent: int) -> WithoutBound:
    """What to say of an agent who wants ever more."""
    return WithoutBound(agent)
