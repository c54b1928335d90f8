r"""Ask and tell: which coalitions to evaluate, and Shapley values from what they gave.

For those whose values come from elsewhere: a federation trains and tests one model per coalition, on machines of its
own, and each coalition is worth something to several beneficiaries at once. `sampling_plan` says which coalitions to
evaluate; `SamplingPlan.estimate` takes their values. In between, the plan can be stored: ``members`` are all of it.

The coalitions are those that ``shapley(..., method="regression")`` starts with, pairs of complements drawn by size, and
the estimates are its: see `fedshap.cooperative.regression`. Only a game that is asked as it goes can draw more where
the first values vary most, so that at equal evaluations `fedshap.cooperative.shapley` is a little more precise.
"""

from __future__ import annotations

import numpy as np

from fedshap._coalitions import all_members, semivalues, shapley_weights
from fedshap._records import Record
from fedshap._types import Array, ArrayLike, RandomSource
from fedshap._validation import as_array, as_count, as_generator, short
from fedshap.cooperative import regression
from fedshap.cooperative.design import LEAST, Design
from fedshap.cooperative.evaluation import Members, range_of
from fedshap.cooperative.regression import Sampled
from fedshap.cooperative.results import CooperativeValues


class SamplingPlan(Record):
    """Coalitions to evaluate, as `sampling_plan` drew them.

    Parameters
    ----------
    members : array of bool
        Shape (m, n): entry [c, i] says whether player i is in coalition c. The first is empty and the last holds all;
        coalition c and coalition m - 1 - c are complements. Standard errors presume that chance has drawn them.

    Raises
    ------
    ValueError
        If ``members`` are not those of a plan.
    """

    def __init__(self, members: Members) -> None:
        self.members = _checked(members)

    @property
    def n_players(self) -> int:
        """Number of players, n."""
        return self.members.shape[1]

    @property
    def evaluations(self) -> int:
        """Number of coalitions to evaluate, m."""
        return self.members.shape[0]

    @property
    def complete(self) -> bool:
        """Whether these are all coalitions, so that Shapley values are exact."""
        return self.evaluations >> self.n_players > 0

    def estimate(self, values: ArrayLike) -> CooperativeValues:
        """Shapley values from the values of the coalitions.

        Each column is a game of its own: what the others hold has no influence on its estimates.

        Parameters
        ----------
        values : array_like
            Value of each coalition, in the order of ``members``: shape (m,), or (m, k) for k games at once.

        Returns
        -------
        CooperativeValues
            With ``values`` and ``standard_errors`` of shape (n,) or (n, k). The values of a game add up to
            ``v(N) - v(empty)``, sampled or not. A player who adds nothing to any coalition gets exactly zero if the
            plan is complete, and zero to within the standard error if not. Errors are infinite where all values of a
            plan that is not complete are zero: such a game has no scale.

        Raises
        ------
        ValueError
            If ``values`` have another shape, or one is not finite.

        Examples
        --------
        A runway of length i + 1 for plane i, whose cost is that of the longest plane on it; and the number of planes.

        >>> plan = sampling_plan(8, 120, rng=0)
        >>> runway = (plan.members * np.arange(1, 9)).max(axis=1)
        >>> found = plan.estimate(np.column_stack([runway, plan.members.sum(axis=1)]))
        >>> found.values.shape, found.total
        ((8, 2), array([8., 8.]))
        >>> exact = np.cumsum(1 / np.arange(8, 0, -1))
        >>> low, high = found.interval(0.99)
        >>> bool(np.all((low[:, 0] < exact) & (exact < high[:, 0]))), found.values[:, 1].round(9)
        (True, array([1., 1., 1., 1., 1., 1., 1., 1.]))
        """
        array = as_array("values", values)
        m, n = self.members.shape
        if array.ndim not in (1, 2) or len(array) != m or array.size == 0:
            raise ValueError(f"values must have shape ({m},) or ({m}, k), a row per coalition; got {array.shape}")
        found = [self._estimate(column) for column in array.reshape(m, -1).T]
        sampled = Sampled(*(np.stack(parts, -1).reshape(n, *array.shape[1:]) for parts in zip(*found, strict=True)))
        method = "exact" if self.complete else "regression"
        return CooperativeValues(*sampled, array[-1] - array[0], m, method, "shapley")

    def _estimate(self, values: Array) -> Sampled:
        m, n = self.members.shape
        if self.complete:
            table = np.empty(m)
            table[self.members @ (1 << np.arange(n))] = values
            return Sampled(semivalues(table, shapley_weights(n)), np.zeros(n), np.full(n, np.inf))
        design = Design(shapley_weights(n), np.random.default_rng(0))  # what it would draw itself is not asked for
        rows = _by_stratum(self.members, design)
        index = np.concatenate(rows)
        design.add([self.members[each] for each in rows], np.concatenate([values[index], values[~index]]))
        return regression.estimate(design, range_of(values.min(), values.max()), full=True)[0]


