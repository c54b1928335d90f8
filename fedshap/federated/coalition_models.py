r"""From local models to Shapley shares: which mixtures to score, and what the scores say.

The game of a round: a coalition X is worth to client j what her score of the mean of its members' local models exceeds
her score of the model that the round started from,

.. math:: v_j(X) = a_j(\theta_X) - a_j(\theta), \qquad \theta_\emptyset = \theta.

:math:`\Phi_{ij}` is i's Shapley value in :math:`v_j`: what j owes to i. i's share of the round is
:math:`\varphi_i = \sum_j \Phi_{ij}`. Besides the amounts they gave, clients may have trained further ones, *versions*
1, 2, ... of themselves; a client's own share at another version is that with the others' versions left at 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedshap._coalitions import all_members, coalition_weights, shapley_weights
from fedshap._records import Record
from fedshap._types import Array, PerAgent
from fedshap.cooperative import SamplingPlan, sampling_plan

MOST_EXACT = 10
"""Clients up to which all coalitions are scored unless fewer are asked for."""


class CoalitionGame(Record):
    """The coalitions of the clients that answered, all or some, and those in which one of them is another version.

    Parameters
    ----------
    amounts : ndarray
        What each trained, shape (n, k), version 0 first.
    average : {"participants", "everyone", "samples"}
        How local models are averaged: over members that trained, as in :func:`~fedshap.federated.train`; over all
        members, with those who gave nothing standing still, as Algorithm 1 has it; or over members with weights
        ``s_i``.
    coalitions : int, optional
        At most how many are scored for the shares, at least 3 n or so; by default all.
    joined : int, optional
        How many coalitions of the others each version of a client is scored with, drawn as a random order draws
        them; by default all.
    seed : tuple of int
        Decides what is drawn.
    """

    def __init__(
        self,
        amounts: Array,
        average: str,
        *,
        coalitions: int | None = None,
        joined: int | None = None,
        seed: tuple[int, ...] = (),
    ) -> None:
        self.amounts = amounts
        self.average = average
        self.coalitions = coalitions
        self.joined = joined
        self.seed = seed
        self.n_players, self.n_versions = amounts.shape

    @cached_property
    def _weights(self) -> Array:
        """Weight of each player's versions in a mean, shape (n, k)."""
        rules = {"participants": (self.amounts > 0.0) * 1.0, "everyone": self.amounts**0.0, "samples": self.amounts}
        return rules[self.average]

    @cached_property
    def _present(self) -> NDArray[np.intp]:
        """Players whose coalitions are listed.

        Where coalitions are drawn, null players are left out: their share is zero exactly, and not up to an error.
        """
        return np.arange(self.n_players) if self.coalitions is None else np.flatnonzero(self._weights[:, 0])

    @cached_property
    def _plan(self) -> SamplingPlan | None:
        """Coalitions of those present; None where nobody is."""
        n = len(self._present)
        wanted = 1 << n if self.coalitions is None else self.coalitions
        return sampling_plan(n, wanted, np.random.default_rng((*self.seed, 0))) if n else None

    @cached_property
    def members(self) -> NDArray[np.bool_]:
        """The coalitions that shares come from, shape (c, n): nobody first, everybody who gave anything last.

        If all are scored they stand in the order of bit masks.
        """
        rows = np.zeros((1 if self._plan is None else self._plan.evaluations, self.n_players), dtype=bool)
        if self._plan is not None:
            rows[:, self._present] = self._plan.members
        return rows

    @cached_property
    def _others(self) -> tuple[NDArray[np.bool_], Array]:
        """Coalitions that each player joins, shape (n, r, n), and their weights, shape (r,) for each: (n, r)."""
        n = self.n_players
        if self.joined is None:
            rows = all_members(0, 1 << n, n)
            found = np.array([rows[~rows[:, player]] for player in range(n)])
            return found, coalition_weights(shapley_weights(n))[found.sum(axis=2)]
        rng = np.random.default_rng((*self.seed, 1))
        ranks = rng.random((n, self.joined, n)).argsort(axis=2).argsort(axis=2)  # random orders
        found = ranks < ranks[np.arange(n), :, np.arange(n)][:, :, None]  # those who came before her
        return found, np.full((n, self.joined), 1.0 / self.joined)

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """Version of each player in each mixture wanted, -1 for one who is not in it, shape (M, n).

        First ``members``; then, if there are further versions, for each player the coalitions she joins, without her
        and with each version of her.
        """
        blocks = [np.where(self.members, 0, -1)]
        if self.n_versions > 1:
            for player, others in enumerate(self._others[0]):
                for version in range(-1, self.n_versions):
                    block = np.where(others, 0, -1)
                    block[:, player] = version
                    blocks.append(block)
        return np.concatenate(blocks)

    @cached_property
    def _unique(self) -> tuple[Array, NDArray[np.intp]]:
        """Mixtures that differ, and which one each wanted is."""
        wanted = np.zeros((len(self._rows), self.n_players, self.n_versions))
        row, player = np.nonzero(self._rows >= 0)
        version = self._rows[row, player]
        wanted[row, player, version] = self._weights[player, version]
        unique, which = np.unique(wanted.reshape(len(wanted), -1), axis=0, return_inverse=True)
        return unique, which.ravel()

    @property
    def mixing(self) -> Array:
        """Weight of each local model, ``player * k + version``, in each mixture to be scored, shape (m, n * k)."""
        return self._unique[0]

    @property
    def everybody(self) -> PerAgent:
        """The row of ``mixing`` that everybody's present models make, shape (n * k,)."""
        return self.mixing[self._unique[1][len(self.members) - 1]]

    @property
    def profiles(self) -> Array:
        """What each of ``members`` gives, shape (c, n)."""
        return np.where(self.members, self.amounts[:, 0], 0.0)

    def coalition_scores(self, scores: Array) -> Array:
        """Scores of ``members``: scores (..., m) give (..., c)."""
        return scores[..., self._unique[1][: len(self.members)]]

    def surplus(self, scores: Array) -> Array:
        """What everybody's models add to each score: scores (..., m) give (...)."""
        values = self.coalition_scores(scores)
        return values[..., -1] - values[..., 0]

    def shares(self, scores: Array) -> tuple[Array, Array]:
        """Shapley values in the games of those who scored, and their standard errors: scores (..., m) give (..., n).

        Where all coalitions were scored, errors are zero.
        """
        values = self.coalition_scores(scores)
        shape = (*values.shape[:-1], self.n_players)
        found, errors = np.zeros(shape), np.zeros(shape)
        if self._plan is not None:
            flat = values.reshape(-1, values.shape[-1])
            result = self._plan.estimate((flat - flat[:, :1]).T)
            found[..., self._present] = result.values.T.reshape(*shape[:-1], -1)
            errors[..., self._present] = result.standard_errors.T.reshape(*shape[:-1], -1)
        return found, errors

    def own_shares(self, scores: Array) -> Array:
        """Each player's share at each of her versions, in the sum of the games: scores (K, m) give (K, n, k)."""
        if self.n_versions == 1:
            return self.shares(scores)[0][..., None]
        weights = self._others[1]
        n, r = weights.shape
        values = scores[:, self._unique[1][len(self.members) :]].reshape(len(scores), n, 1 + self.n_versions, r)
        return ((values[:, :, 1:] - values[:, :, :1]) * weights[:, None]).sum(axis=-1)

    def places(self, kept: Sequence[int], smaller: CoalitionGame) -> list[int] | None:
        """Where among these mixtures those of the game of some players are; None if some are not among them."""
        columns = [player * self.n_versions + version for player in kept for version in range(self.n_versions)]
        rows = np.zeros((len(smaller.mixing), self.mixing.shape[1]))
        rows[:, columns] = smaller.mixing
        known = {row.tobytes(): place for place, row in enumerate(self.mixing)}
        found = [known.get(row.tobytes(), -1) for row in rows]
        return None if -1 in found else found
