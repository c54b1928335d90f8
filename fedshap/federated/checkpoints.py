"""Runs that survive being killed: weights and losses of the rounds done, and what run they belong to.

A checkpoint is one safetensors file, so that its parts cannot disagree: the tensors, and as metadata a JSON
record of everything that decides the outcome.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from fedshap._files import write_atomically
from fedshap._types import Array
from fedshap.federated.config import TrainingConfig
from fedshap.federated.datasets import Dataset, Federation


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Where a run stands after a number of rounds."""

    weights: Tensor  # (P,)
    losses: tuple[float, ...] = ()  # one per round done
    confusion: NDArray[np.int64] | None = None  # (n, C, C), once the run is finished


@dataclass(frozen=True)
class Checkpoint:
    """A file for the state of one run, saved after every ``every`` rounds and at the end.

    ``run`` is what the file must agree with to be resumed from, see :func:`identity`.
    """

    path: Path
    every: int
    run: dict[str, object]

    def save(self, state: TrainingState) -> None:
        """Replace the file by one with the present state."""
        tensors = {
            "weights": state.weights.cpu(),
            "losses": torch.tensor(state.losses, dtype=torch.float64),
        }
        if state.confusion is not None:
            tensors["confusion"] = torch.from_numpy(state.confusion.copy())
        run = json.dumps(self.run, default=_plain)
        write_atomically(self.path, safetensors.torch.save(tensors, metadata={"run": run}))

    def load(self, start: Tensor, n_classes: int) -> TrainingState | None:
        """The state saved, or None where there is no file.

        ``start`` are the initial weights, whose device, shape and precision those of the file get or must have.

        Raises
        ------
        ValueError
            If the file is no checkpoint, is of another run, or holds what no run of this network could have saved.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                saved = json.loads((file.metadata() or {}).get("run", "null"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, OSError, ValueError) as error:
            raise self._unreadable(str(error)) from error
        if not isinstance(saved, dict):
            raise self._unreadable("it does not say of which run it is")
        self._check_same_run(saved)
        self._check_tensors(tensors, start, n_classes)
        confusion = tensors["confusion"].numpy() if "confusion" in tensors else None
        return TrainingState(tensors["weights"].to(start.device), tuple(tensors["losses"].tolist()), confusion)

    def _check_same_run(self, saved: dict[str, object]) -> None:
        differences = [
            f"{name} ({saved.get(name)!r} there, {value!r} here)"
            for name, value in self.run.items()
            if saved.get(name) != value
        ]
        if differences:
            raise ValueError(
                f"checkpoint {str(self.path)!r} is of another run, which differs in {', '.join(differences)}; "
                "resume with the arguments it was made with, give another path or delete it"
            )

    def _check_tensors(self, tensors: dict[str, Tensor], start: Tensor, n_classes: int) -> None:
        """Refuse a file whose record is right and whose content is not."""
        n_clients, rounds = len(cast(list[float], self.run["contributions"])), cast(int, self.run["rounds"])
        done = tensors["losses"].numel() if "losses" in tensors else 0
        expected = {
            "weights": (start.dtype, tuple(start.shape)),
            "losses": (torch.float64, (min(done, rounds),)),
            "confusion": (torch.int64, (n_clients, n_classes, n_classes)),
        }
        for name, (dtype, shape) in expected.items():
            tensor = tensors.get(name)
            if tensor is None and name != "confusion":
                raise self._unreadable(f"it has no {name}")
            if tensor is not None and (tensor.dtype, tuple(tensor.shape)) != (dtype, shape):
                raise self._unreadable(
                    f"{name} must be {dtype} of shape {shape}; got {tensor.dtype} of shape {tuple(tensor.shape)}"
                )

    def _unreadable(self, why: str) -> ValueError:
        return ValueError(
            f"checkpoint {str(self.path)!r} cannot be read as one ({why}); give another path or delete it"
        )


def identity(contributions: Array, config: TrainingConfig, *, data: str, start: Tensor) -> dict[str, object]:
    """What decides the outcome of a run, as JSON keeps it: all settings, contributions, data, initial weights.

    ``data`` is the :func:`fingerprint` of the federation. The initial weights stand for the network, of which the
    settings hold no more than a name.
    """
    settings = asdict(config)
    if callable(config.model):
        settings["model"] = getattr(config.model, "__qualname__", type(config.model).__qualname__)
    weights = hashlib.sha256(start.cpu().numpy().tobytes()).hexdigest()[:16]
    return {**settings, "contributions": contributions.tolist(), "data": data, "initial weights": weights}


def fingerprint(federation: Federation) -> str:
    """Hash of all inputs, labels and groups of a federation."""
    digest = hashlib.sha256(federation.groups.tobytes())
    for data in (*federation.train, *federation.test):
        add_to_hash(digest, data)
    return digest.hexdigest()[:16]


def add_to_hash(digest: hashlib._Hash, data: Dataset) -> None:
    """Have a hash depend on all inputs and labels of a data set."""
    digest.update(repr((data.inputs.shape, data.inputs.dtype.str, data.n_classes)).encode())
    digest.update(np.ascontiguousarray(data.inputs).data)
    digest.update(np.ascontiguousarray(data.labels).data)


def profile_name(contributions: Array) -> str:
    """File name of the run with these contributions among the runs of one grid."""
    return f"run-{hashlib.sha256(contributions.tobytes()).hexdigest()[:12]}.safetensors"


def _plain(number: np.generic) -> object:
    """A setting given as a numpy number, for JSON."""
    return number.item()
