"""Exact potentials: one function whose unilateral changes are everybody's gains."""

from __future__ import annotations

import numpy as np

from fedshap._records import Record
from fedshap._types import PerAgent, Profile
from fedshap.game import Game
from fedshap.shapley import shapley_gradient, shapley_potential
from fedshap.shapley.deviations import shapley_expansion
from fedshap.shapley.expansion import Expansion


class Potential(Record):
    """The exact potential of `ShapleyPayment`: every unilateral change of ``u_i`` equals the change of `value`.

    A mechanism of your own with another potential hands over a subclass that overrides `expansion`, and `value` with
    it. Both take one profile of shape (n,).

    Parameters
    ----------
    game : Game
        The game among the agents.
    """

    _shortcuts = {"concave": ("value", "expansion"), "gradient": ("expansion",)}

    def __init__(self, game: Game) -> None:
        self.game = game

    @property
    def concave(self) -> bool | None:
        """Whether the potential is known to be concave: its maximisers then are all the equilibria there are."""
        return self.game.payoff.concave

    #: A subclass with another potential must say so itself.
    _concave_in_general: bool | None = None

    def value(self, s: Profile) -> float:
        """``Phi(s) = P(s) - sum_i c_i(s_i)``."""
        return float(shapley_potential(self.game, s) - self.game.costs(s).sum())

    def gradient(self, s: Profile) -> PerAgent:
        """The own-gradients of all utilities, shape (n,)."""
        return shapley_gradient(self.game, s) - self.game.cost.derivatives(s)

    def _gradient_in_general(self, s: Profile) -> PerAgent:
        return self.expansion(s).gradient

    def expansion(self, s: Profile) -> Expansion:
        """Value, gradient and curvature at ``s``: the gradient holds the own-gradients of all utilities."""
        return after_costs(self.game, s, shapley_expansion(self.game, s))


def after_costs(game: Game, s: Profile, surplus: Expansion) -> Expansion:
    """The expansion of what is left of a surplus once costs are borne."""
    # Some convex costs have infinite curvature at zero; a little way off they have not.
    bend = game.cost.second_derivatives(np.maximum(s, 1e-8 * (game.units + s.mean())))
    costs = float(game.costs(s).sum())
    return Expansion(
        value=surplus.value - costs,
        gradient=surplus.gradient - game.cost.derivatives(s),
        own=surplus.own + bend,
        shared=surplus.shared,
        magnitude=abs(surplus.value) + costs,
    )
