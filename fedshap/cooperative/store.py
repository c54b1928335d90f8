"""Values of coalitions in a file, one JSON object a line, added as they come.

A process that dies while it writes leaves at most one torn last line, which the next one drops.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from fedshap.cooperative.sources import not_finite

_FORMAT = "fedshap coalition values 1"


class ValueStore:
    """An append-only file of the values of one game.

    ``known`` are the coalitions found in it, in the order in which they were written, and ``noisy`` says whether the
    game was seen to give two values to one coalition.
    """

    def __init__(self, path: str | PathLike[str], n_players: int, game: str) -> None:
        self.path = Path(path).expanduser()
        self.known: dict[tuple[int, ...], float] = {}
        self.noisy = False
        head = {"format": _FORMAT, "n_players": n_players, "game": game}
        lines = _whole_lines(self.path) if self.path.exists() else []
        if lines:
            self._check_head(lines[0], head)
            for number, line in enumerate(lines[1:], start=2):
                self._read(line, number, n_players)
        else:
            self._write([head])

    def add(self, values: Iterable[tuple[tuple[int, ...], float]]) -> None:
        """Write down values of coalitions."""
        self._write({"members": members, "value": value} for members, value in values)

    def add_noise(self) -> None:
        """Write down that the game is noisy."""
        self.noisy = True
        self._write([{"noisy": True}])

    def _write(self, records: Iterable[dict[str, Any]]) -> None:
        text = "".join(json.dumps(record) + "\n" for record in records)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(text)

    def _check_head(self, line: str, head: dict[str, Any]) -> None:
        found = _parsed(line)
        if found is None or found.get("format") != _FORMAT:
            raise ValueError(f"cache={str(self.path)!r} is not a file of coalition values; name another file")
        for key, meant in (("n_players", "players"), ("game", "game")):
            if found.get(key) != head[key]:
                raise ValueError(
                    f"cache={str(self.path)!r} holds values of another game: its {meant} is {found.get(key)!r}, here "
                    f"it is {head[key]!r}. Name another file"
                )

    def _read(self, line: str, number: int, n_players: int) -> None:
        record = _parsed(line)
        if record == {"noisy": True}:
            self.noisy = True
            return
        members, value = (record or {}).get("members"), (record or {}).get("value")
        if members is None or not _are_members(members, n_players) or not isinstance(value, (int, float)):
            raise ValueError(
                f"line {number} of cache={str(self.path)!r} is not the value of a coalition: {line[:80]!r}"
            )
        if value - value != 0.0:  # infinite or NaN
            raise not_finite(tuple(members), value)
        self.known[tuple(members)] = float(value)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except json.JSONDecodeError:
        return None
    return record if isinstance(record, dict) else None


def _are_members(members: Any, n_players: int) -> bool:
    """Whether these are players of the game, in order."""
    return (
        isinstance(members, list)
        and all(isinstance(i, int) and 0 <= i < n_players for i in members)
        and members == sorted(set(members))
    )


def _whole_lines(path: Path) -> list[str]:
    """Lines of a file; one that was torn off at its end is cut from the file."""
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        warnings.warn(f"the last line of {path} was torn off in writing; it is dropped", stacklevel=5)
        with path.open("r+b") as file:
            file.truncate(whole)
    return list(_decoded(content[:whole].splitlines(), path))


def _decoded(lines: list[bytes], path: Path) -> Iterator[str]:
    for line in lines:
        try:
            yield line.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"cache={str(path)!r} is not a file of coalition values; name another file") from error
