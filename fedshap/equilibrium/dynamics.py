"""Best-response dynamics (Sec. 4.2 of the paper): agents follow the gradient of their own utility.

For finding equilibria `fedshap.find_equilibrium` is faster and comes with a certificate; the dynamics are what the
paper analyses and runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedshap._records import Record, short_repr
from fedshap._types import Array, ArrayLike, PerAgent, Profile, RandomSource
from fedshap._validation import as_count, as_generator, as_instance, as_interval, read_only
from fedshap.equilibrium.steps import initial_profile
from fedshap.game import Game
from fedshap.mechanisms import Mechanism


@dataclass(frozen=True, eq=False, repr=False)
class Trajectory(Record):
    """The path of best-response dynamics.

    Attributes
    ----------
    contributions : Array
        Profiles ``s^0, ..., s^T``, shape (T + 1, n).
    residuals : Array
        ``||g(s^t, mu^t)||_2`` of Eq. (9), shape (T + 1,): zero exactly at equilibria of concave games.
    """

    contributions: Profile
    residuals: Array

    @property
    def final(self) -> PerAgent:
        """The last profile, shape (n,)."""
        return self.contributions[-1]

    def __repr__(self) -> str:
        steps, n_agents = len(self.contributions) - 1, self.contributions.shape[-1]
        return short_repr(self, {"steps": steps, "n_agents": n_agents, "residual": float(self.residuals[-1])})


def best_response_dynamics(
    game: Game,
    mechanism: Mechanism,
    *,
    step: float,
    steps: int,
    sample_size: int | None = None,
    rng: RandomSource = 0,
    start: ArrayLike | None = None,
) -> Trajectory:
    r"""Best-response dynamics of the paper, Eqs. (8)-(11): gradient steps on the own utilities.

    .. math:: s^{t+1}_i = \min\{\tau_i, \max\{0, s^t_i + \delta\, \partial_i u_i(s^t)\}\} \quad\text{for } i \in R^t

    (with her minimum in place of 0 where the game sets one) and ``s_i`` unchanged for the others, where ``R^t`` is a
    fresh random set of ``sample_size`` agents. Clipping is what the multiplier ``mu^t`` of Eq. (9) amounts to.

    Parameters
    ----------
    game, mechanism
        The game and the mechanism played.
    step : float
        Step size ``delta`` > 0, in data points per unit of marginal utility.
    steps : int
        Number of steps ``T`` >= 0.
    sample_size : int, optional
        Agents that move in a step, 1..n; all of them if left out (Eq. 8).
    rng : int or Generator
        Draws the moving agents; unused if all move.
    start : array_like, optional
        First profile, shape (n,); as in `find_equilibrium` if left out.

    Returns
    -------
    Trajectory
        All profiles, shape (steps + 1, n), and the residuals.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> path = fs.best_response_dynamics(game, fs.ShapleyPayment(), step=1.0, steps=400, sample_size=2, rng=1)
    >>> path.contributions.shape, path.final.round(4)
    ((401, 3), array([3.5889, 1.4472, 0.7863]))
    """
    as_instance("game", game, Game)
    as_instance("mechanism", mechanism, Mechanism)
    step = as_interval("step", step, 0.0, np.inf)
    steps = as_count("steps", steps, minimum=0)
    moving = game.n_agents if sample_size is None else as_count("sample_size", sample_size)
    if moving > game.n_agents:
        raise ValueError(f"sample_size must be at most the number of agents, {game.n_agents}; got {moving}")
    generator = as_generator(rng)
    profiles = np.empty((steps + 1, game.n_agents))
    residuals = np.empty(steps + 1)
    s = initial_profile(game, start)
    for t in range(steps + 1):
        proposal = np.clip(s + step * mechanism.marginal_utilities(game, s), game.minimum, game.capacity)
        profiles[t], residuals[t] = s, np.linalg.norm(proposal - s) / step
        if moving < game.n_agents:
            chosen = generator.choice(game.n_agents, size=moving, replace=False)
            s = s.copy()
            s[chosen] = proposal[chosen]
        else:
            s = proposal
    return Trajectory(read_only(profiles), read_only(residuals))
