"""What a solver hands over: a profile, what it pays, and its certificate."""

from __future__ import annotations

from dataclasses import dataclass

from fedshap._types import PerAgent


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
        ``"potential"``, ``"market clearing"``, ``"best responses"`` or, where coalitions were sampled,
        ``"sampled potential"``.
    iterations : int
        Iterations of that method.
    concave : bool or None
        Whether payoffs are known to be concave. If not, ``regret`` rests on a search over a grid of deviations:
        evidence, not proof.
    regret_bound, level : float, optional
        Where coalitions were sampled: what the regret does not exceed, and the probability with which that holds.
        ``regret`` then is the largest gain estimated.
    standard_errors : Array, optional
        Where coalitions were sampled: of the payments, and as well of the utilities, shape (n,).
    evaluations : int, optional
        Where coalitions were sampled: profiles at which the payoff was evaluated.
    """

    contributions: PerAgent
    payments: PerAgent
    utilities: PerAgent
    regret: float
    audited: int
    method: str
    iterations: int
    concave: bool | None
    regret_bound: float | None = None
    level: float | None = None
    standard_errors: PerAgent | None = None
    evaluations: int | None = None

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

    def __init__(self, best: Equilibrium, tol: float, advice: str | None = None) -> None:
        left = f"{best.regret:.3g}"
        if best.regret_bound is not None:
            left = f"at most {best.regret_bound:.3g} with probability {best.level:g} (estimate {left})"
        super().__init__(
            f"no equilibrium to within tol={tol:g} was found: the best point, by {best.method}, leaves a regret of "
            f"{left}. " + (advice or 'Try another start, a larger tol, or on_failure="return" to get that point')
        )
        self.best = best
