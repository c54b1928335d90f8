r"""Shapley values of who takes part: a coalition is worth what its own members get out of its own data.

.. math:: v(X) = \sum_{j \in X} a_j(s[X]), \qquad
          P^v(s) = \sum_{X \ne \emptyset} \frac{(|X|-1)!\,(n-|X|)!}{n!}\, v(X)
          = \sum_j \int_0^1 E\, a_j(s[R_q \cup j])\, dq

Here an agent who is not in X loses the model, too; in `fedshap.shapley.values` she loses her say, and keeps it. The
values ``phi^v_i`` add up to ``v(N) = A(s)``, and as they are the own differences of ``P^v``, ``d phi^v_i / d s_i`` is
``d P^v / d s_i``.

Where payoffs are exponential mixtures agent by agent, ``a_j(s) - a_j(0) = sum_r kappa_jr (1 - exp(-lambda_r . s))``,
expectations over random coalitions factorise. With ``d_j = exp(-lambda_j s_j)``, ``f_j = 1 - q + q d_j`` and
``F = sum_j kappa_j q d_j / f_j``, each term gives agent i

.. math:: \kappa_i \int_0^1 \Bigl(1 - \prod_{k \ne i} f_k\Bigr) dq
          + (1 - d_i) \int_0^1 \Bigl(\kappa_i \frac{1-q}{f_i} + F\Bigr) \prod_{k \ne i} f_k\, dq .

The integrands are polynomials of degree n - 1 in q: `coalition_rule` is exact for them. Other payoffs are enumerated,
up to 20 agents.

Index conventions as in `fedshap.shapley.quadrature`; ``m`` runs over the agents asked about.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, PerAgent, Profile
from fedshap.game import Game
from fedshap.payoffs.mixtures import Mixture, Shares
from fedshap.shapley.compression import DIRECT, compress, each_agent
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.mixtures import mixture_of
from fedshap.shapley.quadrature import _CHUNK, _square_root, coalition_nodes, coalition_rule

_ALIKE = 1e-9  # of what the data are worth to an agent: how far her part of a mixture may be off


@dataclass(frozen=True, eq=False)
class _Part:
    """Some terms of the mixture: the rule in q, and for the agents asked about what depends on others alone.

    Attributes
    ----------
    measure, feed : Array
        Weights of the rule times ``prod_j f_j`` over all agents, and ``F``, shape (r, q).
    q : Array
        Nodes, shape (r, q).
    kappa, rates, decay : Array
        Of the agents asked about, shape (r, m).
    missing : Array
        ``int_0^1 (1 - prod_{k != m} f_k) dq``, shape (r, m).
    """

    measure: Array
    feed: Array
    q: Array
    kappa: Array
    rates: Array
    decay: Array
    missing: Array

    @cached_property
    def inverse(self) -> Array:
        """``1 / f_m``, shape (r, q, m)."""
        return 1.0 / ((1.0 - self.q)[:, :, None] + self.q[:, :, None] * self.decay[:, None, :])

    @cached_property
    def own(self) -> Array:
        """``kappa_m (1 - q) / f_m``, shape (r, q, m)."""
        return self.kappa[:, None, :] * (1.0 - self.q)[:, :, None] * self.inverse

    @cached_property
    def worth(self) -> Array:
        """What ``1 - d_m`` is worth, ``int_0^1 (kappa_m (1-q) / f_m + F) prod_{k != m} f_k dq``, shape (r, m)."""
        return (self.measure[:, :, None] * self.inverse * (self.own + self.feed[:, :, None])).sum(axis=1)


class ParticipantIntegrals:
    """Integrals over random coalitions of members' payoffs, at one profile.

    Parameters
    ----------
    game : Game
        Only its payoff matters.
    s : Array
        Contributions, shape (n,).
    reach : Array, optional
        Largest contributions that will be asked about, shape (n,); ``s`` if left out.
    direct : bool, optional
        Whether every agent is her own point; by default with at most `DIRECT` agents.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> ParticipantIntegrals(game, np.array([3.0, 1.0, 0.0])).values().round(4)  # A(s) = 2.4
    array([1.15 , 0.775, 0.475])
    """

    def __init__(self, game: Game, s: Profile, reach: Profile | None = None, *, direct: bool | None = None) -> None:
        self.mixture, self.s = mixture_of(game.payoff, s if reach is None else reach), s
        self.shares = _checked_shares(game, self.mixture, s)
        direct = len(s) <= DIRECT if direct is None else direct
        self.points = each_agent(self.mixture, s) if direct else compress(self.mixture, s)
        self.nothing = game.payoff.values(np.zeros(len(s)))

    def values(self) -> PerAgent:
        """Shapley values, shape (n,)."""
        at_points = np.zeros(len(self.points.positions))
        for part in self._parts(self.points.positions, self.points.classes):
            at_points += (part.kappa * part.missing + part.worth * (1.0 - part.decay)).sum(axis=0)
        given, slope = self._straight()
        return self.nothing + given + slope * self.s + self.points.spread(at_points)

    def deviation_values(self, x: Array, agents: NDArray[np.intp]) -> Array:
        """Shapley value of ``agents[m]`` were she alone to contribute ``x[m, p]``, less ``a_m(0)``; shape (m, P)."""
        given, slope = self._straight()
        result = given[agents, None] + slope[agents, None] * x
        for part in self._parts(self.s[agents], self.mixture.classes[agents]):
            result += (part.kappa * part.missing).sum(axis=0)[:, None]
            result += np.einsum("rm,rmp->mp", part.worth, -np.expm1(-part.rates[:, :, None] * x))
        return result

    def own_gradient(self) -> PerAgent:
        """``d phi^v_i / d s_i``, shape (n,)."""
        slope = np.zeros(len(self.points.positions))
        for part in self._parts(self.points.positions, self.points.classes):
            slope += (part.worth * part.rates * part.decay).sum(axis=0)
        return self._straight()[1] + self.points.spread(slope)

    def potential(self) -> float:
        """``P^v`` beyond what all have without data, whose rounding it would carry."""
        points = self.points
        total = float(self._straight()[1] @ self.s)
        for part in self._parts(points.positions, points.classes):
            lacking = part.missing + (1.0 - part.decay) * (1.0 - part.missing)
            total += float((part.kappa * lacking).sum(axis=0) @ points.weights)
        return total

    def expansion(self) -> Expansion:
        """Value, gradient and curvature of the potential; where agents are compressed, a bound on the curvature."""
        count = len(self.points.positions)
        own, shared, less = np.zeros(count), np.zeros((count, count)), np.zeros((count, count))
        for part in self._parts(self.points.positions, self.points.classes):
            own += (part.worth * part.rates**2 * part.decay).sum(axis=0)
            pull = part.inverse * (part.rates * part.decay)[:, None, :]  # (r, q, k)
            # Off the diagonal minus q pull_i pull_j (F + own_i + own_j): (F + own_i) (F + own_j) / F less a rest.
            scale = np.divide(part.measure * part.q, part.feed, out=np.zeros_like(part.q), where=part.feed > 0.0)
            rows = (np.sqrt(scale)[:, :, None] * pull * (part.feed[:, :, None] + part.own)).reshape(-1, count)
            rest = (np.sqrt(scale)[:, :, None] * pull * part.own).reshape(-1, count)
            shared += rows.T @ rows
            less += rest.T @ rest
        value, gradient = self.potential(), self.own_gradient()
        if count == len(self.s):
            curvature = shared - less
            np.fill_diagonal(curvature, own)
            return Expansion.of_matrix(value, gradient, curvature)
        alone = np.maximum(own - np.diag(shared) + np.diag(less), 0.0)
        return Expansion(value, gradient, self.points.spread(alone), self.points.spread(_square_root(shared)))

    def _straight(self) -> tuple[PerAgent, PerAgent]:
        """Of the linear part: what half of the others' data give each agent, and what a data point of hers is worth."""
        classes, linear = self.mixture.classes, self.shares.linear
        sums = np.bincount(classes, weights=self.s, minlength=len(linear))
        counts = np.bincount(classes, minlength=len(linear))
        alone = np.diag(linear)[classes]
        given = ((linear @ sums)[classes] - alone * self.s) / 2.0
        return given, ((counts @ linear)[classes] + alone) / 2.0

    def _parts(self, x: PerAgent, classes: NDArray[np.intp]) -> Iterator[_Part]:
        """Terms, a chunk at a time, for agents of these classes who contribute ``x``."""
        points, n = self.points, len(self.s)
        step = max(1, _CHUNK // (coalition_nodes(n, 1e-14) * max(len(x), len(points.positions), 1)))
        for first in range(0, len(self.mixture.coefficients), step):
            some = slice(first, first + step)
            rates, kappa = self.mixture.rates[some], self.shares.coefficients[:, some].T  # (r, C)
            at_points = rates[:, points.classes] * points.positions
            q, weights, reach = coalition_rule(-np.expm1(-at_points) @ points.weights, n)
            factors = np.log1p(q[:, :, None] * np.expm1(-at_points)[:, None, :])  # (r, q, k)
            together = factors @ points.weights
            fed = kappa[:, points.classes] * points.weights * np.exp(-at_points)
            own_rates, decay = rates[:, classes], np.exp(-rates[:, classes] * x)
            without = together[:, :, None] - np.log1p(-q[:, :, None] * (1.0 - decay)[:, None, :])
            yield _Part(
                measure=weights * np.exp(together),
                feed=q * (fed[:, None, :] * np.exp(-factors)).sum(axis=2),
                q=q,
                kappa=kappa[:, classes],
                rates=own_rates,
                decay=decay,
                missing=(1.0 - reach)[:, None] - (weights[:, :, None] * np.expm1(without)).sum(axis=1),
            )


def _checked_shares(game: Game, mixture: Mixture, s: Profile) -> Shares:
    """The parts of single agents, which must be their payoffs."""
    if mixture.shares is None:
        raise ValueError(f"the payoffs of single agents are not known as exponential mixtures for {game.payoff!r}")
    gains, claimed = game.payoff.gains(s), mixture.own_gains(s)[mixture.classes]
    noise = 8.0 * game.payoff.precision * (np.abs(game.payoff.values(s)) + np.abs(gains))
    if not (np.abs(gains - claimed) <= _ALIKE * np.abs(gains) + noise).all():
        raise ValueError(
            f"the mixture of this {type(game.payoff).__name__} is not its payoffs, agent by agent. A class that "
            "changes the payoffs must change `mixture` too (or return None)"
        )
    return mixture.shares
