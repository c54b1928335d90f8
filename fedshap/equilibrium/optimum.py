"""What would be best for all together: the profile of the highest welfare, and how sure we are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from fedshap._records import Record, short_repr
from fedshap._storage import from_json, to_json, write_whole
from fedshap._types import ArrayLike, PerAgent, Profile, Progress
from fedshap._validation import as_callable, as_choice, as_instance, as_interval, read_only
from fedshap.equilibrium.ascent import maximise
from fedshap.equilibrium.certificate import certify
from fedshap.equilibrium.few_points import settle
from fedshap.equilibrium.find import _all_that_is_free, _refuse_free_data, _starts
from fedshap.equilibrium.options import DEFAULT_OPTIONS, SolverOptions
from fedshap.equilibrium.quasi_newton import climb
from fedshap.equilibrium.records import ConvergenceError
from fedshap.equilibrium.steps import initial_profile
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, Potential
from fedshap.mechanisms.welfare import Welfare

_TIE = 1e-14  # relative difference of slope and marginal cost that is rounding
_POLISHED = 1e-2  # of the tolerance: a gap at which cheap ascents are begun once more
_SHARES = 10.0 ** np.arange(-16.0, 1.0)  # of the second tangent plane
_REACHES = 4.0 ** np.arange(20.0)  # how far from the optimum it touches, in units of what is given there


@dataclass(frozen=True, eq=False, repr=False)
class WelfareOptimum(Record):
    """A profile, its welfare, and how far that may be from the highest.

    Attributes
    ----------
    contributions : Array
        ``s_i``, shape (n,).
    welfare : float
        ``W(s) = A(s) - sum_i c_i(s_i)``.
    gap : float
        If ``concave``: no profile of the game has a welfare above ``welfare + gap``. Otherwise the most that a search
        over the deviations of single agents found to gain: evidence, not proof.
    scale : float
        What is at stake, in payoff units: the surplus that the data add, or what they cost, if that is more.
    method : str
        ``"ascent"``, or ``"ascent from several starts"`` where welfare is not known to be concave.
    iterations : int
        Iterations of the ascent that ended in it.
    concave : bool
        Whether welfare is known to be concave, so that ``gap`` is a bound.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=1.0)
    >>> best = fs.welfare_optimum(game)
    >>> best  # a third unit would add 3 / (1 + 2)^2 < 0.4 to the surplus
    WelfareOptimum(n_agents=3, total=2, welfare=1.65, gap=0, method='ascent')
    >>> fs.WelfareOptimum.from_json(best.to_json()).contributions
    array([1., 1., 0.])
    """

    contributions: PerAgent
    welfare: float
    gap: float
    scale: float
    method: str
    iterations: int
    concave: bool

    @property
    def n_agents(self) -> int:
        """Number of agents ``n``."""
        return len(self.contributions)

    @property
    def total(self) -> float:
        """Total contribution ``sum_i s_i``."""
        return float(self.contributions.sum())

    @property
    def relative_gap(self) -> float:
        """The gap in units of what is at stake, `scale`."""
        return self.gap if self.gap in (0.0, np.inf) else self.gap / self.scale

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON text, which is also written to ``path``, whole or not at all."""
        text = to_json(self)
        if path is not None:
            write_whole(path, text)
        return text

    @classmethod
    def from_json(cls, path_or_text: str | Path) -> WelfareOptimum:
        """What `to_json` wrote, from a path or from the text itself, which starts with a brace."""
        return from_json(cls, path_or_text)

    def shortfall(self, tol: float) -> str:
        """What to say where the gap exceeds a tolerance."""
        return (
            f"no welfare optimum to within tol={tol:g} was found: the best point, by {self.method}, leaves a gap of "
            f"{self.gap:.3g}, {self.relative_gap:.2g} of the {self.scale:.3g} at stake"
        )

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("n_agents", "total", "welfare", "gap", "method")}
        return short_repr(self, shown)


def welfare_optimum(
    game: Game,
    *,
    tol: float = 1e-9,
    on_failure: Literal["raise", "return"] = "raise",
    progress: Progress = None,
    options: SolverOptions = DEFAULT_OPTIONS,
) -> WelfareOptimum:
    r"""The contributions that maximise welfare, ``max_s A(s) - sum_i c_i(s_i)``, with a bound on what they miss.

    Parameters
    ----------
    game : Game
        Payoffs, convex costs, capacities and minima.
    tol : float
        Largest gap accepted, > 0, relative to what is at stake (`WelfareOptimum.scale`).
    on_failure : {"raise", "return"}
        What to do with a point whose relative gap exceeds ``tol``.
    progress : callable, optional
        Called after each iteration with its number and the largest move relative to the largest contribution.
    options : SolverOptions
        Limits of the ascent and, where welfare is not known to be concave, of the search.

    Returns
    -------
    WelfareOptimum
        Contributions, shape (n,), welfare and the gap. Where several profiles are optimal, one of them.

    Raises
    ------
    ConvergenceError
        If the relative gap exceeds ``tol``; carries the best point found.
    ValueError
        If welfare rises without bound, or an argument is out of range.

    Notes
    -----
    Welfare is climbed as a potential is, in time linear in ``n`` where the surplus is an exponential mixture. A
    concave surplus lies below its tangent planes. With the one at ``s``, of slopes ``g``,

    .. math:: W(y) - W(s) \le \sum_i \max_{y_i} \bigl( g_i (y_i - s_i) - c_i(y_i) + c_i(s_i) \bigr),

    and each maximum is where marginal cost meets ``g_i`` (`Cost.supply`). Where costs are linear, capacities large or
    missing, and ``g_i`` a little above ``c_i'``, that says little; so a small part of a second plane, which touches
    further out and is less steep, is mixed in. Any mixture of the two planes is a bound, and the least is taken. It
    holds to within the rounding of the slopes.

    Examples
    --------
    The agents under `ShapleyPayment` give more than would be best, and the wrong ones give it:

    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> best = fs.welfare_optimum(game)
    >>> best.contributions.round(4), round(best.welfare, 4), best.relative_gap < 1e-9  # 3 / (1 + S)^2 = 0.1
    (array([4.4772, 0.    , 0.    ]), 2.0046, True)
    >>> fair = fs.find_equilibrium(game, fs.ShapleyPayment()).contributions
    >>> float(fair.sum().round(4)), float(game.welfare(fair).round(4))
    (5.8225, 1.5251)
    """
    as_instance("game", game, Game)
    as_instance("options", options, SolverOptions)
    tol = as_interval("tol", tol, 0.0, np.inf)
    as_choice("on_failure", on_failure, ("raise", "return"))
    if progress is not None:
        as_callable("progress", progress, "print")
    everybody_gains, initial = _WholeSurplus(), initial_profile(game, None)  # type: ignore[abstract]
    _refuse_free_data(game, everybody_gains, initial)
    welfare = Welfare(game)
    if welfare.concave is True:
        found = _climbed(welfare, initial, progress, tol, options)
    else:
        starts = [*_starts(game, initial, False, options), game.minimum, _far_corner(game)]
        trials = (_climbed(welfare, start, progress, tol, options) for start in starts)
        found = max(trials, key=lambda trial: trial.welfare)
    if found.relative_gap > tol and on_failure == "raise":
        raise ConvergenceError(found, tol, 'Try a larger tol, or on_failure="return" to get that point')
    return found


