"""The certificate of a sampled equilibrium: a confidence bound on the regret, from coalitions drawn afresh."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import Array, PerAgent, Profile
from fedshap.equilibrium.reach import deviation_grid
from fedshap.game import Game
from fedshap.mechanisms.base import costs_of
from fedshap.shapley.sampled_potential import Surplus, with_own

REPLICATES = 32
"""Independent samples of orders, from whose spread the errors are estimated."""

_CHUNK = 1 << 20  # places of agents in orders drawn at once: 8 MB


@dataclass(frozen=True, eq=False)
class SampledRegret:
    """What fresh samples say of a profile.

    Attributes
    ----------
    regret, bound : float
        The largest gain by deviating that was estimated, and what no gain exceeds at the level asked for; both at
        least 0, in payoff units.
    values, standard_errors : Array
        Estimated Shapley values, which add up to the surplus, and their errors; each of shape (n,).
    """

    regret: float
    bound: float
    values: PerAgent
    standard_errors: PerAgent


def sampled_regret(
    game: Game,
    surplus: Surplus,
    s: Profile,
    reach: PerAgent,
    *,
    orders: int,
    risk: float,
    target: float,
    generator: np.random.Generator,
) -> SampledRegret:
    r"""Bound the gains of all deviations from a profile, with probability ``1 - risk``.

    In an order of the agents, agent i who joins the coalition X before her gains

    .. math:: A(s[X], x_i) - A(s[X], s_i) - c_i(x_i) + c_i(s_i)

    by giving ``x_i`` instead of ``s_i``. Its mean over orders is what she gains in the game. It is estimated for all
    agents by the same orders, and for each agent on a grid of ``x_i``: her bounds, and distances from ``s_i`` that
    grow by a half from one to the next. The mean plus Student's quantile at ``risk / 2``, divided by the number of
    all deviations (Bonferroni), times the standard error bounds all of them at once. Agents whose bound exceeds
    ``target`` are then sampled again, with twice the evaluations among them, at the other half of the risk.

    Parameters
    ----------
    orders : int
        Orders in each of the 32 replicates of the first sample: up to n rotations of one, so that every agent takes
        places spread evenly over it, then of further ones.
    """
    deviations = deviation_grid(s, reach, game.upper)
    everybody = np.arange(game.n_agents)
    gains = _replicates(game, surplus, s, deviations, everybody, orders, generator)
    first = _bounds(game, s, deviations, gains, risk / 2.0)
    mean = gains.mean(axis=0)
    left = np.flatnonzero(first > target)
    bounds = first.copy()
    if len(left):
        more = 2 * orders * game.n_agents // len(left)
        again = _replicates(game, surplus, s, deviations[left], left, more, generator)
        bounds[left] = np.minimum(first[left], _bounds(game, s, deviations[left], again, risk / 2.0, left))
        mean[left] = again.mean(axis=0)
    # The first column is to give nothing: what that loses but for the costs saved is her Shapley value.
    saved = game.cost.values(s) - game.cost.values(np.zeros_like(s))
    values = saved - gains[:, :, 0]  # (replicates, n)
    return SampledRegret(
        regret=max(float(mean.max()), 0.0),
        bound=float(bounds.max()),
        values=values.mean(axis=0),
        standard_errors=values.std(axis=0, ddof=1) / np.sqrt(REPLICATES),
    )


def _replicates(
    game: Game,
    surplus: Surplus,
    s: Profile,
    deviations: Array,
    agents: np.ndarray,
    orders: int,
    generator: np.random.Generator,
) -> Array:
    """Gains of ``agents[m]`` at ``deviations[m, p]``, averaged within each replicate: shape (replicates, m, P)."""
    gains = np.zeros((REPLICATES, *deviations.shape))
    rotations = min(orders, game.n_agents)
    heads = orders // rotations
    block = max(1, _CHUNK // (REPLICATES * rotations * game.n_agents))
    for first in range(0, heads, block):
        ranks = _ranks(game.n_agents, min(block, heads - first), rotations, generator)
        for m, i in enumerate(agents):
            tried = np.flatnonzero(deviations[m] != s[i])
            x = np.append(s[i], deviations[m, tried])
            worth = _joined(surplus, s, ranks < ranks[:, :, i, None], int(i), x)  # (replicates, orders, x)
            gains[:, m, tried] += (worth[:, :, 1:] - worth[:, :, :1]).sum(axis=1)
    gains /= rotations * heads
    return gains - (costs_of(game, deviations, agents) - costs_of(game, s[agents, None], agents))


def _joined(surplus: Surplus, s: Profile, before: np.ndarray, agent: int, x: Array) -> Array:
    """Surplus of the coalitions ``before``, shape (..., n), joined by an agent who gives each of ``x``: (..., P)."""
    coalitions = before.reshape(-1, len(s))
    worth = np.empty((len(coalitions), len(x)))
    for part in surplus.chunks(len(coalitions), len(x)):
        worth[part] = surplus(with_own(coalitions[part] * s, agent, x))
    return worth.reshape(*before.shape[:-1], len(x))


def _ranks(n: int, heads: int, rotations: int, generator: np.random.Generator) -> np.ndarray:
    """Every agent's place in random orders, each with its rotations, shape (replicates, heads * rotations, n)."""
    places = generator.permuted(np.tile(np.arange(n), (REPLICATES * heads, 1)), axis=1)
    turns = (n * (np.arange(rotations) + generator.uniform(size=(len(places), 1))) / rotations).astype(int)
    return ((places[:, None, :] + turns[:, :, None]) % n).reshape(REPLICATES, -1, n)


def _bounds(
    game: Game, s: Profile, deviations: Array, gains: Array, risk: float, agents: np.ndarray | None = None
) -> PerAgent:
    """What no gain of each agent exceeds, shape (m,)."""
    from scipy.special import stdtrit

    own = (s if agents is None else s[agents])[:, None]
    tried = deviations != own
    quantile = -float(stdtrit(REPLICATES - 1, risk / max(int(tried.sum()), 1)))
    error = gains.std(axis=0, ddof=1) / np.sqrt(REPLICATES)
    upper = np.where(tried, np.maximum(gains.mean(axis=0) + quantile * error, 0.0), 0.0)
    if game.payoff.concave:
        upper = upper * _stretch(deviations - own)
    return upper.max(axis=1)


def _stretch(moves: Array) -> Array:
    """How much further the next deviation on the same side lies; the furthest ones have none to reach.

    A gain that is concave in x and 0 at ``s_i`` grows no faster than x moves away. So the bound at one deviation, times
    this, holds up to the next.
    """
    size = np.abs(moves)
    same_side = np.sign(moves[:, :, None]) == np.sign(moves[:, None, :])
    further = np.where(same_side & (size[:, None, :] > size[:, :, None]), size[:, None, :], np.inf).min(axis=2)
    return np.where(np.isfinite(further) & (size > 0.0), further / np.where(size > 0.0, size, 1.0), 1.0)
