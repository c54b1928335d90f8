"""What every cost offers and what follows from its values alone; some agents' costs, sums and multiples."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fedshap._differences import difference
from fedshap._records import Record
from fedshap._types import Array, PerAgent
from fedshap._validation import as_array, as_instance, as_interval, as_profile
from fedshap.costs.supply import supply_by_bisection

_REST = ("second_derivatives", "supply", "constant_rates", "of")


class Cost(Record):
    """Base class of all costs.

    A cost of your own needs ``n_agents`` and ``values``, and is more exact with ``derivatives``; the rest has
    numerical defaults. Costs add up, and multiply by a number: ``LinearCost(...) + 2.0 * PowerCost(...)``.

    Attributes
    ----------
    n_agents : int
        Number of agents ``n``.

    Examples
    --------
    >>> class Tiring(Cost):
    ...     n_agents = 3
    ...
    ...     def values(self, s):
    ...         return 0.1 * np.asarray(s) + np.square(s) / [10.0, 20.0, 40.0]
    >>> Tiring().derivatives([0.0, 1.0, 2.0]).round(9), Tiring().supply(0.3)[0].round(9)
    (array([0.1, 0.2, 0.2]), array([1., 2., 4.]))
    """

    __array_ufunc__ = None  # numpy leaves its products with a cost to the cost
    n_agents: int

    _shortcuts = {"derivatives": ("values",)} | dict.fromkeys(_REST, ("values", "derivatives"))

    @abstractmethod
    def values(self, s: ArrayLike) -> PerAgent:
        """Costs ``c_i(s_i)``, shape (..., n)."""

    def derivatives(self, s: ArrayLike) -> PerAgent:
        """Marginal costs ``c_i'(s_i)``, shape (..., n); by differences, to about ten digits, unless overridden."""
        return self._differences(self.values, s, order=1)

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        """Curvatures ``c_i''(s_i)``, shape (..., n); may be infinite at zero. By differences unless overridden."""
        if self.has_derivatives:
            return self._differences(self.derivatives, s, order=1)
        return self._differences(self.values, s, order=2)

    def supply(self, price: float | PerAgent) -> tuple[PerAgent, PerAgent]:
        """What each agent gives when a data point earns ``price``, one for all or one each: the ends of the interval
        on which her marginal cost is the price, each of shape (n,); infinite where it stays below. By bisection
        unless overridden."""
        return supply_by_bisection(self.derivatives, np.broadcast_to(price, (self.n_agents,)))

    def constant_rates(self) -> PerAgent | None:
        """Marginal costs, shape (n,), where they are the same at all contributions; None where that is not known."""
        return None

    def of(self, agents: NDArray[np.intp]) -> Cost:
        """The costs of some agents, in the order given."""
        return SomeCosts(self, agents)

    @property
    def has_derivatives(self) -> bool:
        """Whether marginal costs come from a formula, not from differences."""
        return type(self).derivatives is not Cost.derivatives

    def __add__(self, other: object) -> Cost:
        return SumCost([self, other]) if isinstance(other, Cost) else NotImplemented

    def __radd__(self, other: object) -> Cost:
        return self if isinstance(other, int) and other == 0 else NotImplemented  # where sum() starts

    def __mul__(self, factor: float) -> Cost:
        return NotImplemented if isinstance(factor, Cost) else ScaledCost(self, factor)

    __rmul__ = __mul__

    def _differences(self, function: Callable[[Array], Array], s: ArrayLike, order: int) -> PerAgent:
        profiles = as_profile("s", s, self.n_agents)

        def entrywise(x: Array) -> Array:  # (entries of s, P)
            return function(x.T.reshape(-1, *profiles.shape)).reshape(-1, profiles.size).T

        found = difference(entrywise, profiles.ravel(), np.full(profiles.size, np.inf), order=order)
        return found.reshape(profiles.shape)


class SomeCosts(Cost):
    """The costs of some agents of a game, out of those of all.

    Parameters
    ----------
    cost : Cost
        The costs of all agents.
    agents : array_like of int
        Whose, shape (m,), in the order wanted; an agent may be named twice.

    Examples
    --------
    >>> import fedshap as fs
    >>> SomeCosts(fs.PowerCost([0.1, 0.2, 0.3], exponent=2.0), [2, 0]).derivatives([1.0, 1.0])
    array([0.6, 0.2])
    """

    def __init__(self, cost: Cost, agents: ArrayLike) -> None:
        self.cost = cost
        self.agents = as_array("agents", agents).astype(np.intp)
        self.n_agents = len(self.agents)

    def values(self, s: ArrayLike) -> PerAgent:
        return self._of_all(self.cost.values, s)

    def derivatives(self, s: ArrayLike) -> PerAgent:
        return self._of_all(self.cost.derivatives, s)

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        return self._of_all(self.cost.second_derivatives, s)

    def of(self, agents: NDArray[np.intp]) -> Cost:
        return SomeCosts(self.cost, self.agents[agents])

    @property
    def has_derivatives(self) -> bool:
        return self.cost.has_derivatives

    @cached_property
    def _rounds(self) -> list[NDArray[np.intp]]:
        """Places in ``agents``, dealt out so that in each round every agent stands once."""
        order = np.argsort(self.agents, kind="stable")
        sorted_agents = self.agents[order]
        again = np.arange(len(order)) - np.searchsorted(sorted_agents, sorted_agents)
        return [order[again == k] for k in range(int(again.max(initial=-1)) + 1)]

    def _of_all(self, function: Callable[[Array], Array], s: ArrayLike) -> PerAgent:
        s = as_profile("s", s, self.n_agents)
        found = np.empty_like(s)
        for places in self._rounds:
            profile = np.zeros((*s.shape[:-1], self.cost.n_agents))
            profile[..., self.agents[places]] = s[..., places]
            found[..., places] = function(profile)[..., self.agents[places]]
        return found


