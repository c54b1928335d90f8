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
    scale : float
        What is at stake, in payoff units: the most that the data are worth to any agent, or cost her.
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
    scale: float
    audited: int
    method: str
    iterations: int
    concave: bool | None

    @property
    def relative_regret(self) -> float:
        """Regret in units of what is at stake, `scale`; 0 where nobody gains."""
        if self.regret in (0.0, float("inf")):
            return self.regret
        return self.regret / self.scale

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
            f"{best.regret:.3g}, {best.relative_regret:.2g} of the {best.scale:.3g} at stake. "
            f'Try another start, a larger tol, or on_failure="return" to get that point'
        )
        self.best = best
