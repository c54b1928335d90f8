"""Exact potentials: one function whose unilateral changes are everybody's gains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import PerAgent, Profile
from fedshap.game import Game
from fedshap.shapley import shapley_gradient, shapley_potential
from fedshap.shapley.deviations import shapley_expansion
from fedshap.shapley.expansion import Expansion


@dataclass(frozen=True, eq=False)
class Potential:
    """An exact potential: every unilateral change of ``u_i`` equals the change of ``value``.

    Both methods take one profile of shape (n,).
    """

    game: Game

    def value(self, s: Profile) -> float:
        """``Phi(s) = P(s) - sum_i c_i(s_i)``."""
        return float(shapley_potential(self.game, s) - self.game.costs(s).sum())

    def gradient(self, s: Profile) -> PerAgent:
        """The own-gradients of all utilities, shape (n,)."""
        return shapley_gradient(self.game, s) - self.game.cost.derivatives(s)

    def expansion(self, s: Profile) -> Expansion:
        """Value, gradient and curvature at ``s``: the gradient holds the own-gradients of all utilities."""
        surplus, cost = shapley_expansion(self.game, s), self.game.cost
        # Some convex costs have infinite curvature at zero; a little way off they have not.
        bend = cost.second_derivatives(np.maximum(s, 1e-8 * (1.0 + s.mean())))
        return Expansion(
            value=surplus.value - float(self.game.costs(s).sum()),
            gradient=surplus.gradient - cost.derivatives(s),
            own=surplus.own + bend,
            shared=surplus.shared,
        )
