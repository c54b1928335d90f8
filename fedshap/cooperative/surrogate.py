r"""A simple game fitted to the coalitions that were drawn: what it explains needs no further sampling.

The responses of a `Design` are regressed on features of a coalition, with ``x_j = 1`` for a player inside and -1
outside: a constant for each size; ``x_j``; ``x_j`` times two functions of the size; products of three players (of two
where coalitions are not paired). The last are too many to be fitted freely. A ridge ties them together, which comes to
the kernel ``e_3(x_1 y_1, ..., x_n y_n)`` (``e_2``) of two coalitions, an elementary symmetric polynomial, with some of
the drawn coalitions as centres. Leave-one-out errors decide which features are used and how strong the ridge is.

Means of all features over the coalitions of a size are known; so are, therefore, the fitted game's semivalues.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np

from fedshap._types import Array
from fedshap.cooperative.design import Design, Stratum
from fedshap.cooperative.evaluation import Members
from fedshap.cooperative.weights import log_factorials

_CENTRES = 250  # of the kernel, at most
_MOST_PLAYERS = 300  # for whom products are tried
_RIDGES = (1e-6, 1e-4, 1e-2, 1.0)  # noise to signal of the products
_STABLE = 1e-13  # ridge against dependent columns, relative to their squares
_PER_COLUMN = 1.5  # draws per free feature, at least
_FULL = 1.0 - 1e-9  # leverages above this are one


class Fit(NamedTuple):
    """How the fitted game and what it misses make estimates of the responses.

    Attributes
    ----------
    weights : Array
        Weight of each draw's response in each player's estimate, shape (n, K), strata one after the other.
    residuals : Array
        What the fit leaves of each response, shape (K,).
    leverages : Array
        Share of each response in its own fitted value, shape (K,), in [0, 1).
    """

    weights: Array
    residuals: Array
    leverages: Array


class _Block(NamedTuple):
    """Some features of the draws, shape (K, p), and the semivalues of each, as if it were the game, shape (n, p)."""

    features: Array
    semivalues: Array
    ridges: Sequence[float]


def fit(design: Design, unit: float, *, full: bool) -> Fit:
    """The fit that makes the estimates most precise; without ``full`` a constant for each size.

    Residuals are in multiples of ``unit``.
    """
    strata = design.strata
    blocks = list(_blocks(design)) if full else [_constants(strata)]
    features = np.hstack([block.features for block in blocks])  # (K, p)
    means = np.hstack([block.semivalues for block in blocks])  # (n, p)
    response = np.concatenate([stratum.responses for stratum in strata]) / unit
    coefficients = np.concatenate([stratum.coefficients() / stratum.drawn for stratum in strata]).T  # (n, K)
    # A draw's share in the standard error of the estimate: what the fit is to make small.
    scale = np.concatenate([np.full(x.drawn, x.spread / x.drawn) for x in strata])
    scale = np.maximum(scale, 1e-8 * scale.max())  # of Banzhaf's weights some hardly exist
    unseen = np.concatenate([np.full(x.drawn, x.unseen) for x in strata])
    gram = (features * scale[:, None] ** 2).T @ features
    best, least = None, np.inf
    for ridge in _candidates(blocks):
        p = len(ridge)
        penalty = ridge * (scale**2).mean() + _STABLE * np.diag(gram)[:p]
        solver = _inverse(gram[:p, :p] + np.diag(penalty)) @ (features[:, :p] * scale[:, None] ** 2).T  # (p, K)
        leverages = np.clip(np.einsum("kp,pk->k", features[:, :p], solver), 0.0, _FULL)
        residuals = response - features[:, :p] @ (solver @ response)
        # Residuals count as if each draw were left out of the fit, as far as its stratum was not seen.
        outside = coefficients * (1.0 + unseen * leverages / (1.0 - leverages))
        weights = outside + (means[:, :p] - outside @ features[:, :p]) @ solver
        loss = float((unseen * (weights * residuals / (1.0 - leverages)) ** 2).sum())
        if best is None or loss < least:
            best, least = Fit(weights, residuals, leverages), loss
    assert best is not None
    return best


def _blocks(design: Design) -> Iterator[_Block]:
    """Features in order of need, as far as there are draws for them."""
    constants = _constants(design.strata)
    yield constants
    n = design.n_players
    affordable = int((design.drawn / _PER_COLUMN - constants.features.shape[1]) // max(n - 1, 1))
    if affordable >= 1:
        yield from islice(_members(design), affordable)
    if affordable >= 3 and 3 < n <= _MOST_PLAYERS:
        yield _products(design)


def _candidates(blocks: Sequence[_Block]) -> Iterator[Array]:
    """Ridges on the columns used: those of the first block, of the first two, and so on."""
    ridge = np.empty(0)
    for block in blocks:
        size = block.features.shape[1]
        for each in block.ridges:
            yield np.concatenate([ridge, np.full(size, each)])
        ridge = np.concatenate([ridge, np.full(size, block.ridges[0])])


def _inverse(matrix: Array) -> Array:
    """Inverse of a positive matrix, balanced first; a column of zeros stays one."""
    size = np.sqrt(np.diag(matrix))
    size[size == 0.0] = 1.0
    balance = np.outer(size, size)
    return np.linalg.inv(matrix / balance + np.diag(np.diag(matrix) == 0.0)) / balance


# ---- features -------------------------------------------------------------------------------------


def _constants(strata: Sequence[Stratum]) -> _Block:
    """One column per size. A middle pair has none: its response's sign is a matter of which half is called S."""
    n = strata[0].members.shape[1]
    kept = [k for k, stratum in enumerate(strata) if not stratum.odd]
    column = np.repeat(np.arange(len(strata)), [stratum.drawn for stratum in strata])
    features = (column[:, None] == kept).astype(float)
    inside = np.array([strata[k].size / n for k in kept])
    means = [strata[k].inside * p - strata[k].outside * (1.0 - p) for k, p in zip(kept, inside, strict=True)]
    return _Block(features, np.tile(means, (n, 1)), (0.0,))


