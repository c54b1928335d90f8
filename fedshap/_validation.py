"""The gate through which outside values enter: each check names the argument, what it got and what it may be."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Agents, Array, ArrayLike, RandomSource

T = TypeVar("T")


def as_array(
    name: str,
    value: ArrayLike,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    below: float | None = None,
    finite: bool = True,
) -> Array:
    """Copy ``value`` into a float array after checking its entries.

    ``minimum`` and ``maximum`` are inclusive, ``below`` is exclusive; ``finite=False`` admits +infinity.
    """
    array = _numbers(name, value)
    if array.size and _within(float(array.min()), float(array.max()), minimum, maximum, below):
        return array
    if np.isnan(array).any() or (finite and not np.isfinite(array).all()):
        kind = "finite" if finite else "a number"
        raise ValueError(f"every entry of {name} must be {kind}; got {_first(array, ~np.isfinite(array))}")
    if minimum is not None and (array < minimum).any():
        raise ValueError(f"{name} must be at least {minimum:g}; got {_first(array, array < minimum)}")
    if maximum is not None and (array > maximum).any():
        raise ValueError(f"{name} must be at most {maximum:g}; got {_first(array, array > maximum)}")
    if below is not None and (array >= below).any():
        raise ValueError(f"{name} must be below {below:g}; got {_first(array, array >= below)}")
    return array


def _within(low: float, high: float, minimum: float | None, maximum: float | None, below: float | None) -> bool:
    """Whether all entries, from ``low`` to ``high``, are finite and allowed: the usual case, at little cost."""
    least, most = -np.inf if minimum is None else minimum, np.inf if maximum is None else maximum
    return -np.inf < low and high < np.inf and least <= low and high <= most and (below is None or high < below)


def as_per_agent(
    name: str,
    value: ArrayLike,
    n_agents: int,
    *,
    minimum: float | None = None,
    finite: bool = True,
) -> Array:
    """Check ``value`` as a scalar or an (n,) array and return a read-only (n,) array."""
    array = as_array(name, value, minimum=minimum, finite=finite)
    if array.shape not in ((), (n_agents,)):
        raise ValueError(f"{name} must be a scalar or have shape ({n_agents},); got shape {array.shape}")
    return read_only(np.array(np.broadcast_to(array, (n_agents,))))


def as_profile(name: str, value: ArrayLike, n_agents: int) -> Array:
    """Check ``value`` as contribution profiles: shape (..., n), non-negative and finite."""
    array = as_array(name, value, minimum=0.0)
    if array.ndim == 0 or array.shape[-1] != n_agents:
        raise ValueError(f"{name} must have shape (..., {n_agents}), one entry per agent; got {array.shape}")
    return array


def as_interval(
    name: str, value: float, low: float, high: float, *, closed_low: bool = False, open_high: bool = False
) -> float:
    """Check that ``value`` is one finite number in (low, high]; either end may be told to be the other way."""
    allowed = f"{'[' if closed_low else '('}{low:g}, {high:g}{')' if open_high or np.isinf(high) else ']'}"
    try:
        if np.ndim(value) or isinstance(value, (bool, np.bool_, str, bytes)) or _is_masked(value):
            raise TypeError("no number")
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be a number in {allowed}; got {short(value)}") from error
    above = number >= low if closed_low else number > low
    below = number < high if open_high else number <= high
    if not (above and below and np.isfinite(number)):
        raise ValueError(f"{name} must lie in {allowed}; got {number:g}")
    return number


def as_level(level: float) -> float:
    """Check the probability with which an interval is to cover, in (0, 1): no sample makes certain."""
    return as_interval("level", level, 0.0, 1.0, open_high=True)


def as_count(name: str, value: int, *, minimum: int = 1) -> int:
    """Check that ``value`` is an integer of at least ``minimum``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < minimum:
        raise ValueError(f"{name} must be an integer of at least {minimum}; got {short(value)}")
    return int(value)


def as_choice(name: str, value: object, allowed: Sequence[str]) -> str:
    """Check that ``value`` is one of a few words; a near miss is answered with the word that was meant."""
    if isinstance(value, str) and value in allowed:
        return value
    from difflib import get_close_matches  # for an error alone

    known = ", ".join(f'"{word}"' for word in allowed[:-1]) + f' or "{allowed[-1]}"'
    near = get_close_matches(value.lower(), allowed, n=1) if isinstance(value, str) else []
    raise ValueError(f"{name} must be {known}; got {short(value)}" + "".join(f': did you mean "{w}"?' for w in near))


