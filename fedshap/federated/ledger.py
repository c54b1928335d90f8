"""The books of a federation: one JSON object a line, only ever added to, on the disk before the next round starts.

The first line says whose books these are, see :meth:`Ledger.open`. Each further one is a round, or the settlement of a
stage, which has ``"payments"``. A process that is killed while it writes leaves a torn last line; it is dropped, with a
word, and that line is done again. Beside the books lies the state after their last line, see `Snapshots`.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from fedshap._files import write_atomically
from fedshap._records import Record
from fedshap._types import Array

NAME = "ledger.jsonl"
VERSION = 1
_LISTED = 32  # entries up to which an array is written out

Line = Mapping[str, Any]


@dataclass(frozen=True)
class Ledger:
    """A file of JSON lines.

    Attributes
    ----------
    path : Path
        The file.
    """

    path: Path

    def open(self, head: Line) -> tuple[list[Line], str]:
        """Start the books, or read those that are there: the lines after the first, and what had to be dropped.

        Parameters
        ----------
        head : mapping
            What decides every number in the books: settings, clients, data, initial weights.

        Raises
        ------
        ValueError
            If the file is no ledger, or that of another federation; the message says in what it differs.
        """
        head = {"format": "fedshap ledger", "version": VERSION, **head}
        if not self.path.exists():
            self.append(head)
            return [], ""
        lines, dropped = self._read()
        if not lines:  # torn in its first line
            self._cut(0)
            self.append(head)
            return [], dropped
        self._check(lines[0], json.loads(_text(head)))
        if dropped:
            self._cut(sum(len(_text(line)) + 1 for line in lines))
        return lines[1:], dropped

    def append(self, line: Line) -> None:
        """Add a line, and return when it is on the disk."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self.path, "ab") as file:
                file.write(_text(line) + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            text = f"{self.path} cannot be written ({error.strerror}); make room, and the same command goes on"
            raise OSError(error.errno, text) from error

    def _read(self) -> tuple[list[Line], str]:
        """Whole lines, and the beginning of a torn last one."""
        content = self.path.read_bytes()
        *whole, rest = content.split(b"\n")
        lines = []
        for number, text in enumerate(whole, start=1):
            try:
                line = json.loads(text)
            except ValueError as error:
                raise self._no_ledger(f"line {number} is no JSON: {error}") from error
            if not isinstance(line, dict) or _text(line) != text:
                raise self._no_ledger(f"line {number} was not written by this package")
            lines.append(line)
        return lines, rest[:60].decode(errors="replace")

    def _cut(self, size: int) -> None:
        with open(self.path, "r+b") as file:
            file.truncate(size)
            os.fsync(file.fileno())

    def _check(self, found: Line, head: Line) -> None:
        if found.get("format") != head["format"]:
            raise self._no_ledger(f"its first line has the format {found.get('format')!r}")
        differences = [
            f"{name} ({found.get(name)!r} there, {head.get(name)!r} here)"
            for name in sorted({*found, *head})
            if found.get(name) != head.get(name)
        ]
        if differences:
            raise ValueError(
                f"{self.path} is the ledger of another federation, which differs in {', '.join(differences)}; "
                "go on with the settings it was started with, or choose another folder"
            )

    def _no_ledger(self, why: str) -> ValueError:
        return ValueError(f"{self.path} is no ledger ({why}); choose another folder, or move the file away")


@dataclass(frozen=True)
class Snapshots:
    """The state after a line of the ledger, a safetensors file; the one before is kept until the line is written.

    Attributes
    ----------
    folder : Path
        Where they lie, beside the ledger.
    """

    folder: Path

    def save(self, line: int, arrays: Mapping[str, Array]) -> None:
        """Keep the state after line number ``line``."""
        whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_atomically(self._path(line), safetensors.numpy.save(whole))

    def load(self, line: int) -> dict[str, Array]:
        """The state after line number ``line``.

        Raises
        ------
        ValueError
            If it is not there or no such file.
        """
        path = self._path(line)
        try:
            return safetensors.numpy.load_file(path)
        except (SafetensorError, OSError) as error:
            raise ValueError(
                f"{path}, the state after the last line of the ledger, cannot be read ({error}); without it the run "
                "cannot go on: choose another folder"
            ) from error

    def forget(self, line: int) -> None:
        """Remove what came before line number ``line``, and what never got its line."""
        for path in self.folder.glob("state-*.safetensors"):
            if path != self._path(line):
                path.unlink(missing_ok=True)

    def _path(self, line: int) -> Path:
        return self.folder / f"state-{line:06d}.safetensors"


def exactly(value: Any) -> Any:
    """Settings as JSON that tells different ones apart: records by their class and parameters, numbers to the bit."""
    if isinstance(value, Record):
        names = [name for name in inspect.signature(type(value)).parameters if hasattr(value, name)]
        return {"kind": type(value).__name__} | {name: exactly(getattr(value, name)) for name in names}
    if isinstance(value, np.ndarray):
        return digest(value) if value.size > _LISTED else exactly(value.tolist())
    if isinstance(value, (list, tuple)):
        return [exactly(each) for each in value]
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return getattr(value, "__qualname__", repr(value))


def digest(array: np.ndarray) -> str:
    """A few characters that tell arrays apart."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def _text(line: Line) -> bytes:
    """A line as it is written: floats with as many digits as it takes to read the same ones again."""
    return json.dumps(line, allow_nan=False, separators=(", ", ": ")).encode()
