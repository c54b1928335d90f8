"""Asking a function for the values of coalitions: each once, in parallel if told to, kept in a file if told to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from functools import partial
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedshap._coalitions import all_members
from fedshap._types import Array, Progress
from fedshap.cooperative.sources import not_finite
from fedshap.cooperative.store import ValueStore

Members: TypeAlias = NDArray[np.bool_]
"""Coalitions, shape (k, n): entry [c, i] says whether player i is in coalition c."""

_BATCH = 4096  # coalitions that a vectorised function gets at once
_CHUNK = 1 << 14  # of all coalitions, how many are asked for at once
_SAME = 1e-9  # two values that differ by no more than this share of the largest value are one


class Evaluator:
    """Values of coalitions by a function.

    Work is cut into tasks in the same way however many workers there are, so that a vectorised function sees the same
    batches and gives the same digits.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        n_players: int,
        *,
        vectorised: bool = False,
        executor: Executor | None = None,
        progress: Progress = None,
        store: ValueStore | None = None,
    ) -> None:
        self.n_players = n_players
        self.standard_error = np.inf  # the largest so far, for the progress
        self._ask = partial(_ask_vectorised if vectorised else _ask_one_by_one, function)
        self._batch = _BATCH if vectorised else 1
        self._executor = executor
        self._progress = progress
        self._store = store
        self._checked = False
        self._known: dict[bytes, float] = {}
        self._used: set[bytes] = set()
        self._low, self._high = np.inf, -np.inf
        if store is not None and store.known:
            self._known = {_key(_membership(members, n_players)): value for members, value in store.known.items()}
            members, value = next(reversed(store.known.items()))
            self._check_repetition(_membership(members, n_players)[None], value)

    @property
    def evaluations(self) -> int:
        """Coalitions whose value was asked for."""
        return len(self._used)

    @property
    def value_range(self) -> float:
        """`range_of` the values used so far."""
        return range_of(self._low, self._high)

    def __call__(self, members: Members) -> Array:
        """Values of coalitions, shape (k,)."""
        keys = [bytes(row) for row in np.packbits(members, axis=1)]
        first = {key: row for row, key in reversed(list(enumerate(keys))) if key not in self._known}
        self._evaluate(members[sorted(first.values())])
        self._used.update(keys)
        values = np.array([self._known[key] for key in keys])
        self._low, self._high = min(self._low, values.min(initial=np.inf)), max(self._high, values.max(initial=-np.inf))
        return values

    def _evaluate(self, members: Members) -> None:
        tasks = [members[k : k + self._batch] for k in range(0, len(members), self._batch)]
        for task, values in self._results(tasks):
            for row, value in zip(task, values, strict=True):
                if not np.isfinite(value):
                    raise not_finite(_tuple(row), value)
            self._known.update((_key(row), value) for row, value in zip(task, values, strict=True))
            if self._store is not None:
                self._store.add((_tuple(row), value) for row, value in zip(task, values, strict=True))
            if self._progress is not None:
                self._progress(len(self._known), self.standard_error)
        # The empty coalition and that of all players, which come first, would not show a sum over the whole batch.
        if not self._checked and len(members) > (2 if self.n_players > 1 else 0):
            self._check_repetition(members[-1:], self._known[_key(members[-1])])

    def _results(self, tasks: Sequence[Members]) -> Iterator[tuple[Members, list[float]]]:
        if self._executor is None:
            yield from ((task, self._ask(task)) for task in tasks)
            return
        futures = {self._executor.submit(self._ask, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            for future in futures:
                future.cancel()  # what has not begun when we are interrupted need not

    def _check_repetition(self, coalition: Members, value: float) -> None:
        """Ask for one coalition again, alone: once per game, and once per game that is resumed."""
        self._checked = True
        again = self._ask(coalition)[0]
        scale = max(abs(value), abs(again), max(map(abs, self._known.values())))
        if abs(again - value) <= _SAME * scale:
            return
        story = f"the coalition {_tuple(coalition[0])} was worth {value!r} and, asked again alone, {again!r}"
        if self._store is not None and self._store.known and not self._store.noisy:
            raise ValueError(
                f"cache={str(self._store.path)!r} holds values of another game, or of a noisy one: {story}. "
                "Name another file, or fix the seed of the game"
            )
        if self._store is not None and not self._store.noisy:
            self._store.add_noise()
        warnings.warn(
            f"values are noisy, or depend on the batch they are asked in: {story}. Each coalition keeps the first "
            "value it got, and standard errors do not cover this noise",
            stacklevel=6,
        )


def range_of(low: float, high: float) -> float:
    """Largest less smallest value; if there is but one, its size, and infinite if that is zero."""
    return high - low or abs(high) or np.inf


def worths(values: Callable[[Members], Array], n: int) -> Array:
    """The table of a function's values, a chunk of coalitions at a time."""
    ends = [*range(0, 1 << n, _CHUNK), 1 << n]
    return np.concatenate([values(all_members(a, b, n)) for a, b in pairwise(ends)])


def name_of(function: Callable[..., Any]) -> str:
    """What a file calls the game of this function."""
    return getattr(function, "__qualname__", type(function).__qualname__)


def _ask_one_by_one(function: Callable[[tuple[int, ...]], Any], members: Members) -> list[float]:
    return [_number(function(_tuple(row)), row) for row in members]


def _ask_vectorised(function: Callable[[Members], Any], members: Members) -> list[float]:
    values = np.asarray(function(members.copy()))
    if values.shape != (len(members),) or values.dtype.kind not in "biuf":
        raise ValueError(
            f"values, given {len(members)} coalitions as booleans of shape {members.shape}, must return that many "
            f"numbers; got shape {values.shape}, dtype {values.dtype}"
        )
    return values.astype(float).tolist()


def _number(value: Any, row: NDArray[np.bool_]) -> float:
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "biuf":
        raise ValueError(f"values must return one number for the coalition {_tuple(row)}; got {value!r}")
    return float(array)


def _tuple(row: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(row).tolist())


def _key(row: NDArray[np.bool_]) -> bytes:
    return bytes(np.packbits(row))


def _membership(members: Sequence[int], n: int) -> NDArray[np.bool_]:
    row = np.zeros(n, dtype=bool)
    row[list(members)] = True
    return row
