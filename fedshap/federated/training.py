r"""Federated averaging in which ``s_i`` is the number of batches client ``i`` trains per round (Sec. 5.1).

Round ``r`` starts from the common weights ``theta``. Every client with ``s_i > 0`` shuffles her training inputs,
takes ``s_i`` steps of plain SGD (see :mod:`fedshap.federated.backends`, also for fractions of a batch) and sends
her weights ``theta_i`` back; the server averages them. Three choices that the paper leaves open:

- *Who is averaged.* Algorithm 1 divides by ``n``, with ``theta_i = theta`` for a client that trains nothing. Such a
  client then pulls every round's step back towards the start, so giving nothing does harm and the client is
  not the null player of the Shapley axioms. The default ``average="participants"`` averages those who trained.
  So a client with ``s_i`` just above 0 dilutes the average, and training jumps there: it is continuous in
  ``s_i > 0``. ``average="samples"`` weighs by ``s_i`` and is continuous at 0 too.
- *Which inputs.* The shuffle depends on the seed, the client and the round, not on ``s``: with ``s_i = 4`` a client
  trains on the first quarter of what it trains on with ``s_i = 16``, and runs differ by what is given alone.
  Over the rounds it shows all its inputs either way: ``s_i`` is work per round, as Sec. 5.1 reads it.
- *Precision.* float64 on one thread. Rounding errors of float32 grow over a thousand steps until they flip test
  images, and they differ between processors; on 8 x 8 images float64 costs no time. On larger ones float32 does
  a step in less than half the time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from fedshap._files import as_path
from fedshap._records import Record, short_repr
from fedshap._types import Array, ArrayLike, PerAgent
from fedshap._validation import as_count, read_only
from fedshap.federated.backends import (
    TrainingClients,
    as_tensors,
    batched,
    get_weights,
    memory_format,
    reproducible,
    sequential,
    set_weights,
    with_layout,
)
from fedshap.federated.checkpoints import Checkpoint, TrainingState, fingerprint, identity
from fedshap.federated.config import DTYPES, TrainingConfig, as_contributions
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.models import ModelBuilder, build_model

_EVALUATION_BATCH = 1024  # bounds the memory of one forward pass over a test set


@dataclass(frozen=True, eq=False, repr=False)
class TrainingResult(Record):
    """What one run of federated averaging gave.

    Attributes
    ----------
    contributions : ndarray
        ``s``, shape (n,), batches per client and round.
    group_accuracies : ndarray
        Share of each group's test inputs classified correctly, shape (T,).
    client_accuracies : ndarray
        The same per client, shape (n,).
    confusion : ndarray of int
        Test inputs of each client by true class and predicted class, shape (n, C, C).
    losses : ndarray
        Mean training loss of each round, shape (rounds,); empty if nobody trained.
    config : TrainingConfig
        The settings of the run.
    model : torch.nn.Module
        The trained network, on the device of the run.
    """

    contributions: PerAgent
    group_accuracies: Array
    client_accuracies: PerAgent
    confusion: NDArray[np.int64]
    losses: Array
    config: TrainingConfig
    model: nn.Module

    def __repr__(self) -> str:
        return short_repr(self, {"group_accuracies": self.group_accuracies, "config": self.config})


def train(
    federation: Federation,
    contributions: ArrayLike,
    *,
    rounds: int = 25,
    batch_size: int = 8,
    learning_rate: float = 0.1,
    model: str | ModelBuilder = "cnn",
    seed: int = 0,
    device: str = "cpu",
    average: str = "participants",
    dtype: str = "float64",
    backend: str = "auto",
    mixed_precision: bool = False,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
    progress: bool | None = None,
) -> TrainingResult:
    r"""Train one common network by federated averaging and measure it on every client's test inputs.

    .. math:: \theta^{r+1} = \frac{1}{|\{i: s_i > 0\}|} \sum_{i:\, s_i > 0} \mathrm{SGD}_{s_i}(\theta^r; D_i)

    Parameters
    ----------
    federation : Federation
        The clients' data.
    contributions : array_like
        ``s``, shape (n,): batches client ``i`` trains per round, at most ``federation.batches(batch_size)[i]``.
        Of a fraction of a batch the step is shorter in proportion: with 2.4, two full batches and 0.4 of a third.
        With all zeros the initial network is measured.
    rounds, batch_size, learning_rate, model, seed, device, average, dtype, backend, mixed_precision
        See :class:`TrainingConfig`.
    checkpoint : path, optional
        A safetensors file to which the run is saved, and from which it is resumed if it is there; ``~`` is expanded.
    checkpoint_every : int
        Save after every so many rounds, and at the end.
    progress : bool, optional
        Show a progress bar on stderr. By default only where stderr is a terminal.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ValueError
        If a contribution is negative or more than the client has, a setting is out of range, the device is not
        there, or the checkpoint belongs to a run with other data, contributions or settings.
    FloatingPointError
        If the loss is no longer finite; the message says in which round and at which client.

    Examples
    --------
    >>> from fedshap.federated import load_dataset, partition
    >>> federation = partition(load_dataset("digits"), rng=0)
    >>> result = train(federation, [2, 0, 0, 2.4, 0, 0, 2, 0, 0], rounds=2)
    >>> result.group_accuracies.shape, result.client_accuracies.shape, result.losses.shape
    ((3,), (9,), (2,))
    >>> result.confusion.sum(axis=(1, 2))[:3]  # test images of the first group's clients
    array([180, 180, 179])

    Notes
    -----
    On the CPU the result is the same bit for bit whatever the number of threads and torch's global random state,
    which is left alone; :func:`torch.set_num_threads` is set to one during the run and put back. A run that was
    killed and resumed on the same device gives the same bits as one that was not. Sec. 5.1 and
    Algorithm 1, lines 4-10, of the paper; McMahan et al. (2017), AISTATS.
    """
    config = TrainingConfig(
        rounds, batch_size, learning_rate, model, seed, device, average, dtype, backend, mixed_precision
    )
    s = as_contributions("contributions", contributions, federation, config.batch_size)
    if s.ndim != 1:
        raise ValueError(f"contributions must have shape ({federation.n_clients},); got {s.shape}")
    every = as_count("checkpoint_every", checkpoint_every)
    path = None if checkpoint is None else as_path("checkpoint", checkpoint)
    data = "" if path is None else fingerprint(federation)
    with progress_bar(steps(s, config), progress) as bar:
        return federated_averaging(federation, s, config, advance=bar.update, path=path, every=every, data=data)


def federated_averaging(
    federation: Federation,
    s: Array,
    config: TrainingConfig,
    *,
    advance: Callable[[int], object],
    path: Path | None = None,
    every: int = 1,
    data: str = "",
) -> TrainingResult:
    """Run :func:`train` on checked arguments; ``advance(k)`` is told of every ``k`` batches trained.

    ``path``, ``every`` and ``data``, the federation's fingerprint, are for a :class:`Checkpoint`.
    """
    shape, n_classes = federation.train[0].input_shape, federation.train[0].n_classes
    model = build_model(config.model, shape, n_classes, seed=config.seed)
    model = model.to(config.device, DTYPES[config.dtype]).to(memory_format=memory_format(config))
    state, checkpoint = TrainingState(get_weights(model)), None
    if path is not None:
        checkpoint = Checkpoint(path, every, identity(s, config, data=data, start=state.weights))
        state = checkpoint.load(state.weights, n_classes) or state
        advance(len(state.losses) * steps(s, config) // config.rounds)
    with reproducible():
        if s.any() and len(state.losses) < config.rounds:
            clients = TrainingClients.of(federation, s, config)
            for round_ in range(len(state.losses), config.rounds):
                weights, loss = _round(model, state.weights, clients, len(s), config, round_, advance)
                state = TrainingState(weights, (*state.losses, loss))
                if checkpoint is not None and (round_ + 1) % every == 0:
                    checkpoint.save(state)
        set_weights(model, state.weights)
        if state.confusion is None:
            confusion = np.array([_confusion(model, test, config) for test in federation.test])
            state = TrainingState(state.weights, state.losses, confusion)
            if checkpoint is not None:
                checkpoint.save(state)
    return _result(federation, s, config, state, model.to(memory_format=torch.contiguous_format))


def _round(
    model: nn.Module,
    weights: Tensor,
    clients: TrainingClients,
    n_clients: int,
    config: TrainingConfig,
    round_: int,
    advance: Callable[[int], object],
) -> tuple[Tensor, float]:
    """One round from the common ``weights`` (P,); returns the averaged weights and the mean loss of a batch."""
    total, divisor, loss = torch.zeros_like(weights), 0.0, 0.0
    local_training = batched if config.batched else sequential
    updates = local_training(model, weights, clients, round_, config)
    for (client, theta, client_loss), s in zip(updates, clients.contributions, strict=True):
        if not np.isfinite(client_loss):
            raise FloatingPointError(
                f"training diverged: the loss of client {client} in round {round_} is {client_loss}; "
                f"lower learning_rate, which is {config.learning_rate:g}"
            )
        share = float(s) if config.average == "samples" else 1.0
        total.add_(theta, alpha=share)
        divisor += share
        loss += client_loss
        advance(int(np.ceil(s)))
    if config.average == "everyone":
        total += (n_clients - len(clients.numbers)) * weights
        divisor = n_clients
    return total / divisor, loss / float(clients.contributions.sum())


def _result(
    federation: Federation, s: Array, config: TrainingConfig, state: TrainingState, model: nn.Module
) -> TrainingResult:
    """The record of a finished run."""
    confusion = state.confusion
    assert confusion is not None
    hits, sizes = confusion.trace(axis1=1, axis2=2), confusion.sum(axis=(1, 2))
    per_group = [np.bincount(federation.groups, weights=counts) for counts in (hits, sizes)]  # twice (T,)
    confusion.setflags(write=False)
    return TrainingResult(
        contributions=s,
        group_accuracies=read_only(per_group[0] / per_group[1]),
        client_accuracies=read_only(hits / sizes),
        confusion=confusion,
        losses=read_only(np.array(state.losses)),
        config=config,
        model=model,
    )


def steps(s: Array, config: TrainingConfig) -> int:
    """Number of SGD steps that runs with contributions ``s`` (..., n) take in all."""
    return config.rounds * int(np.ceil(s).sum())


def progress_bar(n_batches: int, progress: bool | None, what: str = "training") -> tqdm:
    """A bar that counts batches, since runs of one grid differ a lot in length; None: only on a terminal."""
    hidden = True if sys.stderr is None else progress if progress is None else not progress
    return tqdm(total=n_batches, unit="batch", desc=what, disable=hidden)


@torch.no_grad()
def _confusion(model: nn.Module, data: Dataset, config: TrainingConfig) -> NDArray[np.int64]:
    """Number of inputs by true and predicted class, shape (C, C)."""
    inputs, labels = as_tensors(data, config)
    parts = with_layout(inputs, config).split(_EVALUATION_BATCH)
    predicted = torch.cat([model(x).argmax(dim=1) for x in parts])
    counts = torch.bincount(labels * data.n_classes + predicted, minlength=data.n_classes**2)
    return counts.view(data.n_classes, data.n_classes).cpu().numpy()
