r"""Does it see who contributes? Measures of contribution against the training of every coalition by itself.

The truth is the Shapley value of what all clients together gain where each of the 2^n coalitions trains as a federation
of its own for as many rounds, averaged over shuffles. The measures see one training of all, as in practice:

- ours: Shapley shares of each round, from mixtures of local models, added up;
- GTG-Shapley: truncated between rounds and within them, see `samplers`; and FedML's own, see `peers`;
- leave-one-out: what a round's model loses without a client, added up;
- the cosine of a client's update to the mean update, added up;
- the batches that a client gave.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedshap._coalitions import semivalues, shapley_weights
from fedshap._types import Array, PerAgent
from fedshap.costs import LinearCost
from fedshap.federated.clients import Client
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.exchange import ScoreTask
from fedshap.federated.rounds import Played
from fedshap.federated.study import peers
from fedshap.federated.study.parties import (
    Amplifier,
    FreeRider,
    Party,
    deal,
    flipped,
    member,
    played_rounds,
    retrained,
)
from fedshap.federated.study.samplers import gtg
from fedshap.federated.study.settings import Settings
from fedshap.federated.study.summaries import paired, rank_correlation, ranks, spread
from fedshap.federated.study.units import Units

SCENES = ("honest", "free rider", "label flipper", "duplicated data", "amplifier")
"""In each but the first, client 0 is as named; where data are duplicated, client 1 has those of client 0."""

_AMOUNTS, _DRAW = 10, 11  # what a seed is drawn for
_FREE_OF_SCALE = ("cosine", "batches", "FedML's GTG-Shapley")  # scaled to the truth's total before errors are taken


def contributions(settings: Settings, data: Dataset, seeds: int, units: Units) -> dict[str, Any]:
    """The question's answers."""
    cases = [
        units.unit(f"{scene.replace(' ', '-')}-{seed}", lambda s=seed, scene=scene: _case(settings, data, scene, s))
        for scene in SCENES
        for seed in range(seeds)
    ]
    return {"peer": {"FedML": peers.version()}, "summary": _summary(cases), "cases": cases}


def _case(settings: Settings, data: Dataset, scene: str, seed: int) -> dict[str, Any]:
    n = len(settings.amounts)
    amounts = np.random.default_rng((seed, _AMOUNTS)).permutation(settings.amounts)
    clients = cast(settings, deal(settings, data, seed, n), scene, seed)
    shuffles = np.array([_truth(settings, clients, amounts, k) for k in range(1, settings.truth_shuffles + 1)])
    truth = shuffles.mean(axis=0)
    played = list(played_rounds(clients, amounts, settings.contribution_rounds, clients.weights))
    found, evaluations = _measures(played, seed)
    return {
        "scene": scene,
        "seed": seed,
        "amounts": played[0].game.amounts[:, 0].tolist(),
        "truth": truth.tolist(),
        "truth's standard errors": (shuffles.std(axis=0, ddof=1) / np.sqrt(len(shuffles))).tolist(),
        "truth against itself": _split_half(shuffles),
        "evaluations": evaluations,
        "measures": {name: None if each is None else each.tolist() for name, each in found.items()},
        "judged": {name: None if each is None else _judged(name, each, truth) for name, each in found.items()},
    }


def cast(settings: Settings, federation: Federation, scene: str, seed: int) -> Party:
    """The clients of a scene."""
    train = list(federation.train)
    if scene == "label flipper":
        train[0] = flipped(train[0])
    if scene == "duplicated data":
        train[1] = train[0]
    kinds: dict[str, type[Client]] = {"free rider": FreeRider, "amplifier": Amplifier}
    kind = [kinds.get(scene, Client), *[Client] * (len(train) - 1)]
    cost = LinearCost([0.0])
    return Party([member(settings, train[i], federation.test[i], cost, i, seed, kind[i]) for i in range(len(train))])


