"""A user's function is put to the test once: its type, its shape, its answers together and alone, its digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fedshap._types import Array, ArrayLike
from fedshap.payoffs.differences import FAILURES, SHORT_LINE, differences, natural_scale, relative_rounding, step_sizes

ALIKE = 1e-6
"""Relative difference, of the largest value, beyond which two answers to one question are two answers."""
ROUGHEST = 1e-5
"""Largest relative rounding of a function whose derivatives are taken by differences."""


def checked_output(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Check what a user's function returned."""
    array = _as_numbers(name, value)
    if array.shape != shape:
        raise ValueError(f"{name} must return an array of shape {shape} here; it returned shape {array.shape}")
    # A sum is finite only if all its terms are; the reverse fails where terms are huge, hence the second look.
    if not np.isfinite(array.sum()) and not np.isfinite(array).all():
        raise ValueError(f"{name} must return finite numbers; it returned {array[~np.isfinite(array)][0]}")
    return array


def _as_numbers(name: str, value: Any) -> Array:
    if isinstance(value, np.ma.MaskedArray):
        raise ValueError(f"{name} must return plain arrays; it returned a masked one: fill it, or drop the mask")
    try:
        kind = np.asarray(value).dtype.kind
        if kind not in "biufO":
            raise TypeError("neither complex numbers nor strings nor dates will do")
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must return an array of numbers; it returned {_show(value)}: {error}") from error
    except RuntimeError as error:  # torch: tensors with gradients, or on another device
        raise ValueError(
            f"{name} must return NumPy arrays, and what it returned cannot become one ({error}): "
            "of a torch tensor return .detach().cpu().numpy()"
        ) from error


def row_by_row(name: str, function: Callable[[Array], Any], rows: Array, shape: tuple[int, ...]) -> Array:
    """Answers, each of a shape, of a function that takes one profile at a time."""
    answers = np.empty((len(rows), *shape))
    for k, row in enumerate(rows):
        answers[k] = checked_output(name, function(row), shape)
    return answers


def vet_payoffs(
    function: Callable[[Array], Any], gradient: Callable[[Array], Any] | None, n_agents: int
) -> tuple[float, float | None]:
    """Try a payoff function of profiles in rows, and its gradient if there is one.

    Profiles have entries between 0.1 and 1 and, once it is known, between 0.01 and 10 times the scale of the function.

    Returns
    -------
    precision : float
        Relative rounding of the function's values.
    bend : float or None
        Its natural scale, if it has one.

    Raises
    ------
    ValueError
        See `vet`; or if rounding is too coarse for differences, or the gradient is not the function's.
    """
    pattern = np.random.default_rng(0).uniform(0.1, 1.0, (4 + (n_agents == 4), n_agents)).round(2)  # K is not n
    vet("function", function, pattern)

    def values(rows: Array) -> Array:
        return checked_output("function", function(rows.copy()), rows.shape)

    bend = natural_scale(lambda x: values(np.tile(x[:, None], n_agents)).sum(axis=1))
    profiles = pattern
    if bend is not None:
        scaled = bend * pattern * np.resize([1.0, 10.0, 0.1], (len(pattern), 1))
        if _rounding(values, scaled) < ROUGHEST:
            vet("function", function, profiles := scaled)
        else:  # so large that the function's digits cancel: what looked like a bend is rounding
            bend = None
    # Far from its scale the digits of a good function may cancel: at 1, if its scale is not near.
    rounding = min(_rounding(values, pattern), _rounding(values, profiles))
    precision = max(rounding, _unit_roundoff(function(profiles.copy())))
    if gradient is not None:
        given = vet("gradient", gradient, profiles, n_agents)
        _compare(given, values, profiles, step_sizes(profiles, bend, precision), precision)
    elif precision > ROUGHEST:
        raise ValueError(
            f"function is too rough for its derivatives to be taken by differences: its values are good to a relative "
            f"{precision:.1g}, and {ROUGHEST:g} is needed. Compute in double precision, or give gradient"
        )
    return precision, bend


def _compare(given: Array, values: Callable[[Array], Array], profiles: Array, steps: Array, precision: float) -> None:
    """Refuse a gradient that is not the function's."""
    found = differences(values, profiles, steps, precision)
    rounding = precision * np.abs(values(profiles)).max() / steps[:, None, :]
    off = np.abs(given - found) - 1e-3 * np.abs(found).max(axis=(1, 2), keepdims=True) - 10.0 * rounding
    if (off > 0.0).any():
        k, i, j = np.unravel_index(int(off.argmax()), off.shape)
        raise ValueError(
            f"gradient must be that of function; at {_show(profiles[k])} its entry [{i}, {j}] is {given[k, i, j]:.6g}, "
            f"and the payoff of agent {i} rises by {found[k, i, j]:.6g} for each unit that agent {j} gives"
        )


