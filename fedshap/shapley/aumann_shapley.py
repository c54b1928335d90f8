r"""Many small agents: what Shapley values tend to.

With many agents, none of them large, a random coalition ``R_q`` holds nearly the share q of everybody's data, and an
agent's expected marginal contribution is what she adds to that mixture: the Shapley value tends to the value of Aumann
and Shapley (1974),

.. math:: \varphi_i(s) \to s_i \int_0^1 \partial_i A(q s)\, dq .

Expanding the coalition around its mean, with variance ``q (1-q) s_j^2`` for each agent's data, gives the first
correction; it takes the error from the order of 1/n to that of 1/n^2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fedshap._types import ArrayLike, PerAgent, Profile
from fedshap._validation import as_flag, as_instance
from fedshap.game import Game
from fedshap.shapley.mixtures import mixture_of

_NODES = 24  # of Gauss-Legendre in q on each panel
_PANELS = 60  # at least so many, halving towards zero: resolve exponents up to 2^59


def aumann_shapley_values(game: Game, s: ArrayLike, *, correction: bool = False) -> PerAgent:
    r"""Shapley values in the limit of many small agents, with or without the first correction.

    .. math:: \varphi_i \approx s_i \int_0^1 \Bigl[\partial_i A
              + \tfrac{1-2q}{2} s_i\, \partial_{ii} A
              + \tfrac{q(1-q)}{2} \sum_j s_j^2\, \partial_{ijj} A\Bigr](q s)\, dq

    where the second and third terms are the correction.

    Parameters
    ----------
    game : Game
        Its payoff must be an exponential mixture: `PowerLaw`, `RandomCoverage`, `RandomDiscovery`, or a
        `LearningCurve` to which one can be fitted.
    s : array_like
        Contributions, shape (n,).
    correction : bool
        Whether to add the first correction.

    Returns
    -------
    Array
        Shape (n,). Without correction they add up to ``A(s) - A(0)``.

    Raises
    ------
    ValueError
        If the payoff is no exponential mixture, or ``s`` not a profile of the game.

    Notes
    -----
    Aumann and Shapley (1974), Values of Non-Atomic Games. The correction is derived in the chapter on many agents.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(100), fs.LinearCost([0.01] * 100))
    >>> s = np.linspace(0.01, 0.2, 100)
    >>> exact = fs.shapley_values(game, s)
    >>> largest = lambda approximate: f"{abs(approximate / exact - 1.0).max():.0e}"
    >>> largest(aumann_shapley_values(game, s)), largest(aumann_shapley_values(game, s, correction=True))
    ('5e-02', '2e-03')
    """
    s = as_instance("game", game, Game).one_profile(s)
    correction = as_flag("correction", correction)
    form = mixture_of(game.payoff, s)
    unit = float(s.max()) or 1.0  # squares of very large or small contributions are no numbers: measure them in this
    s, rates, linear = s / unit, form.rates * unit, form.linear * unit
    n_classes = len(linear)
    sums = np.bincount(form.classes, weights=s, minlength=n_classes)  # (C,)
    squares = np.bincount(form.classes, weights=s**2, minlength=n_classes).astype(float)  # (C,)
    exponents = rates @ sums
    q, weights = _graded_rule(float(exponents.max(initial=1.0)))
    decay = np.exp(-exponents[:, None] * q) * weights  # (r, q)
    first = decay.sum(axis=1)
    value = s * (linear + (form.coefficients * first) @ rates)[form.classes]
    if not correction:
        return value
    with np.errstate(over="ignore", invalid="ignore"):
        corrected = value + _correction(form.coefficients, rates, form.classes, s, squares, q, decay)
    if not np.isfinite(corrected).all():
        raise ValueError(
            f"correction is no number here: with contributions up to {unit:g} single agents fill their curves, and the "
            "expansion is for many small ones. Leave it out, or use shapley_values"
        )
    return corrected


def _correction(
    coefficients: PerAgent,
    rates: PerAgent,
    classes: NDArray[np.intp],
    s: Profile,
    squares: PerAgent,
    q: PerAgent,
    decay: PerAgent,
) -> PerAgent:
    """The terms with ``A_ii`` and ``A_ijj`` of the exponential mixture."""
    own = decay @ ((1.0 - 2.0 * q) / 2.0)  # (r,)
    spread = (decay @ (q * (1.0 - q) / 2.0)) * (rates**2 @ squares)  # (r,)
    curved = -(coefficients * own) @ rates**2  # (C,): A_ii = -sum_r c_r rate^2 e^{-...}
    third = (coefficients * spread) @ rates  # (C,)
    return s * (curved[classes] * s + third[classes])


def _graded_rule(largest: float) -> tuple[PerAgent, PerAgent]:
    """Nodes and weights on [0, 1], panels halving towards zero, where steep exponentials live, up to ``largest``."""
    x, w = np.polynomial.legendre.leggauss(_NODES)
    panels = max(_PANELS, 1 + int(np.ceil(np.log2(max(largest, 1.0)))))
    edges = np.append(0.0, 0.5 ** np.arange(panels - 1, -1, -1.0))
    width = np.diff(edges)[:, None]
    return (edges[:-1, None] + width * (x + 1.0) / 2.0).ravel(), (width * w / 2.0).ravel()
