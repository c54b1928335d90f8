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

from fedshap._coalitions import all_members, coalition_weights, semivalues, shapley_weights, sizes
from fedshap._records import Record
from fedshap._types import Array, PerAgent

MOST_PLAYERS = 10
"""Clients up to which all coalitions are scored; with more, some are drawn."""


class AllCoalitions(Record):
    """All coalitions of the clients that answered, and all in which one of them stands in another version.

    Parameters
    ----------
    amounts : ndarray
        What each trained, shape (n, k), version 0 first.
    average : {"participants", "everyone", "samples"}
        How local models are averaged: over members that trained, as in ``train``; over all members, with those who
        gave nothing standing still, as Algorithm 1 has it; or over members with weights ``s_i``.
    """

    def __init__(self, amounts: Array, average: str) -> None:
        self.amounts = amounts
        self.average = average
        self.n_players, self.n_versions = amounts.shape

    @property
    def evaluations(self) -> int:
        """Mixtures to be scored."""
        return len(self.mixing)

    @cached_property
    def _rows(self) -> NDArray[np.int64]:
        """Version of each player in each mixture wanted, shape (M, n); -1 for one who is not in it.

        First the 2^n coalitions by bit mask; then, for each version v > 0 and each player, hers of the coalitions
        that she is in.
        """
        n = self.n_players
        plain = np.where(all_members(0, 1 << n, n), 0, -1)
        blocks = [plain]
        for version in range(1, self.n_versions):
            for player in range(n):
                block = plain[plain[:, player] == 0].copy()
                block[:, player] = version
                blocks.append(block)
        return np.concatenate(blocks)

    @cached_property
    def _unique(self) -> tuple[Array, NDArray[np.intp]]:
        """Mixtures that differ, and which one each wanted is."""
        weights = {
            "participants": (self.amounts > 0.0).astype(float),
            "everyone": np.ones_like(self.amounts),
            "samples": self.amounts,
        }[self.average]
        wanted = np.zeros((len(self._rows), self.n_players, self.n_versions))
        row, player = np.nonzero(self._rows >= 0)
        version = self._rows[row, player]
        wanted[row, player, version] = weights[player, version]
        unique, which = np.unique(wanted.reshape(len(wanted), -1), axis=0, return_inverse=True)
        return unique, which.ravel()

    @property
    def mixing(self) -> Array:
        """Weight of each local model, ``player * k + version``, in each mixture to be scored, shape (m, n * k).

        One who gave nothing has no weight, so that coalitions with and without her are one mixture, scored once: her
        share is zero exactly.
        """
        return self._unique[0]

    @property
    def everybody(self) -> PerAgent:
        """The row of ``mixing`` that everybody's present models make, shape (n * k,)."""
        return self.mixing[self._unique[1][(1 << self.n_players) - 1]]

    def coalition_scores(self, scores: Array) -> Array:
        """Scores of all coalitions by bit mask: scores (..., m) give (..., 2^n)."""
        return scores[..., self._unique[1][: 1 << self.n_players]]

    def gains(self, scores: Array) -> Array:
        """Values of all coalitions by bit mask to those who scored: scores (..., m) give (..., 2^n)."""
        values = self.coalition_scores(scores)
        return values - values[..., :1]

    @property
    def profiles(self) -> Array:
        """What each coalition gives, shape (2^n, n), by bit mask."""
        return np.where(self._rows[: 1 << self.n_players] == 0, self.amounts[:, 0], 0.0)

    def shares(self, scores: Array) -> Array:
        """Shapley values in the games of those who scored: scores (..., m) give (..., n)."""
        gains = self.gains(scores)
        flat = gains.reshape(-1, gains.shape[-1])
        weights = shapley_weights(self.n_players)
        return np.array([semivalues(each, weights) for each in flat]).reshape(*gains.shape[:-1], self.n_players)

    def own_shares(self, scores: Array) -> Array:
        """Each player's share at each of her versions, in the sum of the games: scores (K, m) give (K, n, k)."""
        n, half = self.n_players, 1 << (self.n_players - 1)
        values = scores[:, self._unique[1]]
        plain = values[:, : 1 << n]
        members = all_members(0, 1 << n, n)
        weighed = np.append(coalition_weights(shapley_weights(n)), 0.0)[sizes(n)]
        found = np.empty((len(scores), n, self.n_versions))
        for player in range(n):
            without = plain[:, ~members[:, player]]  # in the order of the coalitions with her
            weights = weighed[~members[:, player]]
            for version in range(self.n_versions):
                first = (1 << n) + ((version - 1) * n + player) * half
                joined = values[:, first : first + half] if version else plain[:, members[:, player]]
                found[:, player, version] = ((joined - without) * weights).sum(axis=1)
        return found

    def places(self, kept: Sequence[int], smaller: AllCoalitions) -> list[int]:
        """Where among this game's mixtures those of the game of some players are: they need not be scored again."""
        columns = [player * self.n_versions + version for player in kept for version in range(self.n_versions)]
        rows = np.zeros((len(smaller.mixing), self.mixing.shape[1]))
        rows[:, columns] = smaller.mixing
        known = {row.tobytes(): place for place, row in enumerate(self.mixing)}
        return [known[row.tobytes()] for row in rows]
