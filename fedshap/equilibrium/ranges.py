"""Sets of equilibria: the extremes that the paper's efficiency measures ask for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedshap._scalar import FARTHEST
from fedshap._types import PerAgent, Profile
from fedshap._validation import read_only
from fedshap.equilibrium.ascent import maximise
from fedshap.equilibrium.certificate import certify
from fedshap.equilibrium.clearing import ends_of_markets
from fedshap.equilibrium.find import _all_that_is_free, find_equilibrium
from fedshap.equilibrium.steps import WithoutBound
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential
from fedshap.mechanisms.markets import Markets
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.mixtures import mixture_of


class EquilibriumRange(NamedTuple):
    """The equilibria with the smallest and with the largest total contribution.

    Attributes
    ----------
    smallest, largest : Array
        Contributions, each of shape (n,); ``largest`` may be infinite. Where agents who are indifferent share a fixed
        total, ``smallest`` gives it to the first of them and ``largest`` to the last: the two ends of a continuum.
    guaranteed : bool
        Whether theory says that no equilibrium has a smaller or a larger total. If not, these are the smallest and
        the largest of those found from several starts.
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
    constant returns, each of whom decides on her own: she may give whatever costs at the margin what it earns, which
    is more than one amount where her marginal cost is flat. The set is a box, and its ends are returned. Other
    concave potentials are tilted a little towards smaller and larger totals; the totals found are extreme to within
    what ``tol`` allows.

    Without payments or with cost sharing, groups whose weights are a P-matrix have unique totals (see
    `fedshap.mechanisms.markets`) where their curves are strictly concave at the equilibrium; a single group has an
    interval of totals where its curve is straight. For all else nothing can be guaranteed: the equilibria need not be
    a convex set, nor a connected one.

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
    potential, markets = mechanism.potential(game), mechanism.markets(game)
    if potential is not None:
        ends = _ends_of_the_box(potential, found)
        if ends is not None:
            return EquilibriumRange(read_only(ends[0]), read_only(ends[1]), True)
        others = [_end(game, mechanism, potential, found, direction, tol) for direction in (-1.0, 1.0)]
        return _sorted(found, others, potential.concave is True)
    if markets is not None:
        ends = ends_of_markets(markets, found)
        if ends is not None:
            # Where a price is too small for a number, a market clears anywhere; free data are given all the same.
            smallest, largest = (
                _all_that_is_free(game, mechanism, end) if np.isfinite(end).all() else end for end in ends
            )
            return EquilibriumRange(read_only(smallest), read_only(largest), True)
    others = _from_corners(game, mechanism, tol)
    return _sorted(
        found, others if markets is None else [*others, *_supplied(game, mechanism, markets, found, tol)], False
    )


def _sorted(found: Profile, others: list[Profile], guaranteed: bool) -> EquilibriumRange:
    profiles = sorted([found, *others], key=lambda s: float(s.sum()))
    return EquilibriumRange(read_only(profiles[0]), read_only(profiles[-1]), guaranteed)


def _ends_of_the_box(potential: Potential, s: Profile) -> tuple[Profile, Profile] | None:
    """The least and the most that each gives at a maximum of a concave potential of a mixture; None if it is not one.

    Where her returns are constant, by the form of the mixture and not because some exponential is too small for a
    number, she may give whatever has what it earns for a marginal cost. What all others give is unique.
    """
    game = potential.game
    if type(potential) is not Potential or not potential.concave:
        return None
    if game.payoff.fitted_mixture or game.payoff.mixture(s) is None:
        return None
    form = mixture_of(game.payoff, s)
    constant = np.asarray(form.rates[form.coefficients > 0.0].max(axis=0, initial=0.0) == 0.0)  # (C,)
    earned = form.linear[form.classes]
    rounding = earned * (1e-12 if game.cost.has_derivatives else 1e-9)
    least, most = game.cost.supply(earned - rounding)[0], game.cost.supply(earned + rounding)[1]
    least, most = (np.clip(end, game.minimum, game.capacity) for end in (least, most))
    open_ones = constant[form.classes] & (least < most * (1.0 - 1e-6))
    return np.where(open_ones, least, s), np.where(open_ones, most, s)


