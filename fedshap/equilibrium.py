r"""Nash equilibria (Def. 2.1 of the paper), each with its certificate.

A profile s is an equilibrium if no agent gains by changing her own contribution. `find_equilibrium` maximises the
potential where the mechanism has one, and otherwise iterates best responses. Either way the result is judged by
`regret`, the most that any single agent gains by deviating, which a separate one-dimensional search over utilities
(never over gradients) determines for every agent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from fedshap._types import ArrayLike, PerAgent, Profile
from fedshap._validation import as_interval, read_only
from fedshap.game import Game
from fedshap.mechanisms import Mechanism
from fedshap.solvers import UNBOUNDED, best_responses, initial_profile, maximise


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A profile, what it pays, and its certificate.

    Attributes
    ----------
    contributions, payments, utilities : Array
        ``s_i``, ``p_i(s)`` and ``u_i(s)``, each of shape (n,).
    regret : float
        The most that any agent gains by deviating alone, in payoff units.
    method : str
        ``"potential"`` or ``"best responses"``.
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
    For `ShapleyPayment` the potential is maximised over the box of contributions by a projected Newton method. With
    concave payoffs and convex costs its maximisers are exactly the equilibria. The other mechanisms are solved by
    best responses, one agent at a time, and Newton steps on the agents strictly between their bounds.

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
    potential = mechanism.potential(game)
    if potential is not None:
        s, iterations = maximise(potential, initial)
        method = "potential"
    else:
        s, iterations = best_responses(game, mechanism, initial)
        method = "best responses"
    equilibrium = Equilibrium(
        contributions=read_only(s),
        payments=read_only(mechanism.payments(game, s)),
        utilities=read_only(mechanism.utilities(game, s)),
        regret=regret(game, mechanism, s),
        method=method,
        iterations=iterations,
        concave=game.payoff.concave,
    )
    if equilibrium.regret > tol and on_failure == "raise":
        raise ConvergenceError(equilibrium, tol)
    return equilibrium


def regret(game: Game, mechanism: Mechanism, s: ArrayLike) -> float:
    """The most that any single agent gains by deviating from ``s``.

    Every agent's utility is searched over her interval of contributions, by values alone: a grid, even and
    geometric, then eight finer grids around the best point. For utilities that are concave in the own contribution
    this finds the maximum; for others it can only miss peaks narrower than the grid.

    Parameters
    ----------
    game : Game
        The game.
    mechanism : Mechanism
        The mechanism played.
    s : array_like
        Contributions, shape (n,).

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
    s = game.profile(s)
    here = mechanism.deviation_utilities(game, s, s[:, None])[:, 0]
    reach = _reach(game, mechanism, s)
    if not np.isfinite(reach).all():
        return float("inf")
    even = np.linspace(0.0, 1.0, 33)
    geometric = np.geomspace(1e-9, 0.9, 32)
    x = np.sort(np.concatenate([reach[:, None] * even, reach[:, None] * geometric, s[:, None]], axis=1), axis=1)
    best = here
    for _ in range(9):
        utilities = mechanism.deviation_utilities(game, s, x)
        peak = utilities.argmax(axis=1)[:, None]
        best = np.maximum(best, np.take_along_axis(utilities, peak, axis=1)[:, 0])
        low = np.take_along_axis(x, np.maximum(peak - 1, 0), axis=1)
        high = np.take_along_axis(x, np.minimum(peak + 1, x.shape[1] - 1), axis=1)
        x = low + (high - low) * np.linspace(0.0, 1.0, 17)
    return float((best - here).max())


def _reach(game: Game, mechanism: Mechanism, s: Profile) -> PerAgent:
    """How far to search for each agent, shape (n,): her capacity, or far past where her utility has turned down."""
    reach = np.where(np.isfinite(game.upper), game.upper, np.maximum(4.0 * s, 16.0))
    while True:
        x = reach[:, None] * np.array([0.25, 0.5, 1.0])
        low, middle, high = mechanism.deviation_utilities(game, s, x).T
        rising = ~np.isfinite(game.upper) & ((high >= middle) | (middle >= low)) & (high != low)
        if not rising.any():
            return reach
        reach = np.where(rising, 4.0 * reach, reach)
        if reach.max() > UNBOUNDED:
            return np.where(rising, np.inf, reach)
