"""Payoffs given by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import as_count, as_flag
from fedshap.payoffs.base import Payoff, checked_output


class CustomPayoff(Payoff):
    """Payoffs given by a function of yours.

    Parameters
    ----------
    function : callable
        Maps contributions (..., n) to payoffs (..., n); must be vectorised over the leading axes.
    n_agents : int
        Number of agents.
    gradient : callable, optional
        Maps contributions (..., n) to the Jacobian (..., n, n). Differences are used if left out: central ones
        of relative step 6e-6, one-sided of second order near zero.
    concave : bool, optional
        Your word on whether every ``a_i`` is concave. Left out, solvers make no use of concavity and their
        certificate says so.

    Raises
    ------
    ValueError
        If the function returns another shape, or NaN or infinite payoffs.

    Examples
    --------
    >>> import numpy as np
    >>> root = CustomPayoff(lambda s: np.sqrt(s.sum(axis=-1, keepdims=True)) * np.ones(3), n_agents=3)
    >>> root.values([1.0, 1.0, 2.0]), root.jacobian([1.0, 1.0, 2.0])[0].round(6)
    (array([2., 2., 2.]), array([0.25, 0.25, 0.25]))
    """

    def __init__(
        self,
        function: Callable[[Array], Array],
        n_agents: int,
        gradient: Callable[[Array], Array] | None = None,
        *,
        concave: bool | None = None,
    ) -> None:
        self.n_agents = as_count("n_agents", n_agents)
        for name, given in (("function", function), ("gradient", gradient)):
            if given is not None and not callable(given):
                raise ValueError(f"{name} must be callable; got {given!r}")
        self.concave = None if concave is None else as_flag("concave", concave)
        self.function = function
        self.gradient = gradient
        self.values(np.ones((2, self.n_agents)))  # a wrong shape is told here, not deep inside a solver

    def values(self, s: ArrayLike) -> PerAgent:
        s = self._profile(s)
        return checked_output("function", self.function(s), s.shape)

    def jacobian(self, s: ArrayLike) -> Jacobian:
        s = self._profile(s)
        shape = (*s.shape, self.n_agents)
        if self.gradient is not None:
            return checked_output("gradient", self.gradient(s), shape)
        columns = [self._difference(s, j) for j in range(self.n_agents)]
        return np.stack(columns, axis=-1)

    def total_slopes(self, s: Array, agents: NDArray[np.intp]) -> Array:
        if self.gradient is not None:
            return super().total_slopes(s, agents)
        slopes = np.empty(len(s))
        for j in np.unique(agents):  # along one agent a row, not all n of them
            slopes[agents == j] = self._difference(s[agents == j], j).sum(axis=-1)
        return slopes

    def _difference(self, s: Profile, j: int) -> PerAgent:
        """Derivative of every payoff in ``s_j`` by differences that never leave the orthant."""
        step = 6e-6 * np.maximum(s[..., j], 1.0)
        central = s[..., j] >= step
        shift = np.zeros_like(s)
        shift[..., j] = step
        ahead = self.values(s + shift)
        two_sided = ahead - self.values(np.where(central[..., None], s - shift, s))
        one_sided = 4.0 * ahead - 3.0 * self.values(s) - self.values(s + 2.0 * shift)
        return np.where(central[..., None], two_sided, one_sided) / (2.0 * step[..., None])
