"""The limits of the solvers and of the certificate, in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

from fedshap._records import Record
from fedshap._validation import as_count


@dataclass(frozen=True, repr=False)
class SolverOptions(Record):
    """Limits of solvers and certificates. They do not depend on ``tol``, which only says what is accepted.

    A solver stops where rounding is all that is left, or at its limit; what it found is then judged by the
    certificate. Lower limits make a rough answer quicker.

    Attributes
    ----------
    ascent_iterations : int
        Steps of the ascent of a potential; 6 to 20 are usual.
    sweeps : int
        Rounds of best responses, each agent once.
    market_sweeps : int
        Rounds over the groups until their markets clear.
    audited : int
        Most agents whose deviations the certificate searches; of more, a random choice, the same each time.
    grid : int
        Deviations to a decade that the certificate tries, over 18 decades around what is a unit in the game.
    refinements : int
        Finer grids of 17 deviations each around the best one.
    starts : int
        Further starts where payoffs are not known to be concave and the first one ends in no equilibrium.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> rough = fs.SolverOptions(ascent_iterations=2)
    >>> found = fs.find_equilibrium(game, fs.ShapleyPayment(), tol=0.2, options=rough)
    >>> found.iterations, found.relative_regret < 0.2
    (2, True)
    """

    ascent_iterations: int = 200
    sweeps: int = 500
    market_sweeps: int = 1000
    audited: int = 1000
    grid: int = 12
    refinements: int = 8
    starts: int = 6

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name in ("starts", "refinements") else 1
            as_count(field.name, getattr(self, field.name), minimum=least)


DEFAULT_OPTIONS = SolverOptions()
