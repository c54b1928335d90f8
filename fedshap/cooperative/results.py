"""What comes back: values with their standard errors, and what was spent on them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from fedshap._intervals import student_half_width
from fedshap._records import Record
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, as_level, read_only


class CooperativeValues(Record):
    """What each player added, and how far to trust it.

    Parameters
    ----------
    values : Array
        Shape (n,), in the unit of the game; (n, k) for k games at once, as for all that follows.
    standard_errors : Array
        Shape (n,). Zero where the values are exact.
    degrees_of_freedom : Array
        Of the standard errors, shape (n,): infinite where the values are exact.
    total : float or Array
        ``v(N) - v(empty)``, what there is to share: a number, or shape (k,).
    evaluations : int
        Coalitions whose value was used.
    method : str
        ``"exact"``, ``"regression"``, ``"stratified"`` or ``"permutation"``.
    semivalue : str
        ``"shapley"``, ``"banzhaf"``, ``"beta(a, b)"`` or ``"semivalue"``.
    """

    def __init__(
        self,
        values: ArrayLike,
        standard_errors: ArrayLike,
        degrees_of_freedom: ArrayLike,
        total: ArrayLike,
        evaluations: int,
        method: str,
        semivalue: str,
    ) -> None:
        self.values = read_only(as_array("values", values))
        self.standard_errors = read_only(as_array("standard_errors", standard_errors, minimum=0.0, finite=False))
        self.degrees_of_freedom = read_only(as_array("degrees_of_freedom", degrees_of_freedom, finite=False))
        share = as_array("total", total)
        self.total: float | Array = read_only(share) if share.ndim else float(share)
        self.evaluations = evaluations
        self.method = method
        self.semivalue = semivalue

    @property
    def budget_gap(self) -> float | Array:
        """``v(N) - v(empty)`` less the sum of the values: zero for Shapley values, positive if something is left."""
        gap = self.total - self.values.sum(axis=0)
        return gap if gap.ndim else float(gap)

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Lower and upper ends of each value's confidence interval, by Student's t.

        Examples
        --------
        >>> from fedshap import cooperative
        >>> airport = lambda members: max((1 + i for i in members), default=0)
        >>> sampled = cooperative.shapley(airport, 30, budget=1000, rng=0)
        >>> low, high = sampled.interval(0.99)
        >>> bool(low[0] < 1 / 30 < high[0])  # the shortest runway is shared by all
        True
        """
        half = student_half_width(self.standard_errors, self.degrees_of_freedom, as_level(level))
        return self.values - half, self.values + half

    def to_json(self) -> str:
        """All of it as JSON, to the last digit."""
        return json.dumps({name: _plain(value) for name, value in self._parameters().items()}, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> CooperativeValues:
        """The record that `to_json` wrote."""
        content: dict[str, Any] = json.loads(text)
        return cls(**{name: _restored(value) for name, value in content.items()})


def _plain(value: Any) -> Any:
    """A value as JSON has it, with null for infinity."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list):
        return [_plain(x) for x in value]
    return None if isinstance(value, float) and np.isinf(value) else value


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(x) for x in value]
    return np.inf if value is None else value


class ToleranceError(RuntimeError):
    """The budget was spent before every standard error was small enough.

    Attributes
    ----------
    best : CooperativeValues
        What was found.
    tol : float
        The standard error that was wanted.
    """

    def __init__(self, best: CooperativeValues, tol: float) -> None:
        super().__init__(
            f"{best.evaluations} evaluations leave a standard error of {best.standard_errors.max():.3g} where "
            f'tol={tol:g} is wanted. Allow a larger budget or tol, or on_failure="return" to get these values'
        )
        self.best = best
        self.tol = tol

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.best, self.tol)