def sampling_plan(n_players: int, evaluations: int, rng: RandomSource | None = None) -> SamplingPlan:
    """Draw the coalitions whose values `SamplingPlan.estimate` makes Shapley values of.

    Parameters
    ----------
    n_players : int
        Number of players n, at least 1.
    evaluations : int
        Most coalitions to evaluate. The empty one and that of all players are always among them; from 2^n on they are
        all, in the order of bit masks, and Shapley values are exact.
    rng : int or Generator, optional
        Seed or generator; needed where coalitions are sampled.

    Returns
    -------
    SamplingPlan
        Whose ``members``, booleans of shape (m, n) with m <= ``evaluations``, say who is in each coalition.

    Raises
    ------
    ValueError
        If ``evaluations`` are too few for standard errors, about three per player.

    Examples
    --------
    >>> plan = sampling_plan(20, 200, rng=0)
    >>> plan.members.shape, plan.members[0].any(), plan.members[-1].all()
    ((200, 20), np.False_, np.True_)
    >>> sampling_plan(3, 8).estimate([0, 1, 2, 4, 3, 5, 6, 10]).values  # nobody, {0}, {1}, {0, 1}, {2}, ...
    array([2.33333333, 3.33333333, 4.33333333])

    References
    ----------
    I. Covert and S.-I. Lee (2021), Improving KernelSHAP: practical Shapley value estimation using linear regression.
    """
    n, most = as_count("n_players", n_players), as_count("evaluations", evaluations, minimum=2)
    if most >> n > 0:
        return SamplingPlan(all_members(0, 1 << n, n))
    if rng is None:
        raise ValueError(
            f"rng must be given, a seed or a generator: {most} evaluations are fewer than the 2^{n} coalitions"
        )
    design = Design(shapley_weights(n), as_generator(rng))
    if most < design.cost * design.least:
        raise ValueError(
            f"evaluations={most} are too few for standard errors: {n} players take {design.cost * design.least}"
        )
    half = np.concatenate(design.next_rows(most // design.cost, np.ones(len(design.strata))))
    return SamplingPlan(np.concatenate([half, ~half[::-1]]))


def _by_stratum(members: Members, design: Design) -> list[np.ndarray]:
    """Rows of the coalitions in each stratum: of a pair the smaller one, and of two alike the first."""
    sizes = members.sum(axis=1)
    rows = [np.flatnonzero(sizes == stratum.size) for stratum in design.strata]
    return [each[: len(each) // 2] if x.odd else each for x, each in zip(design.strata, rows, strict=True)]


def _checked(members: Members) -> Members:
    """A copy of what is a plan's."""
    array = np.array(members)
    if array.dtype != bool or array.ndim != 2 or array.size == 0:
        raise ValueError(f"members must be booleans of shape (m, n); got {short(members)}")
    m, n = array.shape
    if array[0].any() or (array == array[::-1]).any():
        raise ValueError("members must begin with the empty coalition, and the k-th complete the k-th from the end")
    if len(np.unique(np.packbits(array, axis=1), axis=0)) < m:
        raise ValueError("members must hold each coalition once")
    design = Design(shapley_weights(n), np.random.default_rng(0))
    drawn = [len(each) for each in _by_stratum(array, design)]
    for stratum, count in zip(design.strata, drawn, strict=True):
        if count < min(stratum.count, LEAST):
            raise ValueError(f"members must hold at least {LEAST} coalitions of {stratum.size} players; got {count}")
    return array
