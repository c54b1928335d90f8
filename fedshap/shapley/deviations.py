"""What solvers and certificates ask of Shapley values: their potential to second order, and unilateral deviations."""

from __future__ import annotations

import numpy as np

from fedshap._types import Agents, Array, ArrayLike, Profile
from fedshap._validation import everybody
from fedshap.game import Game
from fedshap.shapley import enumeration
from fedshap.shapley.expansion import Expansion
from fedshap.shapley.methods import choose_method
from fedshap.shapley.mixtures import mixture_of
from fedshap.shapley.quadrature import CoalitionIntegrals


def enumerated(game: Game) -> bool:
    """Whether the coalitions of this game are enumerated."""
    return choose_method(game, "auto") == "exact"


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
    if not enumerated(game):
        return CoalitionIntegrals(mixture_of(game.payoff, s), s).expansion()
    slopes = enumeration.exact_slopes(game.payoff, s, game.payoff.difference_steps(s, 2))
    gradient = enumeration.exact_gradient(game.payoff, s) if game.payoff.has_gradient else slopes.first
    rising = (s > 0.0) | (gradient > game.cost.derivatives(s))  # the others stay where they are: at zero
    hessian = enumeration.mixed_slopes(game.payoff, s, slopes, np.flatnonzero(rising))
    return Expansion.of_matrix(slopes.value, gradient, -hessian)


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
    if not enumerated(game):
        reach = s.copy()
        np.maximum.at(reach, who, x.max(axis=1, initial=0.0))
        return CoalitionIntegrals(mixture_of(game.payoff, reach), s).deviation_values(x, who)
    rows = [enumeration.exact_deviations(game.payoff, s, int(i), row) for i, row in zip(who, x, strict=True)]
    return np.array(rows).reshape(x.shape)
