r"""What the clients do in one round: ``s_i`` steps of plain SGD from the common weights, computed in two ways.

A client with ``s_i`` batches of ``B`` inputs shuffles its data and trains on the first ``s_i B`` inputs. Where ``s_i``
is fractional, its last batch is incomplete and its last input counts in part: with
:math:`c_k = \min(\max(s_i B - k, 0), 1)` the count of the ``k``-th input (from 0), batch ``b`` is the step

.. math:: \theta \leftarrow \theta - \frac{\eta}{B} \sum_{k=bB}^{bB+B-1} c_k \nabla \ell(\theta; x_k, y_k).

For whole ``s_i`` every ``c_k`` is 1 and this is SGD on batch means. The result is continuous in ``s_i``: a
batch begins with a step of length zero and grows input by input into a full one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap
from torch.nn import functional as F

from fedshap._types import Array
from fedshap.federated.config import DTYPES, TrainingConfig
from fedshap.federated.datasets import Dataset, Federation

LocalTraining = Callable[
    [nn.Module, Tensor, "TrainingClients", int, TrainingConfig], Iterator[tuple[int, Tensor, float]]
]
"""From common weights (P,), in one round: each client's number, her weights (P,) and the sum of her batch losses."""


@dataclass(frozen=True, eq=False)
class TrainingClients:
    """The ``k`` clients with ``s_i > 0``, their data one after the other on the device of the run."""

    numbers: NDArray[np.int64]  # (k,), their places in the federation
    contributions: Array  # (k,), s_i
    inputs: Tensor  # (N, *shape)
    labels: Tensor  # (N,)
    starts: NDArray[np.int64]  # (k + 1,), where each one's data begin

    @classmethod
    def of(cls, federation: Federation, contributions: Array, config: TrainingConfig) -> TrainingClients:
        """Move the data of those who train to the device."""
        numbers = np.flatnonzero(contributions)
        parts = [as_tensors(federation.train[int(i)], config) for i in numbers]
        inputs, labels = (torch.cat(each) for each in zip(*parts, strict=True))
        starts = np.cumsum([0, *(len(part[1]) for part in parts)])
        return cls(numbers, contributions[numbers], with_layout(inputs, config), labels, starts)

    def chosen(self, k: int, round_: int, config: TrainingConfig) -> NDArray[np.int64]:
        """Rows of ``inputs`` the ``k``-th of them trains on in a round: a stream of its own per client and round."""
        size = int(self.starts[k + 1] - self.starts[k])
        order = np.random.default_rng((config.seed, int(self.numbers[k]), round_)).permutation(size)
        return self.starts[k] + order[: int(np.ceil(self.contributions[k] * config.batch_size))]


def sequential(
    model: nn.Module, weights: Tensor, clients: TrainingClients, round_: int, config: TrainingConfig
) -> Iterator[tuple[int, Tensor, float]]:
    """Client after client in ``model`` itself, see :data:`LocalTraining`; for a CPU."""
    for k, (number, s) in enumerate(zip(clients.numbers, clients.contributions, strict=True)):
        rows = torch.from_numpy(clients.chosen(k, round_, config)).to(config.device)
        set_weights(model, weights)
        loss = _sgd(model, with_layout(clients.inputs[rows], config), clients.labels[rows], s, config)
        yield int(number), get_weights(model), loss


def batched(
    model: nn.Module, weights: Tensor, clients: TrainingClients, round_: int, config: TrainingConfig
) -> Iterator[tuple[int, Tensor, float]]:
    """All clients in one step with weights stacked to (k, P), see :data:`LocalTraining`; for a GPU.

    The clients with most to do come first, so that those who still train are always the first few rows.
    """
    order = np.argsort(-clients.contributions, kind="stable")
    steps = np.ceil(clients.contributions[order]).astype(np.int64)
    rows, counts = _plan(clients, order, int(steps[0]), round_, config)
    stacked = {name: part.expand(len(order), *part.shape).clone() for name, part in _named(model, weights).items()}
    losses = torch.zeros(len(order), dtype=weights.dtype, device=weights.device)

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor, count: Tensor) -> Tensor:
        with _precision(config):
            scores = functional_call(model, parameters, (x,))
        return _partial_loss(scores.to(weights.dtype), y, count, config.batch_size)

    step = vmap(grad_and_value(loss), randomness="different")
    for t, (row, count) in enumerate(zip(rows, counts, strict=True)):
        active = int((steps > t).sum())
        row, training = row[:active], {name: part[:active] for name, part in stacked.items()}
        gradients, values = step(training, clients.inputs[row], clients.labels[row], count[:active])
        _descend(training.values(), gradients.values(), config)
        losses[:active] += values
    vectors = torch.cat([part.flatten(1) for part in stacked.values()], dim=1)
    back = np.argsort(order, kind="stable")
    yield from zip(clients.numbers.tolist(), vectors[back], losses[back].tolist(), strict=True)


def snapshots(
    model: nn.Module, weights: Tensor, inputs: Tensor, labels: Tensor, amounts: Array, config: TrainingConfig
) -> Iterator[Tensor]:
    """Weights (P,) after each of several amounts of one client's batches, in increasing order, from ``weights``.

    ``inputs`` are hers in the order of a shuffle. Each amount goes on from the whole batches of the one before, and
    ends where training with that amount alone ends, bit for bit.
    """
    set_weights(model, weights)
    size, done = config.batch_size, 0
    for amount in amounts.tolist():
        whole = int(amount)
        if whole > done:
            _sgd(model, inputs[done * size : whole * size], labels[done * size : whole * size], whole - done, config)
            done = whole
        reached = get_weights(model)
        if amount > whole:
            rest = slice(whole * size, int(np.ceil(amount * size)))
            _sgd(model, inputs[rest], labels[rest], amount - whole, config)
            yield get_weights(model)
            set_weights(model, reached)
        else:
            yield reached


