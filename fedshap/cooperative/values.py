r"""Shapley values, Banzhaf values and other semivalues of a cooperative game of any kind.

The Shapley value of player i in a game ``v`` of n players is

.. math:: \varphi_i = \sum_{S \subseteq N \setminus i} \frac{|S|!\,(n-1-|S|)!}{n!} \bigl(v(S \cup i) - v(S)\bigr).

Other semivalues (Dubey, Neyman and Weber, 1981) weigh the sizes of S in another way; only Shapley's adds up to
``v(N) - v(empty)`` in every game, and ``budget_gap`` of a result says what the others leave or lack.

A game comes as

- a **table** of 2^n numbers: entry m is the value of the coalition that holds player i if and only if bit i of m is
  set;
- a **dictionary** from every coalition, a tuple or frozenset of players 0..n-1 or such a number m, to its value;
- a **function**, with ``n_players``: it is given the players of one coalition as a tuple of integers in order, such as
  ``(0, 2, 5)``, and returns a number. With ``vectorised=True`` it is given many coalitions as booleans of shape (k, n)
  and returns k numbers.

Four methods:

- ``"exact"``: all coalitions. A function is asked 2^n times, for 20 players at most.
- ``"regression"``: coalitions are drawn by size, without replacement, in complementary pairs if the semivalue is
  symmetric; a simple game fitted to them is solved exactly, and what it misses on the draws is added. The most precise.
- ``"stratified"``: the same draws without the fit. Unbiased.
- ``"permutation"``: random orders of the players and their reverses. Unbiased.

``"auto"`` is ``"exact"`` for tables and dictionaries, and for functions of up to 20 players unless ``tol`` or a
``budget`` of fewer than 2^n evaluations is given; else it is ``"regression"``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, Unpack

import numpy as np

from fedshap._coalitions import semivalues, shapley_weights
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_count, as_interval
from fedshap.cooperative import sampling, weights
from fedshap.cooperative.evaluation import Evaluator, worths
from fedshap.cooperative.options import Options, Settings
from fedshap.cooperative.regression import Sampled
from fedshap.cooperative.results import CooperativeValues, ToleranceError
from fedshap.cooperative.sources import as_table, from_dictionary

Values: TypeAlias = ArrayLike | Mapping[Any, float] | Callable[..., Any]
"""A game: a table, a dictionary or a function of coalitions."""


def shapley(values: Values, n_players: int | None = None, **options: Unpack[Options]) -> CooperativeValues:
    """Shapley value of each player.

    Parameters
    ----------
    values : array_like, mapping or callable
        The game; see the head of this module.
    n_players : int, optional
        Number of players n, at least 1; needed with a function.
    method : {"auto", "exact", "regression", "stratified", "permutation"}
        See the head of this module.
    tol : float, optional
        Sample until every standard error is at most this, in the unit of the values, > 0.
    budget : int, optional
        Most coalitions to evaluate, the empty one and that of all players included.
    rng : int or Generator, optional
        Seed or generator; needed where coalitions are sampled. The same seed gives the same numbers, however many
        workers the executor has.
    vectorised : bool
        Whether the function takes many coalitions at once, as booleans of shape (k, n).
    executor : concurrent.futures.Executor, optional
        Where the function is called; a pool of processes needs one that pickles. Each coalition is asked for once.
    progress : callable, optional
        Called with the number of coalitions known and the largest standard error so far, infinite before the first.
    cache : path, optional
        File to keep each value of the function in as soon as it is known, one JSON object a line. If it is there, its
        values are used: an interrupted call, repeated, goes on where it stopped and returns the same numbers. One
        process at a time works with a file; a second one is told, by BlockingIOError, which.
    on_failure : {"raise", "return"}
        What to do where ``budget`` does not suffice for ``tol``.

    Returns
    -------
    CooperativeValues
        With ``values``, ``standard_errors`` (zero if exact), ``budget_gap``, ``evaluations`` and ``method``.

    Raises
    ------
    ValueError
        If the game is incomplete, a value is not finite, an argument does not apply, or the cache is another game's.
    ToleranceError
        If ``budget`` does not suffice for ``tol``; it carries the best estimate.

    Warns
    -----
    UserWarning
        If a function gives two values to one coalition, or the last line of ``cache`` was torn.

    Examples
    --------
    Three players, and a table of eight numbers: nothing, {0}, {1}, {0, 1}, {2}, {0, 2}, {1, 2}, all.

    >>> from fedshap import cooperative
    >>> cooperative.shapley([0, 1, 2, 4, 3, 5, 6, 10]).values
    array([2.33333333, 3.33333333, 4.33333333])

    Forty players who need a majority of the votes, sampled up to a standard error:

    >>> votes = np.arange(40) % 4 + 1.0
    >>> wins = lambda members: 2 * members @ votes > votes.sum()
    >>> found = cooperative.shapley(wins, 40, vectorised=True, tol=0.005, rng=0)
    >>> bool(found.standard_errors.max() <= 0.005), round(abs(found.budget_gap), 12)
    (True, 0.0)

    References
    ----------
    L. S. Shapley (1953), A value for n-person games. I. Covert and S.-I. Lee (2021), Improving KernelSHAP: practical
    Shapley value estimation using linear regression.
    """
    return _semivalues(values, n_players, "shapley", shapley_weights, **options)


def banzhaf(values: Values, n_players: int | None = None, **options: Unpack[Options]) -> CooperativeValues:
    """Banzhaf value of each player: her mean marginal contribution, all coalitions of the others being alike.

    Parameters, returns and errors are those of `shapley`. Banzhaf values do not add up to ``v(N) - v(empty)``.

    Examples
    --------
    >>> from fedshap import cooperative
    >>> majority = cooperative.banzhaf([0, 0, 0, 1, 0, 1, 1, 1])
    >>> majority.values, majority.budget_gap
    (array([0.5, 0.5, 0.5]), -0.5)

    References
    ----------
    J. F. Banzhaf (1965), Weighted voting doesn't work. J. T. Wang and R. Jia (2023), Data Banzhaf.
    """
    return _semivalues(values, n_players, "banzhaf", weights.banzhaf_weights, **options)


def beta_shapley(
    values: Values, alpha: float, beta: float, n_players: int | None = None, **options: Unpack[Options]
) -> CooperativeValues:
    """Beta-Shapley value of each player: sizes are weighed by a beta-binomial distribution.

    A larger ``alpha`` gives more weight to small coalitions, a larger ``beta`` to large ones; with both equal to 1
    these are Shapley values, and otherwise they do not add up to ``v(N) - v(empty)``.

    Parameters
    ----------
    values, n_players, options
        As for `shapley`, with its returns and errors.
    alpha, beta : float
        Positive and finite.

    Examples
    --------
    >>> from fedshap import cooperative
    >>> cooperative.beta_shapley([0, 1, 2, 4, 3, 5, 6, 10], 4, 1).values.round(3)
    array([1.467, 2.467, 3.467])

    References
    ----------
    Y. Kwon and J. Zou (2022), Beta Shapley: a unified and noise-reduced data valuation framework for machine learning.
    """
    a, b = as_interval("alpha", alpha, 0.0, np.inf), as_interval("beta", beta, 0.0, np.inf)
    return _semivalues(values, n_players, f"beta({a:g}, {b:g})", lambda n: weights.beta_weights(n, a, b), **options)


def semivalue(
    values: Values, sizes: ArrayLike, n_players: int | None = None, **options: Unpack[Options]
) -> CooperativeValues:
    """Semivalue of each player, for weights of one's own.

    Parameters
    ----------
    values, n_players, options
        As for `shapley`, with its returns and errors.
    sizes : array_like
        Probability that a player joins a coalition of each size 0..n-1, shape (n,); they add up to one.

    Examples
    --------
    What each adds to all others, the leave-one-out value:

    >>> from fedshap import cooperative
    >>> cooperative.semivalue([0, 1, 2, 4, 3, 5, 6, 10], [0, 0, 1]).values
    array([4., 5., 6.])

    References
    ----------
    P. Dubey, A. Neyman and R. J. Weber (1981), Value theory without efficiency.
    """
    return _semivalues(values, n_players, "semivalue", lambda n: weights.own_weights(sizes, n), **options)


def _semivalues(
    values: Values, n_players: int | None, name: str, weights_of: Callable[[int], Array], **options: Unpack[Options]
) -> CooperativeValues:
    """One semivalue of one game: exact or sampled, as the options and the game have it."""
    settings = Settings(**options)
    if not callable(values):
        settings.refuse_function_options()
    with settings.cache_claimed():
        evaluator, table = _source(values, None if n_players is None else as_count("n_players", n_players), settings)
        n, limits = evaluator.n_players, settings.limits
        weights, method = weights_of(n), settings.method_for(n, known=table is not None)
        empty, everybody = evaluator(np.array([[False] * n, [True] * n]))
        complete = method == "exact"
        if complete:
            worth = worths(evaluator, n) if table is None else table
            sampled = Sampled(semivalues(worth, weights), np.zeros(n), np.full(n, np.inf))
        elif method == "permutation":
            sampled = sampling.by_order(evaluator, weights, limits, settings.generator())
        else:
            full = method == "regression"
            sampled, complete = sampling.by_size(evaluator, weights, limits, settings.generator(), full=full)
        used = 1 << n if table is not None and method == "exact" else evaluator.evaluations
        found = CooperativeValues(*sampled, float(everybody - empty), used, "exact" if complete else method, name)
    if limits.tol is not None and not limits.reached(sampled) and settings.on_failure == "raise":
        raise ToleranceError(found, limits.tol)
    return found


def _source(values: Values, n: int | None, settings: Settings) -> tuple[Evaluator, Array | None]:
    """What answers for coalitions, and the table of all of them if there is one."""
    if callable(values):
        if n is None:
            raise ValueError("n_players must be given with a function of coalitions")
        return settings.evaluator(values, n), None
    table = from_dictionary(values, n) if isinstance(values, Mapping) else as_table(values, n)
    return Evaluator(sampling.look_up(table), len(table).bit_length() - 1, vectorised=True), table
