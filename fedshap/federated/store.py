"""Training runs kept on disk, each done once: a command that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fedshap._types import Array, ArrayLike
from fedshap.federated.checkpoints import fingerprint
from fedshap.federated.config import TrainingConfig, as_contributions
from fedshap.federated.datasets import Federation
from fedshap.federated.training import TrainingResult, federated_averaging, steps


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
        what = {**asdict(self.config), "data": self.fingerprint, "by": versions(), "contributions": s.tolist()}
        name = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
        path, rounds = self.folder / f"{name}.json", self.folder / f"{name}.safetensors"
        if not path.exists():
            start = time.perf_counter()
            result = federated_averaging(
                self.federation, s, self.config, advance=self.bar.update, path=rounds, data=self.fingerprint
            )
            write_json(path, {"settings": what, "seconds": time.perf_counter() - start, **_outcome(result)})
            rounds.unlink()
        elif name not in self.seconds:  # trained before this command began: nothing to wait for
            self.expect(-self.work([s]))
        record = json.loads(path.read_text(encoding="utf8"))
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

    def _trained(self, contributions: ArrayLike) -> Array:
        """Contributions to a millionth of a batch, so that rounding errors do not make two runs of one."""
        s = np.round(np.asarray(contributions, dtype=float), 6)
        return as_contributions("contributions", s, self.federation, self.config.batch_size)


def versions() -> dict[str, str]:
    """Versions of what computes."""
    packages = {name: version(name) for name in ("fedshap", "numpy", "scipy", "torch")}
    return {"python": platform.python_version(), **packages}


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Write all of a file or nothing; lists of numbers stay on one line."""
    text = json.dumps(record, indent=1, allow_nan=False)
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text + "\n", encoding="utf8")
    os.replace(temporary, path)


def _outcome(result: TrainingResult) -> dict[str, Any]:
    """What is kept of a run; of two classes also the confusion matrices (n, 2, 2), for F1."""
    kept = {name: getattr(result, name).tolist() for name in ("group_accuracies", "client_accuracies", "losses")}
    return kept | {"confusion": result.confusion.tolist() if result.confusion.shape[-1] == 2 else None}
