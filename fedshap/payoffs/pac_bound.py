"""The generalisation bound of PAC learning as a payoff."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from fedshap._types import Array
from fedshap._validation import as_count, as_interval
from fedshap.payoffs.curves import LearningCurve


class PACBound(LearningCurve):
    r"""The generalisation bound of PAC learning as a payoff common to all agents.

    .. math:: a(s) = \max\{0,\, a_0 - (4 + \sqrt{2k(2 + \log(m/k))})/\sqrt{m}\}, \qquad m = \sum_i s_i \ge k

    and ``a(s) = 0`` for ``m < k``.

    Parameters
    ----------
    n_agents : int
        Number of agents.
    optimum : float
        ``a_0``, the accuracy of the best hypothesis, in (0, 1].
    complexity : float
        ``k > 0``, the difficulty of the learning problem.

    Notes
    -----
    Eq. (2) of the paper. The formula is real only for ``m >= k/e^2`` and increasing only from about ``m = k/e``
    on, and at ``m = k`` it is negative, since ``a_0 <= 1 < 2``. A payoff must be non-negative, so the bound is cut
    off at zero. The result is continuous and non-decreasing, and concave from `threshold` (where the bound
    becomes positive) on, but *not* concave on the whole orthant: ``concave`` is False.

    Examples
    --------
    >>> bound = PACBound(3, optimum=0.9, complexity=10.0)
    >>> round(bound.threshold, 1)
    249.4
    >>> bound.values([100.0, 50.0, 20.0]), bound.values([1000.0, 500.0, 0.0]).round(4)
    (array([0., 0., 0.]), array([0.491, 0.491, 0.491]))
    """

    concave = False

    def __init__(self, n_agents: int, *, optimum: float, complexity: float) -> None:
        self._set_agents(as_count("n_agents", n_agents), None, None)
        self.optimum = as_interval("optimum", optimum, 0.0, 1.0)
        self.complexity = as_interval("complexity", complexity, 0.0, np.inf)
        from scipy.optimize import root_scalar  # slow to import, and needed here alone

        upper = 2.0 * self.complexity + 16.0
        while self._bound(upper) <= 0.0:
            upper *= 2.0
        #: Total number of data points at which the bound becomes positive.
        self.threshold = float(root_scalar(self._bound, bracket=(self.complexity, upper), xtol=1e-12, rtol=1e-14).root)

    def _bound(self, m: float | Array) -> float | Array:
        k = self.complexity
        return self.optimum - (4.0 + np.sqrt(2.0 * k * (2.0 + np.log(m / k)))) / np.sqrt(m)

    def curve(self, z: Array) -> Array:
        inside = z > self.threshold
        return np.where(inside, self._bound(np.where(inside, z, self.threshold + 1.0)), 0.0)

    def slope(self, z: Array) -> Array:
        inside = z > self.threshold
        m, k = np.where(inside, z, self.threshold + 1.0), self.complexity
        root = np.sqrt(2.0 * k * (2.0 + np.log(m / k)))
        return np.where(inside, ((4.0 + root) / 2.0 - k / root) / m**1.5, 0.0)

    @cached_property
    def curve_scale(self) -> float:
        return 2.0 * self.threshold
