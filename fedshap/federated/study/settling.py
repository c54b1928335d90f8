r"""Does s settle, and where? What clients would gain by giving something else, where each estimator leads them.

One round's game is played over and over, each time on a fresh shuffle, from a model that some rounds of plain
averaging have made; and, to compare, while the model trains. A profile is judged by retraining at deviations on
shuffles that nothing else has seen: one half proposes an amount, the other half says what it gains. No estimator has a
part in that. Steps of Eq. (11) are chosen for each estimator, by the same measure, on seeds of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedshap._types import Array, PerAgent
from fedshap.costs import Cost
from fedshap.equilibrium import find_equilibrium
from fedshap.federated.choices import decide
from fedshap.federated.datasets import Dataset
from fedshap.federated.deviations import Search
from fedshap.federated.estimators import LocalFit, Secant, TwoModels
from fedshap.federated.exchange import Clients, Curve
from fedshap.federated.protocol import FedBRShap
from fedshap.federated.rounds import play
from fedshap.federated.states import State
from fedshap.federated.study.parties import Party, Standing, costs, deal, party, warm
from fedshap.federated.study.settings import TUNING, Settings
from fedshap.federated.study.summaries import paired, spread
from fedshap.federated.study.units import Units
from fedshap.game import Game
from fedshap.mechanisms import ShapleyPayment

_FRESH_ROUND = 10_000  # no protocol gets there
_TRAINING = ", while the model trains"
_EPSILON, _SPAN, _WINDOW = 0.125, 8.0, 5
_LAST = 10  # rounds over which it is asked whether amounts still move

RULES: Mapping[str, Callable[[Settings, float], FedBRShap]] = {
    "two models": lambda settings, step: _ours(settings, step, TwoModels(_EPSILON)),
    "as printed": lambda settings, step: FedBRShap.as_printed(epsilon=_EPSILON, step=step, stage=settings.stage),
    "secant": lambda settings, step: _ours(settings, step, Secant(_SPAN)),
    "local fit": lambda settings, step: _ours(settings, step, LocalFit(_WINDOW)),
}
"""The protocol with each estimator, by its step."""


@dataclass(frozen=True)
class Table:
    """Who plays: clients of one seed, their costs, and the game that is played over and over."""

    settings: Settings
    clients: Party
    standing: Standing
    cost: Cost

    @classmethod
    def of(cls, settings: Settings, data: Dataset, kind: str, seed: int) -> Table:
        """For a kind of costs and a seed."""
        cost = costs(settings, kind, seed, settings.clients)
        clients = party(settings, deal(settings, data, seed, settings.clients), cost, seed)
        return cls(settings, clients, Standing(clients, warm(settings, clients)), cost)


def settling(settings: Settings, data: Dataset, seeds: int, units: Units) -> dict[str, Any]:
    """The question's answers: tuning, every ending on every seed, and their summary."""
    tuned = {kind: _tuned(settings, data, kind, units) for kind in settings.kinds}
    cases = [
        units.unit(f"{kind}-{seed}", lambda k=kind, s=seed: _case(settings, data, k, s, tuned[k]["steps"]))
        for kind in settings.kinds
        for seed in range(seeds)
    ]
    return {"tuning": tuned, "summary": _summary(cases), "cases": cases}


def _tuned(settings: Settings, data: Dataset, kind: str, units: Units) -> dict[str, Any]:
    """The step of each estimator under which its end leaves least to be gained, on tuning seeds."""
    each = [
        units.unit(f"tuning-{kind}-{seed}", lambda s=seed: _tuning_case(settings, data, kind, s))
        for seed in range(TUNING, TUNING + settings.tuning_seeds)
    ]
    gains = {
        name: {str(step): float(np.mean([case[name][str(step)] for case in each])) for step in settings.steps}
        for name in RULES
    }
    steps = {name: float(min(found, key=lambda step: found[step])) for name, found in gains.items()}
    return {"mean gains": gains, "steps": steps}


def _tuning_case(settings: Settings, data: Dataset, kind: str, seed: int) -> dict[str, Any]:
    table = Table.of(settings, data, kind, seed)
    found: dict[str, Any] = {}
    for name, rules in RULES.items():
        found[name] = {}
        for step in settings.steps:
            _, state = _walk(rules(settings, step), table.standing, settings.rounds)
            judged = judge(table, rules(settings, step), table.standing, state.amounts, settings.tuning_shuffles)
            found[name][str(step)] = float(np.mean(judged["gains"]))
    return found


def _case(settings: Settings, data: Dataset, kind: str, seed: int, steps: Mapping[str, float]) -> dict[str, Any]:
    """All endings of one seed, judged on the same fresh shuffles."""
    table = Table.of(settings, data, kind, seed)
    plain, standing = _ours(settings, 1.0, TwoModels()), table.standing
    endings = {"nobody moves": judge(table, plain, standing, np.full(settings.clients, settings.start))}
    for name, rules in RULES.items():
        path, state = _walk(rules(settings, steps[name]), standing, settings.rounds)
        endings[name] = judge(table, rules(settings, steps[name]), standing, state.amounts) | _walked(table, path)
        if name == "local fit":
            fitted = _fitted_equilibrium(table, state)
            endings["the fitted game's equilibrium"] = judge(table, plain, standing, fitted)
    search = Search(settings.levels, settings.search_shuffles)
    for name, estimator in (("secant", Secant(_SPAN)), ("local fit", LocalFit(_WINDOW))):
        path, state = _walk(_ours(settings, steps[name], estimator, search), standing, settings.rounds)
        endings[f"{name} and global search"] = judge(table, plain, standing, state.amounts) | _walked(table, path)
    if kind == "linear" and settings.while_training:
        for name, rules in RULES.items():
            path, state = _walk(rules(settings, steps[name]), table.clients, settings.rounds)
            at = Standing(table.clients, state.weights)
            judged = judge(table, rules(settings, steps[name]), at, state.amounts)
            endings[f"{name}{_TRAINING}"] = judged | _walked(table, path)
    return {"costs": kind, "seed": seed, "rates": table.cost.derivatives(_half(settings)).tolist(), "endings": endings}


