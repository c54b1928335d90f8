"""Clients in this process: whoever they are, each is asked in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from fedshap._records import Record
from fedshap._types import Array
from fedshap.federated.exchange import Description, Refusal, ScoreTask, Trained, TrainTask


class Member(Protocol):
    """What :class:`fedshap.federated.Client` is to those who talk to her; anybody's own will do."""

    @property
    def weights(self) -> Array:
        """Initial weights of her network, shape (P,)."""
        ...

    @property
    def description(self) -> Description:
        """What she says of herself."""
        ...

    def train(self, task: TrainTask) -> Trained:
        """Choose an amount, and train that and the further ones asked for."""
        ...

    def score(self, task: ScoreTask) -> Array:
        """Scores of mixtures of local models, shape (K, m)."""
        ...


class Members(Record):
    """Clients in this process, as :class:`~fedshap.federated.exchange.Clients`.

    Parameters
    ----------
    members : sequence
        A :class:`~fedshap.federated.Client` each, or what behaves like one.

    Raises
    ------
    ValueError
        If there are none.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        if not self.members:
            raise ValueError("members must hold at least one client; got none")

    @property
    def weights(self) -> Array:
        """Initial weights of the network, shape (P,)."""
        return self.members[0].weights

    @property
    def descriptions(self) -> list[Description | Refusal]:
        """What each says of herself."""
        wrong = [same_start(each.weights, self.weights) for each in self.members]
        return [Refusal(why) if why else each.description for each, why in zip(self.members, wrong, strict=True)]

    def train(self, task: TrainTask) -> Mapping[int, Trained | Refusal]:
        """Local models of those who are asked."""
        return {number: self.members[number].train(task) for number in task.offers}

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Array | Refusal]:
        """Scores by some of them."""
        return {number: self.members[number].score(task) for number in who}


def same_start(weights: Array, first: Array) -> str:
    """What is wrong with a client's initial weights; those of another size are told by her description."""
    if len(weights) == len(first) and not np.array_equal(weights, first):
        return "her network starts from other weights than the first client's: give all the same seed and the same code"
    return ""
