"""Many agents as a few weighted points.

In an exponential mixture an agent matters through a smooth function of her contribution that all agents of her class
share. `compress` replaces the agents of each class by interpolation points: a sum over agents becomes a weighted sum
over points, and a function known at the points is interpolated back to the agents.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, Profile
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture

DIRECT = 96
"""Up to this many agents each is her own point; beyond, compression is faster (tests/benchmarks measures it)."""

_PANEL_RATIO = np.sqrt(2.0)
_SMALL_RATIO = 16.0  # of the panels of small contributions
_DEPTH = 8.0  # of which there are at most so many


@dataclass(frozen=True, eq=False)
class Points:
    """Weighted points that stand for the agents.

    Attributes
    ----------
    positions, weights : Array
        Contribution and weight of each point, shape (K,).
    classes : array of int
        Class of each point, shape (K,).
    panels : list of (agents, points, matrix)
        How to interpolate back: values at ``agents`` are ``matrix @ values[points]``, or ``values[points]`` where
        ``matrix`` is None.
    n_agents : int
        Number of agents they stand for.
    """

    positions: Array
    weights: Array
    classes: NDArray[np.intp]
    panels: list[tuple[NDArray[np.intp], slice, Array | None]]
    n_agents: int

    def spread(self, values: Array) -> Array:
        """Interpolate from the points, shape (K, ...), to the agents, shape (n, ...)."""
        result = np.empty((self.n_agents, *values.shape[1:]))
        for agents, points, matrix in self.panels:
            result[agents] = values[points] if matrix is None else matrix @ values[points]
        return result


def each_agent(mixture: Mixture, s: Profile) -> Points:
    """Every agent her own point."""
    everybody = np.arange(len(s))
    return Points(s, np.ones(len(s)), mixture.classes, [(everybody, slice(0, len(s)), None)], len(s))


def compress(mixture: Mixture, s: Profile, tolerance: float = TOLERANCE) -> Points:
    """Replace the agents of each class by weighted interpolation points.

    An agent's factor ``(1-q) + q e^{-rate x}`` has its zeros at ``x = (log(q/(1-q)) + i pi) / rate``. On panels [0, a],
    [a, sqrt(2) a], [sqrt(2) a, 2a], ... with a = 1/(largest rate) they are far enough for 20 Chebyshev nodes to
    interpolate its logarithm, and what is integrated, to about 1e-13 of the largest on the panel; each digit less
    saves 1.4 nodes. What many agents miss adds up, so that [0, a] is split at a/16, a/256, ..., and nothing is a panel
    of its own. Panels with no more agents than nodes keep them.
    """
    nodes = max(4, int(np.ceil(-1.4 * np.log10(tolerance))))
    positions, weights, classes, panels = [], [], [], []
    count = 0
    largest = mixture.rates.max(axis=0, initial=0.0)
    for label in np.unique(mixture.classes):
        members = np.flatnonzero(mixture.classes == label)
        for agents in _panels(s, members, 1.0 / max(float(largest[label]), 1e-300)):
            x, matrix = _interpolation(s[agents], nodes)
            positions.append(x)
            weights.append(np.ones(len(x)) if matrix is None else matrix.sum(axis=0))
            classes.append(np.full(len(x), label))
            panels.append((agents, slice(count, count + len(x)), matrix))
            count += len(x)
    return Points(np.concatenate(positions), np.concatenate(weights), np.concatenate(classes), panels, len(s))


def _panels(s: Profile, members: NDArray[np.intp], first: float) -> list[NDArray[np.intp]]:
    """Split the members of a class by the panel in which their contributions lie."""
    x = s[members]
    # Who gives nothing is exact on her own: a million of her would add up what interpolation misses.
    number = np.full(len(x), -_DEPTH - 2.0)
    beyond, within = x > first, (x > 0.0) & (x <= first)
    number[beyond] = 1.0 + np.floor(np.log(x[beyond] / first) / np.log(_PANEL_RATIO))
    number[within] = np.maximum(np.ceil(np.log(x[within] / first) / np.log(_SMALL_RATIO)), -_DEPTH)
    order = np.argsort(number, kind="stable")
    starts = np.flatnonzero(np.diff(number[order])) + 1
    return np.split(members[order], starts)


def _interpolation(x: Array, count: int) -> tuple[Array, Array | None]:
    """Nodes for values at ``x``, and the matrix that interpolates from them (None: the nodes are ``x``)."""
    low, high = float(x.min()), float(x.max())
    if low == high:
        return x[:1], np.ones((len(x), 1))
    if len(x) <= count:
        return x, None
    angles = (2.0 * np.arange(count) + 1.0) * np.pi / (2.0 * count)
    nodes = (low + high) / 2.0 + (high - low) / 2.0 * np.cos(angles)
    matrix = x[:, None] - nodes
    exact = matrix == 0.0
    np.divide((-1.0) ** np.arange(count) * np.sin(angles), matrix, out=matrix, where=~exact)  # barycentric
    on_node = exact.any(axis=1)
    matrix[on_node] = exact[on_node]
    matrix /= matrix.sum(axis=1, keepdims=True)
    return nodes, matrix
