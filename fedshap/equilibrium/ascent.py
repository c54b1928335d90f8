"""Maximisation of a potential over the box. Does not judge its own result; the certificate does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fedshap._scalar import FARTHEST
from fedshap._types import Array, PerAgent, Profile, Progress
from fedshap.equilibrium.options import DEFAULT_OPTIONS
from fedshap.equilibrium.steps import moved, tell, without_bound
from fedshap.mechanisms import Potential
from fedshap.shapley.expansion import Expansion

_TIE = 1e-12  # of her marginal cost: an agent who would earn no more than so much on top of it is indifferent
_SUSPICIOUS = 1e9  # units beyond which an agent without a capacity is asked whether she will ever stop


@dataclass(frozen=True, eq=False)
class _Hill:
    """A potential with contributions measured in units of the game, so that 1 is neither little nor much."""

    potential: Potential
    units: PerAgent

    def expansion(self, y: Profile) -> Expansion:
        here = self.potential.expansion(self.contributions(y))
        return Expansion(
            value=here.value,
            gradient=here.gradient * self.units,
            own=here.own * self.units**2,
            shared=here.shared * self.units[:, None],
            magnitude=here.magnitude,
        )

    def contributions(self, y: Profile) -> Profile:
        game = self.potential.game
        return np.clip(y * self.units, game.minimum, game.capacity)

    @property
    def lower(self) -> PerAgent:
        return self.potential.game.minimum / self.units

    @property
    def upper(self) -> PerAgent:
        return self.potential.game.capacity / self.units


def maximise(
    potential: Potential,
    start: Profile,
    progress: Progress = None,
    iterations: int = DEFAULT_OPTIONS.ascent_iterations,
) -> tuple[Profile, int]:
    """Maximise the potential over the box: sequential quadratic programming with backtracking.

    Each step maximises the second-order expansion over the box exactly. Its Hessian is diagonal plus low rank, so
    that a step costs time linear in the number of agents, and agents change between bound and interior in any number
    at once. An unbounded agent may grow by a factor of ten or so in a step.
    """
    hill = _Hill(potential, potential.game.units)
    steep = np.isinf(potential.game.cost.second_derivatives(np.zeros_like(start)))
    s, here = start / hill.units, hill.expansion(start / hill.units)
    for iteration in range(1, iterations + 1):
        reach = 10.0 * (s + s.mean() + 1.0)
        # Where curvature is infinite at zero, no expansion says how to come back from there: approach it gradually.
        lowest = np.where(steep & (s > 1e-12), np.maximum(hill.lower - s, -0.9 * s), hill.lower - s)
        step = _maximise_expansion(here, lowest, np.minimum(hill.upper - s, reach))
        promised = float(here.gradient @ step)
        s, here = _backtrack(hill, s, here, step)
        tell(progress, iteration, step, s)
        _refuse_without_bound(hill, s)
        # The step was taken all the same: where its gain drowns in rounding, it still squares the error of s.
        if promised <= 1e-15 * here.magnitude:
            return hill.contributions(s), iteration
    return hill.contributions(s), iterations


def _refuse_without_bound(hill: _Hill, s: Profile) -> None:
    """Somebody without a capacity who has come far, and would still go on at the end of the world, never stops.

    She is indifferent, and may stop anywhere, if what she would earn there is her marginal cost but for rounding.
    """
    endless = np.where(np.isinf(hill.upper), s, 0.0)
    agent = int(endless.argmax())
    if endless[agent] > _SUSPICIOUS:
        far = moved(s, agent, FARTHEST)
        marginal_cost = hill.potential.game.cost.derivatives(hill.contributions(far)) * hill.units
        if hill.expansion(far).gradient[agent] > _TIE * marginal_cost[agent]:
            raise without_bound(agent)


def _curvatures(here: Expansion, lower: PerAgent, upper: PerAgent) -> PerAgent:
    """Own curvatures, none of them zero: at least next to nothing beside the largest one and the gradient."""
    slope = max(float(np.abs(here.gradient).max()), 1e-290) / float((upper - lower).max())
    return np.maximum(here.own, 1e-14 * max(float(here.own.max()), slope))


def _maximise_expansion(here: Expansion, lower: PerAgent, upper: PerAgent) -> PerAgent:
    """The step d that maximises ``g.d - sum_i own_i d_i^2 / 2 - |shared^T d|^2 / 2`` over lower <= d <= upper.

    Given prices ``a = shared^T d`` of the common part, every agent's best step is her own affair:
    ``d_i = clip((g_i - shared_i . a) / own_i)``. The prices solve a convex problem of a few unknowns, here by a
    semismooth Newton method.
    """
    own = _curvatures(here, lower, upper)
    shared = np.ascontiguousarray(here.shared.T)  # (d, n): sums along the last axis are pairwise, hence exact enough

    def respond(prices: Array) -> tuple[PerAgent, Array]:
        """Everybody's step at these prices, and by how much the prices miss it: the gradient of the dual."""
        step = np.clip((here.gradient - prices @ shared) / own, lower, upper)
        return step, prices - (shared * step).sum(axis=1)

    def slope_along(prices: Array, direction: Array) -> Callable[[float], float]:
        """Derivative of the dual along a direction: there each agent is a number, not a row of ``shared``."""
        net, own_part = here.gradient - prices @ shared, direction @ shared
        start, growth = float(direction @ prices), float(direction @ direction)

        def slope(size: float) -> float:
            step = np.clip((net - size * own_part) / own, lower, upper)
            return start + size * growth - float((own_part * step).sum())

        return slope

    prices = np.zeros(len(shared))
    step, gap = respond(prices)
    for _ in range(200):
        free = (step > lower) & (step < upper)
        inside, flexible = shared[:, free], 1.0 / own[free]
        # Rounding of an agent's net gradient moves her step by that much over her curvature.
        blur = 4e-16 * (np.abs(here.gradient[free]) + np.abs(prices) @ np.abs(inside)) * flexible
        if np.linalg.norm(gap) <= np.linalg.norm(1e-13 * np.abs(shared) @ np.abs(step) + np.abs(inside) @ blur):
            break
        direction = np.asarray(np.linalg.solve(np.eye(len(prices)) + (inside * flexible) @ inside.T, -gap), dtype=float)
        size = _flat_point(slope_along(prices, direction))
        prices = prices + size * direction
        step, gap = respond(prices)
    return step


def _flat_point(slope: Callable[[float], float]) -> float:
    """Where the slope of a convex function, negative at 0, has shrunk to a hundredth; 1 is tried first."""
    start = slope(0.0)
    low, high, size = 0.0, np.inf, 1.0
    for _ in range(100):
        there = slope(size)
        if abs(there) <= 0.01 * abs(start):
            break
        low, high = (size, high) if there < 0.0 else (low, size)
        size = 2.0 * size if np.isinf(high) else (low + high) / 2.0
    return size


def _backtrack(hill: _Hill, s: Profile, here: Expansion, step: PerAgent) -> tuple[Profile, Expansion]:
    """Halve the step until the potential rises by a fraction of what its gradient promises; stay if it never does."""
    noise = 1e-15 * here.magnitude * np.sqrt(len(s))
    size = 1.0
    while size > 1e-12:
        trial = np.clip(s + size * step, hill.lower, hill.upper)
        there = hill.expansion(trial)
        if there.value >= here.value + 1e-4 * float(here.gradient @ (trial - s)) - noise:
            return trial, there
        size /= 2.0
    return s, here
