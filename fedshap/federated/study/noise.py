r"""What is the price of noise? The error of a round's shares against the coalitions that are scored.

The game of one round, all of whose coalitions are scored once, is asked again and again by samplers that see some of
them. Beside that stands the noise that no sampler removes: what another shuffle of the same data changes in the exact
shares. Errors are root mean squares over clients, relative to that of the exact shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fedshap._coalitions import semivalues, shapley_weights
from fedshap._types import Array, PerAgent
from fedshap.cooperative import sampling_plan
from fedshap.federated.datasets import Dataset
from fedshap.federated.exchange import Keep, TrainTask
from fedshap.federated.protocol import FedBRShap
from fedshap.federated.rounds import play
from fedshap.federated.study.parties import costs, deal, party, warm
from fedshap.federated.study.samplers import gtg_round, permutations
from fedshap.federated.study.settings import Settings
from fedshap.federated.study.summaries import rank_correlation, spread
from fedshap.federated.study.units import Units

_DRAW = 9  # what a seed is drawn for
_PARTS = (0.25, 0.4, 0.6, 0.8)  # of all coalitions

Sampler = Callable[[Array, int, np.random.Generator], tuple[PerAgent, PerAgent | None, int]]


def noise(settings: Settings, data: Dataset, seeds: int, units: Units) -> dict[str, Any]:
    """The question's answers: each sampler at each budget, and the shuffles' own noise."""
    cases = [
        units.unit(f"{n}-{seed}", lambda n=n, s=seed: _case(settings, data, n, s))
        for n in settings.players
        for seed in range(seeds)
    ]
    return {"summary": _summary(cases), "cases": cases}


def _case(settings: Settings, data: Dataset, n: int, seed: int) -> dict[str, Any]:
    tables = _tables(settings, data, n, seed)
    weights = shapley_weights(n)
    exact = np.array([semivalues(table, weights) for table in tables])  # (shuffles, n)
    size = _root_mean_square(exact[0])
    rows = []
    for budget in [round(part * 2**n) for part in _PARTS]:
        for name, sampler in SAMPLERS.items():
            row = _drawn(settings, tables[0], exact[0], sampler, budget, np.random.default_rng((seed, n, _DRAW)))
            if row is not None:
                rows.append({"sampler": name, "budget": budget} | row)
    return {
        "players": n,
        "seed": seed,
        "shares": exact[0].tolist(),
        "noise of one shuffle": float(np.sqrt(exact.var(axis=0, ddof=1).mean()) / size),
        "rows": rows,
    }


def _tables(settings: Settings, data: Dataset, n: int, seed: int) -> Array:
    """Mean score of every coalition of a round, for each shuffle, shape (K, 2^n)."""
    clients = party(settings, deal(settings, data, seed, n), costs(settings, "linear", seed, n), seed)
    offers = {client: Keep(settings.warm_amount) for client in range(n)}
    streams = tuple((1, shuffle) for shuffle in range(settings.noise_shuffles))
    task = TrainTask(warm(settings, clients), offers, streams)
    played = play(FedBRShap(search=None), clients, task)
    return played.game.coalition_scores(played.scores).mean(axis=0)


def _drawn(
    settings: Settings, table: Array, exact: PerAgent, sampler: Sampler, budget: int, rng: np.random.Generator
) -> dict[str, Any] | None:
    """A sampler's errors over its draws; None where the budget is too small for it."""
    errors, said, correlations, evaluations = [], [], [], []
    for _ in range(settings.draws):
        try:
            shares, standard_errors, used = sampler(table, budget, rng)
        except _TooFew:
            return None
        errors.append(shares - exact)
        correlations.append(rank_correlation(shares, exact))
        evaluations.append(used)
        if standard_errors is not None:
            said.append(standard_errors)
    size = _root_mean_square(exact)
    return {
        "evaluations": float(np.mean(evaluations)),
        "error": _root_mean_square(np.array(errors)) / size,
        "bias": _root_mean_square(np.mean(errors, axis=0)) / size,
        "error it says": _root_mean_square(np.array(said)) / size if said else None,
        "rank correlation": float(np.mean(correlations)),
    }


class _TooFew(ValueError):
    """Fewer evaluations than a sampler can do with."""


def _regression(table: Array, budget: int, rng: np.random.Generator) -> tuple[PerAgent, PerAgent | None, int]:
    n = len(table).bit_length() - 1
    try:
        plan = sampling_plan(n, budget, rng)
    except ValueError as error:
        raise _TooFew(str(error)) from error
    found = plan.estimate(table[plan.members @ (1 << np.arange(n))])
    return found.values, found.standard_errors, plan.evaluations


def _permutations(table: Array, budget: int, rng: np.random.Generator) -> tuple[PerAgent, PerAgent | None, int]:
    found = permutations(table, budget, rng)
    return found.shares, None, found.evaluations


def _gtg(table: Array, budget: int, rng: np.random.Generator) -> tuple[PerAgent, PerAgent | None, int]:
    found = gtg_round(table, rng, most=budget)
    return found.shares, None, found.evaluations


SAMPLERS: Mapping[str, Sampler] = {
    "paired regression": _regression,
    "permutations": _permutations,
    "truncated permutations": _gtg,
}


def _root_mean_square(array: Array) -> float:
    return float(np.sqrt((array**2).mean()))


def _summary(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each number of players, budget and sampler, over seeds."""
    rows = []
    for n in sorted({case["players"] for case in cases}):
        each = [case for case in cases if case["players"] == n]
        shuffle = spread([case["noise of one shuffle"] for case in each])
        rows.append({"players": n, "sampler": "all coalitions", "evaluations": 2**n, "noise of one shuffle": shuffle})
        for place, row in enumerate(each[0]["rows"]):
            same = [case["rows"][place] for case in each]
            columns = {
                name: spread([one[name] for one in same])
                for name in ("error", "bias", "error it says", "evaluations", "rank correlation")
                if row[name] is not None
            }
            rows.append({"players": n, "sampler": row["sampler"], "budget": row["budget"]} | columns)
    return rows
