"""Clients of FedBR-Shap: each trains on her own data, scores on her own test inputs and knows her own cost.

`Client` is one of them, wherever she runs; `LocalClients` are all of a federation in this process. Nothing but what
:mod:`fedshap.federated.exchange` lists leaves a client: not her data, nor her cost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fedshap._records import Record, short_repr
from fedshap._types import Array
from fedshap._validation import as_choice, as_instance, read_only
from fedshap.costs import Cost
from fedshap.federated.backends import as_tensors, get_weights, reproducible, set_weights, snapshots, with_layout
from fedshap.federated.checkpoints import add_to_hash
from fedshap.federated.choices import check_cost, choose, further_amounts
from fedshap.federated.config import DTYPES, TrainingConfig
from fedshap.federated.datasets import Dataset, Federation, as_federation
from fedshap.federated.exchange import Description, ScoreTask, Stream, Trained, TrainTask, mixtures
from fedshap.federated.members import Members
from fedshap.federated.models import ModelBuilder, build_model

SCORES = ("accuracy", "probability")
_EVALUATION_BATCH = 1024  # bounds the memory of one forward pass


@dataclass(frozen=True, repr=False)
class LocalTraining(Record):
    """How clients train and score, the same for all of a federation.

    Parameters
    ----------
    batch_size, learning_rate, model, seed, dtype
        As in :class:`~fedshap.federated.TrainingConfig`.
    score : {"accuracy", "probability"}
        What a model is worth to a client: the share of her test inputs that it classifies correctly, or the mean
        probability that it gives to their true class. The second is less noisy, and it is another game.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    batch_size: int = 8
    learning_rate: float = 0.1
    model: str | ModelBuilder = "cnn"
    seed: int = 0
    dtype: str = "float64"
    score: str = "accuracy"

    def __post_init__(self) -> None:
        as_choice("score", self.score, SCORES)
        _ = self.config

    @property
    def config(self) -> TrainingConfig:
        """The settings that training shares with :func:`fedshap.federated.train`."""
        return TrainingConfig(
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            model=self.model,
            seed=self.seed,
            dtype=self.dtype,
        )

    def build(self, data: Dataset) -> nn.Module:
        """The network with its initial weights."""
        model = build_model(self.model, data.input_shape, data.n_classes, seed=self.seed)
        return model.to(DTYPES[self.dtype])


class Client(Record):
    """One client: her data, her cost and her network.

    Parameters
    ----------
    number : int
        Her place in the federation, which decides her shuffles together with the seed.
    train, test : Dataset
        What she trains on and what she scores models on; they never leave her.
    cost : Cost
        Of one agent: what a round costs her in the unit of the scores, as a function of the batches she trains.
    training : LocalTraining
        How the federation trains.
    capacity : float, optional
        Most batches a round that she is ready to give; by default all full batches she has.

    Raises
    ------
    ValueError
        If the cost is not that of one agent, falls or is not convex; or if the capacity is more than she has.
    """

    def __init__(
        self,
        number: int,
        train: Dataset,
        test: Dataset,
        cost: Cost,
        training: LocalTraining,
        *,
        capacity: float | None = None,
    ) -> None:
        self.number = number
        self.train_data = as_instance("train", train, Dataset)
        self.test_data = as_instance("test", test, Dataset)
        self.training = as_instance("training", training, LocalTraining)
        full = len(train) // training.batch_size
        if capacity is not None and not 0.0 < capacity <= full:
            raise ValueError(
                f"capacity must lie in (0, {full}], the full batches of {training.batch_size} that client {number} "
                f"has; got {capacity!r}"
            )
        self.capacity = float(full if capacity is None else capacity)
        self.cost = check_cost(cost, self.capacity, f"client {number}")
        self._config = training.config
        self._model = training.build(train)
        self._weights = read_only(_array(self._model))
        self._digest = _digest(train, test, training)
        self._inputs, self._labels = as_tensors(train, self._config)
        self._test_inputs, self._test_labels = as_tensors(test, self._config)

    def __repr__(self) -> str:
        return short_repr(self, {"number": self.number, "cost": self.cost, "capacity": self.capacity})

    @property
    def weights(self) -> Array:
        """Initial weights of her network, shape (P,)."""
        return self._weights

    @property
    def description(self) -> Description:
        """What she says of herself."""
        size = len(self.test_data), len(self.weights)
        return Description(self.capacity, *size, f"client {self.number}", self._digest)

    def train(self, task: TrainTask) -> Trained:
        """Choose an amount, and train that and the further ones asked for."""
        decision, amount = choose(task.offers[self.number], self.cost, self.capacity)
        amounts = np.array([amount, *further_amounts(amount, task, self.capacity)])
        models = [self._local_models(task.weights, stream, amounts) for stream in task.streams]
        shape = (len(task.streams), len(amounts), len(task.weights))
        return Trained(read_only(amounts), read_only(np.array(models).reshape(shape)), decision)

    def _local_models(self, weights: Array, stream: Stream, amounts: Array) -> Array:
        """Weights after each amount, shape (k, P): larger amounts go on from smaller ones."""
        order = np.random.default_rng((self._config.seed, self.number, *stream)).permutation(len(self._labels))
        rows = torch.from_numpy(order[: int(np.ceil(amounts.max() * self._config.batch_size))])
        different, which = np.unique(amounts, return_inverse=True)
        start = torch.tensor(weights)
        inputs = with_layout(self._inputs[rows], self._config)
        with reproducible():
            found = list(snapshots(self._model, start, inputs, self._labels[rows], different, self._config))
        return torch.stack(found).numpy()[which]

    def score(self, task: ScoreTask) -> Array:
        """Scores of mixtures of local models on her test inputs, shape (K, m)."""
        outcomes = score_inputs(self._model, task, self._test_inputs, self._test_labels, self.training.score)
        return read_only(outcomes.mean(axis=-1))


