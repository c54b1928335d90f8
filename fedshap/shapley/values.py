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
from dataclasses import dataclass
from typing import Literal, TypeAlias, overload

import numpy as np

from fedshap._types import Array, ArrayLike, Jacobian, PerAgent, Profile, RandomSource
from fedshap._validation import as_instance
from fedshap.game import Game
from fedshap.payoffs import Payoff
from fedshap.payoffs.agreement import check_slopes, check_total
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.shapley import enumeration
from fedshap.shapley import permutations as orders
from fedshap.shapley.estimates import Estimate
from fedshap.shapley.methods import choose_method, refuse_unused
from fedshap.shapley.mixtures import mixture_of
from fedshap.shapley.quadrature import CoalitionIntegrals

_ADDS_UP = 1e-11  # of their sum: how far values may miss the surplus

Method: TypeAlias = Literal["auto", "exact", "quadrature"]


@overload
def shapley_values(game: Game, s: ArrayLike, *, method: Method = "auto", tol: float | None = ...) -> PerAgent: ...
@overload
def shapley_values(
    game: Game,
    s: ArrayLike,
    *,
    method: Literal["permutation"],
    permutations: int | None = ...,
    antithetic: bool | None = ...,
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
        Seed or generator; needed by ``"permutation"``, and refused by all else.

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
    return _evaluate(_VALUES, game, s, method, tol, permutations, antithetic, rng)


@overload
def shapley_gradient(game: Game, s: ArrayLike, *, method: Method = "auto", tol: float | None = ...) -> PerAgent: ...
@overload
def shapley_gradient(
    game: Game,
    s: ArrayLike,
    *,
    method: Literal["permutation"],
    permutations: int | None = ...,
    antithetic: bool | None = ...,
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
    return _evaluate(_GRADIENT, game, s, method, tol, permutations, antithetic, rng)


@overload
def shapley_potential(game: Game, s: ArrayLike, *, method: Method = "auto", tol: float | None = ...) -> Array: ...
@overload
def shapley_potential(
    game: Game,
    s: ArrayLike,
    *,
    method: Literal["permutation"],
    permutations: int | None = ...,
    antithetic: bool | None = ...,
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
    return _evaluate(_POTENTIAL, game, s, method, tol, permutations, antithetic, rng)


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
    s = as_instance("game", game, Game).one_profile(s)
    if choose_method(game, "auto") == "quadrature":
        expansion = CoalitionIntegrals(mixture_of(game.payoff, s), s).expansion()
        return -np.diag(expansion.own) - expansion.shared @ expansion.shared.T
    return enumeration.exact_hessian(game.payoff, s)


@dataclass(frozen=True)
class _Quantity:
    """One of the things computed here, by each of the three methods."""

    exact: Callable[[Payoff, Profile], Array]
    integral: Callable[[CoalitionIntegrals], Array | float]
    sampled: orders.Statistic


_VALUES = _Quantity(enumeration.exact_values, CoalitionIntegrals.values, orders.marginal_contributions)
_GRADIENT = _Quantity(enumeration.exact_gradient, CoalitionIntegrals.own_gradient, orders.marginal_gradients)
_POTENTIAL = _Quantity(enumeration.exact_potential, CoalitionIntegrals.potential, orders.coalition_averages)


def _evaluate(
    quantity: _Quantity,
    game: Game,
    s: ArrayLike,
    method: str,
    tol: float | None,
    permutations: int | None,
    antithetic: bool | None,
    rng: RandomSource | None,
) -> Array | Estimate:
    """A quantity at every profile by the method asked for."""
    refuse_unused(game, method, tol=tol, permutations=permutations, antithetic=antithetic, rng=rng)
    if method == "permutation":
        return orders.estimate(game, s, quantity.sampled, permutations, antithetic, rng)
    profile = game.profile(s)
    quadrature = choose_method(game, method, tol) == "quadrature"

    def at(x: Profile) -> Array:
        found = _integrate(game, x, quantity.integral, tol) if quadrature else quantity.exact(game.payoff, x)
        if quantity is _VALUES:
            _check_sum(game.payoff, x, found, tol)
        check_total(game.payoff, x)
        if quantity is _GRADIENT:
            check_slopes(game.payoff, x)
        return found

    rows = [at(row) for row in profile.reshape(-1, game.n_agents)]
    shape = np.shape(rows[0] if rows else at(np.zeros(game.n_agents)))
    return np.array(rows).reshape((*profile.shape[:-1], *shape))


def _check_sum(payoff: Payoff, s: Profile, values: PerAgent, tol: float | None) -> None:
    """Values must add up to the surplus."""
    gain, total = float(payoff.total_gain(s)), float(values.sum())
    allowed = max(_ADDS_UP, 10.0 * (tol or 0.0)) * float(np.abs(values).sum())
    if abs(total - gain) <= allowed:
        return
    allowed += payoff.gain_noise(s)
    if not abs(total - gain) <= allowed:
        raise ValueError(
            f"the Shapley values found for {payoff!r} add up to {total:.17g}, and the surplus that the data bring is "
            f"{gain:.17g}: they miss it by {abs(total - gain):.2g}, more than {allowed:.2g}. They are not returned"
        )


def _integrate(
    game: Game, s: Profile, quantity: Callable[[CoalitionIntegrals], Array | float], tol: float | None
) -> Array:
    """A quantity by quadrature; with ``tol``, by a rule made for it and then by a finer one, which must agree."""

    def by_rule(tolerance: float) -> Array:
        form = mixture_of(game.payoff, s, tolerance)
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
