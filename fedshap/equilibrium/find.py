"""The door: an equilibrium by the best method that the mechanism allows, with its certificate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from fedshap._types import Array, ArrayLike, Profile, Progress, RandomSource
from fedshap._validation import as_callable, as_choice, as_flag, as_generator, as_instance, as_interval, read_only
from fedshap.equilibrium import sampled
from fedshap.equilibrium.ascent import maximise
from fedshap.equilibrium.best_responses import best_responses
from fedshap.equilibrium.certificate import certify
from fedshap.equilibrium.clearing import clear
from fedshap.equilibrium.few_points import settle
from fedshap.equilibrium.options import DEFAULT_OPTIONS, SolverOptions
from fedshap.equilibrium.quasi_newton import best_multiple, climb
from fedshap.equilibrium.records import ConvergenceError, Equilibrium
from fedshap.equilibrium.stakes import Certificate
from fedshap.equilibrium.steps import initial_profile, without_bound
from fedshap.equilibrium.whole_units import certify_whole, settle_whole
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, ShapleyPayment
from fedshap.shapley.enumeration import MAX_EXACT

EXACT_TOL = 1e-9
"""Largest regret accepted of what is not sampled, if the caller names none."""

_CIRCLES = (
    "Without a potential there need not be an equilibrium in whole units, and best responses went round in circles: "
    'try another start, or on_failure="return" to get that point'
)


def find_equilibrium(
    game: Game,
    mechanism: Mechanism,
    *,
    tol: float | None = None,
    start: ArrayLike | None = None,
    on_failure: Literal["raise", "return"] = "raise",
    progress: Progress = None,
    options: SolverOptions = DEFAULT_OPTIONS,
    rng: RandomSource | None = None,
    level: float | None = None,
    evaluations: int | None = None,
    integer: bool = False,
) -> Equilibrium:
    """Find a Nash equilibrium of the game under a mechanism and certify it.

    Parameters
    ----------
    game : Game
        Payoffs, costs and capacities.
    mechanism : Mechanism
        What the agents receive.
    tol : float, optional
        Largest regret accepted, > 0, relative to what is at stake: the most that the data are worth to any agent, or
        cost her (`Equilibrium.scale`); 1e-9 if left out. It does not depend on the unit of payoffs. Where coalitions
        are sampled, the largest bound accepted on it; 0.01 if left out.
    start : array_like, optional
        Profile to start from, shape (n,). If left out, ``min(units / n, capacity / 2)`` with `Game.units`, and, where
        payoffs are not known to be concave, places further out until one ends in an equilibrium.
    on_failure : {"raise", "return"}
        What to do with a point whose relative regret exceeds ``tol``.
    progress : callable, optional
        Called after each iteration with its number and the largest move relative to the largest contribution (of a
        group's total, where markets are cleared); ``print`` will do.
    options : SolverOptions
        Limits of the solvers and of the certificate.
    rng : int or Generator, optional
        Seed or generator for `ShapleyPayment` of more than 20 agents whose payoffs bring no exponential mixture:
        coalitions are then sampled, and ``regret_bound`` is a confidence bound. Nothing is sampled without it.
    level : float, optional
        With ``rng``: the probability with which ``regret_bound`` is to hold, in (0, 1); 0.95 if left out.
    evaluations : int, optional
        With ``rng``: the search ends where its next stage is expected to take it beyond this number of profiles at
        which the payoff is evaluated; 3e7 if left out.
    integer : bool
        Whether agents give whole units, 0, 1, 2, ... of what data are counted in: whole batches, say. The regret then
        is the most that any agent gains by giving another whole number, and all agents are audited.

    Returns
    -------
    Equilibrium
        Contributions, payments and utilities of shape (n,), and the regret.

    Raises
    ------
    ConvergenceError
        If the relative regret exceeds ``tol``; carries the best point found.
    ValueError
        If an agent would contribute without bound, or an argument is out of range or does not apply.

    Notes
    -----
    For `ShapleyPayment` the potential is maximised over the box of contributions, in time linear in the number of
    agents for exponential mixtures. With concave payoffs and convex costs its maximisers are exactly the
    equilibria. Where coalitions of more than eight agents are enumerated, steps are chosen to save evaluations, and if
    they stop short, at a kink or a lower peak, agents take their best deviations in turn. Without payments or with cost
    sharing, groups of agents with a common learning curve are markets: the totals at which they clear are found in time
    linear in the number of agents, and agents of equal cost who are indifferent share what is left to them evenly. All
    else is solved by best responses, one agent at a time, and Newton steps on the agents strictly between their bounds.

    With ``integer`` that profile is rounded, and agents move to better whole numbers until nobody gains. With a
    potential every such move raises it, so they come to an end: at a profile that no agent can improve, which need not
    be the potential's maximiser on the grid. Without one, moves may go round in circles, and an error says so.

    With ``rng`` the potential of a sample of coalitions is maximised, and samples drawn afresh bound the regret; what
    exactly is bounded, and on what assumptions, `fedshap.equilibrium.sampled` says.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> fs.find_equilibrium(game, fs.NoPayment()).contributions.round(4)
    array([2.1623, 0.    , 0.    ])
    >>> fair = fs.find_equilibrium(game, fs.ShapleyPayment())
    >>> fair.contributions.round(4), fair.regret < 1e-9
    (array([3.5889, 1.4472, 0.7863]), True)
    >>> whole = fs.find_equilibrium(game, fs.ShapleyPayment(), integer=True)
    >>> whole.contributions, whole.regret, whole.method
    (array([4., 1., 1.]), 0.0, 'potential, whole units')

    Thirty agents, and nothing known but a function: coalitions are sampled.

    >>> payoff = fs.CustomPayoff(lambda s: np.tanh(s.sum(axis=-1, keepdims=True)) * np.ones(30), 30, concave=True)
    >>> many = fs.Game(payoff, fs.LinearCost(np.linspace(1.0, 2.0, 30)))
    >>> sampled = fs.find_equilibrium(many, fs.ShapleyPayment(), rng=0, level=0.99)
    >>> bool(sampled.regret <= sampled.regret_bound < 0.01 * (1.0 + sampled.total)), sampled.level
    (True, 0.99)
    """
    as_instance("game", game, Game)
    as_instance("mechanism", mechanism, Mechanism)
    as_instance("options", options, SolverOptions)
    tol = None if tol is None else as_interval("tol", tol, 0.0, np.inf)
    as_choice("on_failure", on_failure, ("raise", "return"))
    as_flag("integer", integer)
    if progress is not None:
        as_callable("progress", progress, "print")
    if rng is not None:
        if integer:
            raise ValueError("integer is for games whose coalitions need not be sampled: leave it or rng out")
        given = {"tol": tol, "level": level, "evaluations": evaluations}
        return _sampled(game, mechanism, start, on_failure, progress, as_generator(rng), given)
    for name, value in (("level", level), ("evaluations", evaluations)):
        if value is not None:
            raise ValueError(f"{name} is for sampled coalitions: give an rng as well, or leave {name} out")
    tol = EXACT_TOL if tol is None else tol
    initial = initial_profile(game, start)
    _refuse_free_data(game, mechanism, initial)
    best, judged = None, _in_whole_units if integer else _certified
    potential = mechanism.potential(game)
    if start is None and potential is not None and mechanism.dear(game):
        initial = best_multiple(potential, initial)
    for trial in _starts(game, initial, start is not None, options):
        found = judged(game, mechanism, *_solve(game, mechanism, trial, progress, options), tol, options)
        best = found if best is None or found.regret < best.regret else best
        if best.relative_regret <= tol:
            return best
    assert best is not None
    if on_failure == "raise":
        raise ConvergenceError(best, tol, _CIRCLES if integer and mechanism.potential(game) is None else None)
    return best


def _starts(game: Game, initial: Profile, given: bool, options: SolverOptions) -> Iterator[Profile]:
    """Where to begin: at one place where payoffs are concave or a place is given, else further and further out."""
    yield initial
    if game.payoff.concave is None or game.payoff.concave is False:
        for k in range(0 if given else options.starts):
            yield np.clip(initial * 10.0 ** (0.5 * (k + 1)), game.minimum, game.capacity)


def _solve(
    game: Game, mechanism: Mechanism, initial: Profile, progress: Progress, options: SolverOptions
) -> tuple[Profile, int, str]:
    """An equilibrium by the best method that the mechanism allows, the iterations it took and its name."""
    potential, markets = mechanism.potential(game), mechanism.markets(game)
    if potential is not None:
        ascend = climb if mechanism.dear(game) else maximise
        s, iterations = ascend(potential, initial, progress, options.ascent_iterations)
        return _all_that_is_free(game, mechanism, s), iterations, "potential"
    cleared = None if markets is None else clear(markets, initial, progress, options.market_sweeps)
    if cleared is not None:
        return _all_that_is_free(game, mechanism, cleared[0]), cleared[1], "market clearing"
    s, iterations = best_responses(game, mechanism, initial, progress, options.sweeps)
    return _all_that_is_free(game, mechanism, s), iterations, "best responses"


def _certified(
    game: Game, mechanism: Mechanism, s: Profile, iterations: int, method: str, tol: float, options: SolverOptions
) -> Equilibrium:
    """What a solver found, and its certificate."""
    agents = np.arange(game.n_agents)
    if game.n_agents > options.audited:
        agents = np.random.default_rng(0).choice(game.n_agents, size=options.audited, replace=False)
    certificate = certify(game, mechanism, s, agents, options)
    if certificate.regret > tol * certificate.scale and mechanism.dear(game):
        s = settle(game, mechanism, s, tol * certificate.scale)
        certificate = certify(game, mechanism, s, agents, options)
    return _recorded(game, mechanism, s, certificate, len(agents), method, iterations)


def _in_whole_units(
    game: Game, mechanism: Mechanism, s: Profile, iterations: int, method: str, tol: float, options: SolverOptions
) -> Equilibrium:
    """As `_certified`, for the profile in whole units that agents move to from there."""
    s, rounds, _ = settle_whole(game, mechanism, s, options)
    certificate = certify_whole(game, mechanism, s, np.arange(game.n_agents))
    return _recorded(game, mechanism, s, certificate, game.n_agents, f"{method}, whole units", iterations + rounds)


def _recorded(
    game: Game,
    mechanism: Mechanism,
    s: Profile,
    certificate: Certificate,
    audited: int,
    method: str,
    iterations: int,
) -> Equilibrium:
    payments = mechanism.payments(game, s)  # Shapley values of a million agents: once, not again for the utilities
    return Equilibrium(
        contributions=read_only(s),
        payments=read_only(payments),
        utilities=read_only(game.payoff.values(s) + payments - game.costs(s)),
        regret=certificate.regret,
        scale=certificate.scale,
        audited=audited,
        method=method,
        iterations=iterations,
        concave=game.payoff.concave,
    )


def _sampled(
    game: Game,
    mechanism: Mechanism,
    start: ArrayLike | None,
    on_failure: Literal["raise", "return"],
    progress: Progress,
    generator: np.random.Generator,
    given: dict[str, Any],
) -> Equilibrium:
    """An equilibrium from sampled coalitions, where that is called for."""
    if type(mechanism) is not ShapleyPayment:
        raise ValueError(f"rng is for ShapleyPayment, whose coalitions can be sampled; leave it out for {mechanism!r}")
    if game.minimum.any():
        raise ValueError("minimum must be 0 where coalitions are sampled: the search with an rng starts from nothing")
    integrated = not game.payoff.fitted_mixture and game.payoff.mixture(np.zeros(game.n_agents)) is not None
    if game.n_agents <= MAX_EXACT or integrated:
        raise ValueError(
            "rng is for games that cannot be solved exactly; the coalitions of this one are "
            f"{'integrated' if integrated else 'enumerated'}: leave rng out"
        )
    options = {name: value for name, value in given.items() if value is not None}
    s = None if start is None else initial_profile(game, start)
    return sampled.find(game, generator, start=s, on_failure=on_failure, progress=progress, **options)


def _is_free(game: Game) -> Array:
    """Whose data cost nothing, however much she gives."""
    return np.all([game.cost.derivatives(10.0**k * game.units) == 0.0 for k in (0, 6, 12)], axis=0)


def _refuse_free_data(game: Game, mechanism: Mechanism, s: Profile) -> None:
    """An agent whose data cost nothing, have no limit and earn her something has no best contribution."""
    free = np.isinf(game.capacity) & _is_free(game)
    if free.any():
        gaining = free & (mechanism.marginal_utilities(game, s) > 0.0)
        if gaining.any():
            raise without_bound(int(gaining.argmax()))


def _all_that_is_free(game: Game, mechanism: Mechanism, s: Profile) -> Profile:
    """Let agents give all they have whose data cost nothing and would earn them something if they gave none.

    Somewhere on the way what more data earn becomes smaller than any number, and a solver stops; the bound is still
    the better place, if only by that much.
    """
    free = _is_free(game) & np.isfinite(game.capacity) & (s < game.capacity)
    if not free.any():
        return s
    earning = free & (mechanism.marginal_utilities(game, np.where(free, game.minimum, s)) > 0.0)
    everything = np.where(earning, game.capacity, s)
    worse = mechanism.utilities(game, everything) < mechanism.utilities(game, s)
    return np.where(worse, s, everything)
