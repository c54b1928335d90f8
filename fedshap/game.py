"""The data-sharing game: payoffs, costs and how much each agent can give (Sec. 2 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from fedshap._records import Record
from fedshap._types import Array, ArrayLike, PerAgent, Profile
from fedshap._validation import as_array, as_instance, as_per_agent, as_profile
from fedshap.costs import Cost
from fedshap.payoffs import Payoff


@dataclass(frozen=True, eq=False, repr=False)
class Game(Record):
    r"""``n`` agents, each choosing a contribution ``s_i`` in ``[0, capacity_i]``.

    Parameters
    ----------
    payoff : Payoff
        What the trained model is worth to each agent, ``a_i(s)``.
    cost : Cost
        What contributing costs each agent, ``c_i(s_i)``.
    capacity : array_like
        ``tau_i > 0``: the most each agent can contribute; scalar or shape (n,), infinite if left out.

    Raises
    ------
    ValueError
        If payoff and cost are for different numbers of agents, or a capacity is not positive.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=5.0)
    >>> float(game.surplus([1.0, 1.0, 1.0])), round(float(game.welfare([1.0, 1.0, 1.0])), 4)
    (2.25, 1.5)
    """

    payoff: Payoff
    cost: Cost
    capacity: ArrayLike = np.inf
    #: Capacities as a read-only array of shape (n,).
    upper: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        as_instance("payoff", self.payoff, Payoff, such_as="CustomPayoff(function, n_agents)")
        as_instance("cost", self.cost, Cost, such_as="LinearCost(rates)")
        if self.payoff.n_agents != self.cost.n_agents:
            raise ValueError(
                f"payoff and cost must be for the same agents; payoff has {self.payoff.n_agents}, "
                f"cost has {self.cost.n_agents}"
            )
        upper = as_per_agent("capacity", self.capacity, self.n_agents, minimum=0.0, finite=False)
        if (upper == 0.0).any():
            raise ValueError(f"capacity must be positive; it is 0 for agent {int(np.argmin(upper))}")
        object.__setattr__(self, "upper", upper)
        object.__setattr__(self, "capacity", upper)

    @property
    def n_agents(self) -> int:
        """Number of agents ``n``."""
        return self.payoff.n_agents

    def profile(self, s: ArrayLike, *, name: str = "s") -> Profile:
        """Check ``s`` as contributions of this game, shape (..., n), within the capacities; return a copy."""
        s = as_profile(name, s, self.n_agents)
        if (s > self.upper).any():
            agent = int(np.argwhere(s > self.upper)[0][-1])
            raise ValueError(
                f"{name} must not exceed the capacities; agent {agent} would contribute {s[..., agent].max():g} "
                f"of at most {self.upper[agent]:g}"
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
