"""How far each agent of a sampled game may go, and the contributions worth trying on the way.

`Game.units` says where payoffs bend when all give alike, which costs have no part in. Here each surplus evaluated is
dear: trials are few, and they have to lie where the agent herself may settle, which her costs decide.
"""

from __future__ import annotations

import numpy as np

from fedshap._types import Array, PerAgent, Profile
from fedshap.game import Game
from fedshap.shapley.sampled_potential import Surplus

_RATIO = 1.5  # of neighbouring distances from what an agent gives, in the grid of deviations
_BEYOND = 64.0  # where capacity is infinite, deviations go up to so many times what she gives
_NEAR, _FAR = 10, 50  # contributions are tried from 4^-10 to 4^10; where that is not enough, from 4^-50 to 4^50


def own_reach(game: Game, surplus: Surplus) -> PerAgent:
    """What each agent would give alone if the whole surplus were hers: her scale, whatever the unit. Shape (n,).

    Agents who would give nothing get the median of the others. Where nobody would, it is what all would give alike.

    Raises
    ------
    ValueError
        If it has no bound.
    """
    alone = _best_share(game, surplus, np.eye(game.n_agents))
    endless = game.cost.derivatives(np.full(game.n_agents, 4.0**_FAR)) == 0.0  # no cost ever stops her
    unbounded = np.isinf(game.capacity) & (alone > 0.0) & (endless | (alone >= 4.0**_FAR))
    if unbounded.any():
        raise ValueError(
            f"agent {int(unbounded.argmax())} gains from contributing without bound: give the game a finite capacity, "
            "or the agent a cost that outgrows her payoff"
        )
    if not alone.any():
        alone = _best_share(game, surplus, np.ones((1, game.n_agents))).repeat(game.n_agents)
    usual = float(np.median(alone[alone > 0.0])) if alone.any() else 1.0
    return np.minimum(np.where(alone > 0.0, alone, usual), game.capacity)


def _best_share(game: Game, surplus: Surplus, directions: Array) -> Array:
    """How far along each direction surplus less costs is highest, to a percent; 0 where it never rises."""
    empty = float(surplus(np.zeros(game.n_agents)))
    unpaid = float(game.cost.values(np.zeros(game.n_agents)).sum())

    def best(which: np.ndarray, t: Array) -> tuple[Array, Array]:
        """The best of ``t[m, k]`` for the directions named, and what is gained there."""
        gain = np.empty(t.shape)
        for part in surplus.chunks(*t.shape):
            s = np.minimum(t[part, :, None] * directions[which[part], None, :], game.capacity)  # (m, k, n)
            gain[part] = surplus(s) - empty - (game.cost.values(s).sum(axis=-1) - unpaid)
        at = gain.argmax(axis=1)[:, None]
        return np.take_along_axis(t, at, axis=1)[:, 0], np.take_along_axis(gain, at, axis=1)[:, 0]

    everybody, near, far = np.arange(len(directions)), np.arange(-_NEAR, _NEAR + 1.0), np.arange(_NEAR, _FAR + 1.0)
    share, gain = best(everybody, np.tile(4.0**near, (len(directions), 1)))
    for further, powers in ((gain <= 0.0, -far), ((gain > 0.0) & (share == 4.0**_NEAR), far)):
        which = np.flatnonzero(further)
        share[which], gain[which] = best(which, np.tile(4.0**powers, (len(which), 1)))
    which = np.flatnonzero(gain > 0.0)
    for ratio in (4.0, 2.0, 1.3, 1.1, 1.03):
        share[which], _ = best(which, share[which, None] * np.asarray(ratio ** np.linspace(-1.0, 1.0, 9), dtype=float))
    return np.where(gain > 0.0, share, 0.0)


def deviation_grid(s: Profile, reach: PerAgent, upper: PerAgent) -> Array:
    """Deviations of every agent, shape (n, P): 0 first; ``s`` fills up where an agent has fewer than P.

    They lie at distances from ``s`` that grow by a half each, from a hundredth of it, or of a hundredth of ``reach``,
    up to her capacity or 64 times the larger of ``s`` and ``reach``.
    """
    furthest = np.where(np.isfinite(upper), upper, _BEYOND * np.maximum(s, reach))
    unit = 0.01 * np.maximum(s, 0.01 * np.minimum(reach, furthest))
    count = 1 + int(np.ceil(np.log((furthest / unit).max()) / np.log(_RATIO)))
    distances = unit[:, None] * _RATIO ** np.arange(count)  # (n, count)
    below, above = s[:, None] - distances, s[:, None] + distances
    below = np.where(below > 0.0, below, s[:, None])
    above = np.where(above < furthest[:, None], above, s[:, None])
    x = np.hstack([np.zeros_like(below[:, :1]), below[:, ::-1], above, furthest[:, None]])
    return x[:, (x != s[:, None]).any(axis=0) | (np.arange(x.shape[1]) == 0)]
