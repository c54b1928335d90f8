"""Records as JSON files: read by anybody, exact to the last bit, whole or not there at all."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fedshap._files import as_path

T = TypeVar("T")
VERSION = 1
_INFINITE = {"Infinity": np.inf, "-Infinity": -np.inf}


def to_json(record: Any) -> str:
    """A dataclass record as JSON: its fields under their names, besides ``format`` and ``version``.

    Numbers are written with as many digits as it takes to read the same ones again; infinite ones, which JSON has not,
    as the words "Infinity" and "-Infinity". NaN is refused.
    """
    content = {each.name: _plain(each.name, getattr(record, each.name)) for each in dataclasses.fields(record)}
    head = {"format": f"fedshap {type(record).__name__}", "version": VERSION}
    return json.dumps(head | content, indent=1, allow_nan=False) + "\n"


def from_json(kind: type[T], path_or_text: str | Path) -> T:
    """The record that `to_json` wrote, from a path or from the text itself, which starts with a brace."""
    text, name = _text(kind, path_or_text)
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        problem = f"{name} is no complete JSON: {error.msg.lower()} at line {error.lineno} of {text.count(chr(10)) + 1}"
        raise ValueError(f"{problem}; was it cut off?") from None
    wanted = f"fedshap {kind.__name__}"
    if not isinstance(content, dict) or content.get("format") != wanted:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise ValueError(f'{name} must have the format "{wanted}"; got {found!r}')
    if content.get("version") != VERSION:
        raise ValueError(f"{name} must have version {VERSION} of the format; got {content.get('version')!r}")
    return kind(**_fields(kind, content, name))


def _text(kind: type, path_or_text: str | Path) -> tuple[str, str]:
    """The text, and what to call where it comes from."""
    if isinstance(path_or_text, str) and path_or_text.lstrip().startswith("{"):
        return path_or_text, "the text"
    if not isinstance(path_or_text, (str, Path)) or not str(path_or_text).strip():
        raise ValueError(f"path_or_text must be a path, or the JSON of {kind.__name__}; got {path_or_text!r}")
    try:
        return as_path("path_or_text", path_or_text).read_text(encoding="utf8"), str(path_or_text)
    except UnicodeDecodeError:
        raise ValueError(f"{path_or_text} is no text, let alone JSON") from None


def _fields(kind: Any, content: dict[str, Any], name: str) -> dict[str, Any]:
    """The constructor's arguments, each checked against what the record declares."""
    declared = {each.name: each for each in dataclasses.fields(kind)}
    unknown = sorted(set(content) - set(declared) - {"format", "version"})
    if unknown:
        raise ValueError(f"{name} has a field {unknown[0]!r} that this version of fedshap does not know")
    hints, values = typing.get_type_hints(kind), {}
    for each in declared.values():
        if each.name in content:
            values[each.name] = _restored(f"{each.name} in {name}", content[each.name], hints[each.name])
        elif each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING:
            raise ValueError(f"{name} lacks the field {each.name!r}")
    return values


def _plain(name: str, value: Any) -> Any:
    """A field as JSON has it."""
    if isinstance(value, np.ndarray):
        return [_plain(name, each) for each in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(name, each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        if np.isnan(value):
            raise ValueError(f"{name} must not be NaN to be written")
        return "Infinity" if value > 0.0 else "-Infinity"
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(f"{name} must be an array, a number or a word to be written; got {value!r}")
    return value


def _restored(name: str, value: Any, hint: Any) -> Any:
    """A field as the record has it; of an optional one, or one of several kinds, the first kind that fits."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for kind in kinds:
        plain = typing.get_origin(kind) or kind
        if plain is np.ndarray and isinstance(value, list):
            return _array(name, value, typing.get_args(typing.get_args(kind)[1])[0])
        if plain is float and (_is_number(value) or value in _INFINITE):
            return _INFINITE.get(value, value) if isinstance(value, str) else float(value)
        if plain is tuple and isinstance(value, list):
            return tuple(value)
        if isinstance(plain, type) and plain not in (float, tuple) and type(value) is plain:
            return value
        if plain is typing.Literal and value in typing.get_args(kind):
            return value
    wanted = " or ".join(getattr(typing.get_origin(kind) or kind, "__name__", str(kind)) for kind in kinds)
    raise ValueError(f"{name} must be {wanted.replace('ndarray', 'a list of numbers')}; got {value!r:.80}")


def _array(name: str, value: list[Any], dtype: type) -> np.ndarray:
    """Numbers from a list, or from a list of lists for a matrix."""

    def number(each: Any) -> Any:
        if isinstance(each, str) and each in _INFINITE:
            return _INFINITE[each]
        if not _is_number(each):
            raise ValueError(f"{name} must be a list of numbers; got {each!r:.80} among them")
        return each

    rows = [[number(each) for each in row] if isinstance(row, list) else number(row) for row in value]
    if len({len(row) if isinstance(row, list) else -1 for row in rows}) > 1:
        raise ValueError(f"{name} must be rows of equal length")
    return np.array(rows, dtype=dtype)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and not np.isnan(value)
