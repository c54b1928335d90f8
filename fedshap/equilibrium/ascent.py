"""Maximisation of a potential over the box. Does not judge its own result; the certificate does."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fedshap._types import Array, PerAgent, Profile, Progress
from fedshap.equilibrium.steps import UNBOUNDED, tell
from fedshap.mechanisms import Potential
from fedshap.shapley.expansion import Expansion


def maximise(potential: Potential, start: Profile, progress: Progress = None) -> tuple[Profile, int]:
    """Maximise the potential over the box: sequential quadratic programming with backtracking.

    Each step maximises the second-order expansion over the box exactly. Its Hessian is diagonal plus low rank, so
    that a step costs time linear in the number of agents, and agents change between bound and interior in any number
    at once. An unbounded agent may grow by a factor of ten or so in a step.
    """
    upper = potential.game.upper
    steep = np.isinf(potential.game.cost.second_derivatives(np.zeros_like(start)))
    s, here = start, potential.expansion(start)
    for iteration in range(1, 201):
        reach = 10.0 * (s + s.mean() + 1.0)
        # Where curvature is infinite at zero, no expansion says how to come back from there: approach it gradually.
        lower = np.where(steep & (s > 1e-12), -0.9, -1.0) * s
        step = _maximise_expansion(here, lower, np.minimum(upper - s, reach))
        promised = float(here.gradient @ step)
        s, here = _backtrack(potential, s, here, step)
        tell(progress, iteration, step, s)
        if s.max() > UNBOUNDED:
            raise ValueError(
                f"agent {int(s.argmax())} gains from contributing without bound: give the game a finite capacity, "
                "or the agent a cost that outgrows her payoff"
            )
        # The step was taken all the same: where its gain drowns in rounding, it still squares the error of s.
        if promised <= 1e-15 * (1.0 + abs(here.value)):
            return s, iteration
    return s, 200


def _maximise_expansion(here: Expansion, lower: PerAgent, upper: PerAgent) -> PerAgent:
    """The step d that maximises ``g.d - sum_i own_i d_i^2 / 2 - |shared^T d|^2 / 2`` over lower <= d <= upper.

    Given prices ``a = shared^T d`` of the common part, every agent's best step is her own affair:
    ``d_i = clip((g_i - shared_i . a) / own_i)``. The prices solve a convex problem of a few unknowns, here by a
    semismooth Newton method.
    """
    own = np.maximum(here.own, 1e-14 * float(np.max(here.own, initial=1e-200)))
    shared = np.ascontiguousarray(here.shared.T)  # (d, n): sums along the last axis are pairwise, hence exact enough

    def respond(prices: Array) -> tuple[PerAgent, Array]:
        """Everybody's step at these prices, and by how much the prices miss it: the gradient of the dual."""
        step = np.clip((here.gradient - prices @ shared) / own, lower, upper)
        return step, prices - (shared * step).sum(axis=1)

    def slope(prices: Array, direction: Array, size: float) -> float:
        """Derivative of the dual along a direction."""
        return float(direction @ respond(prices + size * direction)[1])

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
        size = _flat_point(partial(slope, prices, direction))
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


def _backtrack(potential: Potential, s: Profile, here: Expansion, step: PerAgent) -> tuple[Profile, Expansion]:
    """Halve the step until the potential rises by a fraction of what its gradient promises; stay if it never does."""
    noise = 1e-15 * (1.0 + abs(here.value)) * np.sqrt(len(s))
    size = 1.0
    while size > 1e-12:
        trial = np.clip(s + size * step, 0.0, potential.game.upper)
        there = potential.expansion(trial)
        if there.value >= here.value + 1e-4 * float(here.gradient @ (trial - s)) - noise:
            return trial, there
        size /= 2.0
    return s, here
