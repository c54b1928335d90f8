"""Search for profitable deviations where a utility is dear to evaluate: few points, and parabolas through the best."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile
from fedshap.equilibrium.steps import moved
from fedshap.game import Game
from fedshap.mechanisms import Mechanism

# In units of the game: three to a decade around it, fewer far off.
_ABROAD = 10.0 ** np.array([-9.0, -6.0, -4.0, -3.0, *(np.arange(-6, 7) / 3.0), 3.0, 4.0, 6.0, 9.0, 12.0])
# In units of what she gives: evenly, and closer and closer.
_AROUND = np.array([0.25, 0.5, 0.75, 1.5, 2.0, 4.0])
_CLOSE = np.array([0.1, 1e-2, 1e-4, 1e-7])
_OWN = np.concatenate([_AROUND, 1.0 - _CLOSE, 1.0 + _CLOSE, [1.0, 0.0]])
_ROUNDS = 4
BEYOND = float(_ABROAD[-1])
"""Units of the game beyond which nobody is followed who has no capacity."""
SWEEPS = 50
"""Most rounds in which agents take their best deviations."""


def best_deviations(game: Game, mechanism: Mechanism, s: Profile, who: NDArray[np.intp]) -> tuple[PerAgent, PerAgent]:
    """What each of some agents gains by her best deviation from ``s``, and where she is then; both of shape (m,)."""
    utilities = partial(mechanism.deviation_utilities, game, s, agents=who)
    return best_points(utilities, s[who], game.units[who], game.minimum[who], game.capacity[who])


def best_points(
    utilities: Callable[[Array], Array], s: PerAgent, units: PerAgent, lower: PerAgent, upper: PerAgent
) -> tuple[PerAgent, PerAgent]:
    """What each agent gains where her utility is highest, over what she has at ``s``, and where that is; (m,) both.

    ``utilities`` maps contributions (m, P) to utilities (m, P). About forty points are looked at, on all scales and
    close to what she gives; then, four times, the middles on either side of the best and the top of the parabola
    through it and its neighbours. A smooth peak is found to rounding wherever one of the first points lies on its
    slopes.
    """
    first = np.hstack([s[:, None] * _OWN, units[:, None] * _ABROAD])
    x = np.sort(np.clip(first, lower[:, None], upper[:, None]), axis=1)
    values = utilities(x)
    here = np.take_along_axis(values, (x == s[:, None]).argmax(axis=1)[:, None], axis=1)
    for _ in range(_ROUNDS):
        more = _closer(x, values)
        x, values = np.hstack([x, more]), np.hstack([values, utilities(more)])
        order = np.argsort(x, axis=1, kind="stable")
        x, values = np.take_along_axis(x, order, axis=1), np.take_along_axis(values, order, axis=1)
    peak = values.argmax(axis=1)[:, None]
    gain = np.take_along_axis(values, peak, axis=1) - here
    return np.maximum(gain, 0.0)[:, 0], np.take_along_axis(x, peak, axis=1)[:, 0]


def settle(game: Game, mechanism: Mechanism, s: Profile, tol: float) -> Profile:
    """Let one agent after the other take her best deviation, until nobody gains more than ``tol``.

    For potentials with kinks, or with several peaks, where steps along gradients stop short.
    """
    for _ in range(SWEEPS):
        start = s
        for agent in np.arange(game.n_agents)[:, None]:
            gain, best = best_deviations(game, mechanism, s, agent)
            bounded = best[0] < BEYOND * game.units[agent[0]] or best[0] == game.capacity[agent[0]]
            if gain[0] > 0.1 * tol and bounded:
                s = moved(s, int(agent[0]), float(best[0]))
        if s is start:
            break
    return s


def _closer(x: Array, values: Array) -> Array:
    """Three contributions around the best of each row, (m, 3)."""
    peak = values.argmax(axis=1)[:, None]

    def at(array: Array, index: NDArray[np.intp]) -> Array:
        return np.take_along_axis(array, index, axis=1)

    best, top = at(x, peak), at(values, peak)
    # Neighbours at other contributions: the same ones may occur twice.
    left = np.maximum((x < best).sum(axis=1, keepdims=True) - 1, 0)
    right = np.minimum((x <= best).sum(axis=1, keepdims=True), x.shape[1] - 1)
    low, high = at(x, left), at(x, right)
    a, b = (top - at(values, left)) * (high - best), (top - at(values, right)) * (best - low)
    # The top of the parabola: a mean of the two middles, weighted by how steeply it falls on the other side.
    middles = (low + best) / 2.0, (best + high) / 2.0
    weight = np.divide(a, a + b, out=np.full_like(a, 0.5), where=a + b > 0.0)
    return np.hstack([*middles, middles[0] + weight * (middles[1] - middles[0])])