def _truth(settings: Settings, clients: Party, amounts: PerAgent, shuffle: int) -> PerAgent:
    """Shapley values of what everybody gains, every coalition trained as a federation of its own."""
    n = len(amounts)
    members = [[i for i in range(n) if mask >> i & 1] for mask in range(1 << n)]
    models = np.array([retrained(clients, amounts, settings.contribution_rounds, each, shuffle) for each in members])
    scores = clients.score(ScoreTask(clients.weights, models[None], np.eye(len(models))), range(n))
    return semivalues(np.sum([np.asarray(each)[0] for each in scores.values()], axis=0), shapley_weights(n))


def _measures(played: list[Played], seed: int) -> tuple[dict[str, PerAgent | None], dict[str, int]]:
    n, rng = len(played[0].players), np.random.default_rng((seed, _DRAW))
    sums = [each.game.coalition_scores(each.scores)[:, 0].sum(axis=0) for each in played]  # (2^n,) each
    whole = (1 << n) - 1
    without = [whole ^ 1 << i for i in range(n)]
    means = [each / n for each in sums]
    ours, truncated, peer = (
        np.sum([each.game.shares(each.scores[:, 0])[0].sum(axis=0) for each in played], axis=0),
        gtg(means, rng),
        peers.fedml_gtg(means, seed),
    )
    found: dict[str, PerAgent | None] = {
        "ours": ours,
        "GTG-Shapley": n * truncated.shares,
        "FedML's GTG-Shapley": None if peer is None else peer[0],
        "leave-one-out": np.sum([each[whole] - each[without] for each in sums], axis=0),
        "cosine": np.sum([_cosines(each) for each in played], axis=0),
        "batches": np.sum([each.game.amounts[:, 0] for each in played], axis=0),
    }
    scored = len(played) * (1 << n)
    counts = {"ours": scored, "GTG-Shapley": truncated.evaluations, "leave-one-out": len(played) * (n + 2)}
    return found, counts | ({} if peer is None else {"FedML's GTG-Shapley": peer[1]})


def _cosines(played: Played) -> PerAgent:
    """Of each client's update to the mean update of those who trained; 0 for one who trained nothing."""
    updates = played.task.models[0] - played.task.weights
    mean = updates[played.game.amounts[:, 0] > 0.0].mean(axis=0)
    sizes = np.linalg.norm(updates, axis=1) * np.linalg.norm(mean)
    return np.divide(updates @ mean, sizes, out=np.zeros(len(updates)), where=sizes > 0.0)


def _judged(name: str, measure: PerAgent, truth: PerAgent) -> dict[str, float]:
    scaled = measure * truth.sum() / measure.sum() if name in _FREE_OF_SCALE else measure
    return {
        "rank correlation": rank_correlation(measure, truth),
        "error": float(np.linalg.norm(scaled - truth) / np.linalg.norm(truth)),
        "rank of client 0": float(ranks(measure)[0]),
        "client 0": float(scaled[0]),
    }


def _split_half(shuffles: Array) -> float:
    """Rank correlation of the truth on one half of the shuffles with that on the other: what noise leaves to be had."""
    half = len(shuffles) // 2
    return rank_correlation(shuffles[:half].mean(axis=0), shuffles[half:].mean(axis=0))


def _summary(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each scene and measure, over seeds; differences of rank correlations are to ours, seed by seed."""
    rows = []
    for scene in SCENES:
        same = [case for case in cases if case["scene"] == scene]
        true_rank = [float(ranks(case["truth"])[0]) for case in same]
        rows.append(
            {
                "scene": scene,
                "measure": "truth, one half against the other",
                "rank correlation": spread([case["truth against itself"] for case in same]),
                "rank of client 0": spread(true_rank),
                "client 0": spread([case["truth"][0] for case in same]),
            }
        )
        for name in same[0]["judged"]:
            rows.append({"scene": scene, "measure": name} | _row(same, name))
    return rows


def _row(same: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    known = [case for case in same if case["judged"][name] is not None]
    if not known:
        return {"seeds": 0}
    columns = {column: spread([case["judged"][name][column] for case in known]) for column in known[0]["judged"][name]}
    for column in ("rank correlation", "error"):
        difference = paired(*([case["judged"][which][column] for case in known] for which in (name, "ours")))
        columns[f"{column} less ours"] = difference
    last = [case["judged"][name]["rank of client 0"] == 1.0 for case in known]
    return {"seeds": len(known), "client 0 last": float(np.mean(last))} | columns
