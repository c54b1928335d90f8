r"""Shapley values of a federation, their own-gradients and the potential behind them.

The Shapley value of agent i at contributions s (Eq. 3 of the paper) is

.. math:: \varphi_i(s) = \frac1n \sum_{X \subseteq N \setminus i} \binom{n-1}{|X|}^{-1}
          \bigl(A(s[X \cup i]) - A(s[X])\bigr), \qquad A(s) = \sum_i a_i(s),

where ``s[X]`` is s with everyone outside X set to zero. The values add up to ``A(s) - A(0)``. They are the own
differences of the potential (Hart and Mas-Colell, 1989; Ui, 2000)

.. math:: P(s) = \sum_{X \ne \emptyset} \frac{(|X|-1)!\,(n-|X|)!}{n!} \bigl(A(s[X]) - A(0)\bigr),

that is ``phi_i(s) = P(s) - P(s[N - i])``, and therefore ``d phi_i / d s_i = d P / d s_i``.

Three methods:

- ``"quadrature"``: for surpluses that are exponential mixtures (`PowerLaw`, `RandomCoverage`, `RandomDiscovery`, and
  a `LearningCurve` to which one can be fitted), to near machine precision for each agent, however small, in time
  linear in the number of agents of a few groups.
- ``"exact"``: enumeration of all 2^n coalitions, any payoff, n <= 20. Rounding leaves an absolute error of about
  1e-15 times the surplus, so an agent whose share is smaller than that is lost in it.
- ``"permutation"``: the average marginal contribution over random orders, any payoff and number of agents; an
  `Estimate` with standard errors.

``"auto"`` picks quadrature where the payoff allows it, else exact up to 20 agents, then the fitted mixture, and
otherwise raises: it never samples unasked. With ``tol`` quadrature is judged by a second, finer rule.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, overload

import numpy as np

from fedshap._types import Array, ArrayLike, Jacobian, PerAgent, Profile, RandomSource
from fedshap._validation import as_interval
from fedshap.game import Game
from fedshap.payoffs import LearningCurve
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.shapley import enumeration
from fedshap.shapley import permutations as orders
from fedshap.shapley.estimates import Estimate
from fedshap.shapley.mixtures import has_mixture, mixture
from fedshap.shapley.quadrature import CoalitionIntegrals

Method: TypeAlias = Literal["auto", "exact", "quadrature"]


@overload
def shapley_values(game: Game, s: ArrayLike, *, method: Method = "auto", tol: float | None = ...) -> PerAgent: ...
@overload
def shapley_values(
    game: Game,
    s: ArrayLike,
    *,
    method: Literal["permutation"],
    permutations: int = ...,
    antithetic: bool = ...,
    rng: RandomSource,
) -> Estimate: ...
def shapley_values(
    game: Game,
    s: ArrayLike,
    *,
    method: str = "auto",
    tol: float | None = None,
    permutations: int | None = None,
    antithetic: bool | None = None,
    rng: RandomSource | None = None,
) -> PerAgent | Estimate:
    """Shapley value of each agent, Eq. (3) of the paper.

    Parameters
    ----------
    game : Game
        Only its payoff matters; its capacities bound ``s``.
    s : array_like
        Contributions, shape (..., n); (n,) for ``"permutation"``.
    method : {"auto", "exact", "quadrature", "permutation"}
        See the head of this module.
    tol : float, optional
        Relative error allowed to each entry, > 0; for quadrature alone. The rule is then chosen for it and compared
        with a finer one. Left out, the rule is made for 1e-14 and not compared.
    permutations : int
        Sample size of ``"permutation"``, at least 30; 1000 if left out. The intervals of 30 cover 92 to 95 % where
        they should cover 95 %, those of 100 and more 94 to 96 %.
    antithetic : bool
        For ``"permutation"``: make every second order the reverse of the one before. Never worse where a coalition
        adds the less to others the larger it is, as with all payoffs of the paper; 2 to 10 times fewer orders then
        give the same error. False if left out, as in Eq. (27) of the paper.
    rng : int or Generator
        Seed or generator; needed by ``"permutation"`` and by it alone.

    Returns
    -------
    Array or Estimate
        Values of shape (..., n); with ``"permutation"`` an `Estimate` of values and standard errors, shape (n,).

    Raises
    ------
    ValueError
        If ``s`` is not a profile of the game, the method does not fit the game, an argument does not fit the method,
        or ``tol`` is not reached.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> phi = fs.shapley_values(game, [3.0, 1.0, 0.0])
    >>> phi.round(6), bool(abs(phi.sum() - game.surplus([3.0, 1.0, 0.0])) < 1e-12)
    (array([1.575, 0.825, 0.   ]), True)
    >>> values, errors = fs.shapley_values(game, [3.0, 1.0, 0.5], method="permutation", rng=0)
    >>> bool((abs(values - fs.shapley_values(game, [3.0, 1.0, 0.5])) < 5 * errors).all())
    True
    """
    if method == "permutation":
        return orders.estimate(game, s, orders.marginal_contributions, tol, permutations, antithetic, rng)
    orders.refuse_arguments(method, permutations=permutations, antithetic=antithetic, rng=rng)
    if choose_method(game, method, tol) == "quadrature":
        return _rowwise(game, s, lambda x: _integrate(game, x, CoalitionIntegrals.values, tol))
    return _rowwise(game, s, lambda x: enumeration.exact_values(game.payoff, x))


@overload
def shapley_gradient(game: Game, s: ArrayLike, *, method: Method = "auto", tol: float | None = ...) -> PerAgent: ...
@overload
def shapley_gradient(
    game: Game,
    s: ArrayLike,
    *,
    method: Literal["permutation"],
    permutations: int = ...,
    antithetic: bool = ...,
    rng: RandomSource,
) -> Estimate: ...
def shapley_gradient(
    game: Game,
    s: ArrayLike,
    *,
    method: str = "auto",
    tol: float | None = None,
    permutations: int | None = None,
    antithetic: bool | None = None,
    rng: RandomSource | None = None,
) -> PerAgent | Estimate:
    r"""Derivative of each agent's Shapley value in her own contribution, ``d phi_i / d s_i``.

    It is the average of ``dA/ds_i`` over the coalitions that contain i, weighted as in Eq. (3), and equals the
    gradient of `shapley_potential`. Parameters, returns and errors as in `shapley_values`.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> fs.shapley_gradient(game, [3.0, 1.0, 0.0]).round(3)
    array([0.154, 0.435, 1.196])
    """
    if method == "permutation":
        return orders.estimate(game, s, orders.marginal_gradients, tol, permutations, antithetic, rng)
    orders.refuse_arguments(method, permutations=permutations, antithetic=antithetic, rng=rng)
    if choose_method(game, method, tol) == "quadrature":
        return _rowwise(game, s, lambda x: _integrate(game, x, CoalitionIntegrals.own_gradient, tol))
    return _rowwise(game, s, lambda x: enumeration.exact_gradient(game.payoff, x))


@overload
def shapley_potential(game: Game, s: ArrayLike, *, method: Method = "auto", tol: float | None = ...) -> Array: ...
@overload
def shapley_potential(
    game: Game,
    s: ArrayLike,
    *,
    method: Literal["permutation"],
    permutations: int = ...,
    antithetic: bool = ...,
    rng: RandomSource,
) -> Estimate: ...
def shapley_potential(
    game: Game,
    s: ArrayLike,
    *,
    method: str = "auto",
    tol: float | None = None,
    permutations: int | None = None,
    antithetic: bool | None = None,
    rng: RandomSource | None = None,
) -> Array | Estimate:
    """The potential ``P(s)`` whose own differences are the Shapley values; see the head of this module.

    Parameters and errors as in `shapley_values`; returns shape (...), or an `Estimate` of 0-d arrays.

    Examples
    --------
    >>> import fedshap as fs
    >>> import numpy as np
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> s, without_1 = np.array([3.0, 1.0, 0.5]), np.array([3.0, 0.0, 0.5])
    >>> difference = fs.shapley_potential(game, s) - fs.shapley_potential(game, without_1)
    >>> bool(abs(difference - fs.shapley_values(game, s)[1]) < 1e-12)
    True
    """
    if method == "permutation":
        return orders.estimate(game, s, orders.coalition_averages, tol, permutations, antithetic, rng)
    orders.refuse_arguments(method, permutations=permutations, antithetic=antithetic, rng=rng)
    if choose_method(game, method, tol) == "quadrature":
        return _rowwise(game, s, lambda x: _integrate(game, x, CoalitionIntegrals.potential, tol))
    return _rowwise(game, s, lambda x: enumeration.exact_potential(game.payoff, x))


def shapley_hessian(game: Game, s: ArrayLike) -> Jacobian:
    """Second derivatives of the potential, ``d^2 phi_i / d s_i d s_j``, shape (n, n).

    Analytic for exponential mixtures; otherwise central differences of the exact own-gradient (forward ones near
    zero), good to about six digits.

    Parameters
    ----------
    game : Game
        Only its payoff matters.
    s : array_like
        Contributions, shape (n,).

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> fs.shapley_hessian(game, [3.0, 1.0, 0.5]).round(4)
    array([[-0.0622, -0.02  , -0.023 ],
           [-0.02  , -0.334 , -0.076 ],
           [-0.023 , -0.076 , -0.6796]])
    """
    s = game.one_profile(s)
    if choose_method(game, "auto") == "quadrature":
        expansion = CoalitionIntegrals(mixture(game.payoff, s), s).expansion()
        return -np.diag(expansion.own) - expansion.shared @ expansion.shared.T
    return enumeration.exact_hessian(game.payoff, s)


def _integrate(
    game: Game, s: Profile, quantity: Callable[[CoalitionIntegrals], Array | float], tol: float | None
) -> Array:
    """A quantity by quadrature; with ``tol``, by a rule made for it and then by a finer one, which must agree."""

    def by_rule(tolerance: float) -> Array:
        form = mixture(game.payoff, s, tolerance)
        if tol is not None and form.error > tol:
            raise ValueError(f"tol={tol:g} is not reached: the fitted exponential sum has an error of {form.error:.2g}")
        return np.asarray(quantity(CoalitionIntegrals(form, s, tolerance=tolerance)))

    if tol is None:
        return by_rule(TOLERANCE)
    result, finer = by_rule(max(tol, 1e-15)), by_rule(max(0.01 * tol, 1e-16))
    reached = float(np.max(np.abs(result - finer) / np.where(finer == 0.0, 1.0, np.abs(finer)), initial=0.0))
    if reached > tol:
        raise ValueError(f"tol={tol:g} is not reached: two rules differ by a relative {reached:.2g}; ask for less")
    return finer


def choose_method(game: Game, method: str, tol: float | None = None) -> str:
    """Resolve ``"auto"`` and refuse a method that does not fit the game."""
    if method not in ("auto", "exact", "quadrature"):
        raise ValueError(f'method must be "auto", "exact", "quadrature" or "permutation"; got {method!r}')
    small, curve = game.n_agents <= enumeration.MAX_EXACT, isinstance(game.payoff, LearningCurve)
    automatic = "quadrature" if has_mixture(game.payoff) or (curve and not small) else "exact"
    chosen = automatic if method == "auto" else method
    if tol is not None:
        as_interval("tol", tol, 0.0, 1.0)
        if chosen == "exact":
            raise ValueError("tol is for quadrature: this game's coalitions are enumerated, exact but for rounding")
    reason = None
    if chosen == "quadrature" and not has_mixture(game.payoff) and not curve:
        reason = f"no exponential mixture is known for {type(game.payoff).__name__}"
    elif chosen == "exact" and not small:
        reason = f"exact enumeration takes at most {enumeration.MAX_EXACT} agents, and this game has {game.n_agents}"
    if reason:
        raise ValueError(
            f'method="{method}" does not fit this game: {reason}. '
            'Use method="permutation" with an rng for an estimate with standard errors; an equilibrium takes rng=, too'
        )
    return chosen


def _rowwise(game: Game, s: ArrayLike, function: Callable[[Profile], Array]) -> Array:
    """Apply a function of one profile over the leading axes."""
    profile = game.profile(s)
    rows = [function(row) for row in profile.reshape(-1, game.n_agents)]
    shape = (rows[0] if rows else function(np.zeros(game.n_agents))).shape
    return np.array(rows).reshape((*profile.shape[:-1], *shape))
