r"""Nash equilibria (Def. 2.1 of the paper), each with its certificate.

A profile s is an equilibrium if no agent gains by changing her own contribution. `find_equilibrium` maximises the
potential where the mechanism has one, clears the markets of groups where it can, and otherwise iterates best
responses. Either way the result is judged by `regret`, the most that any single agent gains by deviating, which a
separate one-dimensional search over utilities (never over gradients) determines for every agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, ArrayLike, PerAgent, Profile, Progress
from fedshap._validation import as_interval, read_only
from fedshap.clearing import clear
from fedshap.game import Game
from fedshap.mechanisms import Mechanism
from fedshap.solvers import UNBOUNDED, best_responses, initial_profile, maximise

AUDIT = 1000
"""Most agents whose deviations a certificate searches."""


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A profile, what it pays, and its certificate.

    Attributes
    ----------
    contributions, payments, utilities : Array
        ``s_i``, ``p_i(s)`` and ``u_i(s)``, each of shape (n,).
    regret : float
        The most that any of the audited agents gains by deviating alone, in payoff units.
    audited : int
        Agents whose deviations were searched: all of them up to 1000, else a random 1000 (the same each time).
    method : str
        ``"potential"``, ``"market clearing"`` or ``"best responses"``.
    iterations : int
        Iterations of that method.
    concave : bool or None
        Whether payoffs are known to be concave. If not, ``regret`` rests on a search over a grid of deviations:
        evidence, not proof.
    """

    contributions: PerAgent
    payments: PerAgent
    utilities: PerAgent
    regret: float
    audited: int
    method: str
    iterations: int
    concave: bool | None

    @property
    def total(self) -> float:
        """Total contribution ``sum_i s_i``."""
        return float(self.contributions.sum())


class ConvergenceError(RuntimeError):
    """A solver stopped short of its tolerance.

    Attributes
    ----------
    best : Equilibrium
        The best point found, with its regret.
    """

    def __init__(self, best: Equilibrium, tol: float) -> None:
        super().__init__(
            f"no equilibrium to within tol={tol:g} was found: the best point, by {best.method}, leaves a regret of "
            f'{best.regret:.3g}. Try another start, a larger tol, or on_failure="return" to get that point'
        )
        self.best = best


def find_equilibrium(
    game: Game,
    mechanism: Mechanism,
    *,
    tol: float = 1e-9,
    start: ArrayLike | None = None,
    on_failure: Literal["raise", "return"] = "raise",
    progress: Progress = None,
) -> Equilibrium:
    """Find a Nash equilibrium of the game under a mechanism and certify it.

    Parameters
    ----------
    game : Game
        Payoffs, costs and capacities.
    mechanism : Mechanism
        What the agents receive.
    tol : float
        Largest regret accepted, in payoff units, > 0.
    start : array_like, optional
        Profile to start from, shape (n,); ``min(1, capacity / 2)`` for every agent if left out.
    on_failure : {"raise", "return"}
        What to do with a point whose regret exceeds ``tol``.
    progress : callable, optional
        Called after each iteration with its number and the largest move relative to the largest contribution (of a
        group's total, where markets are cleared); ``print`` will do.

    Returns
    -------
    Equilibrium
        Contributions, payments and utilities of shape (n,), and the regret.

    Raises
    ------
    ConvergenceError
        If the regret exceeds ``tol``; carries the best point found.
    ValueError
        If an agent would contribute without bound, or an argument is out of range.

    Notes
    -----
    For `ShapleyPayment` the potential is maximised over the box of contributions, in time linear in the number of
    agents for exponential mixtures. With concave payoffs and convex costs its maximisers are exactly the
    equilibria. Without payments or with cost sharing, groups of agents with a common learning curve are markets: the
    totals at which they clear are found in time linear in the number of agents, and agents of equal cost who are
    indifferent share what is left to them evenly. All else is solved by best responses, one agent at a time, and
    Newton steps on the agents strictly between their bounds.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> fs.find_equilibrium(game, fs.NoPayment()).contributions.round(4)
    array([2.1623, 0.    , 0.    ])
    >>> fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    >>> fair.contributions.round(4), fair.regret < 1e-9
    (array([3.5889, 1.4472, 0.7863]), True)
    """
    tol = as_interval("tol", tol, 0.0, np.inf)
    if on_failure not in ("raise", "return"):
        raise ValueError(f'on_failure must be "raise" or "return"; got {on_failure!r}')
    initial = initial_profile(game, start)
    _refuse_free_data(game, mechanism, initial)
    s, iterations, method = _solve(game, mechanism, initial, progress)
    agents = np.arange(game.n_agents)
    if game.n_agents > AUDIT:
        agents = np.random.default_rng(0).choice(game.n_agents, size=AUDIT, replace=False)
    payments = mechanism.payments(game, s)  # Shapley values of a million agents: once, not again for the utilities
    equilibrium = Equilibrium(
        contributions=read_only(s),
        payments=read_only(payments),
        utilities=read_only(game.payoff.values(s) + payments - game.costs(s)),
        regret=regret(game, mechanism, s, agents=agents),
        audited=len(agents),
        method=method,
        iterations=iterations,
        concave=game.payoff.concave,
    )
    if equilibrium.regret > tol and on_failure == "raise":
        raise ConvergenceError(equilibrium, tol)
    return equilibrium


