"""Maximisation of a potential that is dear to evaluate. Does not judge its own result; the certificate does."""

from __future__ import annotations

import numpy as np

from fedshap._types import Jacobian, PerAgent, Profile, Progress
from fedshap.equilibrium.ascent import _maximise_expansion
from fedshap.equilibrium.few_points import BEYOND
from fedshap.equilibrium.options import DEFAULT_OPTIONS
from fedshap.equilibrium.steps import tell, without_bound
from fedshap.mechanisms import Potential
from fedshap.shapley.expansion import Expansion

SHORT = 0.3
"""A step of less than this part of what everybody gives needs no new Hessian."""


def climb(
    potential: Potential,
    start: Profile,
    progress: Progress = None,
    iterations: int = DEFAULT_OPTIONS.ascent_iterations,
) -> tuple[Profile, int]:
    """Maximise the potential over the box: Newton steps while they are long, quasi-Newton steps once they are short.

    Where coalitions are enumerated, a value costs 2^n evaluations of the surplus, a gradient n 2^n, and a Hessian
    n^2 2^n / 4 more. Steps are therefore shortened by values alone, and short ones correct the last Hessian by what
    they see of the gradient (BFGS), as long as that keeps its pace.
    """
    game, s = potential.game, start
    steep = np.isinf(game.cost.second_derivatives(np.zeros_like(start)))
    here = potential.expansion(s)
    size = _size(potential, s, here.value)
    iteration, last = 0, np.inf
    for iteration in range(1, iterations + 1):
        reach = 10.0 * (s + (s.mean() if s.any() else game.units))
        # Where curvature is infinite at zero, no expansion says how to come back from there: approach it gradually.
        lower = np.where(steep & (s > 1e-12 * s.max()), np.maximum(game.minimum - s, -0.9 * s), game.minimum - s)
        step = _maximise_expansion(here, lower, np.minimum(game.capacity - s, reach))
        promised = float(here.gradient @ step)
        trial, value = _backtrack(potential, s, here, step, size)
        moved = trial - s
        tell(progress, iteration, moved, trial)
        endless = np.isinf(game.capacity) & (trial > BEYOND * game.units)
        if endless.any():
            raise without_bound(int(endless.argmax()))
        if promised <= 0.1 * game.payoff.precision * size or not moved.any():
            return trial, iteration
        quick, last = promised <= 0.1 * last, promised
        if quick and np.abs(moved).max() <= SHORT * s.max():
            gradient = potential.gradient(trial)
            here = Expansion.of_matrix(value, gradient, _corrected(here.matrix(), moved, here.gradient - gradient))
        else:
            here = potential.expansion(trial)
        s, size = trial, _size(potential, trial, value)
    return s, iteration


def best_multiple(potential: Potential, start: Profile) -> Profile:
    """The multiple of a profile, by a power of two, at which the potential stops rising: values are cheap, so that
    climbing from there saves the Hessians of the first, long steps."""
    game = potential.game
    best, height = start, potential.value(start)
    for factor in (2.0, 0.5):
        while (value := potential.value(trial := np.clip(factor * best, game.minimum, game.capacity))) > height:
            best, height = trial, value
            if not 1.0 / BEYOND < (best / game.units).max() < BEYOND:
                return start  # there is no end to it, which is for the climb to say
    return best


def _corrected(curvature: Jacobian, moved: PerAgent, fallen: PerAgent) -> Jacobian:
    """Curvature after a BFGS update: ``curvature @ moved`` becomes ``fallen``, as far as that leaves it positive."""
    if not moved.any():
        return curvature
    expected = curvature @ moved
    along, seen = float(moved @ expected), float(moved @ fallen)
    if along < np.finfo(float).tiny:  # flat as far as one can see: nothing to correct
        return curvature
    if seen < 0.2 * along:  # Powell's damping
        mixed = 0.8 * along / (along - seen)
        fallen = mixed * fallen + (1.0 - mixed) * expected
        seen = float(moved @ fallen)
    return curvature - np.outer(expected, expected) / along + np.outer(fallen, fallen) / seen


def _backtrack(potential: Potential, s: Profile, here: Expansion, step: PerAgent, size: float) -> tuple[Profile, float]:
    """Halve the step until the potential rises by a fraction of what its gradient promises; stay if it never does."""
    noise = 10.0 * potential.game.payoff.precision * size
    part = 1.0
    while part > 1e-12:
        trial = np.clip(s + part * step, potential.game.minimum, potential.game.capacity)
        value = potential.value(trial)
        if value >= here.value + 1e-4 * float(here.gradient @ (trial - s)) - noise:
            return trial, value
        part /= 2.0
    return s, here.value


def _size(potential: Potential, s: Profile, value: float) -> float:
    """What the potential is a difference of, and hence the unit of its rounding."""
    costs = float(potential.game.costs(s).sum())
    return abs(value + costs) + costs
