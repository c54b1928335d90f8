r"""Private costs: agents know their own costs, and of the others' only how likely each is.

Agent i's type ``theta_i`` decides her cost; she contributes ``sigma_i(theta_i)``. If a mechanism has an exact potential
``Phi(s; theta) = P(s) - sum_i c_i(s_i, theta_i)`` whatever the types, then

.. math:: E\,\Phi(\sigma(\theta); \theta)

is an exact potential of the Bayesian game, for any prior, correlated ones included: a change of ``sigma_i(t)`` changes
it by the probability of t times what agent i of type t gains. So a pure equilibrium exists, and where the potential is
concave its maximisers are all there are. Costs are never reported, so that nothing can be misreported.

Index conventions: ``t`` runs over the T types, ``i`` over agents; agent i of type t is player ``i T + t``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedshap._records import Record
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_instance, as_interval, as_per_agent, read_only
from fedshap.costs import Cost
from fedshap.equilibrium import ConvergenceError, find_equilibrium
from fedshap.equilibrium.certificate import certify
from fedshap.equilibrium.find import EXACT_TOL
from fedshap.game import Game
from fedshap.interim import Interim, Players
from fedshap.mechanisms import Mechanism
from fedshap.payoffs import Payoff

MOST_STATES = 4096
"""Most combinations of types that are gone through."""


class BayesianGame(Record):
    """A data-sharing game in which every agent alone knows her cost.

    Parameters
    ----------
    payoff : Payoff
        What the trained model is worth to each agent, whatever the types.
    cost_types : sequence of Cost
        T costs, each for all n agents: agent i of type t bears what the t-th says of her.
    prior : array_like
        How likely types are: shape (T,), the same for all and independent; (n, T), independent; or one axis of length T
        for each agent, the joint distribution, correlated if you wish. Sums up to 1 (each row of (n, T) does); what
        has shape (2, 2) for two agents of two types is a joint distribution if all of it sums up to 1.
    capacity : array_like
        The most each agent can contribute, scalar or shape (n,).

    Raises
    ------
    ValueError
        If shapes do not fit, the prior is no probability distribution, or there are more than 4096 combinations of
        types.

    Examples
    --------
    Costs of 0.1 or 0.4 for each data point, as likely as not:

    >>> import fedshap as fs
    >>> low, high = fs.LinearCost([0.1] * 3), fs.LinearCost([0.4] * 3)
    >>> game = BayesianGame(fs.PowerLaw(3), [low, high], prior=[0.5, 0.5])
    >>> found = game.equilibrium(fs.ShapleyPayment())
    >>> found.strategies.round(4)[0], found.relative_regret < 1e-9
    (array([3.2352, 0.8892]), True)
    """

    def __init__(
        self, payoff: Payoff, cost_types: Sequence[Cost], prior: ArrayLike, capacity: ArrayLike = np.inf
    ) -> None:
        self.payoff = as_instance("payoff", payoff, Payoff, such_as="CustomPayoff(function, n_agents)")
        self.cost_types = tuple(as_instance("each of cost_types", cost, Cost) for cost in cost_types)
        n, count = payoff.n_agents, len(self.cost_types)
        if not count or any(cost.n_agents != n for cost in self.cost_types):
            raise ValueError(
                f"cost_types must be at least one cost, each for the {n} agents of the payoff; got costs for "
                f"{[cost.n_agents for cost in self.cost_types]}"
            )
        if count**n > MOST_STATES:
            raise ValueError(
                f"{n} agents of {count} types are {count}^{n} combinations; at most {MOST_STATES} are gone through"
            )
        self.prior = _joint(as_array("prior", prior, minimum=0.0, maximum=1.0), n, count)
        self.capacity = as_per_agent("capacity", capacity, n, minimum=0.0, finite=False)

    @property
    def n_agents(self) -> int:
        """Number of agents ``n``."""
        return self.payoff.n_agents

    @property
    def n_types(self) -> int:
        """Number of types ``T``."""
        return len(self.cost_types)

    @cached_property
    def chances(self) -> Array:
        """Probability of each type of each agent, shape (n, T)."""
        axes = range(self.n_agents)
        return read_only(np.array([self.prior.sum(axis=tuple(j for j in axes if j != i)) for i in axes]))

    def equilibrium(self, mechanism: Mechanism, *, tol: float = EXACT_TOL) -> BayesianEquilibrium:
        """A pure Bayesian equilibrium, certified by what any type of any agent gains by another contribution.

        Parameters
        ----------
        mechanism : Mechanism
            What is played; with a potential for each combination of types (`ShapleyPayment`, `ParticipantsShapley`,
            `DampedShapley` with a common payoff) the expected potential is maximised, else best responses are tried.
            Payments must not depend on costs.
        tol : float
            Largest interim regret accepted, > 0, relative to what is at stake.

        Returns
        -------
        BayesianEquilibrium
            Strategies, interim utilities and regrets of all types.

        Raises
        ------
        ConvergenceError
            If the interim regret of some type that occurs is larger.
        ValueError
            If an agent would contribute without bound, or payments depend on costs.
        """
        as_instance("mechanism", mechanism, Mechanism)
        tol = as_interval("tol", tol, 0.0, np.inf)
        self._refuse_costs(mechanism)
        players = Players(self.payoff, self.cost_types, self.prior, self.capacity)
        rule = Interim(players, mechanism)
        found = find_equilibrium(players.game, rule, on_failure="return")
        s, occurring = found.contributions, players.chances
        searched = [certify(players.game, rule, s, np.array([k])) for k in range(len(s))]
        regrets = np.array([each.regret for each in searched]) / occurring
        scale = max(each.scale / chance for each, chance in zip(searched, occurring, strict=True))
        if regrets.max() > tol * scale:
            raise ConvergenceError(found, tol)
        return BayesianEquilibrium(
            strategies=players.table(s),
            utilities=players.table(rule.utilities(players.game, s) / occurring),
            regrets=players.table(regrets),
            scale=float(scale),
            method=found.method,
        )

    def _refuse_costs(self, mechanism: Mechanism) -> None:
        """Payments that look at costs would have to be told the types."""
        s = np.minimum(np.ones(self.n_agents), self.capacity)
        paid = [mechanism.payments(Game(self.payoff, cost, self.capacity), s) for cost in self.cost_types]
        if any((each != paid[0]).any() for each in paid):
            raise ValueError(f"payments of {mechanism!r} depend on costs, which are private here")


@dataclass(frozen=True, eq=False, repr=False)
class BayesianEquilibrium(Record):
    """What every type of every agent contributes, has, and could gain.

    Attributes
    ----------
    strategies : Array
        Contributions ``sigma_i(t)``, shape (n, T); NaN for a type that never occurs.
    utilities, regrets : Array
        What each type expects knowing her type, and the most that she gains by another contribution, shape (n, T).
    scale : float
        What is at stake, in payoff units.
    method : str
        As in `Equilibrium`.
    """

    strategies: Array
    utilities: Array
    regrets: Array
    scale: float
    method: str

    @property
    def relative_regret(self) -> float:
        """The largest interim regret, of what is at stake."""
        return float(np.nanmax(self.regrets)) / self.scale if self.scale > 0.0 else float(np.nanmax(self.regrets))


def _joint(prior: Array, n: int, count: int) -> Array:
    """The joint distribution of all types, one axis for each agent."""
    if prior.shape == (count,) and n > 1:
        prior = np.tile(prior, (n, 1))
    if prior.shape == (n, count) and not (n == 2 and count == 2 and abs(prior.sum() - 1.0) <= 1e-9):
        if (np.abs(prior.sum(axis=1) - 1.0) > 1e-9).any():
            raise ValueError(f"each row of prior must sum up to 1; they sum up to {prior.sum(axis=1)}")
        joint = np.ones(())
        for row in prior:
            joint = joint[..., None] * row
        return read_only(joint)
    if prior.shape != (count,) * n:
        raise ValueError(
            f"prior must have shape ({count},), ({n}, {count}) or {(count,) * n} for {n} agents of {count} types; got "
            f"{prior.shape}"
        )
    if abs(prior.sum() - 1.0) > 1e-9:
        raise ValueError(f"prior must sum up to 1; it sums up to {prior.sum():g}")
    return read_only(prior)
