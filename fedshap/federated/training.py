r"""Federated averaging in which ``s_i`` is the number of batches client ``i`` trains per round (Sec. 5.1).

Round ``r`` starts from the common weights ``theta``. Every client with ``s_i > 0`` shuffles its training images,
takes ``s_i`` steps of plain SGD on the first ``s_i`` batches and sends its weights ``theta_i`` back; the server
averages them. Three choices that the paper leaves open:

- *Who is averaged.* Algorithm 1 divides by ``n``, with ``theta_i = theta`` for a client that trains nothing. Such a
  client then pulls every round's step back towards the start, so giving nothing does harm and the client is
  not the null player of the Shapley axioms. The default ``average="participants"`` averages those who trained.
- *Which images.* The shuffle depends on the seed, the client and the round, not on ``s``: with ``s_i = 4`` a client
  trains on the first quarter of what it trains on with ``s_i = 16``, and runs differ by what is given alone.
  Over the rounds it shows all its images either way: ``s_i`` is work per round, as Sec. 5.1 reads it.
- *Precision.* float64 on one thread. Rounding errors of float32 grow over a thousand steps until they flip test
  images, and they differ between processors; on networks this small float64 costs no time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector
from tqdm import tqdm

from fedshap._types import Array, ArrayLike, PerAgent
from fedshap._validation import as_array, as_count, as_interval, read_only
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.models import ModelBuilder, build_model

AVERAGES = ("participants", "everyone")
DTYPES = {"float64": torch.float64, "float32": torch.float32}
_EVALUATION_BATCH = 1024  # bounds the memory of one forward pass over a test set


@dataclass(frozen=True)
class TrainingConfig:
    """Everything besides data and contributions that decides the outcome of a run.

    Parameters
    ----------
    rounds : int
        Rounds of federated averaging, at least 1.
    batch_size : int
        Images per batch, at least 1.
    learning_rate : float
        Step of SGD, > 0, the same in all rounds.
    model : str or callable
        See :func:`fedshap.federated.build_model`.
    seed : int
        Non-negative; decides the initial weights and every shuffle.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:k"``.
    average : {"participants", "everyone"}
        Average over the clients that trained, or over all with those that did not standing still (Algorithm 1).
    dtype : {"float64", "float32"}
        Precision of weights and images. float32 is for a GPU.

    Raises
    ------
    ValueError
        If a setting is out of range or the device is not there.
    """

    rounds: int = 25
    batch_size: int = 8
    learning_rate: float = 0.1
    model: str | ModelBuilder = "cnn"
    seed: int = 0
    device: str = "cpu"
    average: str = "participants"
    dtype: str = "float64"

    def __post_init__(self) -> None:
        as_count("rounds", self.rounds)
        as_count("batch_size", self.batch_size)
        as_interval("learning_rate", self.learning_rate, 0.0, np.inf)
        as_count("seed", self.seed, minimum=0)
        if self.average not in AVERAGES:
            raise ValueError(f"average must be one of {AVERAGES}; got {self.average!r}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype must be one of {tuple(DTYPES)}; got {self.dtype!r}")
        _check_device(self.device)


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """What one run of federated averaging gave.

    Attributes
    ----------
    contributions : ndarray of int
        ``s``, shape (n,), batches per client and round.
    group_accuracies : ndarray
        Share of each group's test images classified correctly, shape (T,).
    client_accuracies : ndarray
        The same per client, shape (n,).
    losses : ndarray
        Mean training loss of each round, shape (rounds,); empty if nobody trained.
    config : TrainingConfig
        The settings of the run.
    model : torch.nn.Module
        The trained network, on the device of the run.
    """

    contributions: NDArray[np.int64]
    group_accuracies: Array
    client_accuracies: PerAgent
    losses: Array
    config: TrainingConfig
    model: nn.Module = field(repr=False)


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
    progress: bool | None = None,
) -> TrainingResult:
    r"""Train one common network by federated averaging and measure it on every client's test images.

    .. math:: \theta^{r+1} = \frac{1}{|\{i: s_i > 0\}|} \sum_{i:\, s_i > 0} \mathrm{SGD}_{s_i}(\theta^r; D_i)

    Parameters
    ----------
    federation : Federation
        The clients' data.
    contributions : array_like of int
        ``s``, shape (n,): batches client ``i`` trains per round, at most ``federation.batches(batch_size)[i]``.
        With all zeros the initial network is measured.
    rounds, batch_size, learning_rate, model, seed, device, average, dtype
        See :class:`TrainingConfig`.
    progress : bool, optional
        Show a progress bar on stderr. By default only where stderr is a terminal.

    Returns
    -------
    TrainingResult

    Raises
    ------
    ValueError
        If a contribution is negative, no integer or more than the client has, a setting is out of range, or
        the device is not there.
    FloatingPointError
        If the loss is no longer finite; the message says in which round and at which client.

    Examples
    --------
    >>> from fedshap.federated import load_dataset, partition
    >>> federation = partition(load_dataset("digits"), rng=0)
    >>> result = train(federation, [2, 0, 0, 2, 0, 0, 2, 0, 0], rounds=2)
    >>> result.group_accuracies.shape, result.client_accuracies.shape, result.losses.shape
    ((3,), (9,), (2,))

    Notes
    -----
    On the CPU the result is the same bit for bit whatever the number of threads and torch's global random state,
    which is left alone; :func:`torch.set_num_threads` is set to one during the run and put back. Sec. 5.1 and
    Algorithm 1, lines 4-10, of the paper; McMahan et al. (2017), AISTATS.
    """
    config = TrainingConfig(rounds, batch_size, learning_rate, model, seed, device, average, dtype)
    batches = as_batches("contributions", contributions, federation, config.batch_size)
    if batches.ndim != 1:
        raise ValueError(f"contributions must have shape ({federation.n_clients},); got {batches.shape}")
    with progress_bar(config.rounds * int(batches.sum()), progress) as bar:
        return federated_averaging(federation, batches, config, advance=bar.update)


def federated_averaging(
    federation: Federation, batches: NDArray[np.int64], config: TrainingConfig, *, advance: Callable[[int], object]
) -> TrainingResult:
    """Run :func:`train` on checked arguments; ``advance(k)`` is told of every ``k`` batches trained."""
    shape, n_classes = federation.train[0].input_shape, federation.train[0].n_classes
    model = build_model(config.model, shape, n_classes, seed=config.seed).to(config.device, DTYPES[config.dtype])
    weights = parameters_to_vector(model.parameters()).detach()  # (P,)
    data = {i: _tensors(federation.train[i], config) for i, s in enumerate(batches) if s}
    losses: list[float] = []
    with _one_thread():
        for round_ in range(config.rounds if data else 0):
            weights, loss = _round(model, weights, data, batches, config, round_, advance)
            losses.append(loss)
        _set_weights(model, weights)
        hits = [_hits(model, *_tensors(test, config)) for test in federation.test]
    sizes = [len(test) for test in federation.test]
    per_group = [np.bincount(federation.groups, weights=counts) for counts in (hits, sizes)]  # twice (T,)
    return TrainingResult(
        contributions=batches,
        group_accuracies=read_only(per_group[0] / per_group[1]),
        client_accuracies=read_only(np.array(hits) / np.array(sizes)),
        losses=read_only(np.array(losses)),
        config=config,
        model=model,
    )


def _round(
    model: nn.Module,
    weights: Tensor,
    data: dict[int, tuple[Tensor, Tensor]],
    batches: NDArray[np.int64],
    config: TrainingConfig,
    round_: int,
    advance: Callable[[int], object],
) -> tuple[Tensor, float]:
    """One round from the common ``weights`` (P,); returns the averaged weights and the mean loss of a batch."""
    total, loss = torch.zeros_like(weights), 0.0
    for i, (images, labels) in data.items():
        chosen = _chosen_images(config, i, round_, len(labels), int(batches[i]))
        _set_weights(model, weights)
        client_loss = _sgd(model, images[chosen], labels[chosen], config)
        if not np.isfinite(client_loss):
            raise FloatingPointError(
                f"training diverged: the loss of client {i} in round {round_} is {client_loss}; "
                f"lower learning_rate, which is {config.learning_rate:g}"
            )
        total += parameters_to_vector(model.parameters()).detach()
        loss += client_loss
        advance(int(batches[i]))
    if config.average == "everyone":
        total += (len(batches) - len(data)) * weights
    divisor = len(batches) if config.average == "everyone" else len(data)
    return total / divisor, loss / int(batches.sum())


def as_batches(name: str, value: ArrayLike, federation: Federation, batch_size: int) -> NDArray[np.int64]:
    """Check whole batches of shape (..., n), each within what the client has; return a read-only copy."""
    array = as_array(name, value, minimum=0.0)
    n = federation.n_clients
    if array.ndim == 0 or array.shape[-1] != n:
        raise ValueError(f"{name} must have shape (..., {n}), one entry per client; got {array.shape}")
    if (array != np.rint(array)).any():
        raise ValueError(f"{name} must be whole batches; got {array[array != np.rint(array)][0]:g}")
    limit = federation.batches(batch_size)
    if (array > limit).any():
        client = int(np.argwhere(array > limit)[0][-1])
        raise ValueError(
            f"{name} must not exceed the batches a client has; client {client} has {limit[client]} of "
            f"{batch_size} images, got {array[..., client].max():g}"
        )
    batches = array.astype(np.int64)
    batches.setflags(write=False)
    return batches


def progress_bar(n_batches: int, progress: bool | None) -> tqdm:
    """A bar that counts batches, since runs of one grid differ a lot in length; None: only on a terminal."""
    return tqdm(total=n_batches, unit="batch", desc="training", disable=None if progress is None else not progress)


@torch.no_grad()
def _set_weights(model: nn.Module, weights: Tensor) -> None:
    """Copy ``weights`` (P,) into the parameters; torch's own function makes views, which SGD would write through."""
    parameters = list(model.parameters())
    for parameter, part in zip(parameters, weights.split([p.numel() for p in parameters]), strict=True):
        parameter.copy_(part.view_as(parameter))