class LocalClients(Members):
    """All clients of a federation in this process.

    Parameters
    ----------
    federation : Federation
        The clients' data.
    costs : Cost or sequence of Cost
        Of n agents, or one each.
    training : LocalTraining, optional
        How they train and score.
    capacity : array_like, optional
        Most batches a round, a number or one each, shape (n,).

    Raises
    ------
    ValueError
        If costs or capacities do not fit the federation.

    Examples
    --------
    >>> import fedshap as fs
    >>> from fedshap.federated import load_dataset, partition
    >>> federation = partition(load_dataset("digits"), n_clients=3, rng=0)
    >>> clients = LocalClients(federation, fs.LinearCost([0.001, 0.002, 0.003]))
    >>> [each.capacity for each in clients.descriptions], len(clients.weights)
    ([52.0, 52.0, 52.0], 8234)
    """

    def __init__(
        self,
        federation: Federation,
        costs: Cost | Sequence[Cost],
        training: LocalTraining | None = None,
        *,
        capacity: float | Sequence[float] | None = None,
    ) -> None:
        self.federation = as_federation(federation)
        self.training = LocalTraining() if training is None else as_instance("training", training, LocalTraining)
        n = federation.n_clients
        each_cost = _each_cost(costs, n)
        if capacity is not None and np.shape(capacity) not in ((), (n,)):
            raise ValueError(f"capacity must be a number or have shape ({n},); got shape {np.shape(capacity)}")
        limits = [None] * n if capacity is None else np.broadcast_to(capacity, (n,)).tolist()
        super().__init__(
            [
                Client(i, federation.train[i], federation.test[i], each_cost[i], self.training, capacity=limits[i])
                for i in range(n)
            ]
        )


@torch.no_grad()
def score_inputs(model: nn.Module, task: ScoreTask, inputs: Tensor, labels: Tensor, score: str) -> Array:
    """What each mixture makes of each input, shape (K, m, N): hit or miss, or the true class's probability."""
    parts = inputs.split(_EVALUATION_BATCH)
    found = np.empty((len(task.models) * len(task.mixing), len(labels)))
    with reproducible():
        for row, weights in enumerate(mixtures(task)):
            set_weights(model, torch.tensor(weights))
            scores = torch.cat([model(part) for part in parts])
            if score == "accuracy":
                found[row] = (scores.argmax(dim=1) == labels).numpy()
            else:
                found[row] = F.softmax(scores, dim=1).gather(1, labels[:, None])[:, 0].numpy()
    return found.reshape(len(task.models), len(task.mixing), len(labels))


def _each_cost(costs: Cost | Sequence[Cost], n: int) -> list[Cost]:
    """Costs of one agent each."""
    if isinstance(costs, Cost):
        if costs.n_agents != n:
            raise ValueError(f"costs must be those of {n} clients; got {costs!r} for {costs.n_agents}")
        return [costs.of(np.array([i], dtype=np.intp)) for i in range(n)]
    if not isinstance(costs, Sequence) or len(costs) != n:
        raise ValueError(f"costs must be a Cost of {n} agents or {n} Costs of one; got {costs!r}")
    return list(costs)


def _digest(train: Dataset, test: Dataset, training: LocalTraining) -> str:
    """Of data and settings."""
    model = getattr(training.model, "__qualname__", training.model)  # a function's repr is another in each process
    content = hashlib.sha256(repr(asdict(training) | {"model": model}).encode())
    for data in (train, test):
        add_to_hash(content, data)
    return content.hexdigest()[:16]


def _array(model: nn.Module) -> NDArray[np.float64]:
    return get_weights(model).numpy()
