"""Array aliases, each with its shape.

Index conventions used throughout the package: ``n`` agents indexed by ``i`` and ``j``; ``...`` stands for
any leading axes, over which every function of a contribution profile is vectorised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array: TypeAlias = NDArray[np.float64]

Profile: TypeAlias = Array
"""Contribution profiles, shape (..., n): data points (or batches) each agent contributes."""

PerAgent: TypeAlias = Array
"""One number per agent, shape (..., n)."""

Jacobian: TypeAlias = Array
"""Derivatives, shape (..., n, n): entry [i, j] is the derivative of agent i's quantity in s_j."""

Order: TypeAlias = NDArray[np.intp]
"""A permutation of the agents, shape (n,)."""

Agents: TypeAlias = NDArray[np.intp] | None
"""Some agents, shape (m,); None stands for all of them, in order."""

RandomSource: TypeAlias = "int | np.random.Generator"
"""A seed or a generator: the only ways randomness enters the package. Quoted, numpy.random can wait to be imported."""

Progress: TypeAlias = Callable[[int, float], object] | None
"""Told the number of each iteration of a solver and its largest move relative to the largest contribution."""

__all__ = ["Agents", "Array", "ArrayLike", "Jacobian", "Order", "PerAgent", "Profile", "Progress", "RandomSource"]
