"""Finished pieces of the study, one JSON file each, so that a command that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fedshap._files import read_json, write_json


@dataclass(frozen=True)
class Units:
    """A folder of finished units.

    Attributes
    ----------
    folder : Path
        Where they lie.
    settings : mapping
        What decides their numbers; those of other settings are left alone.
    bar : tqdm
        Told of each unit.
    """

    folder: Path
    settings: Mapping[str, Any]
    bar: tqdm

    def unit(self, name: str, compute: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """What ``compute`` gives, as JSON keeps it; from its file where that is there."""
        path = self.folder / f"{name}-{self._digest}.json"
        self.bar.set_postfix_str(name)
        if not path.exists():
            write_json(path, dict(compute()))
        self.bar.update()
        return read_json(path, "a finished unit of the study", "delete it, and the same command makes it again")

    @property
    def _digest(self) -> str:
        text = json.dumps(self.settings, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]
