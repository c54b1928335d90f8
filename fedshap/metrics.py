"""Yardsticks of the paper's Sec. 3: fairness at a profile, efficiency of a mechanism against no payments.

Each function cites the definition it computes. Welfare is `Game.welfare`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fedshap._types import Array, ArrayLike, Profile
from fedshap._validation import as_instance
from fedshap.equilibrium import Equilibrium
from fedshap.equilibrium.ranges import equilibrium_range
from fedshap.game import Game
from fedshap.mechanisms import Mechanism, NoPayment
from fedshap.shapley import shapley_values


def budget_gap(game: Game, mechanism: Mechanism, s: ArrayLike) -> Array:
    """Total payment to the agents, ``sum_i p_i(s)``, shape (...).

    Zero: budget-balanced; at most zero: weakly budget-balanced (Def. 3.2).

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3, alpha=0.9), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> round(float(fs.budget_gap(game, fs.ShapleyPayment(), [3.0, 1.0, 0.0])), 9)  # -A(0) = -3 x 0.1
    -0.3
    """
    return _checked(game, mechanism).payments(game, s).sum(axis=-1)


def reciprocity(game: Game, mechanism: Mechanism, s: ArrayLike) -> float:
    """What the worst-off agent receives for each unit she contributes, ``min_i (a_i + p_i) / phi_i`` (Def. 3.3).

    Def. 3.3 takes the smallest over all equilibria; this is its value at one profile, usually an equilibrium. An
    agent who contributes nothing, ``phi_i = 0``, counts only if she must pay, and then makes the ratio minus
    infinity; one who receives exactly nothing for nothing counts with ratio 1.

    Parameters
    ----------
    game, mechanism
        The game and the mechanism.
    s : array_like
        Contributions, shape (n,).

    Raises
    ------
    ValueError
        If some Shapley value is negative: then the ratio orders nothing.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> fs.reciprocity(game, fs.ShapleyPayment(), [3.0, 1.0, 0.0])
    1.0
    >>> round(fs.reciprocity(game, fs.NoPayment(), [3.0, 1.0, 0.0]), 4)
    0.5079
    """
    _checked(game, mechanism)
    s = game.one_profile(s)
    contributed = shapley_values(game, s)
    if (contributed < 0.0).any():
        agent = int(contributed.argmin())
        raise ValueError(
            f"reciprocity needs non-negative Shapley values; agent {agent} has {contributed[agent]:.3g}: her data "
            "lowers the payoffs of the others by more than it raises hers"
        )
    received = mechanism.received(game, s)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where((received == 0.0) & (contributed == 0.0), 1.0, received / contributed)
    return float(ratios.min())


def unequal_treatment(game: Game, mechanism: Mechanism, s: ArrayLike, identical: Sequence[int]) -> float:
    """Largest difference between the payments of agents you declare identical (Def. 3.5); 0 if treated equally.

    The paper calls i and j identical if their payoffs, costs and contributions agree. For Thm 4.7 they must also
    be interchangeable in the payoffs of everybody else.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.10, 0.40]))
    >>> round(fs.unequal_treatment(game, fs.ShapleyPayment(), [2.0, 2.0, 1.0], identical=[0, 1]), 12)
    0.0
    """
    _checked(game, mechanism)
    agents = np.unique(np.asarray(identical))
    if len(agents) < 2 or not np.issubdtype(agents.dtype, np.integer) or agents[0] < 0 or agents[-1] >= game.n_agents:
        raise ValueError(f"identical must name at least two agents in 0..{game.n_agents - 1}; got {identical!r}")
    return float(np.ptp(mechanism.payments(game, s)[..., agents], axis=-1).max())


def rationality(game: Game, mechanism: Mechanism, s: ArrayLike) -> float:
    """Smallest utility of any agent, ``min_i u_i(s)``: non-negative where individually rational (Sec. 3.1).

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> round(fs.rationality(game, fs.ShapleyPayment(), [3.0, 1.0, 0.0]), 4)
    0.0
    """
    return float(_checked(game, mechanism).utilities(game, s).min())


class Gain(float):
    """A ratio of two equilibria's totals: a number that knows whether these are the extremes that the paper means.

    Attributes
    ----------
    guaranteed : bool
        Whether theory says that no equilibrium lies outside the two compared. False where an equilibrium was given.
    """

    guaranteed: bool

    def __new__(cls, value: float, guaranteed: bool = False) -> Gain:
        gain = super().__new__(cls, value)
        gain.guaranteed = guaranteed
        return gain


def data_gain(
    game: Game,
    mechanism: Mechanism,
    *,
    equilibrium: Equilibrium | None = None,
    baseline: Equilibrium | None = None,
) -> Gain:
    """Total contribution at the mechanism's equilibrium relative to that without payments (Def. 3.6).

    The smallest total over the mechanism's equilibria is compared with the largest over those of ``M^0``, as
    `equilibrium_range` finds them; ``guaranteed`` of the result says whether they are known to be the extremes.

    Parameters
    ----------
    game, mechanism
        The game and the mechanism.
    equilibrium, baseline : Equilibrium, optional
        Equilibria under the mechanism and under `NoPayment` to use instead of the extremes.

    Raises
    ------
    ValueError
        If nobody contributes without payments: the ratio is undefined.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> round(fs.data_gain(game, fs.ShapleyPayment()), 4)
    2.6927
    """
    ours, without, guaranteed = _pair(game, mechanism, equilibrium, baseline)
    if without.sum() == 0.0:
        raise ValueError("data_gain is undefined: nobody contributes at the equilibrium without payments")
    return Gain(ours.sum() / without.sum(), guaranteed)


def accuracy_gain(
    game: Game,
    mechanism: Mechanism,
    *,
    equilibrium: Equilibrium | None = None,
    baseline: Equilibrium | None = None,
) -> Gain:
    """Total payoff at the mechanism's equilibrium relative to that without payments (Def. 3.7).

    Parameters and remarks as in `data_gain`.

    Raises
    ------
    ValueError
        If the total payoff without payments is not positive.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> round(fs.accuracy_gain(game, fs.ShapleyPayment()), 4)
    1.2481
    """
    ours, without, guaranteed = _pair(game, mechanism, equilibrium, baseline)
    below = float(game.surplus(without))
    if below <= 0.0:
        raise ValueError(f"accuracy_gain is undefined: the total payoff without payments is {below:g}")
    return Gain(float(game.surplus(ours)) / below, guaranteed)


def _pair(
    game: Game, mechanism: Mechanism, equilibrium: Equilibrium | None, baseline: Equilibrium | None
) -> tuple[Profile, Profile, bool]:
    """The mechanism's equilibrium of smallest total and the one of largest total without payments, or those given."""
    _checked(game, mechanism)
    ours, without = _given(game, "equilibrium", equilibrium), _given(game, "baseline", baseline)
    guaranteed = ours is None and without is None
    if ours is None:
        ours, _, known = equilibrium_range(game, mechanism)
        guaranteed = guaranteed and known
    if without is None:
        _, without, known = equilibrium_range(game, NoPayment())
        guaranteed = guaranteed and known
    return ours, without, guaranteed


def _given(game: Game, name: str, equilibrium: Equilibrium | None) -> Profile | None:
    """The contributions of an equilibrium that the caller brings, which must be one of this game."""
    if equilibrium is None:
        return None
    return game.one_profile(as_instance(name, equilibrium, Equilibrium).contributions, name=f"{name}.contributions")


def _checked(game: Game, mechanism: Mechanism) -> Mechanism:
    """The mechanism, if it is one and the game is one."""
    as_instance("game", game, Game)
    return as_instance("mechanism", mechanism, Mechanism)
