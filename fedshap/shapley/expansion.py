"""The second-order expansion of the potential that solvers step by."""

from __future__ import annotations

from dataclasses import dataclass

from fedshap._types import Array, PerAgent


@dataclass(frozen=True, eq=False)
class Expansion:
    """Second-order expansion of the potential at a profile.

    Its Hessian is ``-diag(own) - shared @ shared.T``: each agent's own curvature, and a part of low rank that all
    share.

    Attributes
    ----------
    value : float
        The potential.
    gradient, own : Array
        Each of shape (n,); ``own`` is non-negative.
    shared : Array
        Shape (n, d).
    magnitude : float
        Size of the numbers whose sum ``value`` is: rounding is about 1e-16 of it.
    """

    value: float
    gradient: PerAgent
    own: PerAgent
    shared: Array
    magnitude: float = 1.0
