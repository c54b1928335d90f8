"""Shapley shares of what those who take part get out of their own data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._coalitions import MAX_EXACT, coalition_weights, semivalues, shapley_weights, sizes
from fedshap._types import Agents, Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import everybody
from fedshap.game import Game
from fedshap.mechanisms.base import Mechanism, costs_of
from fedshap.mechanisms.potential import Potential, after_costs
from fedshap.mechanisms.shapley_payment import FEW
from fedshap.payoffs.agreement import check_total
from fedshap.payoffs.differences import differences
from fedshap.shapley import enumeration
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.participants import ParticipantIntegrals


class ParticipantsShapley(Mechanism):
    r"""Shapley shares where a coalition is worth what its own members get out of its own data.

    .. math:: p_i(s) = \varphi^v_i(s) - a_i(s), \qquad v(X) = \sum_{j \in X} a_j(s[X])

    In M^Shap the payoffs of all agents count for every coalition: who leaves takes her data along, and leaves her wish
    for a good model behind. Here she takes both.

    Notes
    -----
    - The payments add up to nothing at every profile, whatever ``a(0)``: ``sum_i phi^v_i = v(N) = A(s)``.
    - Where payoffs do not fall with the data of others, nobody receives less than ``a_i(s_i alone)``: joining any
      coalition brings her at least that, and costs the others nothing. In an equilibrium, therefore, nobody has less
      than the best she can do alone.
    - The game has the exact potential ``P^v - sum_i c_i`` with the potential of Hart and Mas-Colell (1989) of ``v``,
      since a coalition's worth depends on its members' contributions alone. It is concave where payoffs are.
    - It is not approximately reciprocal: what her data are worth to those who have not yet joined is not hers. If the
      common payoff is ``min(m, 1)``, one agent brings 1 and all others ``1 / sqrt(6 n)``, she receives about
      ``4 / sqrt(6 n)`` of her Shapley value (Eq. 3).

    Shapley values of ``v`` are exact: by quadrature where payoffs are exponential mixtures agent by agent (`PowerLaw`
    with one alpha and beta, `RandomCoverage`, `RandomDiscovery`, and a `LearningCurve` to which one can be fitted),
    else by enumeration for up to 20 agents. Dehez and Tellone (2013), Data games, compensate firms for data by the
    Shapley value of a game of costs among those who take part.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> ParticipantsShapley().received(game, [3.0, 1.0, 0.0]).round(4)  # Shapley values: 1.575, 0.825, 0
    array([1.15 , 0.775, 0.475])
    >>> found = fs.find_equilibrium(game, ParticipantsShapley())
    >>> found.contributions.round(4), round(abs(float(found.payments.sum())), 12)
    (array([2.8982, 0.7889, 0.1569]), 0.0)
    """

    def payments(self, game: Game, s: ArrayLike) -> PerAgent:
        return _of_rows(_values, game, s) - game.payoff.values(game.profile(s))

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        return _of_rows(_values, game, s)

    def least_reciprocity(self, game: Game) -> float:
        return 0.0

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        return _of_rows(_gradient, game, s) - game.cost.derivatives(game.profile(s))

    def deviation_utilities(self, game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
        profile, who = game.one_profile(s), everybody(game.n_agents, agents)
        if _integrated(game):
            reach = profile.copy()
            np.maximum.at(reach, who, x.max(axis=1, initial=0.0))
            earned = ParticipantIntegrals(game, profile, reach).deviation_values(x, who)
        else:
            moves = zip(who, x, strict=True)
            rows = [enumeration.members_deviations(game.payoff, profile, int(i), own) for i, own in moves]
            earned = np.array(rows).reshape(x.shape)
        return earned - costs_of(game, x, agents)

    def dear(self, game: Game) -> bool:
        return not _integrated(game) and game.n_agents > FEW

    def potential(self, game: Game) -> Potential:
        return ParticipantsPotential(game)


class ParticipantsPotential(Potential):
    """The exact potential of `ParticipantsShapley`, ``P^v - sum_i (a_i(0) + c_i)``."""

    @property
    def concave(self) -> bool | None:
        return self.game.payoff.concave

    def value(self, s: Profile) -> float:
        return _potential(self.game, s) - float(self.game.costs(s).sum())

    def gradient(self, s: Profile) -> PerAgent:
        return _gradient(self.game, s) - self.game.cost.derivatives(s)

    def expansion(self, s: Profile) -> Expansion:
        if _integrated(self.game):
            surplus = ParticipantIntegrals(self.game, s).expansion()
        else:
            surplus = Expansion.of_matrix(_potential(self.game, s), _gradient(self.game, s), -_hessian(self.game, s))
        return after_costs(self.game, s, surplus)


def _integrated(game: Game) -> bool:
    """Whether there is an exact rule for the integrals over coalitions; else they are enumerated."""
    payoff, few = game.payoff, game.n_agents <= MAX_EXACT
    mixture = None if few and payoff.fitted_mixture else payoff.mixture(np.zeros(game.n_agents))
    integrated = mixture is not None and mixture.shares is not None
    if not integrated and not few:
        raise ValueError(
            f"ParticipantsShapley needs at most {MAX_EXACT} agents, or payoffs that are exponential mixtures agent by "
            f"agent, which is not known of {payoff!r}; the game has {game.n_agents} agents"
        )
    return integrated


def _of_rows(function: Callable[[Game, Profile], PerAgent], game: Game, s: ArrayLike) -> PerAgent:
    """A function of one profile, for each of many."""
    profiles = game.profile(s)
    return np.array([function(game, row) for row in profiles.reshape(-1, game.n_agents)]).reshape(profiles.shape)


def _values(game: Game, s: Profile) -> PerAgent:
    check_total(game.payoff, s)
    if _integrated(game):
        return ParticipantIntegrals(game, s).values()
    gained = semivalues(enumeration.members_table(game.payoff, s), shapley_weights(game.n_agents))
    return game.payoff.values(np.zeros(game.n_agents)) + gained


def _gradient(game: Game, s: Profile) -> PerAgent:
    if _integrated(game):
        return ParticipantIntegrals(game, s).own_gradient()
    return enumeration.members_gradient(game.payoff, s)


def _potential(game: Game, s: Profile) -> float:
    if _integrated(game):
        return ParticipantIntegrals(game, s).potential()
    n = game.n_agents
    weights = np.append(0.0, coalition_weights(shapley_weights(n)))  # |X| C(n, |X|) = n C(n - 1, |X| - 1)
    return float(enumeration.members_table(game.payoff, s) @ weights[sizes(n)])


def _hessian(game: Game, s: Profile) -> Jacobian:
    """Second derivatives of the potential, by differences of its slopes."""
    payoff = game.payoff

    def slopes(profiles: Array) -> Array:
        rows = [enumeration.members_gradient(payoff, row) for row in profiles.reshape(-1, game.n_agents)]
        return np.array(rows).reshape(profiles.shape)

    hessian = differences(slopes, s, payoff.difference_steps(s, 2), payoff.precision)
    return (hessian + hessian.T) / 2.0
