"""The power-law learning curve of a weighted sum of the contributions."""

from __future__ import annotations

import numpy as np

from fedshap._types import Array, ArrayLike
from fedshap._validation import as_interval
from fedshap.payoffs.curves import LearningCurve


class PowerLaw(LearningCurve):
    r"""Power-law learning curve of a weighted sum of contributions.

    .. math:: a_i(s) = 1 - \frac{\alpha}{(1 + (W s)_i)^{\beta}}

    Parameters
    ----------
    n_agents : int, optional
        Number of agents; may be left out when ``weights`` or ``groups`` tells it.
    alpha : float
        Height of the curve, > 0. With ``alpha <= 1`` payoffs lie in [0, 1]; ``a_i(0) = 1 - alpha``.
    beta : float
        Exponent, in (0, 1].
    weights : array_like, optional
        Non-negative ``W``, shape (n, n): entry ``[i, j]`` is what a data point of agent j is worth to agent i.
        With ``groups``, shape (T, T): the same between groups. All ones if left out.
    groups : array_like of int, optional
        Group label of each agent, shape (n,), each in 0..T-1. The n x n matrix is then never formed.

    Raises
    ------
    ValueError
        If a parameter is out of range or the shapes do not fit together.

    Notes
    -----
    Eq. (12) of the paper for ``weights=None``, the closed form of Sec. 5.1 with ``weights`` and ``groups``.
    Non-negative weights make every ``a_i`` non-decreasing, concave and of diminishing returns across agents.

    Examples
    --------
    >>> PowerLaw(3).values([1.0, 0.0, 2.0])
    array([0.75, 0.75, 0.75])
    >>> W = [[1.0, 0.1], [0.2, 1.0]]  # two groups; agents 0 and 1 in the first
    >>> PowerLaw(weights=W, groups=[0, 0, 1]).values([1.0, 1.0, 0.0]).round(4)
    array([0.6667, 0.6667, 0.2857])
    """

    concave = True

    def __init__(
        self,
        n_agents: int | None = None,
        *,
        alpha: float = 1.0,
        beta: float = 1.0,
        weights: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> None:
        self.alpha = as_interval("alpha", alpha, 0.0, np.inf)
        self.beta = as_interval("beta", beta, 0.0, 1.0)
        self._set_agents(n_agents, weights, groups)

    def curve(self, z: Array) -> Array:
        return 1.0 - self.alpha * (1.0 + z) ** -self.beta

    def slope(self, z: Array) -> Array:
        return self.alpha * self.beta * (1.0 + z) ** (-self.beta - 1.0)
