"""The second-order expansion of the potential that solvers step by."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._types import Array, Jacobian, PerAgent


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

    @classmethod
    def of_matrix(cls, value: float, gradient: PerAgent, curvature: Jacobian) -> Expansion:
        """From minus a Hessian, (n, n), positive where the potential is concave.

        Elsewhere positive curvatures of the potential are turned negative: the expansion then is a direction of ascent,
        not Taylor's.
        """
        eigenvalues, vectors = np.linalg.eigh(curvature)
        sizes = np.abs(eigenvalues)
        sizes = np.maximum(sizes, 1e-12 * sizes.max(initial=np.finfo(float).tiny))
        least = 0.5 * float(sizes.min())
        return cls(value, gradient, np.full(len(gradient), least), vectors * np.sqrt(sizes - least))

    def matrix(self) -> Jacobian:
        """Minus the Hessian, (n, n)."""
        return np.diag(self.own) + self.shared @ self.shared.T
