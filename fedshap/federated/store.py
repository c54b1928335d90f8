"""Training runs kept on disk, each done once: a command that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

import fedshap
from fedshap._files import read_json, write_json
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array
from fedshap.federated.checkpoints import fingerprint
from fedshap.federated.config import TrainingConfig, as_contributions
from fedshap.federated.datasets import Federation
from fedshap.federated.training import TrainingResult, federated_averaging, steps

_AGAIN = "delete it, and the run is done again"


@dataclass(eq=False)
class RunStore:
    """The training runs of one federation: equal ones are trained once, finished ones kept as JSON.

    A finished run is used again only if everything agrees that decides its outcome: the data, the settings, the
    contributions and the versions of this package and of what it computes with. An unfinished one goes on from its
    last round.

    Attributes
    ----------
    federation : Federation
        Who trains on what.
    config : TrainingConfig
        How they train; ``model`` must be a name.
    folder : Path
        Where runs are kept.
    bar : tqdm
        Counts the steps of training.
    fingerprint : str
        Of the federation.
    seconds : dict
        What each run took, whenever that was.
    """

    federation: Federation
    config: TrainingConfig
    folder: Path
    bar: tqdm
    fingerprint: str = field(init=False)
    seconds: dict[str, float] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.fingerprint = fingerprint(self.federation)

    def train(self, contributions: ArrayLike) -> dict[str, Any]:
        """What training at these contributions gave, now or before."""
        s = self._trained(contributions)
        settings = {**asdict(self.config), "data": self.fingerprint, "by": versions(), "contributions": s.tolist()}
        name = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]
        path, rounds = self.folder / f"{name}.json", self.folder / f"{name}.safetensors"
        if not path.exists():
            start = time.perf_counter()
            result = federated_averaging(
                self.federation, s, self.config, advance=self.bar.update, path=rounds, data=self.fingerprint
            )
            write_json(path, {"settings": settings, "seconds": time.perf_counter() - start, **_outcome(result)})
            rounds.unlink(missing_ok=True)
        elif name not in self.seconds:  # trained before this command began: nothing to wait for
            self.expect(-self.work([s]))
        record = self._read(path, settings)
        self.seconds[name] = record["seconds"]
        return record

    def work(self, profiles: Iterable[ArrayLike]) -> int:
        """Steps of runs at these contributions, equal ones counted once."""
        different = {s.tobytes(): s for s in map(self._trained, profiles)}
        return sum(steps(s, self.config) for s in different.values())

    def expect(self, batches: int) -> None:
        """Have the progress bar wait for so many steps more."""
        self.bar.total = (self.bar.total or 0) + batches
        self.bar.refresh()

    def _read(self, path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
        """A kept run; ValueError with what to do about it if it is none or not the one with these settings."""
        record = read_json(path, "a kept training run", _AGAIN)
        shapes = {
            "seconds": (),
            "group_accuracies": (self.federation.n_groups,),
            "client_accuracies": (self.federation.n_clients,),
            "losses": (self.config.rounds if any(settings["contributions"]) else 0,),
        }
        if self.federation.train[0].n_classes == 2:
            shapes["confusion"] = (self.federation.n_clients, 2, 2)
        try:
            for name, shape in shapes.items():
                most = 1.0 if name.endswith("accuracies") else None
                got = as_array(name, record.get(name, "nothing"), minimum=0.0, maximum=most).shape
                if got != shape:
                    raise ValueError(f"{name} must have shape {shape}; got {got}")
            if "confusion" not in record:
                raise ValueError("it has no confusion")
            if record.get("settings") != settings:
                raise ValueError("it has other settings than its name says")
        except ValueError as error:
            raise ValueError(f"{path} is not a kept training run ({error}); {_AGAIN}") from error
        return record

    def _trained(self, contributions: ArrayLike) -> Array:
        """Contributions to a millionth of a batch, so that rounding errors do not make two runs of one."""
        s = np.round(np.asarray(contributions, dtype=float), 6)
        return as_contributions("contributions", s, self.federation, self.config.batch_size)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    packages = {name: version(name) for name in ("numpy", "scipy", "torch")}
    return {"python": platform.python_version(), "fedshap": fedshap.__version__, **packages}


def machine(device: str) -> dict[str, Any]:
    """What it computes on."""
    gpu = torch.cuda.get_device_name(device) if device.startswith("cuda") else None
    return {"architecture": platform.machine(), "processors": os.cpu_count(), "gpu": gpu}


def _outcome(result: TrainingResult) -> dict[str, Any]:
    """What is kept of a run; of two classes also the confusion matrices (n, 2, 2), for F1."""
    kept = {name: getattr(result, name).tolist() for name in ("group_accuracies", "client_accuracies", "losses")}
    return kept | {"confusion": result.confusion.tolist() if result.confusion.shape[-1] == 2 else None}
