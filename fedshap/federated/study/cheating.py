r"""Who can cheat? What a client gains by each lie, under each payment, and what the audit sees of it.

Everybody keeps to the same amount, so that reports change payments alone: all lies are told of the same rounds, by
every client in turn, and each is compared with the truth on the same stage. Test inputs and public ones come from one
pool for each group; dividing it again and again among clients and audit says how often the audit errs where all are
honest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedshap._types import Array, PerAgent
from fedshap.federated.audit import Audit, Verdict
from fedshap.federated.backends import as_tensors
from fedshap.federated.clients import score_inputs
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.rounds import transfers
from fedshap.federated.study.lies import LIES, Lie, coefficients, owed_by
from fedshap.federated.study.parties import costs, deal, party, played_rounds, training
from fedshap.federated.study.settings import Settings
from fedshap.federated.study.summaries import spread
from fedshap.federated.study.units import Units

_SPLIT = 12  # what a seed is drawn for


def cheating(settings: Settings, data: Dataset, seeds: int, units: Units) -> dict[str, Any]:
    """The question's answers."""
    cases = [units.unit(f"{seed}", lambda s=seed: _case(settings, data, s)) for seed in range(seeds)]
    return {
        "lies": _lies_summary(settings, cases),
        "audit of honest stages": _honest_summary(settings, cases),
        "cases": cases,
    }


@dataclass(frozen=True)
class Split:
    """A division of the pools: scores that follow from it for each stage."""

    scores: Array  # (stages, W, n, 2^n), each client's on her own test inputs
    public: list[list[Array]]  # for each stage and group, shares on each public input, summed over it: (m, n)
    tests: PerAgent  # (n,)


def _case(settings: Settings, data: Dataset, seed: int) -> dict[str, Any]:
    n = settings.cheating_clients
    federation = deal(settings, data, seed, n, settings.cheating_test_fraction)
    stages = _outcomes(settings, federation, seed)
    rng, largest = np.random.default_rng((seed, _SPLIT)), max(settings.public)
    splits = [_split(stages, federation, largest, rng) for _ in range(settings.splits)]
    public = list(federation.test[: federation.n_groups])  # stands for inputs that are told apart in each split
    audit = Audit(public, federation.groups, training(settings, seed))
    return {
        "seed": seed,
        "tests": splits[0].tests.tolist(),
        "lies": {name: _told(settings, audit, splits[0], lie) for name, lie in LIES.items()},
        "honest": {str(m): _honest(audit, splits, m) for m in settings.public},
    }


def _outcomes(settings: Settings, federation: Federation, seed: int) -> list[list[Array]]:
    """Hits of every coalition on every input of each group's pool, for each stage and group: (W, N, 2^n)."""
    n, how = federation.n_clients, training(settings, seed)
    clients = party(settings, federation, costs(settings, "linear", seed, n), seed)
    model, config = how.build(federation.train[0]), how.config
    tests = [
        [as_tensors(federation.test[i], config) for i in np.flatnonzero(federation.groups == g).tolist()]
        for g in _groups(federation)
    ]
    amounts = np.full(n, settings.cheating_amount)
    rounds = []
    for played in played_rounds(clients, amounts, settings.cheating_rounds, clients.weights):
        parts = [
            np.concatenate([score_inputs(model, played.task, *each, how.score)[0] for each in members], axis=1).T
            for members in tests
        ]
        rounds.append([played.game.coalition_scores(part) for part in parts])
    last = range(settings.stage, len(rounds) + 1, settings.stage)
    return [[np.array(each) for each in zip(*rounds[end - settings.stage : end], strict=True)] for end in last]


def _split(stages: list[list[Array]], federation: Federation, public: int, rng: np.random.Generator) -> Split:
    """Divide each pool: public inputs first, the rest among the group's clients."""
    n = federation.n_clients
    coalitions = stages[0][0].shape[-1]
    shares = np.array([coefficients(n, player, "paper") for player in range(n)])  # (n, 2^n)
    scores = np.empty((len(stages), len(stages[0][0]), n, coalitions))
    inputs: list[list[Array]] = [[] for _ in stages]
    tests = np.empty(n)
    for group in _groups(federation):
        order = rng.permutation(stages[0][group].shape[1])
        members = np.flatnonzero(federation.groups == group)
        parts = np.array_split(order[public:], len(members))
        for member, part in zip(members, parts, strict=True):
            tests[member] = len(part)
            for stage, pools in enumerate(stages):
                scores[stage, :, member] = pools[group][:, part].mean(axis=1)
        for stage, pools in enumerate(stages):
            inputs[stage].append(pools[group][:, order[:public]].sum(axis=0) @ shares.T)
    return Split(scores, inputs, tests)