def judge(
    table: Table, rules: FedBRShap, clients: Clients, amounts: PerAgent, shuffles: int | None = None
) -> dict[str, Any]:
    """What each client would gain by another amount, by retraining on fresh shuffles; and what a round brings."""
    search = Search(table.settings.levels, table.settings.shuffles if shuffles is None else shuffles)
    task = search.task(clients.weights, amounts, _FRESH_ROUND)
    played = play(rules, clients, task)
    shares = played.game.own_shares(played.scores.sum(axis=0))
    decisions = [
        decide(Curve(played.trained[i].amounts, shares[:, i], search.level), member.cost)
        for i, member in enumerate(table.clients.members)
    ]
    curves = shares.mean(axis=0)
    gained = played.game.surplus(played.scores).sum(axis=0)
    return {
        "amounts": amounts.tolist(),
        "gains": [each.gain for each in decisions],
        "standard errors": [each.standard_error for each in decisions],
        "bounds": [each.bound for each in decisions],
        "better amounts": [each.amount for each in decisions],
        "shares": curves[:, 0].tolist(),
        "shares at levels": curves[:, 1:].tolist(),
        "scores gained": float(gained.mean()),
        "welfare": float(gained.mean() - table.cost.values(amounts).sum()),
    }


def _walk(rules: FedBRShap, clients: Clients, rounds: int) -> tuple[Array, State]:
    """Amounts of each round, shape (rounds, n), and where the protocol ends."""
    path, state = [], None
    for line, state in rules.steps(clients, rounds):  # noqa: B007 (the last one is wanted)
        if "payments" not in line:
            path.append(line["amounts"])
    assert state is not None
    return np.array(path), state


def _walked(table: Table, path: Array) -> dict[str, Any]:
    """Whether amounts settle: how long they lie at a bound, and how far they still move."""
    at_zero, at_cap = path[1:] == 0.0, path[1:] == [member.capacity for member in table.clients.members]
    last = path[-_LAST:]
    return {
        "path": path.round(4).tolist(),
        "time at 0": float(at_zero.mean()),
        "time at the capacity": float(at_cap.mean()),
        "move a round": float(np.abs(np.diff(last, axis=0)).mean()),
    }


def _fitted_equilibrium(table: Table, state: State) -> PerAgent:
    """The exact equilibrium of the game fitted to the last rounds, with the true costs."""
    payoff = LocalFit(_WINDOW).payoff(state.observations)
    game = Game(payoff, table.cost, capacity=[member.capacity for member in table.clients.members])
    return find_equilibrium(game, ShapleyPayment()).contributions


def _ours(
    settings: Settings, step: float, estimator: TwoModels | Secant | LocalFit, search: Search | None = None
) -> FedBRShap:
    return FedBRShap(estimator=estimator, step=step, stage=settings.stage, start=settings.start, search=search)


def _half(settings: Settings) -> PerAgent:
    return np.full(settings.clients, settings.capacity / 2.0)


def _summary(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each kind of costs and ending, over seeds; differences are taken seed by seed."""
    rows = []
    for kind in dict.fromkeys(case["costs"] for case in cases):
        endings = [case["endings"] for case in cases if case["costs"] == kind]
        for name in endings[0]:
            each = [ending[name] for ending in endings]
            means = [float(np.mean(one["gains"])) for one in each]
            control, printed = (
                [float(np.mean(ending[other]["gains"])) for ending in endings]
                for other in ("nobody moves", f"as printed{_TRAINING}" if name.endswith(_TRAINING) else "as printed")
            )
            row: dict[str, Any] = {
                "costs": kind,
                "ending": name,
                "mean gain": spread(means),
                "mean gain told from 0": _told_from_0(spread(means)),
                "largest gain": spread([max(one["gains"]) for one in each]),
                "largest bound": spread([max(one["bounds"]) for one in each]),
                "clients who gain more than two standard errors": float(
                    np.mean([g > 2.0 * e > 0.0 for one in each for g, e in _pairs(one)])
                ),
                "mean gain less that where nobody moves": paired(means, control),
                "mean gain less that of Algorithm 1 as printed": paired(means, printed),
                "amounts": spread([float(np.mean(one["amounts"])) for one in each]),
                "welfare": spread([one["welfare"] for one in each]),
            }
            for column in ("time at 0", "time at the capacity", "move a round"):
                row[column] = spread([one[column] for one in each]) if column in each[0] else None
            rows.append(row)
    return rows


def _told_from_0(gain: Mapping[str, float | None]) -> bool | None:
    """Whether its 95 % interval lies above 0; not known from one seed."""
    mean, half = gain["mean"], gain["half-width"]
    return None if mean is None or half is None else mean > half


def _pairs(one: Mapping[str, Any]) -> list[tuple[float, float]]:
    return list(zip(one["gains"], one["standard errors"], strict=True))
