"""Random orders of the agents: estimates of Shapley values for any payoff and any number of agents.

The profiles along an order are evaluated a few megabytes at a time, so that memory grows with n and not with n^2, and
draws are summed up as they come: there may be many agents, and slopes are asked for besides surpluses. Where a game is
nothing but values of coalitions, each of which may be dear, `fedshap.cooperative.permutations` asks for all coalitions
of many orders at once, each once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fedshap._types import Array, ArrayLike, Order, PerAgent, Profile, RandomSource
from fedshap._validation import as_count, as_generator
from fedshap.game import Game
from fedshap.payoffs import Payoff
from fedshap.shapley.estimates import Estimate

MIN_ORDERS = 30
"""Fewest orders that an estimate may rest on: with fewer, its errors are not Student's."""

DEFAULT_ORDERS = 1000

Statistic = Callable[[Payoff, Profile, Order], Array]

_CHUNK = 1 << 18  # contributions in the profiles evaluated at once: 2 MB


def estimate(
    game: Game,
    s: ArrayLike,
    statistic: Statistic,
    permutations: int | None,
    antithetic: bool | None,
    rng: RandomSource | None,
) -> Estimate:
    """Check the arguments of ``method="permutation"`` and sample a statistic."""
    profile = game.one_profile(s)
    count = DEFAULT_ORDERS if permutations is None else as_count("permutations", permutations, minimum=MIN_ORDERS)
    if antithetic not in (None, True, False):
        raise ValueError(f"antithetic must be True or False; got {antithetic!r}")
    if antithetic and count % 2:
        raise ValueError(f"permutations must be even where antithetic=True pairs them; got {count}")
    if rng is None:
        raise ValueError('method="permutation" needs rng: a seed or a numpy Generator')
    return Estimate(*sample_orders(game.payoff, profile, count, as_generator(rng), statistic, bool(antithetic)))


def sample_orders(
    payoff: Payoff, s: Profile, count: int, generator: np.random.Generator, statistic: Statistic, antithetic: bool
) -> tuple[Array, Array, int]:
    """Mean of a statistic over random orders, its standard error, and the degrees of freedom of that error.

    With ``antithetic`` every second order is the one before it reversed, and pairs are what is independent.
    """
    draws = count // 2 if antithetic else count
    block = max(1, _CHUNK // len(s))
    mean = spread = largest = np.zeros(())
    for done in range(0, draws, block):
        part = np.array([_draw(payoff, s, generator, statistic, antithetic) for _ in range(min(block, draws - done))])
        moved = part.mean(axis=0) - mean  # Chan's rule: two parts of a sample make one, none kept
        mean = mean + moved * (len(part) / (done + len(part)))
        spread = spread + ((part - part.mean(axis=0)) ** 2).sum(axis=0)
        spread = spread + moved**2 * (done * len(part) / (done + len(part)))
        largest = np.maximum(largest, np.abs(part).max())
    error = np.sqrt(spread / (draws - 1.0) / draws)
    return mean, np.where(_settled(s, statistic), 0.0, _never_zero(error, largest, draws)), draws - 1


def _draw(payoff: Payoff, s: Profile, generator: np.random.Generator, statistic: Statistic, antithetic: bool) -> Array:
    order = generator.permutation(len(s))
    draw = statistic(payoff, s, order)
    return (draw + statistic(payoff, s, order[::-1])) / 2.0 if antithetic else draw


def _settled(s: Profile, statistic: Statistic) -> Array:
    """Where no order can change the statistic: one agent has one order, and who gives nothing adds nothing."""
    if len(s) == 1:
        return np.array(True)
    return s == 0.0 if statistic is marginal_contributions else np.array(False)


def _never_zero(error: Array, largest: Array, draws: int) -> Array:
    """Draws that all agree do not make an estimate certain: an order that matters may not have come up.

    The error then is what it would be had one more draw been off by the largest draw of any agent.
    """
    return np.where(error * np.sqrt(draws) <= 1e-12 * largest, largest / draws, error)


def marginal_contributions(payoff: Payoff, s: Profile, order: Order) -> PerAgent:
    """What each agent adds to those before her, Eq. (27)."""
    gains = np.empty(len(s))
    gains[order] = np.diff(_surpluses(payoff, s, order))
    return gains


def marginal_gradients(payoff: Payoff, s: Profile, order: Order) -> PerAgent:
    """Derivative of what each agent adds in her own contribution."""
    slopes = np.empty(len(s))
    for count, profiles in _growing(s, order, smallest=1):
        slopes[order[count - 1]] = payoff.total_slopes(profiles, order[count - 1])
    return slopes


def coalition_averages(payoff: Payoff, s: Profile, order: Order) -> Array:
    """``sum_k (A(s[first k]) - A(0)) / k``, whose mean over orders is the potential."""
    surplus = _surpluses(payoff, s, order)
    return ((surplus[1:] - surplus[0]) / np.arange(1, len(s) + 1)).sum()


def _surpluses(payoff: Payoff, s: Profile, order: Order) -> Array:
    """``A(s[first k])`` for k = 0..n, shape (n + 1,)."""
    return np.concatenate([payoff.total_gain(profiles) for _, profiles in _growing(s, order, smallest=0)])


def _growing(s: Profile, order: Order, smallest: int) -> Iterator[tuple[Order, Array]]:
    """s restricted to the first k agents of an order, for k from ``smallest`` to n, a chunk of rows at a time."""
    rank = np.empty(len(s), dtype=int)
    rank[order] = np.arange(len(s))
    rows = max(1, _CHUNK // len(s))
    for first in range(smallest, len(s) + 1, rows):
        count = np.arange(first, min(first + rows, len(s) + 1))
        yield count, np.where(rank < count[:, None], s, 0.0)
