"""What a training run is asked to do: its settings and its contributions, checked before anything starts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import torch

from fedshap._records import Record
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_count, as_interval, read_only
from fedshap.federated.datasets import Federation, as_federation
from fedshap.federated.models import ModelBuilder

AVERAGES = ("participants", "everyone", "samples")
BACKENDS = ("auto", "sequential", "batched")
DTYPES = {"float64": torch.float64, "float32": torch.float32}


@dataclass(frozen=True, repr=False)
class TrainingConfig(Record):
    """Everything besides data and contributions that decides the outcome of a run.

    Parameters
    ----------
    rounds : int
        Rounds of federated averaging, at least 1.
    batch_size : int
        Inputs per batch, at least 1.
    learning_rate : float
        Step of SGD, > 0, the same in all rounds.
    model : str or callable
        See :func:`fedshap.federated.build_model`.
    seed : int
        Non-negative; decides the initial weights and every shuffle.
    device : str
        ``"cpu"``, ``"cuda"`` or ``"cuda:k"``.
    average : {"participants", "everyone", "samples"}
        Average over the clients that trained; over all, with those that did not standing still (Algorithm 1); or
        over the clients that trained, each with the weight ``s_i`` (McMahan et al., 2017).
    dtype : {"float64", "float32"}
        Precision of weights and inputs. float32 is for large networks and for a GPU.
    backend : {"auto", "sequential", "batched"}
        One client after the other, or all in one step with stacked weights. The results agree up to rounding.
        ``"auto"``: batched on a GPU, whose time goes into launching many small steps; sequential on the CPU, where
        both take about the same time and one needs the memory of one network alone.
    mixed_precision : bool
        Compute scores in bfloat16 where torch's autocast thinks it safe; needs ``dtype="float32"``.

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
    backend: str = "auto"
    mixed_precision: bool = False

    def __post_init__(self) -> None:
        as_count("rounds", self.rounds)
        as_count("batch_size", self.batch_size)
        as_interval("learning_rate", self.learning_rate, 0.0, np.inf)
        as_count("seed", self.seed, minimum=0)
        for name, known in {"average": AVERAGES, "dtype": tuple(DTYPES), "backend": BACKENDS}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {known}; got {getattr(self, name)!r}")
        if not isinstance(self.mixed_precision, bool):
            raise ValueError(f"mixed_precision must be True or False; got {self.mixed_precision!r}")
        if self.mixed_precision and self.dtype != "float32":
            raise ValueError(f"mixed_precision needs dtype='float32'; got dtype={self.dtype!r}")
        _check_device(self.device)

    @property
    def batched(self) -> bool:
        """Whether all clients train in one step, the choice of ``backend="auto"`` made."""
        return self.backend == "batched" or (self.backend == "auto" and self.device != "cpu")


def as_contributions(name: str, value: ArrayLike, federation: Federation, batch_size: int) -> Array:
    """Check batches of shape (..., n), each within what the client has; return a read-only copy."""
    array = as_array(name, value, minimum=0.0)
    n = as_federation(federation).n_clients
    if array.ndim == 0 or array.shape[-1] != n:
        raise ValueError(f"{name} must have shape (..., {n}), one entry per client; got {array.shape}")
    limit = federation.batches(batch_size)
    if (array > limit).any():
        client = int(np.argwhere(array > limit)[0][-1])
        raise ValueError(
            f"{name} must not exceed the batches a client has; client {client} has {limit[client]} of "
            f"{batch_size} inputs, got {array[..., client].max():g}"
        )
    return read_only(array)


def as_device(device: str) -> str:
    """The device meant: ``"auto"`` is a GPU if there is one; others are left to :class:`TrainingConfig` to check."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_device(device: str) -> None:
    if not isinstance(device, str) or not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device must be 'cpu', 'cuda' or 'cuda:k'; got {device!r}")
    if device == "cpu":
        return
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= available:
        raise ValueError(f"device {device!r} is not there: torch sees {available} CUDA devices; use device='cpu'")
