"""The certificate of a sampled equilibrium: a confidence bound on the regret, from coalitions drawn afresh."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedshap._types import Agents, Array, PerAgent, Profile
from fedshap._validation import everybody
from fedshap.equilibrium.reach import deviation_grid
from fedshap.game import Game
from fedshap.mechanisms.base import costs_of
from fedshap.shapley.sampled_potential import SizeClass, Surplus, size_classes

REPLICATES = 32
"""Independent samples, from whose spread the errors are estimated."""

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
    draws: int,
    risk: float,
    target: float,
    generator: np.random.Generator,
) -> SampledRegret:
    r"""Bound the gains of all deviations from a profile, with probability ``1 - risk``.

    When she joins the coalition X, agent i gains

    .. math:: A(s[X], x_i) - A(s[X], s_i) - c_i(x_i) + c_i(s_i)

    by giving ``x_i`` instead of ``s_i``. What she gains in the game is the mean over X: sizes 0..n-1 are equally
    likely, and so are the coalitions of a size. It is estimated without bias, class by class of sizes
    (`size_classes`), on a grid of ``x_i`` (`deviation_grid`). The mean of 32 independent replicates plus Student's
    quantile at ``risk / 2``, divided by the number of all deviations of all agents (Bonferroni), times the standard
    error bounds all gains at once. Agents whose bound exceeds ``target`` are then sampled again, with twice the
    evaluations among them, at the other half of the risk.

    Parameters
    ----------
    draws : int
        Coalitions that each replicate of the first sample draws for each agent.
    """
    deviations = deviation_grid(s, reach, game.capacity)
    gains = _replicates(game, surplus, s, deviations, None, draws, generator)
    first = _bounds(game, s, deviations, gains, risk / 2.0)
    mean = gains.mean(axis=0)
    left = np.flatnonzero(first > target)
    bounds = first.copy()
    if len(left):
        more = 2 * draws * game.n_agents // len(left)
        again = _replicates(game, surplus, s, deviations[left], left, more, generator)
        bounds[left] = np.minimum(first[left], _bounds(game, s, deviations[left], again, risk / 2.0, left))
        mean[left] = again.mean(axis=0)
    # The first column is to give nothing: what that loses but for the costs saved is her Shapley value.
    saved = game.cost.values(s) - game.cost.values(np.zeros_like(s))
    values = saved - gains[:, :, 0]  # (replicates, n)
    # They add up to the surplus: what is left over goes evenly to all who contribute, in each replicate.
    added = float(surplus(s) - surplus(np.zeros_like(s)))
    giving = s > 0.0
    values += np.where(giving, (added - values.sum(axis=1, keepdims=True)) / max(int(giving.sum()), 1), 0.0)
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
    agents: Agents,
    draws: int,
    generator: np.random.Generator,
) -> Array:
    """Gains of ``agents[m]`` at ``deviations[m, p]``, averaged within each replicate: shape (replicates, m, P)."""
    gains, who = np.zeros((REPLICATES, *deviations.shape)), everybody(game.n_agents, agents)
    for sizes in size_classes(game.n_agents, draws):
        # Where an agent has one such coalition only, all replicates would find the same.
        replicates = REPLICATES if 1 < sizes.smallest < game.n_agents else 1
        for places, joining in _orders(game.n_agents, sizes, replicates, generator):
            for m, i in enumerate(who):
                tried = np.flatnonzero(deviations[m] != s[i])
                # The first joining - 1 of the others are there before her, wherever she stands herself.
                there = places - (places > places[:, i, None]) < joining[:, None] - 1
                worth = surplus.joined(there * s, int(i), np.append(s[i], deviations[m, tried]))
                gained = (worth[:, 1:] - worth[:, :1]).reshape(replicates, len(joining) // replicates, len(tried))
                gains[:, m, tried] += sizes.share / sizes.draws * gained.sum(axis=1)
    return gains - (costs_of(game, deviations, agents) - costs_of(game, s[who, None], agents))


def _orders(
    n: int, sizes: SizeClass, replicates: int, generator: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every agent's place in random orders, and how many are to be there with her: (B, n) and (B,), in batches.

    Each batch holds as many orders of one replicate as of another, one after the other. Every second order is the one
    before it reversed: who was there early is late, so that the two coalitions share few.
    """
    joining = np.stack([sizes.sizes(generator) for _ in range(replicates)])  # (replicates, draws)
    batch = 2 * max(1, _CHUNK // (2 * replicates * n))
    for first in range(0, sizes.draws, batch):
        part = joining[:, first : first + batch]
        heads = (part.shape[1] + 1) // 2
        places = generator.permuted(np.tile(np.arange(n), (replicates * heads, 1)), axis=1).reshape(replicates, -1, n)
        paired = np.stack([places, n - 1 - places], axis=2).reshape(replicates, -1, n)[:, : part.shape[1]]
        yield paired.reshape(-1, n), part.reshape(-1)


def _bounds(game: Game, s: Profile, deviations: Array, gains: Array, risk: float, agents: Agents = None) -> PerAgent:
    """What no gain of each agent exceeds, shape (m,)."""
    from scipy.special import stdtrit

    who = everybody(game.n_agents, agents)
    own = s[who, None]
    tried = deviations != own
    quantile = -float(stdtrit(REPLICATES - 1, risk / max(int(tried.sum()), 1)))
    error = gains.std(axis=0, ddof=1) / np.sqrt(REPLICATES)
    upper = np.where(tried, np.maximum(gains.mean(axis=0) + quantile * error, 0.0), 0.0)
    if game.payoff.concave:
        rising = np.isinf(game.capacity[who]) & (upper[:, -1] > 0.0)  # nothing known of what lies beyond
        upper = np.where(rising[:, None], np.inf, upper * _stretch(deviations - own))
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
