"""Random orders of the agents: estimates of Shapley values for any payoff and any number of agents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._types import Array, Order, PerAgent, Profile
from fedshap.payoffs import Payoff


def sample_orders(
    payoff: Payoff,
    s: Profile,
    count: int,
    generator: np.random.Generator,
    statistic: Callable[[Payoff, Profile, Order], Array],
) -> tuple[Array, Array]:
    """Mean and standard error of a statistic of one random order of the agents."""
    draws = np.array([statistic(payoff, s, generator.permutation(len(s))) for _ in range(count)])
    return draws.mean(axis=0), draws.std(axis=0, ddof=1) / np.sqrt(count)


def _growing(s: Profile, order: Order) -> Profile:
    """Profiles along an order: row k is s restricted to the first k agents, shape (n + 1, n)."""
    rank = np.empty(len(s), dtype=int)
    rank[order] = np.arange(len(s))
    return np.where(rank < np.arange(len(s) + 1)[:, None], s, 0.0)


def marginal_contributions(payoff: Payoff, s: Profile, order: Order) -> PerAgent:
    """What each agent adds to those before her, Eq. (27)."""
    gains = np.empty(len(s))
    gains[order] = np.diff(payoff.total(_growing(s, order)))
    return gains


def marginal_gradients(payoff: Payoff, s: Profile, order: Order) -> PerAgent:
    """Derivative of what each agent adds in her own contribution."""
    gradients = payoff.total_gradient(_growing(s, order)[1:])  # (n, n)
    slopes = np.empty(len(s))
    slopes[order] = gradients[np.arange(len(s)), order]
    return slopes


def coalition_averages(payoff: Payoff, s: Profile, order: Order) -> Array:
    """``sum_k (A(s[first k]) - A(0)) / k``, whose mean over orders is the potential."""
    surplus = payoff.total(_growing(s, order))
    return ((surplus[1:] - surplus[0]) / np.arange(1, len(s) + 1)).sum()
