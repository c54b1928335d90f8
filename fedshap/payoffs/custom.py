"""Payoffs given by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, Jacobian, PerAgent
from fedshap._validation import as_count, as_flag
from fedshap.payoffs.base import Payoff
from fedshap.payoffs.differences import difference, differences
from fedshap.payoffs.vetting import checked_output, row_by_row, vet_payoffs


class CustomPayoff(Payoff):
    r"""Payoffs given by a function of yours.

    Parameters
    ----------
    function : callable
        Maps contributions in rows, shape (K, n), to payoffs in rows, shape (K, n): each row as if it were alone.
    n_agents : int
        Number of agents.
    gradient : callable, optional
        Maps contributions (K, n) to Jacobians (K, n, n), derivative in ``s_j`` at ``[..., i, j]``. Differences are used
        if left out: central ones, with a step in proportion to ``s_j`` or, near zero, to the `scale` of the function.
    concave : bool, optional
        Your word on whether every ``a_i`` is concave. Left out, solvers make no use of concavity and their
        certificate says so.
    vectorised : bool
        False if your function takes one profile, shape (n,), at a time; so then does ``gradient``. It is called row by
        row, which is slow.

    Attributes
    ----------
    scale : float
        The contribution, to a power of ten, around which the surplus bends if all give the same; 1 if it bends nowhere.
    precision : float
        Relative rounding of the function's values: 2e-16, or about 6e-8 if it computes in single precision.

    Raises
    ------
    ValueError
        If the function returns another shape or type, NaN or infinite payoffs; mixes the rows of a batch; answers
        otherwise the second time; is too rough for differences; or has another gradient than the one given.

    Notes
    -----
    The function is tried once, on construction: with the same contribution of everybody, powers of ten from 1e-20 to
    1e20, each way as far as it returns finite numbers; and on some dozen profiles with entries between 0.1 and 1, and
    between 0.01 and 10 times the scale. Derivatives by differences have a relative error of about 1e-9 in double
    precision and 1e-4 in single. In single precision no regret below 1e-7 of the payoffs can be told: give
    `find_equilibrium` a ``tol`` above that.

    Examples
    --------
    >>> import numpy as np
    >>> root = CustomPayoff(lambda s: np.sqrt(s.sum(axis=-1, keepdims=True)) * np.ones(3), n_agents=3)
    >>> root.values([1.0, 1.0, 2.0]), root.jacobian([1.0, 1.0, 2.0])[0].round(6)
    (array([2., 2., 2.]), array([0.25, 0.25, 0.25]))
    >>> CustomPayoff(lambda s: np.tanh(s / s.sum().clip(1.0)), n_agents=3)
    Traceback (most recent call last):
    ...
    ValueError: function must treat each row of a batch as if it were alone; at [0.67, 0.34, 0.14] it returned ...
    """

    def __init__(
        self,
        function: Callable[[Array], Array],
        n_agents: int,
        gradient: Callable[[Array], Array] | None = None,
        *,
        concave: bool | None = None,
        vectorised: bool = True,
    ) -> None:
        self.n_agents = as_count("n_agents", n_agents)
        for name, given in (("function", function), ("gradient", gradient)):
            if given is not None and not callable(given):
                raise ValueError(f"{name} must be callable; got {given!r}")
        self.concave = None if concave is None else as_flag("concave", concave)
        self.function = function
        self.gradient = gradient
        self.vectorised = vectorised
        vetted = vet_payoffs(self._payoffs, None if gradient is None else self._slopes, self.n_agents)
        self.precision, vars(self)["_bend"] = vetted

    @property
    def scale(self) -> float:
        return 1.0 if self._bend is None else self._bend

    @property
    def has_gradient(self) -> bool:
        return self.gradient is not None or type(self).jacobian is not CustomPayoff.jacobian

    def values(self, s: ArrayLike) -> PerAgent:
        s = self._profile(s)
        rows = s.reshape(-1, self.n_agents)
        return checked_output("function", self._payoffs(rows), rows.shape).reshape(s.shape)

    def jacobian(self, s: ArrayLike) -> Jacobian:
        s = self._profile(s)
        if self.gradient is None:
            return differences(self.values, s, self.difference_steps(s), self.precision)
        rows = s.reshape(-1, self.n_agents)
        slopes = checked_output("gradient", self._slopes(rows), (*rows.shape, self.n_agents))
        return slopes.reshape(*s.shape, self.n_agents)

    def total_slopes(self, s: Array, agents: NDArray[np.intp]) -> Array:
        if self.has_gradient:
            return super().total_slopes(s, agents)
        slopes, steps = np.empty(len(s)), self.difference_steps(s)
        for j in np.unique(agents):  # along one agent a row, not all n of them
            rows = agents == j
            slopes[rows] = difference(self.total, s[rows], j, steps[rows, j], self.precision)[0]
        return slopes

    def total(self, s: ArrayLike) -> Array:
        return self.values(s) @ np.ones(self.n_agents)  # the fastest way to add up short rows

    def total_gradient(self, s: ArrayLike) -> PerAgent:
        if self.has_gradient:
            return super().total_gradient(s)
        s = self._profile(s)
        return differences(self.total, s, self.difference_steps(s), self.precision)  # no n x n Jacobian on the way

    def _payoffs(self, rows: Array) -> Any:
        """What the function answers for profiles in rows, unchecked."""
        if self.vectorised:
            return self.function(rows)
        return row_by_row("function", self.function, rows, (self.n_agents,))

    def _slopes(self, rows: Array) -> Any:
        """What the gradient answers for profiles in rows, unchecked."""
        assert self.gradient is not None
        if self.vectorised:
            return self.gradient(rows)
        return row_by_row("gradient", self.gradient, rows, (self.n_agents, self.n_agents))
