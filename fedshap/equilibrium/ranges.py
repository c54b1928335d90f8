"""Sets of equilibria: the extremes that the paper's efficiency measures ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fedshap._types import PerAgent, Profile
from fedshap.equilibrium.ascent import maximise
from fedshap.equilibrium.certificate import regret
from fedshap.equilibrium.find import find_equilibrium
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.mixtures import has_mixture


class EquilibriumRange(NamedTuple):
    """The equilibria with the smallest and with the largest total contribution.

    Attributes
    ----------
    smallest, largest : Array
        Contributions, each of shape (n,); ``largest`` may be infinite.
    guaranteed : bool
        Whether theory says that no equilibrium lies outside. If not, these are the smallest and the largest of those
        found from several starts.
    """

    smallest: PerAgent
    largest: PerAgent
    guaranteed: bool

    def __repr__(self) -> str:
        totals = {"smallest": float(self.smallest.sum()), "largest": float(self.largest.sum())}
        return f"EquilibriumRange(totals {totals['smallest']:g} to {totals['largest']:g}, guaranteed={self.guaranteed})"


def equilibrium_range(game: Game, mechanism: Mechanism, *, tol: float = 1e-9) -> EquilibriumRange:
    """Equilibria with the smallest and the largest total contribution, as Defs. 3.6 and 3.7 of the paper ask for.

    Parameters
    ----------
    game : Game
        Payoffs, costs and capacities.
    mechanism : Mechanism
        What the agents receive.
    tol : float
        Largest regret accepted, as in `find_equilibrium`.

    Returns
    -------
    EquilibriumRange
        Two profiles, and whether they are known to be the extremes.

    Raises
    ------
    ConvergenceError
        If an equilibrium is not found to within ``tol``.

    Notes
    -----
    Under `ShapleyPayment` with concave payoffs the equilibria are the maximisers of a concave potential. Where the
    surplus is an exponential mixture, the potential is strictly concave but in the contributions of agents with
    constant returns and constant costs, each of whom decides on her own: if her two rates are equal she may give
    anything. The set is a box, and its ends are returned. Other concave payoffs have their potential tilted a little
    towards smaller and larger totals; the totals found are extreme to within what ``tol`` allows.

    Without payments or with cost sharing, groups whose weights are a P-matrix have unique totals (see `Clearing`).
    For all else nothing can be guaranteed: the equilibria need not be a convex set, nor a connected one.

    Examples
    --------
    The second agent's data are worth exactly what they cost her:

    >>> import fedshap as fs
    >>> payoff = fs.RandomDiscovery([[0.5], [0.25], [0.25]])
    >>> game = fs.Game(payoff, fs.LinearCost([0.1, 0.25, 0.9]), capacity=[1.0, 1.0, 2.0])
    >>> smallest, largest, guaranteed = fs.equilibrium_range(game, fs.ShapleyPayment())
    >>> smallest, largest, guaranteed
    (array([1., 0., 0.]), array([1., 1., 0.]), True)
    """
    found = find_equilibrium(game, mechanism, tol=tol).contributions
    potential, clearing = mechanism.potential(game), mechanism.clearing(game)
    if potential is not None and game.payoff.concave and has_mixture(game.payoff):
        here = potential.expansion(found)
        indifferent = (here.own == 0.0) & (np.abs(here.gradient) <= 1e-12 * game.cost.derivatives(found))
        return EquilibriumRange(np.where(indifferent, 0.0, found), np.where(indifferent, game.upper, found), True)
    if clearing is not None and clearing.unique:
        return EquilibriumRange(found, found, True)
    if potential is not None:
        others = [_end(game, mechanism, found, direction, tol) for direction in (-1.0, 1.0)]
    else:
        others = _from_corners(game, mechanism, tol)
    profiles = sorted([found, *others], key=lambda s: float(s.sum()))
    return EquilibriumRange(profiles[0], profiles[-1], potential is not None and game.payoff.concave is True)


@dataclass(frozen=True, eq=False)
class _Tilted(Potential):
    """A potential that is paid ``tilt`` for every unit of data."""

    tilt: float

    def expansion(self, s: Profile) -> Expansion:
        level = super().expansion(s)
        value = level.value + self.tilt * float(s.sum())
        return Expansion(value, level.gradient + self.tilt, level.own, level.shared)


def _end(game: Game, mechanism: Mechanism, found: Profile, direction: float, tol: float) -> Profile:
    """The equilibrium furthest in a direction: maximiser of a tilted potential, as steep as leaves an equilibrium."""
    unit = float(game.cost.derivatives(found).mean())
    for tilt in unit * 10.0 ** np.arange(-3.0, -10.0, -1.0):
        s, _ = maximise(_Tilted(game, direction * tilt), found)
        if regret(game, mechanism, s) <= tol:
            return s
    return found


def _from_corners(game: Game, mechanism: Mechanism, tol: float) -> list[Profile]:
    """Equilibria reached from where nobody, and from where everybody, gives what she can."""
    everything = np.where(np.isinf(game.upper), 1e3, game.upper)
    starts = (np.zeros(game.n_agents), everything)
    ends = [find_equilibrium(game, mechanism, tol=tol, start=start, on_failure="return") for start in starts]
    return [end.contributions for end in ends if end.regret <= tol]
