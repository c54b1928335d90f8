"""The game whose potential is sampled: where its agents settle, as if the sample were all the coalitions there are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import Array, PerAgent, Profile, Progress
from fedshap.equilibrium.reach import deviation_grid
from fedshap.equilibrium.steps import moved, tell
from fedshap.game import Game
from fedshap.shapley.sampled_potential import SampledPotential

_STEP = 1e-5  # of differences, relative
_ROUNDS = 10  # most alternations between ascent and best responses


@dataclass(eq=False)
class SampledGame:
    """A game, the sampled potential of its Shapley values, and every agent's scale."""

    game: Game
    potential: SampledPotential
    reach: PerAgent
    progress: Progress
    iterations: int

    def solve(self, start: Profile | None, least: float) -> Profile:
        """Where no agent gains more than ``least`` by any deviation on the grid, as far as the sample shows.

        A quasi-Newton method moves all agents at once. It may stop at a kink, or where somebody gains by a move too
        far for derivatives to see; best responses then lead on, each of which raises the potential.
        """
        s = self._ascend(self._shares() if start is None else start)
        for _ in range(_ROUNDS):
            responded = self._best_responses(s, least)
            if responded is None:
                return s
            s = max(responded, self._ascend(responded), key=self._value)
        return s

    def _value(self, s: Profile) -> float:
        return self.potential.value(s) - float(self.game.cost.values(s).sum())

    def _shares(self) -> Profile:
        """The best of a few shares of what agents would give alone."""
        return max((np.minimum(self.reach * 4.0**-k, self.game.capacity) for k in range(8)), key=self._value)

    def _ascend(self, start: Profile) -> Profile:
        """Maximise the sampled potential less costs over the box, contributions in units of ``reach``."""
        from scipy.optimize import minimize

        game, unit = self.game, self.reach
        norm = abs(self.potential.value(start)) + float(game.cost.values(start).sum()) or 1.0
        last = start

        def objective(z: Array) -> tuple[float, Array]:
            s = np.minimum(z * unit, game.capacity)
            value, gradient = self.potential.value_and_gradient(s, _STEP * np.maximum(s, 0.01 * unit))
            value -= float(game.cost.values(s).sum())
            return -value / norm, -(gradient - game.cost.derivatives(s)) * unit / norm

        def told(z: Array) -> None:
            nonlocal last
            s = np.minimum(z * unit, game.capacity)
            self.iterations += 1
            tell(self.progress, self.iterations, s - last, s)
            last = s

        solved = minimize(
            objective,
            start / unit,
            method="L-BFGS-B",
            jac=True,
            bounds=[(0.0, None if np.isinf(top) else top) for top in game.capacity / unit],
            callback=told,
            options={"ftol": 1e-10, "gtol": 1e-7, "maxiter": 200},
        )
        return np.clip(solved.x * unit, 0.0, game.capacity)

    def _best_responses(self, s: Profile, least: float) -> Profile | None:
        """Let each agent in turn move to where she gains most, if more than ``least``; None if nobody does."""
        before = s
        for i, x in enumerate(deviation_grid(s, self.reach, self.game.capacity)):
            x = np.unique(np.append(x, s[i]))
            gains = self._utilities(s, i, x)
            gain = gains.max() - gains[x == s[i]][0]
            if gain > least:
                s = moved(s, i, self._refined(s, i, x, int(gains.argmax())))
        if s is before:
            return None
        self.iterations += 1
        tell(self.progress, self.iterations, s - before, s)
        return s

    def _refined(self, s: Profile, i: int, x: Array, at: int) -> float:
        """The best point between the neighbours of ``x[at]``, by ever finer grids."""
        for _ in range(6):
            x = np.unique(np.append(np.linspace(x[max(at - 1, 0)], x[min(at + 1, len(x) - 1)], 9), x[at]))
            at = int(self._utilities(s, i, x).argmax())
        return float(x[at])

    def _utilities(self, s: Profile, i: int, x: Array) -> Array:
        """Utilities of one agent at contributions ``x``, but for a constant."""
        costs = self.game.cost.of(np.array([i])).values(x[:, None])[:, 0]
        return self.potential.along(s, i, x) - costs