def _verdict(audit: Audit, split: Split, stage: int, owed: Array, m: int) -> Verdict:
    return audit.verdict(owed, [each[:m] for each in split.public[stage]], split.tests)


def _owed(scores: Array) -> Array:
    """``Phi`` of a stage, shape (n, n), from scores (W, n, 2^n)."""
    return np.array([owed_by(scores[:, client]) for client in range(scores.shape[1])]).T


def _told(settings: Settings, audit: Audit, split: Split, lie: Lie) -> list[dict[str, Any]]:
    """What each client in turn receives for a lie in each stage, and for the truth, by each rule."""
    rows = []
    for stage, scores in enumerate(split.scores):
        true = _owed(scores)
        for liar in range(scores.shape[1]):
            owed = true.copy()
            owed[:, liar] = owed_by(lie(scores[:, liar], liar))
            row = {
                "stage": stage,
                "liar": liar,
                "received": {
                    "paper": float(owed[liar].sum() - true[:, liar].sum()),
                    "bilateral": float(transfers(owed)[liar]),
                },
                "sum of the paper's payments": float(owed.sum() - true.sum()),
                "z": {},
                "alarm": {},
            }
            for m in settings.public:
                verdict = _verdict(audit, split, stage, owed, m)
                mended = owed.copy()
                mended[:, verdict.alarms] = verdict.audited[:, verdict.alarms]
                row["received"][f"audit, {m}"] = float(transfers(mended)[liar])
                row["z"][str(m)] = _finite(verdict.z[liar])
                row["alarm"][str(m)] = liar in verdict.alarms
            rows.append(row)
    return rows


def _honest(audit: Audit, splits: Sequence[Split], m: int) -> dict[str, Any]:
    """How often honest stages raise an alarm, and the largest z of each."""
    largest, alarms, limits = [], [], []
    for split in splits:
        for stage, scores in enumerate(split.scores):
            verdict = _verdict(audit, split, stage, _owed(scores), m)
            largest.append(verdict.z.max())
            alarms.append(bool(verdict.alarms))
            limits.append(float(verdict.limit.max()))
    known = [each for each in largest if np.isfinite(each)]
    return {
        "stages": len(alarms),
        "alarms": int(np.sum(alarms)),
        "infinite": len(largest) - len(known),
        "median z": float(np.median(known)),
        "largest z": float(np.max(known)),
        "limit": max(limits),
    }


def _groups(federation: Federation) -> range:
    return range(federation.n_groups)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _lies_summary(settings: Settings, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each lie: what it gains over the truth a round, over seeds, each the mean of all liars and stages."""
    rows = []
    for name in cases[0]["lies"]:
        row: dict[str, Any] = {"lie": name}
        for rule in cases[0]["lies"][name][0]["received"]:
            row[f"gain a round, {rule}"] = spread([_gain(settings, case, name, rule) for case in cases])
        deficits = [np.mean([one["sum of the paper's payments"] for one in case["lies"][name]]) for case in cases]
        row["deficit of the paper's payments a round"] = spread([float(each) / settings.stage for each in deficits])
        for m in map(str, settings.public):
            told = [case["lies"][name] for case in cases]
            row[f"caught, {m}"] = spread([float(np.mean([one["alarm"][m] for one in each])) for each in told])
            z = [one["z"][m] for each in told for one in each if one["z"][m] is not None]
            row[f"median z, {m}"] = float(np.median(z)) if z else None
            row[f"least z, {m}"] = float(np.min(z)) if z else None
        rows.append(row)
    return rows


def _gain(settings: Settings, case: Mapping[str, Any], name: str, rule: str) -> float:
    pairs = zip(case["lies"][name], case["lies"]["honest"], strict=True)
    return float(np.mean([lie["received"][rule] - true["received"][rule] for lie, true in pairs]) / settings.stage)


def _honest_summary(settings: Settings, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for m in map(str, settings.public):
        each = [case["honest"][m] for case in cases]
        rows.append(
            {
                "public inputs of each group": int(m),
                "promised": 0.01,
                "stages": sum(one["stages"] for one in each),
                "false alarms": spread([one["alarms"] / one["stages"] for one in each]),
                "infinite z": sum(one["infinite"] for one in each),
                "median z": spread([one["median z"] for one in each]),
                "largest z": max(one["largest z"] for one in each),
                "limit": spread([one["limit"] for one in each]),
            }
        )
    return rows