def as_flag(name: str, value: object) -> bool:
    """Check that ``value`` is True or False; words and numbers, which Python takes for either, are refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} must be True or False; got {short(value)}")
    return bool(value)


def as_callable(name: str, value: T, example: str) -> T:
    """Check that ``value`` can be called."""
    if not callable(value) or isinstance(value, type):
        raise ValueError(f"{name} must be callable, such as {example}; got {short(value)}")
    return value


def as_instance(name: str, value: object, kind: type[T], such_as: str = "") -> T:
    """Check that ``value`` is an object of a class; a class, or its name, is answered with how to make one."""
    if isinstance(value, kind):
        return value
    from difflib import get_close_matches

    hint, article = "", "an" if kind.__name__[0] in "AEIOU" else "a"
    if isinstance(value, type) and issubclass(value, kind):
        hint = f": that is the class, {value.__name__}() is an object of it"
    elif isinstance(value, str):
        known = {each.__name__.lower(): each.__name__ for each in _subclasses(kind)}
        meant = [name for word, name in known.items() if len(value) > 2 and word.startswith(value.lower())]
        meant += [known[word] for word in get_close_matches(value.lower(), known, n=1)]
        hint = "".join(f": did you mean {each}()?" for each in meant[:1])
    example = such_as and f", such as {such_as}"
    raise ValueError(f"{name} must be {article} {kind.__name__}{example}; got {short(value)}{hint}")


def as_square(name: str, value: ArrayLike) -> Array:
    """Check ``value`` as a non-negative square matrix; read-only."""
    matrix = as_array(name, value, minimum=0.0)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ValueError(f"{name} must be a square matrix; got shape {matrix.shape}")
    return read_only(matrix)


def as_labels(name: str, value: ArrayLike, n_agents: int, n_groups: int) -> NDArray[np.intp]:
    """Check ``value`` as one group label in 0..n_groups-1 per agent, integers by type too; read-only."""
    labels = np.array(value)
    if labels.shape != (n_agents,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name} must be {n_agents} integers; got shape {labels.shape}, dtype {labels.dtype}")
    outside = (labels < 0) | (labels >= n_groups)
    if outside.any():
        raise ValueError(f"{name} must be labels 0..{n_groups - 1}; got {labels[outside][0]}")
    labels = labels.astype(np.intp)
    labels.setflags(write=False)
    return labels


def as_probabilities(value: ArrayLike, below: float | None = None) -> Array:
    """Check ``probabilities``, shape (n, m), each in [0, 1] and ``below``; read-only."""
    matrix = as_array("probabilities", value, minimum=0.0, maximum=1.0, below=below)
    if matrix.ndim != 2 or matrix.size == 0:
        raise ValueError(f"probabilities must have shape (n, m); got shape {matrix.shape}")
    return read_only(matrix)


def as_integer_labels(name: str, value: ArrayLike, n_labels: int | None = None) -> NDArray[np.int64]:
    """Check labels of data, shape (N,), integers in 0..n_labels-1 (no upper limit for None); return a copy.

    They come from files: whole numbers of any type will do, and of two classes, False and True.
    """
    if isinstance(value, (list, tuple)):
        value = np.asarray([each + 0 if isinstance(each, (bool, np.bool_)) else each for each in value])
    elif isinstance(value, np.ndarray) and value.dtype == bool:
        value = value.astype(int)
    array = as_array(name, value, minimum=0.0)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name} must be a sequence of at least one label; got shape {array.shape}")
    bad = (array != np.rint(array)) | (n_labels is not None and array > n_labels - 1)
    if bad.any():
        allowed = "integers" if n_labels is None else f"integers in 0..{n_labels - 1}"
        raise ValueError(f"{name} must be {allowed}; got {array[bad][0]:g}")
    return array.astype(np.int64)


def everybody(n_agents: int, agents: Agents) -> NDArray[np.intp]:
    """The agents meant: those given, or all of them."""
    return np.arange(n_agents) if agents is None else agents


def as_generator(rng: RandomSource) -> np.random.Generator:
    """Turn a seed or a generator into a generator; anything else, None included, is refused."""
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(as_count("rng (a seed or a numpy Generator)", rng, minimum=0))


def read_only(array: Array) -> Array:
    """Mark ``array`` as immutable: the records of this package are frozen, and so is what they hold."""
    array.setflags(write=False)
    return array


def short(value: object) -> str:
    """A value for an error message, which must not print a million numbers."""
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"an array of shape {value.shape}"
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:100]}... ({type(value).__name__})"


def _numbers(name: str, value: Any) -> Array:
    """``value`` copied into a float array, unless it would lose something on the way."""
    if _is_masked(value) or (isinstance(value, (list, tuple)) and any(map(_is_masked, value))):
        raise ValueError(f"{name} must not be masked: the mask would be dropped; fill it first, with .filled(0.0) say")
    if getattr(value, "requires_grad", False):
        raise ValueError(f"{name} must be plain numbers; got a tensor with a gradient: use .detach().cpu().numpy()")
    try:
        given = np.asarray(value)
        words = given.dtype.kind == "O" and any(isinstance(x, (str, bytes)) or x is None for x in given.flat)
        if given.dtype.kind not in "biufO" and given.size or words:
            raise TypeError("neither complex numbers nor strings will do")
        return np.array(given, dtype=float)
    except (TypeError, ValueError, RuntimeError) as error:  # torch raises the last for a tensor it cannot convert
        raise ValueError(f"{name} must be an array of numbers; got {short(value)}{_advice(value)}") from error


def _advice(value: Any) -> str:
    """How an array of something else becomes one of numbers."""
    if hasattr(value, "is_cuda"):
        return ": a tensor must be on the CPU, in a precision that numpy knows: use .cpu().double()"
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return ": take .real, if that is meant" if kind == "c" else ""


def _is_masked(value: object) -> bool:
    masked = sys.modules.get("numpy.ma")  # who has a masked array has loaded it; nobody else needs to
    return masked is not None and isinstance(value, masked.MaskedArray)


def _subclasses(kind: type) -> Iterator[type]:
    for each in kind.__subclasses__():
        yield each
        yield from _subclasses(each)


def _first(array: Array, bad: np.ndarray) -> str:
    """Describe the first offending entry, for an error message."""
    if array.ndim == 0:
        return f"{float(array):g}"
    index = [int(k) for k in np.argwhere(bad)[0]]
    return f"{array[tuple(index)]:g} at index {index[0] if len(index) == 1 else tuple(index)}"
