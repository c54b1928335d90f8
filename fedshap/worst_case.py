"""Reciprocity at its worst: not at an equilibrium, but wherever agents may find themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from fedshap._records import Record
from fedshap._types import PerAgent, Profile, RandomSource
from fedshap._validation import as_count, as_generator, as_instance, read_only
from fedshap.game import Game
from fedshap.mechanisms import Mechanism
from fedshap.metrics import reciprocity

_SPREAD = 5.0  # decades above and below the units of the game among which the search draws
_REFINED = 4  # of the worst draws, from which it goes on
_ATTAINED = 1e-9  # relative distance at which a bound counts as attained


@dataclass(frozen=True, eq=False, repr=False)
class WorstReciprocity(Record):
    """The least reciprocity found, and what is proved of it.

    Attributes
    ----------
    value : float
        The smallest ratio found: the infimum over all profiles is no larger.
    contributions : Array
        Where it was found, shape (n,).
    bound : float
        A number that is proved to be no larger than the infimum; minus infinity where none is known.
    """

    value: float
    contributions: PerAgent
    bound: float

    @property
    def guaranteed(self) -> bool:
        """Whether ``value`` is the infimum: the bound is attained."""
        return self.value <= self.bound + _ATTAINED * abs(self.bound)


def worst_case_reciprocity(
    game: Game, mechanism: Mechanism, *, draws: int = 500, rng: RandomSource = 0
) -> WorstReciprocity:
    r"""The least that any agent receives for each unit she contributes, over all profiles, not equilibria alone.

    .. math:: \inf_s \min_i \frac{a_i(s) + p_i(s)}{\varphi_i(s)}

    Def. 3.3 of the paper asks the same of equilibria, where `reciprocity` gives the ratio. A mechanism may be fair
    where agents end up and unfair on the way, or for those who are mistaken.

    Parameters
    ----------
    game, mechanism
        The game and the mechanism.
    draws : int
        Profiles drawn before the worst are improved.
    rng : int or Generator
        Seed or generator of the search.

    Returns
    -------
    WorstReciprocity
        The smallest ratio found, where, and a proved bound from below.

    Raises
    ------
    ValueError
        If some Shapley value is negative.

    Notes
    -----
    What is proved: ``bound <= infimum <= value``. The bound is 1 for `ShapleyPayment`; ``r + (1 - r) / n`` for
    `DampedShapley` with a common payoff, and ``r`` without; ``1 / n`` or 0 for `NoPayment`; 0 for
    `AumannShapleyPayment` and `ParticipantsShapley`, who let nobody have less than nothing. All of them suppose payoffs
    that are not negative, which is looked up, and do not fall with anybody's data, which is taken on trust. Everything
    else is a search: contributions of nothing, or between 1e-5 and 1e5 units of the game, drawn on a logarithmic scale
    and then improved one at a time. It may miss the worst profile, and an infimum that is approached only as
    contributions grow without bound is met where the search ends: ``guaranteed`` then is False.

    Examples
    --------
    >>> import fedshap as fs
    >>> game = fs.Game(fs.PowerLaw(3), fs.LinearCost([0.10, 0.25, 0.40]))
    >>> worst = worst_case_reciprocity(game, fs.DampedShapley(0.4))
    >>> round(worst.value, 6), round(worst.bound, 6), worst.guaranteed
    (0.6, 0.6, True)
    >>> settled = fs.find_equilibrium(game, fs.DampedShapley(0.4)).contributions
    >>> round(fs.reciprocity(game, fs.DampedShapley(0.4), settled), 3)
    0.711
    """
    as_instance("game", game, Game)
    as_instance("mechanism", mechanism, Mechanism)
    draws, generator = as_count("draws", draws), as_generator(rng)
    ratio = partial(_ratio, game, mechanism)
    tried = [*_one_alone(game), *(_drawn(game, generator) for _ in range(draws))]
    ratios = np.array([ratio(s) for s in tried])
    found = [_improved(game, ratio, tried[k], float(ratios[k])) for k in np.argsort(ratios)[:_REFINED]]
    worst, value = min(found, key=lambda each: each[1])
    known = (game.payoff.values(np.zeros(game.n_agents)) >= 0.0).all()
    bound = mechanism.least_reciprocity(game) if known else -np.inf
    return WorstReciprocity(value=value, contributions=read_only(worst), bound=bound)


def _ratio(game: Game, mechanism: Mechanism, s: Profile) -> float:
    return reciprocity(game, mechanism, s) if s.any() else np.inf


def _one_alone(game: Game) -> list[Profile]:
    """Each agent alone, with a little and with much: with a common payoff the others have as much for nothing."""
    alone = [size * np.eye(game.n_agents)[i] * game.units for i in range(game.n_agents) for size in (0.1, 10.0)]
    return [np.clip(s, game.minimum, game.capacity) for s in alone]


def _drawn(game: Game, generator: np.random.Generator) -> Profile:
    """Contributions of all sizes; in half of the draws those of all but one are the same, in some nothing."""
    n = game.n_agents
    sizes = generator.uniform(-_SPREAD, _SPREAD, n)
    if generator.random() < 0.5:
        sizes = np.where(np.arange(n) == generator.integers(n), sizes, sizes[0])
    given = generator.random(n) < generator.choice([0.5, 1.0])
    return np.clip(np.where(given, 10.0**sizes * game.units, 0.0), game.minimum, game.capacity)


def _improved(game: Game, ratio: Callable[[Profile], float], s: Profile, value: float) -> tuple[Profile, float]:
    """Change one contribution at a time, by ever smaller factors or to nothing, as long as the ratio falls."""
    factor, least, largest = 32.0, 10.0**-_SPREAD * game.units, 10.0**_SPREAD * game.units
    while factor > 1.001:
        before = value
        for i in range(game.n_agents):
            for x in (0.0, s[i] / factor, s[i] * factor):
                trial = s.copy()
                within = min(x, largest[i]) if x >= least[i] else 0.0  # what is less would measure rounding
                trial[i] = np.clip(within, game.minimum[i], game.capacity[i])
                there = ratio(trial)
                if there < value:
                    s, value = trial, there
        if value >= before - 1e-12 * abs(before):
            factor = np.sqrt(factor)
    return s, value
