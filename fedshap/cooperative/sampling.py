"""How long to sample: until the budget is spent, or every standard error is small enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fedshap._types import Array
from fedshap.cooperative import permutations, regression
from fedshap.cooperative.design import Design
from fedshap.cooperative.evaluation import Evaluator
from fedshap.cooperative.regression import Sampled

_FIRST_DRAWS = 4  # per player, before standard errors are first looked at
_GROWTH = (1.25, 2.0)  # of the sample, from one look at its standard errors to the next


class Limits(NamedTuple):
    """A standard error to reach and the most evaluations; at least one of them is given."""

    tol: float | None
    budget: int | None

    def reached(self, sampled: Sampled) -> bool:
        return self.tol is not None and sampled.standard_errors.max() <= self.tol

    def next_size(self, size: int, sampled: Sampled) -> int:
        """Sample size that may reach the tolerance, within limits."""
        if self.tol is None:
            return int(size * _GROWTH[1])
        wanted = (sampled.standard_errors.max() / self.tol) ** 2
        return int(np.ceil(size * np.clip(1.1 * wanted, *_GROWTH)))


def by_size(
    evaluator: Evaluator, weights: Array, limits: Limits, generator: np.random.Generator, *, full: bool
) -> tuple[Sampled, bool]:
    """``"regression"``, or with ``full=False`` ``"stratified"``; and whether every coalition was drawn."""
    design = Design(weights, generator)
    least, most = design.least, _most_draws(design, evaluator, limits)
    if most < least:
        raise _too_small(limits, evaluator.evaluations + design.cost * (least - 1))
    target = min(most, max(least, _FIRST_DRAWS * len(weights)))
    if limits.tol is None:
        target = max(least, int(most) // 2)  # one look, to share out the other half
    deviations = np.ones(len(design.strata))
    while True:
        design.draw(evaluator, int(target), deviations)
        complete = design.drawn >= design.size
        sampled, deviations = regression.estimate(design, evaluator.value_range, full=full and not complete)
        evaluator.standard_error = float(sampled.standard_errors.max())
        if complete or limits.reached(sampled) or design.drawn >= most:
            return sampled, complete
        target = most if limits.tol is None else min(most, limits.next_size(design.drawn, sampled))


def _most_draws(design: Design, evaluator: Evaluator, limits: Limits) -> float:
    if limits.budget is None:
        return design.size
    ends = design.strata[0].size == 0, design.strata[-1].size == design.n_players
    drawn_anyway = 2 * ends[0] if design.paired else sum(ends)
    return min(design.size, (limits.budget - evaluator.evaluations + drawn_anyway) // design.cost)


def by_order(evaluator: Evaluator, weights: Array, limits: Limits, generator: np.random.Generator) -> Sampled:
    """Random orders, ``"permutation"``."""
    cost = 2 * (len(weights) - 1)  # beyond the empty coalition and that of all
    if limits.budget is not None and limits.budget < evaluator.evaluations + cost * permutations.LEAST:
        raise _too_small(limits, evaluator.evaluations + cost * permutations.LEAST)
    draws = permutations.draw_pairs(evaluator, weights, generator, permutations.LEAST)
    while True:
        sampled = permutations.summary(draws, evaluator.value_range)
        evaluator.standard_error = float(sampled.standard_errors.max())
        more = limits.next_size(len(draws), sampled) - len(draws)
        if limits.budget is not None:
            # Few players' coalitions are soon all known, and cost no more: hence the limit on the orders too.
            more = min(more, (limits.budget - evaluator.evaluations) // cost, limits.budget - len(draws))
        if limits.reached(sampled) or more < 1:
            return sampled
        draws = np.concatenate([draws, permutations.draw_pairs(evaluator, weights, generator, more)])


def _too_small(limits: Limits, needed: float) -> ValueError:
    return ValueError(
        f"budget={limits.budget} is too small for standard errors: with this method it takes {needed:.0f} evaluations"
    )


def look_up(table: Array) -> Callable[[np.ndarray], Array]:
    """A table as a vectorised function."""
    n = len(table).bit_length() - 1
    return lambda members: table[members @ (1 << np.arange(n))]
