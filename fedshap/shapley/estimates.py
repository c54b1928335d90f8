"""What sampling hands over: means, and how far to trust them."""

from __future__ import annotations

from typing import NamedTuple

from fedshap._records import short_repr
from fedshap._types import Array
from fedshap._validation import as_level


class _Estimate(NamedTuple):
    values: Array
    standard_errors: Array


class Estimate(_Estimate):
    """A sampled quantity and how far to trust it; unpacks as ``values, standard_errors``.

    Attributes
    ----------
    values : Array
        Sample means.
    standard_errors : Array
        Standard errors of the means, of the same shape. Zero only where no order could change the value; where all
        draws agree by chance, what the error would be had one more of them been off by the largest of any agent.
    degrees_of_freedom : int
        Of Student's t distribution, which the error of a mean in units of its standard error follows.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> estimate = fs.shapley_values(game, [3.0, 1.0, 0.5], method="permutation", permutations=200, rng=0)
    >>> low, high = estimate.interval(0.99)
    >>> exact = fs.shapley_values(game, [3.0, 1.0, 0.5])
    >>> bool((low < exact).all() and (exact < high).all()), estimate.degrees_of_freedom
    (True, 199)
    """

    degrees_of_freedom: int

    def __new__(cls, values: Array, standard_errors: Array, degrees_of_freedom: int) -> Estimate:
        made = super().__new__(cls, values, standard_errors)
        made.degrees_of_freedom = degrees_of_freedom
        return made

    def __getnewargs__(self) -> tuple[Array, Array, int]:  # type: ignore[override]
        return self.values, self.standard_errors, self.degrees_of_freedom

    def __repr__(self) -> str:
        return short_repr(self, self._asdict())

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Ends of the interval that covers each single value with probability ``level``, in (0, 1), by Student's t."""
        from scipy.special import stdtrit  # only those who ask for intervals pay for the import

        half = stdtrit(self.degrees_of_freedom, 0.5 + as_level(level) / 2.0) * self.standard_errors
        return self.values - half, self.values + half
