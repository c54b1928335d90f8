"""The gate through which an exponential mixture comes to be used: the payoff gives it, and must stand by it."""

from __future__ import annotations

from fedshap._types import Profile
from fedshap.payoffs import Payoff
from fedshap.payoffs.exponential_sums import TOLERANCE
from fedshap.payoffs.mixtures import Mixture

_WORST_ERROR = 1e-9  # relative error of the slopes, or of the gain, beyond which a mixture is refused


def mixture_of(payoff: Payoff, s: Profile, tolerance: float = TOLERANCE) -> Mixture:
    """The exponential mixture of a payoff's surplus, valid for all contributions up to ``s``, shape (n,).

    Parameters
    ----------
    payoff : Payoff
        The payoff, which answers for itself.
    s : Array
        Largest contributions, shape (n,).
    tolerance : float
        Relative error of slopes to aim at, where an exponential sum has to be fitted.

    Raises
    ------
    ValueError
        If the payoff has no such form, if no exponential sum meets its slope to 1e-9, or if the mixture that it gives
        is not its surplus: a subclass, say, that changed the payoffs and kept the mixture.

    Examples
    --------
    >>> import fedshap as fs
    >>> import numpy as np
    >>> s = np.array([1.0, 2.0, 3.0])
    >>> payoff = fs.PowerLaw(3, beta=0.5)
    >>> bool(abs(mixture_of(payoff, s).value(s) - payoff.total(s)) < 1e-13)
    True
    """
    form, name = payoff.mixture(s, tolerance), type(payoff).__name__
    if form is None:
        raise ValueError(f"no exponential mixture is known for {name}")
    if not form.error <= max(_WORST_ERROR, tolerance):
        raise ValueError(
            f"the surplus of this {name} is no exponential mixture: for contributions up to {s.max():g} the best one "
            f'misses its slopes by a relative error of {form.error:.2g}. Use method="permutation" with an rng for an '
            "estimate with standard errors"
        )
    gained, claimed = float(payoff.total_gain(s)), form.gain(s)
    off, allowed = abs(claimed - gained), max(_WORST_ERROR, 10.0 * tolerance) * abs(gained)
    if not off <= allowed and not off <= allowed + payoff.gain_noise(s):
        raise ValueError(
            f"the mixture of this {name} is not its surplus: A(s) - A(0) is {gained:.6g} by its payoffs and "
            f"{claimed:.6g} by its mixture. A class that changes the payoffs must change `mixture` too (or return None)"
        )
    return form