class _Tilted(Potential):
    """A potential that is paid ``tilt`` for every unit of data."""

    def __init__(self, potential: Potential, tilt: float) -> None:
        super().__init__(potential.game)
        self.potential, self.tilt = potential, tilt

    def value(self, s: Profile) -> float:
        return self.potential.value(s) + self.tilt * float(s.sum())

    def expansion(self, s: Profile) -> Expansion:
        level = self.potential.expansion(s)
        extra = self.tilt * float(s.sum())
        magnitude = level.magnitude + abs(extra)
        return Expansion(level.value + extra, level.gradient + self.tilt, level.own, level.shared, magnitude)


def _end(
    game: Game, mechanism: Mechanism, potential: Potential, found: Profile, direction: float, tol: float
) -> Profile:
    """The equilibrium furthest in a direction: maximiser of a tilted potential, as steep as leaves an equilibrium."""
    unit = float(game.cost.derivatives(found).mean())
    endless = np.zeros(game.n_agents, dtype=bool)
    for tilt in unit * 10.0 ** np.arange(-3.0, -10.0, -1.0):
        try:
            s, _ = maximise(_Tilted(potential, direction * tilt), found)
        except WithoutBound as error:  # a tilt, however small, carries off who is indifferent
            endless[error.agent] = True
            continue
        s = _all_that_is_free(game, mechanism, s)
        if _settled(game, mechanism, s, tol):
            return s
    far = np.where(endless, FARTHEST * game.units, found)
    if endless.any() and _settled(game, mechanism, far, tol):
        return np.where(endless, np.inf, found)
    return found


def _settled(game: Game, mechanism: Mechanism, s: Profile, tol: float) -> bool:
    """Whether a profile is an equilibrium."""
    regret, scale = certify(game, mechanism, s, np.arange(game.n_agents))
    return regret <= tol * scale


def _supplied(game: Game, mechanism: Mechanism, markets: Markets, found: Profile, tol: float) -> list[Profile]:
    """The least and the most that all are content to give at the prices found, as far as these are equilibria too.

    They are where prices do not depend on what is given: then every agent is free to choose between the two.
    """
    totals = np.array([found[group.members].sum() for group in markets.groups])
    least, most = np.zeros_like(found), np.zeros_like(found)
    for c in markets.inhabited:
        group = markets.groups[c]
        least[group.members], most[group.members] = group.supply(markets.price(c, totals))
    far = np.where(np.isinf(most), 1e6 * game.units, most)
    return [
        s
        for s, near in ((least, least), (most, far))
        if np.isfinite(near).all() and _settled(game, mechanism, near, tol)
    ]


def _from_corners(game: Game, mechanism: Mechanism, tol: float) -> list[Profile]:
    """Equilibria reached from where nobody, and from where everybody, gives what she can.

    Somebody without a capacity who has not moved from there, and would not from as far as the end of the world, may
    give anything.
    """
    everything = np.where(np.isinf(game.capacity), 1e3 * game.units, game.capacity)
    starts = (game.minimum, everything)
    ends = [find_equilibrium(game, mechanism, tol=tol, start=start, on_failure="return") for start in starts]
    profiles = [end.contributions for end in ends if end.relative_regret <= tol]
    if profiles:
        last = profiles[-1]
        endless = np.isinf(game.capacity) & (last == everything)
        for agent in np.flatnonzero(endless):
            far = last.copy()
            far[agent] = FARTHEST * game.units[agent]
            endless[agent] = mechanism.marginal_utilities(game, far)[agent] == 0.0
        profiles.append(np.where(endless, np.inf, last))
    return profiles