def vet(name: str, function: Callable[[Array], Any], inputs: Array, *inner: int) -> Array:
    """Refuse a function that answers otherwise in a batch than alone, or otherwise the second time.

    The function maps ``inputs``, shape (K, ...), to an array of shape (K, ..., *inner), row by row. Returns its answer.

    Raises
    ------
    ValueError
        Naming the function and showing the input and both answers.
    """
    together, again = _answer(name, function, inputs, inner), _answer(name, function, inputs, inner)
    tolerance = ALIKE * np.abs(together).max(initial=0.0)
    if (off := _off(together, again, tolerance)) is not None:
        raise ValueError(
            f"{name} must return the same values each time; at {_show(inputs[off])} it returned "
            f"{_show(together[off])} and then {_show(again[off])}. Average over many draws, or seed the generator "
            "afresh in each call, so that the same draws are used for every profile"
        )
    alone = np.concatenate([_answer(name, function, row[None], inner) for row in inputs])
    if (off := _off(together, alone, tolerance)) is not None:
        advice = "Reduce over the last axis only: s.sum(axis=-1, keepdims=True), not s.sum(); draw random numbers of "
        raise ValueError(
            f"{name} must treat each row of a batch as if it were alone; at {_show(inputs[off])} it returned "
            f"{_show(together[off])} in a batch and {_show(alone[off])} alone. "
            + (advice + "shape (n,), not s.shape" if inputs.ndim > 1 else "Each entry's answer may depend on it alone")
        )
    return together


def _answer(name: str, function: Callable[[Array], Any], inputs: Array, inner: tuple[int, ...]) -> Array:
    """What the function returns for a batch; an error that says how to vectorise if it does not take one."""
    try:
        with np.errstate(all="ignore"):
            value = function(inputs.copy())
    except FAILURES as error:
        raise ValueError(
            f"{name} failed on an input of shape {inputs.shape}, {_show(inputs)}: {type(error).__name__}: {error}. "
            f"{_advice(name, function, inputs[0], inner)}"
        ) from error
    shape = (*inputs.shape, *inner)
    if _as_numbers(name, value).shape != shape:
        raise ValueError(
            f"{name} must return an array of shape {shape} for an input of shape {inputs.shape}; it returned shape "
            f"{np.shape(value)}. {_advice(name, function, inputs[0], inner)}"
        )
    return checked_output(name, value, shape)


def _advice(name: str, function: Callable[[Array], Any], one: Array, inner: tuple[int, ...]) -> str:
    """What to do about a function that does not take a batch, if it takes one profile."""
    if one.ndim == 0:
        return "It is called with arrays of weighted sums and must return a number for each"
    try:
        with np.errstate(all="ignore"):
            single = np.shape(function(one.copy())) == (*one.shape, *inner)
    except FAILURES:
        single = False
    if not single:
        return "It is called with profiles in rows, and must return a row for each"
    return (
        "It takes one profile at a time: write it for profiles in rows, with s[..., 0] for s[0] and axis=-1 in every "
        f"reduction, or say vectorised=False, and {name} is called row by row"
    )


def _rounding(values: Callable[[Array], Array], profiles: Array) -> float:
    """Relative rounding of a function's values around some profiles, (K, n)."""
    lines = values((SHORT_LINE[:, None, None] * profiles).reshape(-1, profiles.shape[1]))
    return relative_rounding(lines.reshape(len(SHORT_LINE), *profiles.shape).max(axis=-1))


def _unit_roundoff(value: Any) -> float:
    """Relative spacing of numbers of the type that a function returns."""
    kind = np.asarray(value).dtype
    return float(np.finfo(kind if kind.kind == "f" else float).eps)


def _off(one: Array, other: Array, tolerance: float) -> int | None:
    """The row in which two answers differ most, if by more than ``tolerance``."""
    apart = np.abs(one - other).reshape(len(one), -1).max(axis=1)
    return int(apart.argmax()) if (apart > tolerance).any() else None


def _show(array: Any) -> str:
    """An array, or what was to be one, in one line."""
    if not isinstance(array, np.ndarray):
        return repr(array)
    return np.array2string(array, precision=6, threshold=12, separator=", ").replace("\n", "")
