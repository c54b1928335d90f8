"""Equilibria of Shapley payments where coalitions are too many to enumerate and nothing is known but the payoffs.

The game has the exact potential ``Phi(s) = P(s) - sum_i c_i(s_i)``. A fixed sample of coalitions makes it a plain
function of s (a sample average approximation), which a quasi-Newton method maximises over the box. Samples drawn afresh
then bound what any agent still gains by deviating. If that is too much, both samples grow fourfold.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fedshap._types import Profile, Progress
from fedshap._validation import as_count, as_level, read_only
from fedshap.equilibrium.reach import own_reach
from fedshap.equilibrium.records import ConvergenceError, Equilibrium
from fedshap.equilibrium.sampled_ascent import SampledGame
from fedshap.equilibrium.sampled_certificate import SampledRegret, sampled_regret
from fedshap.equilibrium.stakes import stakes
from fedshap.game import Game
from fedshap.shapley.sampled_potential import SampledPotential, Surplus, balanced_coalitions

DEFAULT_TOL = 0.01
"""Largest bound accepted on the regret, relative to the largest payoff gained or cost borne, if none is named."""

DEFAULT_EVALUATIONS = 30_000_000

_COALITIONS = 64  # that each agent is in, in the first sample
_DRAWS = 8  # of coalitions for each agent in each replicate of the first sample that judges
_GROWTH = 4  # of the samples from one stage to the next


def find(
    game: Game,
    generator: np.random.Generator,
    *,
    tol: float = DEFAULT_TOL,
    level: float = 0.95,
    evaluations: int = DEFAULT_EVALUATIONS,
    start: Profile | None = None,
    on_failure: str = "raise",
    progress: Progress = None,
) -> Equilibrium:
    r"""Find an equilibrium of `ShapleyPayment` from the values of the payoff alone, and bound its regret.

    Parameters
    ----------
    game : Game
        Any payoff; 30 to 200 agents are what it is made for.
    generator : Generator
        Source of all coalitions.
    tol : float
        Largest bound on the regret accepted, relative to the largest payoff gained or cost borne by any agent.
    level : float
        Probability with which the bound is to hold, in (0, 1).
    evaluations : int
        The search ends where its next stage is expected to take it beyond this number of profiles at which the payoff
        is evaluated; the first stage is always made.
    start, on_failure, progress
        As in `find_equilibrium`; by default it starts from shares of what agents would give alone.

    Returns
    -------
    Equilibrium
        With ``regret`` as estimated, ``regret_bound``, ``level``, ``evaluations`` and ``standard_errors``.

    Raises
    ------
    ConvergenceError
        If the bound exceeds ``tol`` when the evaluations are spent.
    ValueError
        If an agent, alone, would contribute without bound.

    Notes
    -----
    *What is bounded.* With probability ``level`` no agent gains more than ``regret_bound`` by moving to any point of a
    grid: 0, her capacity (or 64 times the larger of what she gives and of what she would give alone), and distances
    from what she gives that start at a hundredth of it and grow by a half from one to the next. If the payoffs are
    declared concave, the bound is stretched so that it holds between these points and beyond them as well. Moves of
    less than a hundredth are not searched.

    *What is assumed.* That means of samples are normal enough for Student's t with 31 degrees of freedom, far out in
    its tail: finite variances, and no coalition that matters so rarely that none of those drawn shows it. All agents,
    all deviations and both looks at the data share the risk by Bonferroni's inequality; the k-th stage has
    ``(1 - level) / 2^k`` of it, so that stopping early costs nothing of the level.

    *Kinks.* Differences look forward. At a kinked maximum the search may stop beside it; the bound says how far.
    """
    search = _Search(game, generator, as_level(level), tol, progress)
    evaluations = as_count("evaluations", evaluations)
    best, last = search.stage(start), None
    while best.excess > tol and search.expected <= evaluations:
        last = search.stage(best.record.contributions if last is None else last.record.contributions)
        best = min(best, last, key=lambda judged: judged.excess)
    if best.excess > tol and on_failure == "raise":
        raise ConvergenceError(best.record, tol, search.advice())
    return best.record


class _Judged(NamedTuple):
    """A point, and its bound relative to the scale of the game there."""

    excess: float
    record: Equilibrium


class _Search:
    """What all stages of one search share."""

    def __init__(
        self, game: Game, generator: np.random.Generator, level: float, tol: float, progress: Progress
    ) -> None:
        self.game, self.generator, self.level, self.tol, self.progress = game, generator, level, tol, progress
        self.surplus = Surplus(game.payoff)
        self.reach = own_reach(game, self.surplus)
        self.iterations = self.stages = 0
        #: Evaluations at the end of the next stage, as far as one can tell.
        self.expected = 0

    def stage(self, start: Profile | None) -> _Judged:
        """Fit a point to one sample and judge it by another."""
        game, size, before = self.game, _GROWTH**self.stages, self.surplus.evaluations
        coalitions = balanced_coalitions(game.n_agents, _COALITIONS * size, self.generator)
        potential = SampledPotential(self.surplus, *coalitions)
        sample = SampledGame(game, potential, self.reach, self.progress, self.iterations)
        s = sample.solve(start, 0.1 * self.tol * stakes(game, self.reach))
        scale = stakes(game, s)
        judged = sampled_regret(
            game,
            self.surplus,
            s,
            self.reach,
            draws=_DRAWS * size,
            risk=(1.0 - self.level) / 2.0 ** (self.stages + 1),
            target=self.tol * scale,
            generator=self.generator,
        )
        self.iterations, self.stages = sample.iterations, self.stages + 1
        self.expected = self.surplus.evaluations + _GROWTH * (self.surplus.evaluations - before)
        excess = judged.bound / scale if scale > 0.0 else np.inf if judged.bound > 0.0 else 0.0
        return _Judged(float(excess), self._record(s, judged))

    def advice(self) -> str:
        """What would bring the search on."""
        made, more = self.surplus.evaluations, self.expected - self.surplus.evaluations
        return (
            f"{made} evaluations were made; the next stage, of samples {_GROWTH} times as large, takes about {more} "
            f'more: pass evaluations={self.expected} or more, a larger tol, or on_failure="return"'
        )

    def _record(self, s: Profile, judged: SampledRegret) -> Equilibrium:
        return Equilibrium(
            contributions=read_only(s),
            payments=read_only(judged.values - self.game.payoff.values(s)),
            utilities=read_only(judged.values - self.game.costs(s)),
            regret=judged.regret,
            scale=max(judged.regret, stakes(self.game, s)),
            audited=self.game.n_agents,
            method="sampled potential",
            iterations=self.iterations,
            concave=self.game.payoff.concave,
            regret_bound=judged.bound,
            level=self.level,
            standard_errors=read_only(judged.standard_errors),
            evaluations=self.surplus.evaluations,
        )