def _sgd(model: nn.Module, images: Tensor, labels: Tensor, config: TrainingConfig) -> float:
    """One pass of plain SGD in batches; returns the sum of the batch losses."""
    parameters = list(model.parameters())
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for x, y in zip(images.split(config.batch_size), labels.split(config.batch_size), strict=True):
        loss = F.cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.sub_(gradient, alpha=config.learning_rate)
        total += loss.detach()
    return total.item()


@torch.no_grad()
def _hits(model: nn.Module, images: Tensor, labels: Tensor) -> int:
    """Number of images classified correctly."""
    batches = zip(images.split(_EVALUATION_BATCH), labels.split(_EVALUATION_BATCH), strict=True)
    return sum(int((model(x).argmax(dim=1) == y).sum()) for x, y in batches)


def _chosen_images(config: TrainingConfig, client: int, round_: int, n_images: int, batches: int) -> Tensor:
    """Indices of the images a client trains on in one round, a stream of its own per client and round."""
    order = np.random.default_rng((config.seed, client, round_)).permutation(n_images)
    return torch.from_numpy(order[: batches * config.batch_size]).to(config.device)


def _tensors(data: Dataset, config: TrainingConfig) -> tuple[Tensor, Tensor]:
    images = torch.tensor(data.inputs, dtype=DTYPES[config.dtype], device=config.device)
    return images, torch.tensor(data.labels, device=config.device)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over threads depend on how many there are; on networks this small one thread is also fastest."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _check_device(device: str) -> None:
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:k'; got {device!r}")
    if device == "cpu":
        return
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= available:
        raise ValueError(f"device {device!r} is not there: torch sees {available} CUDA devices; use device='cpu'")
