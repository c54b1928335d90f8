r"""How a client chooses how much to give, knowing what the server tells her and her own cost.

Her utility of a round is :math:`\varphi_i(s) - c_i(s_i)`, with her Shapley share for what the payment makes of it. A
`Slope` moves her by Eq. (11) of the paper,

.. math:: s_i \leftarrow \min(\max(s_i + \delta\,(\partial_i \varphi_i - c_i'(s_i)), 0), \tau_i).

A `Curve` lets her look at amounts far away, 0 among them: no derivative sees that a share may drop at once where s_i
leaves 0. One half of the shuffles proposes an amount, the other half says what it would have gained: a maximum over
noisy numbers is too high, the same amount on fresh shuffles is not.
"""

from __future__ import annotations

import numpy as np

from fedshap._intervals import student_half_width
from fedshap._types import Array
from fedshap._validation import as_instance
from fedshap.costs import Cost
from fedshap.federated.exchange import Curve, Decision, Offer, Slope, TrainTask

_GRID = 65  # amounts at which a cost is tried
_ROUNDING = 1e-9


def choose(offer: Offer, cost: Cost, capacity: float) -> tuple[Decision | None, float]:
    """What she makes of an offer, and the amount she gives next, in [0, capacity]."""
    if isinstance(offer, Curve):
        decision = decide(offer, cost)
        return decision, min(decision.amount, capacity)
    amount = offer.amount
    if isinstance(offer, Slope):
        amount += offer.step * (offer.marginal - float(cost.derivatives(np.array([amount]))[0]))
    return None, float(np.clip(amount, 0.0, capacity))


def further_amounts(amount: float, task: TrainTask, capacity: float) -> list[float]:
    """The amounts asked for beside the one chosen, each in [0, capacity].

    An offset that leads beyond a bound is taken the other way, and cut off there if that leads beyond one, too.
    """
    near = []
    for offset in task.offsets:
        beyond = not 0.0 <= amount + offset <= capacity
        near.append(float(np.clip(amount - offset if beyond else amount + offset, 0.0, capacity)))
    return near + [min(level, capacity) for level in task.levels]


def decide(curve: Curve, cost: Cost) -> Decision:
    """Search all amounts of a curve, the present one first.

    She moves to the amount that the first half of the shuffles prefers, if the second half confirms a gain by more
    than its standard error.
    """
    utilities = curve.shares - cost.values(curve.amounts[:, None])[:, 0]  # (K, k)
    gains = utilities - utilities[:, :1]
    half = (len(gains) + 1) // 2
    best = int(gains[:half].mean(axis=0).argmax())
    gain, error = (float(each) for each in _mean_and_error(gains[half:, best]))
    bound = _bound(gains[:, 1:], curve.level)
    moves = best > 0 and gain > error
    return Decision(float(curve.amounts[best if moves else 0]), gain, error, bound)


def _bound(gains: Array, level: float) -> float:
    """Upper confidence bound of the largest expected gain, at least 0.

    It is the largest of the bounds of all amounts: that of the best amount alone holds with probability ``level``.
    """
    mean, error = _mean_and_error(gains)
    one_sided = 2.0 * level - 1.0  # the two-sided level with the same upper end
    return float(max((mean + student_half_width(error, len(gains) - 1.0, one_sided)).max(), 0.0))


def _mean_and_error(gains: Array) -> tuple[Array, Array]:
    """Mean over the shuffles and its standard error."""
    return gains.mean(axis=0), gains.std(axis=0, ddof=1) / np.sqrt(len(gains))


def check_cost(cost: Cost, capacity: float, whose: str) -> Cost:
    """Refuse a cost that is not one agent's, falls somewhere or is not convex on [0, capacity]."""
    if as_instance("cost", cost, Cost).n_agents != 1:
        raise ValueError(f"the cost of {whose} must be that of one agent; got {cost!r} of {cost.n_agents}")
    amounts = np.linspace(0.0, capacity, _GRID)
    values = cost.values(amounts[:, None])[:, 0]
    if not np.isfinite(values).all():
        raise ValueError(f"the cost of {whose} must be finite up to {capacity:g} batches; {cost!r} is not")
    steps = np.diff(values)
    allowed = _ROUNDING * np.abs(values).max()
    if (steps < -allowed).any():
        at = amounts[int(steps.argmin())]
        raise ValueError(f"the cost of {whose} must not fall; {cost!r} does beyond {at:g} batches")
    if (np.diff(steps) < -allowed).any():
        at = amounts[1 + int(np.diff(steps).argmin())]
        raise ValueError(f"the cost of {whose} must be convex; {cost!r} bends down at about {at:g} batches")
    return cost
