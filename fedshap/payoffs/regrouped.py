"""The same payoffs among other players: a coalition on its own, or an agent who appears under several names."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, Jacobian, PerAgent, Profile
from fedshap._validation import read_only
from fedshap.payoffs.base import GroupCurves, Payoff
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture, Shares


class Regrouped(Payoff):
    """Payoffs of players each of whom stands for an agent, or for a part of one.

    The data of player j count as data of agent ``owners[j]``, and her payoff is ``parts[j]`` of that agent's. Agents
    for whom nobody stands have no data and no say.

    Parameters
    ----------
    payoff : Payoff
        The payoffs of the agents.
    owners : array of int
        Agent for whom each player stands, shape (m,).
    parts : Array
        Part of that agent's payoff which is the player's, shape (m,), in [0, 1].

    Examples
    --------
    >>> import fedshap as fs
    >>> three = fs.PowerLaw(weights=[[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    >>> two = Regrouped(three, np.array([2, 0]), np.ones(2))  # agents 2 and 0 on their own
    >>> two.values([1.0, 3.0]), three.values([3.0, 0.0, 1.0])
    (array([0.8 , 0.75]), array([0.75, 0.  , 0.8 ]))
    """

    def __init__(self, payoff: Payoff, owners: NDArray[np.intp], parts: Array) -> None:
        self.payoff, self.owners, self.parts = payoff, owners, parts
        self.n_agents = len(owners)
        self.concave, self.precision = payoff.concave, payoff.precision
        self.fitted_mixture = payoff.fitted_mixture

    @property
    def common(self) -> bool | None:  # type: ignore[override]
        """Whether the payoff of all agents is the same, and all players have the same part of it."""
        return self.payoff.common if (self.parts == self.parts[0]).all() else None

    @property
    def has_gradient(self) -> bool:
        return self.payoff.has_gradient

    def values(self, s: ArrayLike) -> PerAgent:
        return self.payoff.values(self._of_agents(s))[..., self.owners] * self.parts

    def gains(self, s: ArrayLike) -> PerAgent:
        return self.payoff.gains(self._of_agents(s))[..., self.owners] * self.parts

    def total_gain(self, s: ArrayLike) -> Array:
        return self.gains(s).sum(axis=-1)

    def gain_noise(self, s: ArrayLike) -> float:
        return self.payoff.gain_noise(self._of_agents(s))

    def jacobian(self, s: ArrayLike) -> Jacobian:
        slopes = self.payoff.jacobian(self._of_agents(s))[..., self.owners, :][..., self.owners]
        return slopes * self.parts[:, None]

    def average_slopes(self, s: ArrayLike) -> PerAgent:
        if (np.abs(self._told - 1.0) > 1e-12).any():  # another surplus
            return super().average_slopes(s)
        return self.payoff.average_slopes(self._of_agents(s))[..., self.owners]

    def mixture(self, s: Profile, tolerance: float = TOLERANCE) -> Mixture | None:
        form = self.payoff.mixture(self._of_agents(s), tolerance)
        if form is None or form.shares is None:
            return None
        kinds = np.column_stack([form.classes[self.owners], self.parts])
        found, classes, counts = np.unique(kinds, axis=0, return_inverse=True, return_counts=True)
        of, parts = found[:, 0].astype(np.intp), found[:, 1]
        linear = parts[:, None] * form.shares.linear[of][:, of]
        coefficients = parts[:, None] * form.shares.coefficients[of]
        summed = counts @ coefficients
        return Mixture(
            constant=float(self.values(np.zeros(self.n_agents)).sum() + summed.sum()),
            linear=counts @ linear,
            coefficients=summed,
            rates=form.rates[:, of],
            classes=np.asarray(classes).reshape(-1),
            error=form.error,
            shares=Shares(linear, coefficients),
        )

    def markets(self) -> GroupCurves | None:
        curves = self.payoff.markets() if (self.parts == 1.0).all() else None
        return None if curves is None else GroupCurves(curves.slope, curves.weights, curves.groups[self.owners])

    @cached_property
    def units(self) -> PerAgent | None:
        units = self.payoff.units
        return None if units is None else read_only(units[self.owners])

    @cached_property
    def _bend(self) -> float | None:
        return self.payoff._bend

    @cached_property
    def _told(self) -> Array:
        """How often the payoff of each agent counts, shape (n,)."""
        return np.bincount(self.owners, weights=self.parts, minlength=self.payoff.n_agents).astype(float)

    def _of_agents(self, s: ArrayLike) -> Profile:
        """Contributions of the agents, shape (..., n)."""
        s = self._profile(s)
        found = np.zeros((*s.shape[:-1], self.payoff.n_agents))
        np.add.at(np.moveaxis(found, -1, 0), self.owners, np.moveaxis(s, -1, 0))
        return found