def _members(design: Design) -> Iterator[_Block]:
    """``x_j``; then times a polynomial of the size, even for pairs, for their response is odd; then over the size.

    The last is for games that saturate: what a player adds falls with the size of the coalition.
    """
    n, strata = design.n_players, design.strata
    signs = np.where(np.concatenate([stratum.members for stratum in strata]), 1.0, -1.0)
    own, other = np.array([_sign_means(stratum, n) for stratum in strata]).T
    lean = np.array([(n - 2 * stratum.size) / n for stratum in strata])
    # The sum of all x_j is a matter of the size, which has its constants: n - 1 contrasts between players are left.
    contrasts = np.linalg.qr(np.eye(n) - 1.0 / n)[0][:, : n - 1]
    signs = signs @ contrasts
    near = 1.0 / np.array([max(stratum.size, 1) for stratum in strata])
    for factor in (np.ones(len(strata)), lean**2 if design.paired else lean, near):
        means = (np.full((n, n), other @ factor) + np.diag(np.full(n, (own - other) @ factor))) @ contrasts
        yield _Block(signs * np.repeat(factor, [x.drawn for x in strata])[:, None], means, (0.0,))


def _sign_means(stratum: Stratum, n: int) -> tuple[float, float]:
    """Mean of ``x_j`` times i's coefficient over the stratum, for j = i and for j != i."""
    size, inside, outside = stratum.size, stratum.inside, stratum.outside
    own = inside * size / n + outside * (n - size) / n
    if n == 1:
        return own, 0.0
    both, one = size * (size - 1) / (n * (n - 1)), size * (n - size) / (n * (n - 1))
    neither = (n - size) * (n - size - 1) / (n * (n - 1))
    return own, inside * (both - one) - outside * (one - neither)


def _products(design: Design) -> _Block:
    """Features of the kernel, in coordinates in which its ridge is the plain one."""
    n = design.n_players
    members = np.concatenate([stratum.members for stratum in design.strata])
    centres = members[:: max(1, -(-len(members) // _CENTRES))]  # strata come in order: some of every size
    kernel = _kernel(n, 3 if design.paired else 2)
    here, there = np.where(members, 1.0, -1.0), np.where(centres, 1.0, -1.0)
    eigenvalues, vectors = np.linalg.eigh(kernel(there @ there.T))
    kept = eigenvalues > 1e-9 * eigenvalues[-1]
    whitened = vectors[:, kept] / np.sqrt(eigenvalues[kept])
    means = _kernel_means(design.strata, centres, kernel)
    return _Block(kernel(here @ there.T) @ whitened, means @ whitened, _RIDGES)


def _kernel(n: int, order: int) -> Callable[[Array], Array]:
    """``e_2`` or ``e_3`` of n signs as a function of their sum, over its value for n ones."""
    if order == 2:
        return lambda total: (total**2 - n) / (n**2 - n)
    return lambda total: (total**3 - (3 * n - 2) * total) / (n**3 - (3 * n - 2) * n)


def _kernel_means(strata: Sequence[Stratum], centres: Members, kernel: Callable[[Array], Array]) -> Array:
    """Semivalues of the games ``S -> kernel(S, T)``, T each of the centres, shape (n, centres).

    How many players S shares with T is hypergeometric, and all that matters for i is whether she is in T.
    """
    n = centres.shape[1]
    logs = log_factorials(n)
    sizes = np.array([stratum.size for stratum in strata])[:, None]
    inside = np.array([stratum.inside for stratum in strata])[:, None]
    outside = np.array([stratum.outside for stratum in strata])[:, None]
    shared = np.arange(n + 1)

    def choose(total: int, some: Array | np.ndarray) -> Array:
        possible = (some >= 0) & (some <= total)
        k = np.where(possible, some, 0)
        rest = np.maximum(total - k, 0)
        return np.where(possible, logs[max(total, 0)] - logs[k] - logs[rest], -np.inf)

    def expected(t: int, belongs: bool) -> float:
        values = kernel(n - 2.0 * (sizes + t - 2 * shared))
        of_all = choose(n, sizes)
        with_i = choose(t - belongs, shared - belongs) + choose(n - t - (not belongs), sizes - shared - (not belongs))
        without_i = choose(t - belongs, shared) + choose(n - t - (not belongs), sizes - shared)
        return float((values * (inside * np.exp(with_i - of_all) - outside * np.exp(without_i - of_all))).sum())

    found, which = np.unique(centres.sum(axis=1), return_inverse=True)
    outsiders = np.array([expected(t, False) if t < n else 0.0 for t in found.tolist()])[which]
    insiders = np.array([expected(t, True) if t else 0.0 for t in found.tolist()])[which]
    return np.where(centres.T, insiders, outsiders)
