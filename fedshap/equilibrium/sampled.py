"""Equilibria of Shapley payments where coalitions are too many to enumerate and nothing is known but the payoffs.

The game has the exact potential ``Phi(s) = P(s) - sum_i c_i(s_i)``. A fixed sample of coalitions makes it a plain
function of s (a sample average approximation), which a quasi-Newton method maximises over the box. Samples drawn afresh
then bound what any agent still gains by deviating. If that is too much, both samples grow fourfold.
"""

from __future__ import annotations

from itertools import count

import numpy as np

from fedshap._types import Profile, Progress
from fedshap._validation import as_count, as_level, read_only
from fedshap.equilibrium.reach import own_reach
from fedshap.equilibrium.records import ConvergenceError, Equilibrium
from fedshap.equilibrium.sampled_ascent import SampledGame
from fedshap.equilibrium.sampled_certificate import SampledRegret, sampled_regret
from fedshap.game import Game
from fedshap.shapley.sampled_potential import SampledPotential, Surplus, balanced_coalitions

DEFAULT_TOL = 0.01
"""Largest bound accepted on the regret, relative to the largest payoff, cost or payment, if the caller names none."""

DEFAULT_EVALUATIONS = 30_000_000

_LAPS = 64  # coalitions that each agent is in, in the first sample
_ORDERS = 8  # of each replicate of the first sample that judges
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
        Largest bound on the regret accepted, relative to the largest payoff gained, cost or payment of any agent.
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
    declared concave, the bound is stretched so that it holds between and, without capacities, beyond these points as
    well; only moves within that hundredth are not seen, and they gain at most a ten-thousandth of what a whole one does.

    *What is assumed.* That the means of 32 independent samples are normal enough for Student's t far out in its tail:
    finite variances, and no coalition that matters so rarely that none of the thousands drawn shows it. All agents,
    all deviations and both looks at the data share the risk by Bonferroni's inequality; the k-th stage has
    ``(1 - level) / 2^k`` of it, so that stopping early costs nothing of the level.

    *Kinks.* Differences look forward. At a kinked maximum the search may stop beside it; the bound says how far.
    """
    level, evaluations = as_level(level), as_count("evaluations", evaluations)
    search = _Search(game, generator, level, tol, progress)
    s, best = start, None
    for stage in count():
        spent = search.surplus.evaluations
        found, accepted = search.stage(stage, s)
        s = found.contributions
        best = found if best is None or found.regret_bound < best.regret_bound else best
        next_stage = _GROWTH * (search.surplus.evaluations - spent)
        if accepted or search.surplus.evaluations + next_stage > evaluations:
            break
    if not accepted and on_failure == "raise":
        raise ConvergenceError(best, tol, _advice(search.surplus.evaluations, next_stage))
    return best


class _Search:
    """What all stages of one search share."""

    def __init__(
        self, game: Game, generator: np.random.Generator, level: float, tol: float, progress: Progress
    ) -> None:
        self.game, self.generator, self.level, self.tol, self.progress = game, generator, level, tol, progress
        self.surplus = Surplus(game.payoff)
        self.reach = own_reach(game, self.surplus)
        self.iterations = 0

    def stage(self, number: int, start: Profile | None) -> tuple[Equilibrium, bool]:
        """Fit a point to one sample and judge it by another; say whether it is accepted."""
        game, size = self.game, _GROWTH**number
        members = balanced_coalitions(game.n_agents, _LAPS * size, self.generator)
        sample = SampledGame(game, SampledPotential(self.surplus, members), self.reach, self.progress, self.iterations)
        s = sample.solve(start, 0.1 * self.tol * _scale(game, self.reach))
        self.iterations = sample.iterations
        target = self.tol * _scale(game, s)
        judged = sampled_regret(
            game,
            self.surplus,
            s,
            self.reach,
            orders=_ORDERS * size,
            risk=(1.0 - self.level) / 2.0 ** (number + 1),
            target=target,
            generator=self.generator,
        )
        return self._record(s, judged), judged.bound <= target

    def _record(self, s: Profile, judged: SampledRegret) -> Equilibrium:
        return Equilibrium(
            contributions=read_only(s),
            payments=read_only(judged.values - self.game.payoff.values(s)),
            utilities=read_only(judged.values - self.game.costs(s)),
            regret=judged.regret,
            audited=self.game.n_agents,
            method="sampled potential",
            iterations=self.iterations,
            concave=self.game.payoff.concave,
            regret_bound=judged.bound,
            level=self.level,
            standard_errors=read_only(judged.standard_errors),
            evaluations=self.surplus.evaluations,
        )


def _scale(game: Game, s: Profile) -> float:
    """The largest payoff gained, or cost borne, by any agent: what ``tol`` is relative to."""
    payoffs = game.payoff.values(np.stack([s, np.zeros_like(s)]))
    costs = game.cost.values(s) - game.cost.values(np.zeros_like(s))
    return float(max(np.abs(payoffs[0] - payoffs[1]).max(), costs.max()))


def _advice(made: int, next_stage: int) -> str:
    return (
        f"{made} evaluations were made; the next stage, of samples {_GROWTH} times as large, takes about {next_stage} "
        f'more: pass evaluations={made + next_stage} or more, a larger tol, or on_failure="return"'
    )
