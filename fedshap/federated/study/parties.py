"""Clients of the study: all in this process, scored in one pass, some of them attackers.

`Party` answers as `LocalClients` does. It makes each mixture once and lets it classify everybody's test inputs
together, where clients on machines of their own each do both; a study of thousands of mixtures is done in a tenth
of the time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from fedshap._records import Record
from fedshap._types import Array, PerAgent
from fedshap._validation import read_only
from fedshap.costs import Cost, LinearCost, PowerCost
from fedshap.federated.clients import Client, LocalTraining, score_inputs
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.exchange import (
    Clients,
    Description,
    Keep,
    Refusal,
    ScoreTask,
    Trained,
    TrainTask,
    mixture,
)
from fedshap.federated.members import Members
from fedshap.federated.partitions import partition
from fedshap.federated.protocol import FedBRShap
from fedshap.federated.rounds import Played, play
from fedshap.federated.study.settings import Settings

_SUBSET, _RATES = 7, 8  # what a seed is drawn for


class Party(Members):
    """Clients of one federation, scored in one pass.

    Parameters
    ----------
    members : sequence of Client
        In the order of their numbers.
    """

    members: tuple[Client, ...]

    def __init__(self, members: Sequence[Client]) -> None:
        super().__init__(members)
        self._inputs = torch.cat([member._test_inputs for member in members])
        self._labels = torch.cat([member._test_labels for member in members])
        self._ends = np.cumsum([len(member.test_data) for member in members])

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Array | Refusal]:
        """Scores by some of them."""
        first = self.members[0]
        outcomes = score_inputs(first._model, task, self._inputs, self._labels, first.training.score)
        parts = np.split(outcomes, self._ends[:-1], axis=-1)
        return {number: read_only(parts[number].mean(axis=-1)) for number in who}


class Standing(Record):
    """Clients whose every round starts from the same model: one game played over and over, on fresh shuffles.

    Parameters
    ----------
    clients : Clients
        Those who play.
    weights : ndarray
        The model, shape (P,).
    """

    def __init__(self, clients: Clients, weights: Array) -> None:
        self.clients = clients
        self.weights = weights

    @property
    def descriptions(self) -> Sequence[Description | Refusal]:
        """What each says of herself."""
        return self.clients.descriptions

    def train(self, task: TrainTask) -> Mapping[int, Trained | Refusal]:
        """Local models of those who are asked."""
        return self.clients.train(replace(task, weights=self.weights))

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Array | Refusal]:
        """Scores by some of them."""
        return self.clients.score(replace(task, weights=self.weights), who)


class FreeRider(Client):
    """Gives nothing, whatever she is asked."""

    def train(self, task: TrainTask) -> Trained:
        return super().train(replace(task, offers={**task.offers, self.number: Keep(0.0)}))


class Amplifier(Client):
    """Sends four times the update that she trained."""

    def train(self, task: TrainTask) -> Trained:
        honest = super().train(task)
        return replace(honest, models=read_only(task.weights + 4.0 * (honest.models - task.weights)))


def flipped(data: Dataset) -> Dataset:
    """The same inputs, each labelled as the next class."""
    return Dataset(data.inputs, (data.labels + 1) % data.n_classes, data.n_classes, data.name)


def deal(settings: Settings, data: Dataset, seed: int, n: int, test_fraction: float | None = None) -> Federation:
    """The federation of a seed, of ``n`` clients with some of the data."""
    rows = np.random.default_rng((seed, _SUBSET)).permutation(len(data))[: settings.inputs]
    some = Dataset(data.inputs[rows], data.labels[rows], data.n_classes, data.name)
    angles = (10.0, 90.0, 180.0)[:n]
    fraction = settings.test_fraction if test_fraction is None else test_fraction
    return partition(some, n_clients=n, angles=angles, test_fraction=fraction, rng=seed)


def training(settings: Settings, seed: int) -> LocalTraining:
    """How the federation of a seed trains."""
    return LocalTraining(
        settings.batch_size, settings.learning_rate, model=settings.model, seed=seed, dtype=settings.dtype
    )


def costs(settings: Settings, kind: str, seed: int, n: int) -> Cost:
    """Private costs of a seed; both kinds have the same marginal cost at half the capacity."""
    rates = np.random.default_rng((seed, _RATES)).uniform(*settings.rates, size=n)
    return LinearCost(rates) if kind == "linear" else PowerCost(rates / settings.capacity, 2.0)


def party(settings: Settings, federation: Federation, cost: Cost, seed: int) -> Party:
    """Honest clients of a federation."""
    each = [cost.of(np.array([i], dtype=np.intp)) for i in range(federation.n_clients)]
    return Party(
        [member(settings, federation.train[i], federation.test[i], each[i], i, seed) for i in range(len(each))]
    )


def member(
    settings: Settings, train: Dataset, test: Dataset, cost: Cost, number: int, seed: int, kind: type[Client] = Client
) -> Client:
    """A client of a federation, who gives at most what the settings say and what she has."""
    capacity = min(settings.capacity, float(len(train) // settings.batch_size))
    return kind(number, train, test, cost, training(settings, seed), capacity=capacity)


def played_rounds(clients: Clients, amounts: PerAgent, rounds: int, start: Array) -> Iterator[Played]:
    """Rounds of the protocol in which everybody keeps to her amount."""
    rules, weights = FedBRShap(search=None), start
    for number in range(1, rounds + 1):
        offers = {client: Keep(float(amount)) for client, amount in enumerate(amounts)}
        yield (played := play(rules, clients, TrainTask(weights, offers, ((number,),))))
        weights = mixture(played.task.models[0], played.game.everybody, weights)


def warm(settings: Settings, clients: Party) -> Array:
    """The model after the rounds of warming up, shape (P,)."""
    return retrained(
        clients, np.full(len(clients.members), settings.warm_amount), settings.warm_up, range(len(clients.members)), 0
    )


def retrained(clients: Party, amounts: PerAgent, rounds: int, members: Sequence[int], shuffle: int) -> Array:
    """The model that some of the clients make as a federation of their own, on shuffles that nothing else uses."""
    weights = clients.weights
    for number in range(1, rounds + 1):
        offers = {client: Keep(float(amounts[client])) for client in members}
        answers = clients.train(TrainTask(weights, offers, ((number, shuffle, 2),)))
        sent = [answer for answer in answers.values() if isinstance(answer, Trained) and answer.amounts[0] > 0.0]
        if sent:
            weights = np.mean([answer.models[0, 0] for answer in sent], axis=0)
    return weights