class SumCost(Cost):
    """Several costs of the same agents, all of which are due: ``a + b`` makes one.

    Parameters
    ----------
    parts : sequence of Cost
        At least one, for equally many agents each.

    Raises
    ------
    ValueError
        If there is no part, or the parts are for different numbers of agents.

    Examples
    --------
    >>> import fedshap as fs
    >>> cost = fs.LinearCost([0.10, 0.25, 0.40]) + fs.PowerCost([0.1, 0.1, 0.1], exponent=2.0)
    >>> cost.values([1.0, 2.0, 0.0]), cost.derivatives([1.0, 2.0, 0.0])
    (array([0.2, 0.9, 0. ]), array([0.3 , 0.65, 0.4 ]))
    """

    def __init__(self, parts: Sequence[Cost]) -> None:
        flat: list[Cost] = []
        for part in parts:
            flat += part.parts if type(part) is SumCost else [as_instance("each of parts", part, Cost)]
        if len({part.n_agents for part in flat}) != 1:
            raise ValueError(f"parts must be costs of equally many agents; got {[part.n_agents for part in flat]}")
        self.parts = tuple(flat)
        self.n_agents = flat[0].n_agents

    def values(self, s: ArrayLike) -> PerAgent:
        return np.sum([part.values(s) for part in self.parts], axis=0)

    def derivatives(self, s: ArrayLike) -> PerAgent:
        return np.sum([part.derivatives(s) for part in self.parts], axis=0)

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        return np.sum([part.second_derivatives(s) for part in self.parts], axis=0)

    def supply(self, price: float | PerAgent) -> tuple[PerAgent, PerAgent]:
        """Of one part at what the constant marginal costs of the others leave of the price; else by bisection."""
        varying = [part for part in self.parts if part.constant_rates() is None]
        if len(varying) > 1:
            return super().supply(price)
        constant = [rates for part in self.parts if (rates := part.constant_rates()) is not None]
        rest, *others = [*varying, *(part for part in self.parts if part not in varying)]
        taken = constant if varying else constant[1:]
        return rest.supply(price - np.sum(taken, axis=0)) if others else rest.supply(price)

    def constant_rates(self) -> PerAgent | None:
        rates = [each for part in self.parts if (each := part.constant_rates()) is not None]
        return np.sum(rates, axis=0) if len(rates) == len(self.parts) else None

    def of(self, agents: NDArray[np.intp]) -> SumCost:
        return SumCost([part.of(agents) for part in self.parts])

    @property
    def has_derivatives(self) -> bool:
        return all(part.has_derivatives for part in self.parts)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.parts))


class ScaledCost(Cost):
    """A cost times a number: ``2.0 * cost`` makes one.

    Parameters
    ----------
    cost : Cost
        The cost.
    factor : float
        By what it is multiplied, > 0.

    Examples
    --------
    >>> import fedshap as fs
    >>> (2.0 * fs.PowerCost([0.1, 0.2, 0.3], exponent=2.0)).values([1.0, 1.0, 2.0])
    array([0.2, 0.4, 2.4])
    """

    def __init__(self, cost: Cost, factor: float) -> None:
        self.cost = as_instance("cost", cost, Cost)
        self.factor = as_interval("factor", factor, 0.0, np.inf)
        self.n_agents = cost.n_agents

    def values(self, s: ArrayLike) -> PerAgent:
        return self.factor * self.cost.values(s)

    def derivatives(self, s: ArrayLike) -> PerAgent:
        return self.factor * self.cost.derivatives(s)

    def second_derivatives(self, s: ArrayLike) -> PerAgent:
        return self.factor * self.cost.second_derivatives(s)

    def supply(self, price: float | PerAgent) -> tuple[PerAgent, PerAgent]:
        return self.cost.supply(price / self.factor)

    def constant_rates(self) -> PerAgent | None:
        rates = self.cost.constant_rates()
        return None if rates is None else self.factor * rates

    def of(self, agents: NDArray[np.intp]) -> ScaledCost:
        return ScaledCost(self.cost.of(agents), self.factor)

    @property
    def has_derivatives(self) -> bool:
        return self.cost.has_derivatives

    def __repr__(self) -> str:
        inner = f"({self.cost!r})" if isinstance(self.cost, SumCost) else repr(self.cost)
        return f"{self.factor:g} * {inner}"