class _WholeSurplus(Mechanism):
    """Everybody receives the whole surplus, as in Groves (1973): what she gains by moving, welfare gains."""

    def received(self, game: Game, s: ArrayLike) -> PerAgent:
        s = game.profile(s)
        return np.broadcast_to(game.payoff.total(s)[..., None], s.shape)

    def marginal_utilities(self, game: Game, s: ArrayLike) -> PerAgent:
        return Welfare(game).gradient(game.profile(s))

    def potential(self, game: Game) -> Potential:
        return Welfare(game)


def _climbed(
    welfare: Welfare, start: Profile, progress: Progress, tol: float, options: SolverOptions
) -> WelfareOptimum:
    """Where an ascent ends, and its certificate; where that is too large, agents move in turn and it goes on."""
    game, mechanism = welfare.game, _WholeSurplus()  # type: ignore[abstract]
    ascend = maximise if welfare.integrable else climb
    s, iterations = ascend(welfare, start, progress, options.ascent_iterations)
    s = _all_that_is_free(game, mechanism, s)
    gap, scale = _certificate(welfare, s, options)
    if gap > tol * scale * (_POLISHED if welfare.integrable else 1.0):
        # Slopes that are nearly right leave a gap that is linear in what they miss, and a Newton step squares that.
        again = s if welfare.integrable else settle(game, mechanism, s, tol * scale)
        again, more = ascend(welfare, again, progress, options.ascent_iterations)
        closer, size = _certificate(welfare, again, options)
        if closer < gap:
            s, gap, scale, iterations = again, closer, size, iterations + more
    return WelfareOptimum(
        contributions=read_only(s),
        welfare=welfare.value(s),
        gap=gap,
        scale=scale,
        method="ascent" if welfare.concave else "ascent from several starts",
        iterations=iterations,
        concave=welfare.concave is True,
    )


def _certificate(welfare: Welfare, s: Profile, options: SolverOptions) -> tuple[float, float]:
    """The gap, and what is at stake."""
    if welfare.concave is True:
        gap = _tangent_gap(welfare, s)
    else:
        gap = certify(welfare.game, _WholeSurplus(), s, np.arange(len(s)), options).regret  # type: ignore[abstract]
    costs = float((welfare.game.costs(s) - welfare.game.costs(np.zeros_like(s))).sum())
    return gap, max(abs(float(welfare.game.payoff.total_gain(s))), costs, gap if np.isfinite(gap) else 0.0)


def _tangent_gap(welfare: Welfare, s: Profile) -> float:
    """How far above ``W(s)`` welfare may be anywhere: the least bound by mixtures of two tangent planes."""
    game, near = welfare.game, welfare.slopes(s)
    gap = _below_plane(game, s, near)
    if gap == 0.0:
        return gap
    for reach in _REACHES:
        z = np.clip(s + reach * (s + game.units), game.minimum, game.capacity)
        far = welfare.slopes(z)
        # How far the second plane lies above the surplus at s.
        above = float(game.surplus(z) - game.surplus(s) + far @ (s - z))
        bounds = [w * max(above, 0.0) + _below_plane(game, s, (1.0 - w) * near + w * far) for w in _SHARES]
        gap = min(gap, *bounds)
        if np.isfinite(gap):
            break
    return gap


def _below_plane(game: Game, s: Profile, slopes: PerAgent) -> float:
    """The most that welfare could gain over ``s`` if every data point added to the surplus what ``slopes`` says."""
    best = game.cost.supply(slopes)[0]
    if np.isinf(best).any():
        best = np.where(np.isinf(best), game.cost.supply(slopes * (1.0 - _TIE))[0], best)
    best = np.clip(best, game.minimum, game.capacity)
    if np.isinf(best).any():
        return np.inf
    gains = slopes * (best - s) - (game.cost.values(best) - game.cost.values(s))
    return float(np.maximum(gains, 0.0).sum())


def _far_corner(game: Game) -> Profile:
    """Everybody gives what she can, or a thousand units where nothing stops her."""
    return np.where(np.isinf(game.capacity), np.maximum(1e3 * game.units, game.minimum), game.capacity)