def as_tensors(data: Dataset, config: TrainingConfig) -> tuple[Tensor, Tensor]:
    """Inputs in the precision of the run and labels, on its device."""
    inputs = torch.tensor(data.inputs, dtype=DTYPES[config.dtype], device=config.device)
    return inputs, torch.tensor(data.labels, device=config.device)


def with_layout(inputs: Tensor, config: TrainingConfig) -> Tensor:
    """Images in the memory layout in which the run is fastest."""
    return inputs.contiguous(memory_format=memory_format(config)) if inputs.ndim == 4 else inputs


def memory_format(config: TrainingConfig) -> torch.memory_format:
    """Channels last where oneDNN convolves, which is float32 on a CPU: a quarter to a third off a step's time."""
    single = config.device == "cpu" and config.dtype == "float32" and not config.batched
    return torch.channels_last if single else torch.contiguous_format


def get_weights(model: nn.Module) -> Tensor:
    """All parameters as one vector (P,), a copy; torch's own function cannot read convolutions kept channels last."""
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


@torch.no_grad()
def set_weights(model: nn.Module, weights: Tensor) -> None:
    """Copy ``weights`` (P,) into the parameters; torch's own function makes views, which SGD would write through."""
    for parameter, part in zip(model.parameters(), _named(model, weights).values(), strict=True):
        parameter.copy_(part)


def _named(model: nn.Module, weights: Tensor) -> dict[str, Tensor]:
    """Views of ``weights`` (P,) in the shapes of the parameters."""
    parameters = dict(model.named_parameters())
    parts = weights.split([parameter.numel() for parameter in parameters.values()])
    return {name: part.view(parameters[name].shape) for name, part in zip(parameters, parts, strict=True)}


def _sgd(model: nn.Module, inputs: Tensor, labels: Tensor, s: float, config: TrainingConfig) -> float:
    """One pass of plain SGD over ``s`` batches; returns the sum of the batch losses."""
    parameters = list(model.parameters())
    values = [parameter.detach() for parameter in parameters]  # the same memory, written without a record
    total = torch.zeros((), dtype=inputs.dtype, device=inputs.device)
    whole = int(s)
    for b, (x, y) in enumerate(zip(inputs.split(config.batch_size), labels.split(config.batch_size), strict=True)):
        with _precision(config):
            scores = model(x)
        scores = scores.to(inputs.dtype)
        if b < whole:
            loss = F.cross_entropy(scores, y)
        else:
            count = _counts(s - whole, len(y), config).to(inputs)
            loss = _partial_loss(scores, y, count, config.batch_size)
        gradients = torch.autograd.grad(loss, parameters)
        _descend(values, gradients, config)
        total += loss.detach()
    return total.item()


def _descend(values: Iterable[Tensor], gradients: Iterable[Tensor], config: TrainingConfig) -> None:
    for value, gradient in zip(values, gradients, strict=True):
        value.sub_(gradient, alpha=config.learning_rate)


def _partial_loss(scores: Tensor, labels: Tensor, counts: Tensor, batch_size: int) -> Tensor:
    """Loss of a batch whose inputs count as ``counts`` says, over the size of a full one."""
    return (F.cross_entropy(scores, labels, reduction="none") * counts).sum() / batch_size


def _counts(s: float, n_inputs: int, config: TrainingConfig) -> Tensor:
    """How much each of the first ``n_inputs`` inputs counts in ``s`` batches, ``c_k`` above."""
    return torch.from_numpy(np.clip(s * config.batch_size - np.arange(n_inputs), 0.0, 1.0))


def _plan(
    clients: TrainingClients, order: NDArray[np.intp], steps: int, round_: int, config: TrainingConfig
) -> tuple[Tensor, Tensor]:
    """Rows and counts of every batch of a round, each (steps, k, B); past a client's last input they are zero."""
    rows = np.zeros((len(order), steps * config.batch_size), dtype=np.int64)
    for place, k in enumerate(order):
        chosen = clients.chosen(int(k), round_, config)
        rows[place, : len(chosen)] = chosen
    counts = torch.stack([_counts(float(clients.contributions[k]), rows.shape[1], config) for k in order])
    shape = (len(order), steps, config.batch_size)
    by_step = [each.view(shape).transpose(0, 1).contiguous() for each in (torch.from_numpy(rows), counts)]
    return by_step[0].to(config.device), by_step[1].to(config.device, DTYPES[config.dtype])


def _precision(config: TrainingConfig) -> AbstractContextManager[object]:
    """Entered anew for each step: within one context torch would keep the weights it has rounded."""
    if not config.mixed_precision:
        return nullcontext()
    return torch.autocast(torch.device(config.device).type, torch.bfloat16)


@contextmanager
def reproducible() -> Iterator[None]:
    """Sums over threads depend on how many there are, and cuDNN's choice of algorithm on the moment.

    On networks this small one thread is also fastest.
    """
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    torch.set_num_threads(1)
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic
