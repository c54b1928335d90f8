"""Costs given by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fedshap._differences import difference
from fedshap._types import Array, ArrayLike, PerAgent
from fedshap._validation import as_callable, as_count, as_profile
from fedshap.costs.base import Cost

_SCAN = np.concatenate([[0.0], np.geomspace(1e-15, 1e15, 91)])  # where the function is tried, P contributions


class CustomCost(Cost):
    """Costs given by a function of yours.

    Parameters
    ----------
    function : callable
        Maps contributions (..., n) to costs (..., n), vectorised over the leading axes: entry i is ``c_i(s_i)``, from
        ``s_i`` alone, non-decreasing and convex. Infinite where a contribution is impossible.
    n_agents : int
        Number of agents.
    derivative : callable, optional
        Maps contributions (..., n) to marginal costs (..., n). Differences are used if left out, good to ten digits.

    Raises
    ------
    ValueError
        If the function, tried once at contributions from 1e-15 to 1e15, returns another shape or NaN, something else
        for many profiles than for each, falls or is not convex, or looks at the contributions of others; or if
        ``derivative`` is not its derivative. The message says where.

    Examples
    --------
    >>> effort = CustomCost(lambda s: 0.1 * s + np.expm1(s / [10.0, 20.0, 40.0]), n_agents=3)
    >>> effort.values([1.0, 2.0, 0.0]).round(4), effort.derivatives([1.0, 2.0, 0.0]).round(4)
    (array([0.2052, 0.3052, 0.    ]), array([0.2105, 0.1553, 0.125 ]))
    """

    def __init__(
        self,
        function: Callable[[Array], Array],
        n_agents: int,
        derivative: Callable[[Array], Array] | None = None,
    ) -> None:
        self.n_agents = as_count("n_agents", n_agents)
        self.function = as_callable("function", function, "lambda s: 0.1 * s**2")
        self.derivative = None if derivative is None else as_callable("derivative", derivative, "lambda s: 0.2 * s")
        self._check_shape_and_rows()
        self._check_growth()

    def values(self, s: ArrayLike) -> PerAgent:
        return _answer("function", self.function, as_profile("s", s, self.n_agents))

    def derivatives(self, s: ArrayLike) -> PerAgent:
        if self.derivative is None:
            return super().derivatives(s)
        return _answer("derivative", self.derivative, as_profile("s", s, self.n_agents))

    @property
    def has_derivatives(self) -> bool:
        return self.derivative is not None

    def _check_shape_and_rows(self) -> None:
        """Many profiles at once, each alone, and twice: the same costs; and each agent's from her own part."""
        s = np.linspace(0.5, 2.0, 6 * self.n_agents).reshape(2, 3, self.n_agents)
        for name, function in (("function", self.function), ("derivative", self.derivative)):
            if function is None:
                continue
            together = _answer(name, function, s)
            alone = np.array([[_answer(name, function, row) for row in block] for block in s])
            if not np.array_equal(_answer(name, function, s), together):
                raise ValueError(f"{name} must return the same costs when asked again; it returned others at {s[0, 0]}")
            if not np.allclose(together, alone, rtol=1e-6, atol=0.0):
                raise ValueError(
                    f"{name} must be vectorised over the leading axes: for many profiles at once it returned other "
                    "costs than for each of them alone; give sums axis=-1"
                )
            for i in range(self.n_agents):
                other = np.where(np.arange(self.n_agents) == i, s[0, 0], s[1, 2])
                if not np.isclose(_answer(name, function, other)[i], together[0, 0, i], rtol=1e-6, atol=0.0):
                    raise ValueError(f"{name} must take agent {i}'s cost from her own contribution alone")

    def _check_growth(self) -> None:
        """Non-decreasing, convex and with the derivative that is claimed, as far as a scan can tell."""
        costs = _answer("function", self.function, np.tile(_SCAN[:, None], (1, self.n_agents)))  # (P, n)
        if np.isinf(costs[0]).any():
            raise ValueError(
                f"function must be finite at 0; it is infinite for agent {int(np.isinf(costs[0]).argmax())}"
            )
        with np.errstate(all="ignore"):
            rise, steps = np.diff(costs, axis=0), np.diff(_SCAN)[:, None]
            slopes = rise / steps
            blur = 1e-13 * np.abs(costs[1:]) / steps  # what rounding does to a slope
            bend = np.diff(slopes, axis=0) + blur[1:] + blur[:-1]
        for what, wrong in (("non-decreasing", rise < -blur * steps), ("convex", bend < 0.0)):
            if wrong.any():
                k, i = (int(index) for index in np.argwhere(wrong)[0])
                where = f"between s={_SCAN[k]:.4g} and s={_SCAN[k + (1 if what[0] == 'n' else 2)]:.4g}"
                raise ValueError(f"function must be {what} (Sec. 2.1 of the paper); for agent {i} it is not, {where}")
        if self.derivative is not None:
            self._check_derivative(np.isfinite(costs))

    def _check_derivative(self, possible: Array) -> None:
        """At one number in each decade where costs are finite, against differences."""
        for k in range(1, len(_SCAN) - 1, 9):
            s = np.where(possible[k + 1], _SCAN[k], 0.0)
            claimed = _answer("derivative", self.derivative, s)
            found = difference(lambda x: self.values(x.T).T, s, np.full(self.n_agents, np.inf))
            wrong = np.abs(claimed - found) > 1e-4 * (np.abs(claimed) + np.abs(found))
            if wrong.any():
                i = int(wrong.argmax())
                raise ValueError(
                    f"derivative must be the derivative of function; at s={s[i]:.4g} it is {claimed[i]:.6g} for agent "
                    f"{i}, and function rises by {found[i]:.6g} for each unit"
                )


def _answer(name: str, function: Callable[[Array], Array] | None, s: Array) -> Array:
    """What a user's function says, checked; infinite costs are an answer, NaN is none."""
    assert function is not None
    with np.errstate(over="ignore"):
        given = function(s.copy())
    try:
        costs = np.asarray(given, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must return an array of numbers; it returned {given!r}") from error
    if costs.shape != s.shape:
        raise ValueError(f"{name} must return an array of shape {s.shape} here; it returned shape {costs.shape}")
    if np.isnan(costs).any():
        at = s[np.isnan(costs)][0]
        raise ValueError(f"{name} must not return NaN, as it did at s={at:.4g}; say np.inf where nobody can contribute")
    return costs
