r"""Exponential mixtures: surpluses whose Shapley values are one-dimensional integrals.

Many surpluses are a constant, a linear form and a mixture of exponentials of non-negative linear forms,

.. math:: A(s) = C + \sum_j \ell_j s_j - \sum_r c_r \exp\Bigl(-\sum_j \lambda_{rj} s_j\Bigr),
          \qquad c_r, \lambda_{rj} \ge 0,

where coefficients depend on an agent only through her class: all agents of a group share them. The module
``quadrature`` integrates over random coalitions of such a surplus; this one says which payoffs have the form, learning
curves by way of an exponential sum.

Index conventions: ``r`` runs over the R terms of the mixture, ``c`` over the C classes of agents, ``j`` over agents.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, singledispatch

import numpy as np
from numpy.typing import NDArray

from fedshap._types import Array, Profile
from fedshap._validation import as_profile
from fedshap.payoffs import LearningCurve, Payoff, PowerLaw, RandomCoverage, RandomDiscovery
from fedshap.payoffs.exponential_sums import TOLERANCE, ExponentialSum, fit_exponential_sum

_WORST_FIT = 1e-9  # relative error of a slope beyond which a curve is refused


@dataclass(frozen=True, eq=False)
class Mixture:
    """A surplus ``A(s) = constant + linear . s - sum_r coefficients[r] exp(-rates[r] . s)``.

    Parameters
    ----------
    constant : float
        ``C``.
    linear : Array
        Linear part of each class, shape (C,).
    coefficients : Array
        ``c_r >= 0``, shape (R,).
    rates : Array
        ``lambda_rc >= 0`` of each class, shape (R, C).
    classes : array of int
        Class of each agent, shape (n,), 0..C-1.
    error : float
        Largest relative error of its slopes: 0 for payoffs that have the form as they stand.
    """

    constant: float
    linear: Array
    coefficients: Array
    rates: Array
    classes: NDArray[np.intp]
    error: float = 0.0

    def value(self, s: Profile) -> float:
        """``A(s)`` for one profile of shape (n,)."""
        sums = np.bincount(self.classes, weights=s, minlength=len(self.linear))  # (C,)
        return float(self.constant + self.linear @ sums - self.coefficients @ np.exp(-self.rates @ sums))


@singledispatch
def mixture(payoff: Payoff, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
    """The exponential mixture of a payoff's surplus, valid for all contributions up to ``s``, shape (n,).

    Parameters
    ----------
    payoff : Payoff
        The payoff.
    s : Array
        Largest contributions, shape (n,).
    tolerance : float
        Relative error of slopes to aim at, where an exponential sum has to be fitted.

    Raises
    ------
    TypeError
        If the payoff is of a kind that has no such form here.
    ValueError
        If it is a learning curve that no exponential sum meets to 1e-9.

    Examples
    --------
    >>> import fedshap as fs
    >>> s = np.array([1.0, 2.0, 3.0])
    >>> payoff = fs.PowerLaw(3, beta=0.5)
    >>> bool(abs(mixture(payoff, s).value(s) - payoff.total(s)) < 1e-13)
    True
    """
    raise TypeError(f"no exponential mixture is known for {type(payoff).__name__}")


def has_mixture(payoff: Payoff) -> bool:
    """Whether the payoff is known to be a mixture. Of other learning curves only a fit on a range can tell."""
    return isinstance(payoff, (PowerLaw, RandomCoverage, RandomDiscovery))


@mixture.register
def _(payoff: LearningCurve, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
    sums = as_profile("s", s, payoff.n_agents) @ payoff.membership  # (T,)
    largest = float((payoff.weights @ sums).max())
    # Rounded up to a power of ten, so that a solver's steps share one cached rule.
    rule = _rule(payoff, 10.0 ** np.ceil(np.log10(max(largest, 1.0))), tolerance)
    n_groups = len(payoff.weights)
    start = float(payoff.curve(np.zeros(1))[0])
    return Mixture(
        constant=float(payoff.group_sizes.sum() * (start + rule.weights.sum())),
        linear=rule.linear * (payoff.group_sizes @ payoff.weights),
        coefficients=(payoff.group_sizes[:, None] * rule.weights).ravel(),
        rates=(payoff.weights[:, None, :] * rule.rates[:, None]).reshape(-1, n_groups),
        classes=payoff.groups,
        error=rule.error,
    )


def _rule(payoff: LearningCurve, largest: float, tolerance: float) -> ExponentialSum:
    """Exponential sum of a learning curve on [0, largest]; refused if it is none."""
    if isinstance(payoff, PowerLaw):
        sum_ = _power_law(payoff.beta, largest, tolerance)
        return ExponentialSum(payoff.alpha * sum_.linear, sum_.rates, payoff.alpha * sum_.weights, sum_.error)
    rule = _fitted(payoff, largest, tolerance)
    if rule.error > _WORST_FIT:
        raise ValueError(
            f"the curve of this {type(payoff).__name__} is no exponential sum: on [0, {largest:g}] the best one misses "
            f'its slope by a relative error of {rule.error:.2g}. Use method="permutation" with an rng for an estimate '
            "with standard errors"
        )
    return rule


@lru_cache(maxsize=128)
def _power_law(beta: float, largest: float, tolerance: float) -> ExponentialSum:
    return fit_exponential_sum(PowerLaw(1, beta=beta).slope, largest, tolerance)


@lru_cache(maxsize=32)
def _fitted(payoff: LearningCurve, largest: float, tolerance: float) -> ExponentialSum:
    return fit_exponential_sum(payoff.slope, largest, tolerance)


@mixture.register
def _(payoff: RandomCoverage, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
    return Mixture(
        constant=float(payoff.n_agents),
        linear=np.zeros(payoff.n_agents),
        coefficients=0.5 * payoff.probabilities.sum(axis=0),
        rates=payoff.rates.T.copy(),
        classes=np.arange(payoff.n_agents),
    )


@mixture.register
def _(payoff: RandomDiscovery, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
    return Mixture(
        constant=0.0,
        linear=payoff.weights.sum(axis=0),
        coefficients=np.zeros(0),
        rates=np.zeros((0, payoff.n_agents)),
        classes=np.arange(payoff.n_agents),
    )
