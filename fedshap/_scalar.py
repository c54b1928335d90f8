"""One-dimensional search: where one agent stops."""

from __future__ import annotations

from collections.abc import Callable


def own_optimum(marginal: Callable[[float], float], upper: float, start: float = 1.0) -> float:
    """Where in [0, upper] one agent stops: where her marginal utility changes sign, from + to -.

    If it does so more than once, the place that she reaches uphill from ``start``, or zero.

    Raises
    ------
    ValueError
        If ``upper`` is infinite and the marginal utility is still non-negative at 1e12.

    Examples
    --------
    >>> import numpy as np
    >>> round(own_optimum(lambda x: 1.0 / (1.0 + x) ** 2 - 0.25, np.inf), 9), own_optimum(lambda x: -1.0, 5.0)
    (1.0, 0.0)
    """
    from scipy.optimize import root_scalar  # takes half a second to import: only those who solve games pay it

    low, high = 0.0, min(start, upper) or min(1.0, upper)
    if marginal(high) < 0.0 and marginal(0.0) <= 0.0:
        return 0.0
    while marginal(high) >= 0.0:
        if high == upper:
            return upper
        if high > 1e12:
            raise ValueError(
                "an agent gains from contributing without bound: give the game a finite capacity, or the agent "
                "a cost that outgrows her payoff"
            )
        low, high = high, min(4.0 * high, upper)
    return float(root_scalar(marginal, bracket=(low, high), xtol=1e-18, rtol=1e-15).root) if low < high else low