def _solve(game: Game, mechanism: Mechanism, initial: Profile, progress: Progress) -> tuple[Profile, int, str]:
    """An equilibrium by the best method that the mechanism allows, the iterations it took and its name."""
    potential, clearing = mechanism.potential(game), mechanism.clearing(game)
    if potential is not None:
        return *maximise(potential, initial, progress), "potential"
    cleared = None if clearing is None else clear(clearing, initial, progress)
    if cleared is not None:
        return *cleared, "market clearing"
    return *best_responses(game, mechanism, initial, progress), "best responses"


def _refuse_free_data(game: Game, mechanism: Mechanism, s: Profile) -> None:
    """An agent whose data cost nothing, have no limit and earn her something has no best contribution."""
    far = np.full(game.n_agents, UNBOUNDED)
    free = np.isinf(game.upper) & (game.cost.derivatives(far) == 0.0)
    if free.any():
        gaining = free & (mechanism.marginal_utilities(game, s) > 0.0)
        if gaining.any():
            raise ValueError(
                f"agent {int(gaining.argmax())} gains from contributing without bound, at no cost: give the game a "
                "finite capacity, or the agent a positive rate"
            )


def regret(game: Game, mechanism: Mechanism, s: ArrayLike, *, agents: ArrayLike | None = None) -> float:
    """The most that any single agent gains by deviating from ``s``.

    Every agent's utility is searched over her interval of contributions, by values alone: a grid from 1e-9 to her
    capacity (or 1e12), twelve points to a decade, and evenly around what she gives; then eight finer grids around the
    best point. For utilities that are concave in the own contribution this finds the maximum; for others it can only
    miss peaks narrower than the grid.

    Parameters
    ----------
    game : Game
        The game.
    mechanism : Mechanism
        The mechanism played.
    s : array_like
        Contributions, shape (n,).
    agents : array_like of int, optional
        Whose deviations to search; all agents if left out.

    Returns
    -------
    float
        At least 0, in payoff units; infinite if some agent gains without bound.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> round(fs.regret(game, fs.NoPayment(), [0.0, 0.0, 0.0]), 4)  # agent 0 would move to 2.1623
    0.4675
    """
    s = game.one_profile(s)
    who = np.arange(game.n_agents) if agents is None else _checked_agents(agents, game.n_agents)
    utilities = partial(mechanism.deviation_utilities, game, s, agents=who)
    x = _deviations(s[who], game.upper[who])
    gain, at_peak = np.zeros(len(who)), x[:, :1]
    for _ in range(9):
        # What she has now is evaluated beside every grid, by the same rules: their rounding is no gain.
        here, values = np.split(utilities(np.hstack([s[who, None], x])), [1], axis=1)
        peak = values.argmax(axis=1)[:, None]
        gain = np.maximum(gain, (np.take_along_axis(values, peak, axis=1) - here)[:, 0])
        at_peak = np.take_along_axis(x, peak, axis=1)
        low = np.max(x, axis=1, where=x < at_peak, initial=0.0)[:, None]
        high = np.min(x, axis=1, where=x > at_peak, initial=np.inf)[:, None]
        x = low + (np.where(np.isfinite(high), high, at_peak) - low) * np.linspace(0.0, 1.0, 17)
    still_rising = ~np.isfinite(game.upper[who]) & (at_peak[:, 0] >= UNBOUNDED)
    return float(np.where(still_rising, np.inf, gain).max())


def _checked_agents(agents: ArrayLike, n_agents: int) -> NDArray[np.intp]:
    who = np.asarray(agents)
    if who.ndim != 1 or who.size == 0 or not np.issubdtype(who.dtype, np.integer):
        raise ValueError(f"agents must be a list of at least one integer; got {agents!r}")
    if who.min() < 0 or who.max() >= n_agents:
        raise ValueError(f"agents must lie in 0..{n_agents - 1}; got {agents!r}")
    return who.astype(np.intp)


def _deviations(s: PerAgent, upper: PerAgent) -> Array:
    """Contributions to try for each agent, shape (m, P): twelve to a decade, up to her capacity or to 1e12; and,
    evenly, up to four times what she gives."""
    reach = np.minimum(upper, UNBOUNDED)
    geometric = np.minimum(np.geomspace(1e-9, UNBOUNDED, 253), reach[:, None])
    even = np.minimum(np.maximum(4.0 * s, 16.0), reach)[:, None] * np.linspace(0.0, 1.0, 33)
    return np.sort(np.hstack([even, geometric, s[:, None]]), axis=1)
