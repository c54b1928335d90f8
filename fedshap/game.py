"""The data-sharing game: payoffs, costs and how much each agent can give (Sec. 2 of the paper)."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fedshap._records import Record
from fedshap._types import Array, ArrayLike, PerAgent, Profile
from fedshap._validation import as_array, as_instance, as_per_agent, as_profile, read_only
from fedshap.costs import Cost
from fedshap.payoffs import Payoff

_LADDER: Array = np.exp2(
    np.arange(-200.0, 201.0, 2.0)
)  # contributions at which costs are held against a payoff without a scale


class Game(Record):
    r"""``n`` agents, each choosing a contribution ``s_i`` in ``[minimum_i, capacity_i]``.

    Parameters
    ----------
    payoff : Payoff
        What the trained model is worth to each agent, ``a_i(s)``.
    cost : Cost
        What contributing costs each agent, ``c_i(s_i)``.
    capacity : array_like
        ``tau_i > 0``: the most each agent can contribute; scalar or shape (n,), infinite if left out.
    minimum : array_like
        The least that each agent may contribute, scalar or shape (n,), 0 if left out; below her capacity. It bounds
        her choice alone: a coalition without her has none of her data.

    Raises
    ------
    ValueError
        If payoff and cost are for different numbers of agents, a capacity is not positive, or a minimum exceeds it.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=5.0)
    >>> float(game.surplus([1.0, 1.0, 1.0])), round(float(game.welfare([1.0, 1.0, 1.0])), 4)
    (2.25, 1.5)
    """

    def __init__(self, payoff: Payoff, cost: Cost, capacity: ArrayLike = np.inf, *, minimum: ArrayLike = 0.0) -> None:
        as_instance("payoff", payoff, Payoff, such_as="CustomPayoff(function, n_agents)")
        as_instance("cost", cost, Cost, such_as="LinearCost(rates)")
        if payoff.n_agents != cost.n_agents:
            raise ValueError(
                f"payoff and cost must be for the same agents; payoff has {payoff.n_agents}, cost has {cost.n_agents}"
            )
        self.payoff, self.cost = payoff, cost
        #: The most that each agent can contribute, shape (n,).
        self.capacity: Array = as_per_agent("capacity", capacity, self.n_agents, minimum=0.0, finite=False)
        #: The least that each agent may contribute, shape (n,).
        self.minimum: Array = as_per_agent("minimum", minimum, self.n_agents, minimum=0.0)
        if (self.capacity == 0.0).any():
            raise ValueError(f"capacity must be positive; it is 0 for agent {int(np.argmin(self.capacity))}")
        if (self.minimum > self.capacity).any():
            agent = int(np.argmax(self.minimum > self.capacity))
            raise ValueError(
                f"minimum must not exceed capacity; for agent {agent} it is {self.minimum[agent]:g}, and she can give "
                f"{self.capacity[agent]:g}"
            )

    @property
    def n_agents(self) -> int:
        """Number of agents ``n``."""
        return self.payoff.n_agents

    @cached_property
    def units(self) -> PerAgent:
        """What is a contribution worth speaking of, for each agent, shape (n,).

        Where payoffs bend (`Payoff.units`), or, if they have no scale, where marginal costs catch up with what data
        are worth; no more than she can give. Solvers and certificates measure contributions in these units, so that
        their answers do not depend on the unit in which data are counted.
        """
        units = self.payoff.units
        if units is None:
            units = self._break_even()
        # Powers of two: to measure in them loses nothing.
        return read_only(2.0 ** np.floor(np.log2(np.minimum(units, self.capacity))))

    def _break_even(self) -> PerAgent:
        """Along the diagonal, where each agent's marginal cost first exceeds what her data add.

        Where it never does, or does from the start, the largest of the others' says how data are counted, if any does.
        """
        units = np.zeros(self.n_agents)
        behind = np.zeros(self.n_agents, dtype=bool)
        for t in _LADDER:
            with np.errstate(all="ignore"):
                s = np.full(self.n_agents, t)
                ahead = self.cost.derivatives(s) > self.payoff.total_gradient(s)
            units[behind & ahead] = t
            behind = ~ahead
        return np.where(units > 0.0, units, units.max() or 1.0)

    def profile(self, s: ArrayLike, *, name: str = "s") -> Profile:
        """Check ``s`` as contributions of this game, shape (..., n), within the capacities; return a copy."""
        s = as_profile(name, s, self.n_agents)
        if (s > self.capacity).any():
            agent = int(np.argwhere(s > self.capacity)[0][-1])
            raise ValueError(
                f"{name} must not exceed the capacities; agent {agent} would contribute {s[..., agent].max():g} "
                f"of at most {self.capacity[agent]:g}"
            )
        return s

    def one_profile(self, s: ArrayLike, *, name: str = "s") -> Profile:
        """Check ``s`` as a single profile of this game, shape (n,); return a copy."""
        profile = as_array(name, s, minimum=0.0)
        if profile.shape != (self.n_agents,):
            raise ValueError(f"{name} must be one profile of shape ({self.n_agents},); got shape {profile.shape}")
        return self.profile(profile, name=name)

    def surplus(self, s: ArrayLike) -> Array:
        """Total payoff ``A(s) = sum_i a_i(s)``, shape (...)."""
        return self.payoff.total(self.profile(s))

    def costs(self, s: ArrayLike) -> PerAgent:
        """Costs ``c_i(s_i)``, shape (..., n)."""
        return self.cost.values(self.profile(s))

    def welfare(self, s: ArrayLike) -> Array:
        """Welfare ``W(s) = A(s) - sum_i c_i(s_i)`` of Thm 4.8, shape (...). Payments cancel out of it only
        where the mechanism is budget-balanced."""
        return self.surplus(s) - self.costs(s).sum(axis=-1)
