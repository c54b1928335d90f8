r"""How a semivalue weighs the sizes of coalitions.

A semivalue gives player i her mean marginal contribution ``v(S + i) - v(S)`` to a random coalition S of the others:
its size s has probability ``q_s``, s = 0..n-1, and S is uniform among those of its size. Weights here are these ``q``,
shape (n,), which add up to one; Shapley's, all alike, stand beside the definition, in `_coalitions`.
"""

from __future__ import annotations

import numpy as np

from fedshap._types import Array, ArrayLike
from fedshap._validation import as_array, read_only


def banzhaf_weights(n: int) -> Array:
    """Every coalition alike: sizes are binomial."""
    return _from_logs(_log_binomials(n - 1))


def beta_weights(n: int, alpha: float, beta: float) -> Array:
    r"""Kwon and Zou (2022), Eq. (5): ``q_s = C(n-1, s) B(s + beta, n - 1 - s + alpha) / B(alpha, beta)``."""
    from scipy.special import betaln

    sizes = np.arange(n)
    return _from_logs(_log_binomials(n - 1) + betaln(sizes + beta, n - 1 - sizes + alpha))


def own_weights(weights: ArrayLike, n: int) -> Array:
    """Check weights of the caller's."""
    array = as_array("weights", weights, minimum=0.0)
    if array.shape != (n,):
        raise ValueError(
            f"weights must have shape ({n},), one entry for each size 0..{n - 1} of the coalition that a player joins; "
            f"got shape {array.shape}"
        )
    if abs(array.sum() - 1.0) > 1e-9:
        raise ValueError(f"weights must add up to 1; got {array.sum():.12g}")
    return read_only(array / array.sum())


def is_symmetric(weights: Array) -> bool:
    """Whether joining a coalition of size s weighs as much as joining one of n - 1 - s."""
    return np.allclose(weights, weights[::-1], rtol=1e-10, atol=0.0)


def log_factorials(n: int) -> Array:
    """``log k!`` for k = 0..n."""
    return np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])


def _log_binomials(n: int) -> Array:
    logs = log_factorials(n)
    return logs[n] - logs - logs[::-1]


def _from_logs(logs: Array) -> Array:
    """Weights proportional to ``exp(logs)``, whatever the size of these."""
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()
