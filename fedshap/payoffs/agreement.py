"""What a payoff says of itself in several ways must agree: checked where it is used, at the point where it is used."""

from __future__ import annotations

import numpy as np

from fedshap._types import Agents, Array, PerAgent, Profile
from fedshap._validation import everybody
from fedshap.payoffs.base import Payoff

_ALIKE = 1e-9  # of the sizes compared
_SLOPES = 1e-3  # of the slope: differences of a function that bends are no better
_STEP = 1e-5  # of the contributions


def check_total(payoff: Payoff, s: Profile) -> None:
    """Refuse a payoff whose `total`, or `total_gain`, is not that of its `values` at one profile, shape (n,).

    Raises
    ------
    ValueError
        Naming the class and both numbers.
    """
    nothing, values = payoff.values(np.stack([np.zeros(payoff.n_agents), s]))
    total, gained = float(payoff.total(s)), float(payoff.total_gain(s))
    alike = max(_ALIKE, 10.0 * payoff.precision)
    for name, found, expected, size in (
        ("total", total, float(values.sum()), float(np.abs(values).sum())),
        ("total_gain", gained, float(values.sum() - nothing.sum()), abs(float(values.sum() - nothing.sum()))),
    ):
        off = abs(found - expected)
        if not off <= alike * size and not off <= alike * size + float(_rounding(payoff, s).sum()):
            raise _disagreement(payoff, name, found, "values, added up,", expected)


def check_gains(payoff: Payoff, s: Profile, agents: Agents = None) -> None:
    """Refuse a payoff whose `gains`, or `own_gains` of some agents, are not those of its `values` at one profile."""
    who = everybody(payoff.n_agents, agents)
    values, nothing = payoff.values(s), payoff.values(np.zeros(payoff.n_agents))
    gains, own = payoff.gains(s), payoff.own_gains(s, s[who, None], who)[:, 0]
    rounding = _rounding(payoff, s)
    for name, found, expected, allowed in (
        ("gains", gains, values - nothing, rounding),
        ("own_gains", own, gains[who], rounding[who]),
    ):
        off = np.abs(found - expected) - max(_ALIKE, 10.0 * payoff.precision) * np.abs(expected) - allowed
        if not (off <= 0.0).all():
            agent = int(np.nan_to_num(off, nan=np.inf).argmax())
            raise _disagreement(payoff, name, float(found[agent]), "values", float(expected[agent]))


def _rounding(payoff: Payoff, s: Profile) -> PerAgent:
    """What rounding may do to differences of `values`, shape (n,): they may be small, and be rounded as 1 is.

    ``1 - 1 / (1 + x)`` near 0 is. Where payoffs bend they show how large the numbers are that they are made of.
    """
    bend = s if payoff.units is None else np.maximum(s, payoff.units)
    sizes = [np.abs(payoff.values(x)) for x in (np.zeros(payoff.n_agents), s, bend)]
    return 8.0 * payoff.precision * np.sum(sizes, axis=0)


def check_slopes(payoff: Payoff, s: Profile) -> None:
    """Refuse a payoff whose `total_gradient` is not that of its `total` along one profile, shape (n,).

    At a kink any slope between those on either side will do.
    """
    if not payoff.has_gradient or not s.any():
        return
    along: Array = payoff.total_gradient(s) * s
    here, gained = float(along.sum()), [float(payoff.total_gain(s * (1.0 + k * _STEP))) for k in (-1.0, 0.0, 1.0)]
    sides = (gained[1] - gained[0]) / _STEP, (gained[2] - gained[1]) / _STEP
    rounding = (payoff.gain_noise(s) + 8.0 * payoff.precision * abs(gained[1])) / _STEP
    allowed = _SLOPES * float(np.abs(along).sum()) + rounding
    if not min(sides) - allowed <= here <= max(sides) + allowed:
        raise _disagreement(payoff, "total_gradient, along s,", here, "total", sum(sides) / 2.0)


def _disagreement(payoff: Payoff, one: str, found: float, other: str, expected: float) -> ValueError:
    return ValueError(
        f"{one} of this {type(payoff).__name__} must agree with its other methods; it says {found:.6g} where "
        f"{other} say{'' if other.startswith('values') else 's'} {expected:.6g}. A class that changes one must change "
        "the others, or leave them to be worked out"
    )
