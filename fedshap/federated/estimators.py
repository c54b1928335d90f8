r"""Estimators of the marginal share :math:`\partial \varphi_i / \partial s_i`, each with its standard error.

The share of a round is a noisy function of ``s_i``: the direction of SGD on one shuffle. A slope over a narrow step is
mostly noise, one over a wide step is biased where the share bends, and a fitted curve is as good as its form. Errors
are over the shuffles of a round, or over the rounds of a window; with one of them there is no error, and it is NaN.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedshap._records import Record
from fedshap._types import Array, PerAgent
from fedshap._validation import as_count, as_interval
from fedshap.costs import LinearCost
from fedshap.game import Game
from fedshap.payoffs import PowerLaw
from fedshap.payoffs.fitting import fit_payoff
from fedshap.shapley import shapley_gradient


@dataclass(frozen=True, eq=False, repr=False)
class Observation(Record):
    """What the coalitions of one round, on one shuffle, were worth.

    Attributes
    ----------
    profiles : ndarray
        What each coalition gives, shape (m, n); 0 for clients outside it.
    scores : ndarray
        What each client scored it, shape (m, n); NaN for a client who did not score.
    """

    profiles: Array
    scores: Array


class Estimator(Record):
    """Base class: which further amounts clients train, and what follows from their shares.

    Attributes
    ----------
    offsets : tuple of float
        Further amounts, by their distance from the one that a client gives.
    window : int
        Past rounds whose observations are wanted.
    """

    offsets: tuple[float, ...] = ()
    window: int = 0

    @abstractmethod
    def marginals(
        self, amounts: Array, shares: Array | None, observations: Sequence[Observation], present: PerAgent
    ) -> tuple[PerAgent, PerAgent]:
        """Marginal shares and their standard errors, each of shape (n,), for n clients that answered.

        Parameters
        ----------
        amounts : ndarray
            Amounts that each trained, shape (n, k), the present one first.
        shares : ndarray
            Each one's share at each of hers, for each shuffle, shape (K, n, k); None if there are no ``offsets``.
        observations : sequence of Observation
            Of this round and those before, the oldest first, as far as ``window`` asks for them.
        present : ndarray
            What each gives, shape (n,).
        """


class TwoModels(Estimator):
    r"""The paper's: ``(phi_i(s_i + eps) - phi_i(s_i)) / eps``, from two local models of each client.

    The second model goes on from the first, so that it costs ``eps`` further batches and not ``s_i + eps``. At the
    capacity the step goes backwards. Both models are seen by all: where they are one input apart, as with an eighth of
    a batch of eight, their difference is that input's gradient and gives it away.

    Parameters
    ----------
    epsilon : float
        Step in batches, > 0; the paper has it in (0, 1).

    Raises
    ------
    ValueError
        If ``epsilon`` is out of range.
    """

    def __init__(self, epsilon: float = 0.125) -> None:
        self.epsilon = as_interval("epsilon", epsilon, 0.0, np.inf)
        self.offsets = (self.epsilon,)

    def marginals(
        self, amounts: Array, shares: Array | None, observations: Sequence[Observation], present: PerAgent
    ) -> tuple[PerAgent, PerAgent]:
        n = len(amounts)
        return _slope(amounts, shares, np.zeros(n, dtype=np.intp), np.ones(n, dtype=np.intp))


class Secant(Estimator):
    """The slope between half a span below the present amount and half a span above it.

    Where a bound is nearer than that, it is the slope over half a span, on the other side.

    Parameters
    ----------
    span : float
        In batches, > 0.

    Raises
    ------
    ValueError
        If ``span`` is out of range.
    """

    def __init__(self, span: float = 4.0) -> None:
        self.span = as_interval("span", span, 0.0, np.inf)
        self.offsets = (-self.span / 2.0, self.span / 2.0)

    def marginals(
        self, amounts: Array, shares: Array | None, observations: Sequence[Observation], present: PerAgent
    ) -> tuple[PerAgent, PerAgent]:
        return _slope(amounts, shares, amounts.argmin(axis=1), amounts.argmax(axis=1))


class LocalFit(Estimator):
    """The exact marginal share in a game fitted to the coalitions of the last rounds.

    The share of her errors that a coalition removes is fitted for each client by Sec. 5.1's closed form, with a weight
    for every other client. The error is that of leaving out one round.

    Parameters
    ----------
    window : int
        Rounds that are fitted together, at least 1.

    Raises
    ------
    ValueError
        If ``window`` is not a positive number.
    """

    def __init__(self, window: int = 3) -> None:
        self.window = as_count("window", window)

    def marginals(
        self, amounts: Array, shares: Array | None, observations: Sequence[Observation], present: PerAgent
    ) -> tuple[PerAgent, PerAgent]:
        found = self._gradient(observations, present)
        if len(observations) < 2:
            return found, np.full_like(found, np.nan)
        count = len(observations)
        others = [[*observations[:k], *observations[k + 1 :]] for k in range(count)]
        left_out = np.array([self._gradient(each, present) for each in others])
        spread = left_out - left_out.mean(axis=0)
        return found, np.sqrt((count - 1.0) / count * (spread**2).sum(axis=0))  # the jackknife

    def _gradient(self, observations: Sequence[Observation], present: PerAgent) -> PerAgent:
        game = Game(self.payoff(observations), LinearCost(np.zeros(len(present))))
        return np.where(_gave(observations), shapley_gradient(game, present), np.nan)

    def payoff(self, observations: Sequence[Observation]) -> PowerLaw:
        """The payoffs of a round that begins at the last observation's scores.

        What is fitted is the share of the errors left that a coalition removes. Where it adds errors it counts as
        removing none: the form knows no harm. Of a client who gave nothing in any of the rounds nothing is known: her
        weight is 0 and her marginal share NaN.
        """
        gave = _gave(observations)
        removed = np.concatenate([_removed(each.scores) for each in observations])
        weights = np.zeros((len(gave), len(gave)))
        if gave.any():
            profiles = np.concatenate([each.profiles for each in observations])[:, gave]
            weights[:, gave] = _fitted_weights(profiles, np.clip(removed, 0.0, 1.0))
        left = np.maximum(1.0 - observations[-1].scores[0], np.finfo(float).tiny)  # a curve of height 0 is none
        return PowerLaw(alpha=left, weights=weights)


def _gave(observations: Sequence[Observation]) -> NDArray[np.bool_]:
    """Who gave something in one of the rounds, shape (n,)."""
    return np.any([each.profiles.any(axis=0) for each in observations], axis=0)


def _removed(scores: Array) -> Array:
    """Share of the errors left that each coalition removes; none where there are none."""
    left = 1.0 - scores[0]
    return np.divide(scores - scores[0], left, out=np.zeros_like(scores), where=left > 0.0)


def _fitted_weights(profiles: Array, removed: Array) -> Array:
    """Weights of the g who gave, to each of n clients: profiles (R, g) and removed (R, n) give (n, g).

    A fit takes as many outcomes as there are givers: those of the others are fitted in turns.
    """
    g, n = profiles.shape[1], removed.shape[1]
    weights = np.empty((n, g))
    for first in range(0, n, g):
        rows = np.arange(first, first + g) % n
        weights[rows] = fit_payoff(profiles, removed[:, rows], np.arange(g)).weights
    return weights


def _slope(
    amounts: Array, shares: Array | None, low: NDArray[np.intp], high: NDArray[np.intp]
) -> tuple[PerAgent, PerAgent]:
    """Difference of shares over that of amounts between two versions of each: mean over the shuffles, and its error."""
    assert shares is not None
    who = np.arange(len(amounts))
    step = amounts[who, high] - amounts[who, low]
    rise = shares[:, who, high] - shares[:, who, low]  # (K, n)
    slopes = np.divide(rise, step, out=np.zeros_like(rise), where=step != 0.0)
    shuffles = len(slopes)
    error = slopes.std(axis=0, ddof=1) / np.sqrt(shuffles) if shuffles > 1 else np.full(len(step), np.nan)
    return slopes.mean(axis=0), error
