"""The door: an equilibrium by the best method that the mechanism allows, with its certificate."""

from __future__ import annotations

from typing import Literal

import numpy as np

from fedshap._types import ArrayLike, Profile, Progress
from fedshap._validation import as_interval, read_only
from fedshap.equilibrium.ascent import maximise
from fedshap.equilibrium.best_responses import best_responses
from fedshap.equilibrium.certificate import regret
from fedshap.equilibrium.clearing import clear
from fedshap.equilibrium.few_points import settle
from fedshap.equilibrium.quasi_newton import climb
from fedshap.equilibrium.records import ConvergenceError, Equilibrium
from fedshap.equilibrium.steps import UNBOUNDED, initial_profile
from fedshap.game import Game
from fedshap.mechanisms import Mechanism

AUDIT = 1000
"""Most agents whose deviations a certificate searches."""


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
    equilibria. Where coalitions of more than eight agents are enumerated, steps are chosen to save evaluations, and if
    they stop short, at a kink or a lower peak, agents take their best deviations in turn. Without payments or with cost
    sharing, groups of agents with a common learning curve are markets: the totals at which they clear are found in time
    linear in the number of agents, and agents of equal cost who are indifferent share what is left to them evenly. All
    else is solved by best responses, one agent at a time, and Newton steps on the agents strictly between their bounds.

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
    gain = regret(game, mechanism, s, agents=agents)
    if gain > tol and mechanism.dear(game):
        s = settle(game, mechanism, s, tol)
        gain = regret(game, mechanism, s, agents=agents)
    payments = mechanism.payments(game, s)  # Shapley values of a million agents: once, not again for the utilities
    equilibrium = Equilibrium(
        contributions=read_only(s),
        payments=read_only(payments),
        utilities=read_only(game.payoff.values(s) + payments - game.costs(s)),
        regret=gain,
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
        ascend = climb if mechanism.dear(game) else maximise
        return *ascend(potential, initial, progress), "potential"
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
