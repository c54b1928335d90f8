"""What a solver hands over: a profile, what it pays, and its certificate."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fedshap._records import Record, short_repr
from fedshap._storage import from_json, to_json, write_whole
from fedshap._types import PerAgent

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False, repr=False)
class Equilibrium(Record):
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

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]), capacity=2.0)
    >>> found = fs.find_equilibrium(game, fs.NoPayment())
    >>> found
    Equilibrium(n_agents=3, total=2, regret=0, method='market clearing')
    >>> fs.Equilibrium.from_json(found.to_json()).contributions
    array([2., 0., 0.])
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
    regret_bound: float | None = None
    level: float | None = None
    standard_errors: PerAgent | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        shapes = {name: np.shape(getattr(self, name)) for name in ("contributions", "payments", "utilities")}
        if len(set(shapes.values())) > 1 or len(shapes["contributions"]) != 1:
            raise ValueError(f"contributions, payments and utilities must have one shape (n,); got {shapes}")

    @property
    def n_agents(self) -> int:
        """Number of agents ``n``."""
        return len(self.contributions)

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

    def to_frame(self) -> pd.DataFrame:
        """A table of one row for each agent and a column for each quantity that she has one of; needs pandas."""
        try:
            import pandas as pd
        except ModuleNotFoundError:
            raise ImportError("to_frame needs pandas, which is not installed: pip install pandas") from None
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        columns = {name: each for name, each in fields.items() if np.shape(each) == (self.n_agents,)}
        return pd.DataFrame(columns, index=pd.RangeIndex(self.n_agents, name="agent"))

    def to_json(self, path: str | Path | None = None) -> str:
        """Everything as JSON text, which is also written to ``path``, whole or not at all.

        Numbers are exact; infinite ones are the words "Infinity" and "-Infinity".

        Raises
        ------
        ValueError
            If a number is NaN.
        """
        text = to_json(self)
        if path is not None:
            write_whole(path, text)
        return text

    @classmethod
    def from_json(cls, path_or_text: str | Path) -> Equilibrium:
        """What `to_json` wrote, from a path or from the text itself, which starts with a brace.

        Raises
        ------
        ValueError
            If it is cut off, of another format or version, or a field is missing, unknown or of another type; the
            message names the file and the field.
        """
        return from_json(cls, path_or_text)

    def shortfall(self, tol: float) -> str:
        """What to say where the regret exceeds a tolerance."""
        left = f"{self.regret:.3g}, {self.relative_regret:.2g} of the {self.scale:.3g} at stake"
        if self.regret_bound is not None:
            left = f"at most {self.regret_bound:.3g} with probability {self.level:g} (estimate {left})"
        return (
            f"no equilibrium to within tol={tol:g} was found: the best point, by {self.method}, leaves a regret "
            f"of {left}"
        )

    def __repr__(self) -> str:
        shown = {name: getattr(self, name) for name in ("n_agents", "total", "regret", "method")}
        return short_repr(self, shown)


class ConvergenceError(RuntimeError):
    """A solver stopped short of its tolerance.

    Attributes
    ----------
    best : Equilibrium or WelfareOptimum
        The best point found, with its regret or its gap.
    tol : float
        The tolerance.
    """

    def __init__(self, best: Any, tol: float, advice: str | None = None) -> None:
        super().__init__(best, tol, advice)  # what it is made of again when it comes back from another process
        self.best, self.tol = best, tol
        self.advice = advice or 'Try another start, a larger tol, or on_failure="return" to get that point'

    def __str__(self) -> str:
        return f"{self.best.shortfall(self.tol)}. {self.advice}"
