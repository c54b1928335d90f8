"""Student's t: how far an estimate may be off, given its standard error."""

from __future__ import annotations

import numpy as np

from fedshap._types import Array, ArrayLike


def student_half_width(errors: Array, freedom: ArrayLike, level: float) -> Array:
    """Half of the interval that covers with probability ``level`` in (0, 1), shape (...); 0 where there is no error.

    ``errors`` are standard errors and ``freedom`` their degrees of freedom, infinite where a value is exact.
    """
    from scipy.special import stdtrit  # slow to import: only those who ask for an interval pay it

    return np.where(errors == 0.0, 0.0, stdtrit(freedom, 0.5 + level / 2.0) * errors)
