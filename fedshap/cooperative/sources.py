"""Games that come as numbers: a table or a dictionary of the values of all coalitions.

Coalition number m contains player i if and only if bit i of m is set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, read_only

_NAMED = 4  # missing coalitions that an error lists


def members_of(mask: int) -> tuple[int, ...]:
    """The players in a coalition, in order."""
    return tuple(i for i in range(mask.bit_length()) if mask >> i & 1)


def as_table(values: ArrayLike, n_players: int | None) -> Array:
    """Check a table of 2^n values; read-only."""
    if isinstance(values, np.ma.MaskedArray):
        raise ValueError("values must be a plain array; a masked one does not say what its masked entries are worth")
    table = as_array("values", values, finite=False) if not _has_nan(values) else np.asarray(values, dtype=float)
    if table.ndim != 1 or len(table) < 2 or len(table) & (len(table) - 1):
        raise ValueError(f"values must hold one number per coalition, {_nearest(table)}; got shape {table.shape}")
    if n_players is not None and len(table) != 1 << n_players:
        raise ValueError(f"values of {n_players} players must be 2^{n_players} numbers; got {len(table)}")
    bad = np.flatnonzero(~np.isfinite(table))
    if bad.size:
        raise not_finite(members_of(int(bad[0])), float(table[bad[0]]))
    return read_only(table)


def not_finite(members: tuple[int, ...], value: float) -> ValueError:
    """What to raise for a coalition whose value is no finite number."""
    return ValueError(f"values must be finite; the coalition {members} has the value {value}")


def _has_nan(values: ArrayLike) -> bool:
    array = np.asarray(values)
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _nearest(table: Array) -> str:
    if table.ndim != 1 or len(table) < 2:
        return "2^n of them"
    n = max(1, round(float(np.log2(len(table)))))
    return f"2^n of them: the nearest is 2^{n} = {1 << n}, for {n} players"


def from_dictionary(values: Mapping[Any, float], n_players: int | None) -> Array:
    """The table that a complete dictionary spells out."""
    named: dict[int, Any] = {}
    for key in values:
        mask = _mask_of(key)
        if mask in named:
            raise ValueError(f"values name the coalition {members_of(mask)} twice: as {named[mask]!r} and as {key!r}")
        named[mask] = key
    n = n_players if n_players is not None else max((mask.bit_length() for mask in named), default=0)
    if n == 0:
        raise ValueError("values must name at least one player; got a dictionary without any")
    outside = [mask for mask in named if mask >> n]
    if outside:
        raise ValueError(f"values name the coalition {members_of(outside[0])}, which is not one of {n} players")
    _refuse_gaps(named, n)
    return as_table([_number(values[named[mask]], mask) for mask in range(1 << n)], n)


def _mask_of(key: Any) -> int:
    """A coalition's number, from that number itself or from the players in it."""
    if isinstance(key, (int, np.integer)) and not isinstance(key, bool) and key >= 0:
        return int(key)
    players: list[Any] = list(key) if isinstance(key, Collection) and not isinstance(key, (str, bytes)) else [None]
    if any(isinstance(i, bool) or not isinstance(i, (int, np.integer)) or i < 0 for i in players):
        raise ValueError(
            f"keys of values must be coalitions: tuples or frozensets of players 0, 1, ..., or bit masks; got {key!r}"
        )
    if len(set(players)) < len(players):
        raise ValueError(f"a coalition holds each player once; got the key {key!r}")
    return sum(1 << int(i) for i in players)


def _refuse_gaps(named: Mapping[int, Any], n: int) -> None:
    missing = (1 << n) - len(named)
    if missing:
        absent: list[str] = []
        mask = 0
        while len(absent) < min(missing, _NAMED):
            if mask not in named:
                absent.append(str(members_of(mask)))
            mask += 1
        more = f" and {missing - len(absent)} more" if missing > len(absent) else ""
        raise ValueError(f"values must name all 2^{n} coalitions of {n} players; missing: {', '.join(absent)}{more}")


def _number(value: Any, mask: int) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"values must be numbers; the coalition {members_of(mask)} has {value!r}") from error
