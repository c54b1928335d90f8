"""What solvers and certificates ask of Shapley values: their potential to second order, and unilateral deviations."""

from __future__ import annotations

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, Profile
from fedshap._validation import everybody
from fedshap.game import Game
from fedshap.shapley import enumeration
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.mixtures import mixture_of
from fedshap.shapley.quadrature import CoalitionIntegrals
from fedshap.shapley.values import choose_method


def shapley_expansion(game: Game, s: Profile) -> Expansion:
    """Value, gradient and curvature of the potential at one profile of shape (n,), for solvers.

    Where the payoff is not known to be concave, positive curvatures are turned negative: the expansion then is a
    direction of ascent, not Taylor's.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> s = np.array([3.0, 1.0, 0.5])
    >>> e = shapley_expansion(game, s)
    >>> bool(abs(e.gradient - fs.shapley_gradient(game, s)).max() < 1e-12)
    True
    """
    if choose_method(game, "auto") == "quadrature":
        return CoalitionIntegrals(mixture_of(game.payoff, s), s).expansion()
    value, gradient = float(enumeration.exact_potential(game.payoff, s)), enumeration.exact_gradient(game.payoff, s)
    hessian = np.nan_to_num(enumeration.exact_hessian(game.payoff, s), posinf=1e12, neginf=-1e12)
    eigenvalues, vectors = np.linalg.eigh(-hessian)
    curvatures = np.maximum(np.abs(eigenvalues), 1e-12 * max(float(np.abs(eigenvalues).max()), 1e-300))
    least = 0.5 * float(curvatures.min())
    return Expansion(value, gradient, np.full(len(s), least), vectors * np.sqrt(curvatures - least))


def deviation_values(game: Game, s: ArrayLike, x: Array, agents: Agents = None) -> Array:
    """Shapley value of ``agents[m]`` were she alone to contribute ``x[m, p]`` instead of her part of ``s``.

    Parameters
    ----------
    game : Game
        Only its payoff matters.
    s : array_like
        Contributions, shape (n,).
    x : Array
        Deviations to try, shape (m, P), non-negative.
    agents : array of int, optional
        Who deviates, shape (m,); everybody if left out.

    Returns
    -------
    Array
        Shape (m, P).

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> deviation_values(game, [3.0, 1.0, 0.0], np.array([[3.0], [0.0]]), np.array([0, 2])).ravel().round(6)
    array([1.575, 0.   ])
    """
    s = game.one_profile(s)
    who = everybody(game.n_agents, agents)
    if choose_method(game, "auto") == "quadrature":
        reach = s.copy()
        np.maximum.at(reach, who, x.max(axis=1, initial=0.0))
        return CoalitionIntegrals(mixture_of(game.payoff, reach), s).deviation_values(x, who)
    rows = [enumeration.exact_deviations(game.payoff, s, int(i), row) for i, row in zip(who, x, strict=True)]
    return np.array(rows).reshape(x.shape)
