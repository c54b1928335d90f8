r"""What a client can report in place of her scores, and what each payment makes of it.

Client i's report is the score of every coalition by bit mask, shape (2^n,), for each round. What follows from it is
linear: her Shapley values :math:`\Phi_{ji}` are what she owes to j. Two readings of the paper's payment differ only
for liars. Line 26 of Algorithm 1 subtracts :math:`a_i(\theta^t) - a_i(\theta^{t-W})`, which is either

- a report of its own: her coalition scores then only raise her share (``"paper"``; the sum is not zero), or
- read off the same coalition scores: that is the bilateral form (``"bilateral"``), zero-sum whatever is reported.

The best lie maximises a linear function of scores in [0, 1] (or within ``width`` of the true ones): it is found
exactly, by the signs of its coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fedshap._coalitions import all_members, coalition_weights, shapley_weights, sizes
from fedshap._types import Array
from fedshap._validation import read_only
from fedshap.federated.clients import Client
from fedshap.federated.exchange import ScoreTask

Lie = Callable[[Array, int], Array]
"""From true scores of all coalitions, shape (..., 2^n), and the number of the liar to what she reports."""


def honest(scores: Array, liar: int) -> Array:
    """What is so."""
    return scores


def boast(scores: Array, liar: int) -> Array:
    """1 for every coalition that she is in."""
    return np.where(_with(scores, liar), 1.0, scores)


def flat(scores: Array, liar: int) -> Array:
    """That nothing changes anything for her."""
    return np.broadcast_to(scores[..., :1], scores.shape)


def best(scores: Array, liar: int, *, payment: str = "bilateral", width: float = 1.0) -> Array:
    """The report that brings her most under a payment, with scores at most ``width`` from the true ones."""
    signs = np.sign(np.round(coefficients(_players(scores), liar, payment), 12))
    return np.clip(scores + width * signs, 0.0, 1.0)


def coefficients(n: int, liar: int, payment: str) -> Array:
    """How much each coalition's reported score adds to what the liar receives in that round, shape (2^n,).

    Bilateral, it is minus what she owes to the others, her own share less her whole gain; under the paper's, with the
    gain told apart, it is her own share alone.
    """
    joined = coalition_weights(shapley_weights(n))
    member, size = all_members(0, 1 << n, n)[:, liar], sizes(n)
    found = np.where(member, np.append(0.0, joined)[size], -np.append(joined, 0.0)[size])
    if payment == "bilateral":
        found[-1] -= 1.0
        found[0] += 1.0
    return found


def shaded(width: float) -> Lie:
    """The best lie, bilateral, with scores at most ``width`` from the true ones."""
    return lambda scores, liar: best(scores, liar, width=width)


WIDTHS = (0.02, 0.05, 0.1, 0.2)
LIES: Mapping[str, Lie] = {
    "honest": honest,
    "boast": boast,
    "flat": flat,
    "best lie, paper": lambda scores, liar: best(scores, liar, payment="paper"),
    "best lie, bilateral": best,
    **{f"best lie within {width:g}": shaded(width) for width in WIDTHS},
}


class Liar(Client):
    """A client who trains as the others do and reports what a lie makes of her scores.

    Parameters
    ----------
    honest : Client
        Whose data and costs she has.
    lie : callable
        From true scores of all coalitions, (K, 2^n), and her number to what she reports.
    n_clients : int
        Of the federation; all of them must answer.
    """

    def __init__(self, honest: Client, lie: Lie, n_clients: int) -> None:
        super().__init__(
            honest.number, honest.train_data, honest.test_data, honest.cost, honest.training, capacity=honest.capacity
        )
        self.honest, self.lie, self.n_clients = honest, lie, n_clients

    def score(self, task: ScoreTask) -> Array:
        n = self.n_clients
        versions = task.mixing.shape[1] // n
        members = np.eye(n, dtype=bool)[:, :, None] & (np.arange(versions) == 0)
        every = all_members(0, 1 << n, n).astype(float) @ members.reshape(n, -1)
        reported = np.array(super().score(task))
        true = np.array(super().score(replace(task, mixing=every)))
        places = {row.tobytes(): place for place, row in enumerate(every)}
        known = [(place, places[row.tobytes()]) for place, row in enumerate(task.mixing) if row.tobytes() in places]
        asked, mask = (np.array(each) for each in zip(*known, strict=True))
        reported[:, asked] = self.lie(true, self.number)[:, mask]
        return read_only(reported)


def owed_by(scores: Array) -> Array:
    """``Phi``: what the reporter of each round's scores owes to each, summed over rounds: (rounds, 2^n) give (n,)."""
    n = _players(scores)
    return np.array([scores.sum(axis=0) @ coefficients(n, player, "paper") for player in range(n)])


def _with(scores: Array, liar: int) -> NDArray[np.bool_]:
    return all_members(0, scores.shape[-1], _players(scores))[:, liar]


def _players(scores: Array) -> int:
    return scores.shape[-1].bit_length() - 1
