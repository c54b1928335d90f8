"""What does it cost? Seconds and bytes of a round against the number of clients, beside plain federated averaging.

In process, each client on her own, one after the other, on one thread: a federation of n machines trains and scores in
an n-th of the time. Seconds are the processor's, so that other work on the machine counts little. Bytes are those of
the arrays that cross between server and clients. Rows for Flower are left open: they are measured where processes run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fedshap._types import Array
from fedshap.federated.clients import LocalClients
from fedshap.federated.datasets import Dataset, Federation
from fedshap.federated.estimators import Secant, TwoModels
from fedshap.federated.exchange import Keep, Refusal, ScoreTask, Trained, TrainTask
from fedshap.federated.protocol import FedBRShap
from fedshap.federated.rounds import play
from fedshap.federated.study.parties import costs, deal, training
from fedshap.federated.study.settings import Settings
from fedshap.federated.study.units import Units
from fedshap.federated.training import train

_REPETITIONS = 3
_OFFSETS: Mapping[str, tuple[float, ...]] = {
    "shares": (),
    "shares and two models": TwoModels().offsets,
    "shares and a secant": Secant().offsets,
}


class Metered:
    """Clients whose seconds and bytes are counted."""

    def __init__(self, clients: LocalClients) -> None:
        self._clients = clients
        self.seconds = {"train": 0.0, "score": 0.0}
        self.bytes = {"to clients": 0, "to the server": 0}

    @property
    def weights(self) -> Array:
        """Initial weights of the network."""
        return self._clients.weights

    @property
    def descriptions(self) -> Sequence[Any]:
        """What each says of herself."""
        return self._clients.descriptions

    def train(self, task: TrainTask) -> Mapping[int, Trained | Refusal]:
        """Local models of those who are asked."""
        start = time.process_time()
        answers = self._clients.train(task)
        self.seconds["train"] += time.process_time() - start
        self.bytes["to clients"] += len(task.offers) * task.weights.nbytes
        self.bytes["to the server"] += sum(
            answer.amounts.nbytes + answer.models.nbytes for answer in answers.values() if isinstance(answer, Trained)
        )
        return answers

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Array | Refusal]:
        """Scores by some of them."""
        start = time.process_time()
        answers = self._clients.score(task, who)
        self.seconds["score"] += time.process_time() - start
        self.bytes["to clients"] += len(who) * (task.weights.nbytes + task.models.nbytes + task.mixing.nbytes)
        self.bytes["to the server"] += sum(each.nbytes for each in answers.values() if isinstance(each, np.ndarray))
        return answers


def expense(settings: Settings, data: Dataset, seeds: int, units: Units) -> dict[str, Any]:
    """The question's answers; they need no seeds but one."""
    rows = [units.unit(f"{n}", lambda n=n: {"rows": _rows(settings, data, n)})["rows"] for n in settings.sizes]
    return {"summary": [row for each in rows for row in each]}


def _rows(settings: Settings, data: Dataset, n: int) -> list[dict[str, Any]]:
    federation = deal(settings, data, 0, n)
    plain = _plain(settings, federation)
    rows = [{"clients": n, "where": "in process", "what": "plain averaging"} | plain]
    for what, offsets in _OFFSETS.items():
        row = _round(settings, federation, offsets)
        row["times plain averaging"] = row["seconds"] / plain["seconds"]
        rows.append({"clients": n, "where": "in process", "what": what} | row)
    return [*rows, {"clients": n, "where": "on Flower", "what": "shares and a secant", "seconds": None}]


def _plain(settings: Settings, federation: Federation) -> dict[str, Any]:
    """A round of plain averaging: what six rounds take beyond one, a fifth of it."""
    n = federation.n_clients
    amounts = np.full(n, settings.warm_amount)

    def seconds(rounds: int) -> float:
        start = time.process_time()
        train(
            federation,
            amounts,
            rounds=rounds,
            batch_size=settings.batch_size,
            learning_rate=settings.learning_rate,
            model=settings.model,
            dtype=settings.dtype,
            progress=False,
        )
        return time.process_time() - start

    taken = [(seconds(6) - seconds(1)) / 5.0 for _ in range(_REPETITIONS)]
    size = LocalClients(federation, costs(settings, "linear", 0, n), training(settings, 0)).weights.nbytes
    return {"seconds": float(np.median(taken)), "bytes to clients": n * size, "bytes to the server": n * size}


def _round(settings: Settings, federation: Federation, offsets: tuple[float, ...]) -> dict[str, Any]:
    n = federation.n_clients
    clients = LocalClients(federation, costs(settings, "linear", 0, n), training(settings, 0))
    offers = {client: Keep(settings.warm_amount) for client in range(n)}
    found = []
    for number in range(1, (_REPETITIONS if n < 8 else 1) + 1):
        metered = Metered(clients)
        start = time.process_time()
        played = play(FedBRShap(search=None), metered, TrainTask(clients.weights, offers, ((number,),), offsets))
        played.game.own_shares(played.scores.sum(axis=0))
        found.append((time.process_time() - start, metered.seconds, metered.bytes, len(played.task.mixing)))
    seconds, parts, size, mixtures = sorted(found, key=lambda each: each[0])[len(found) // 2]
    return {
        "seconds": seconds,
        "seconds of training": parts["train"],
        "seconds of scoring": parts["score"],
        "mixtures": mixtures,
        "bytes to clients": size["to clients"],
        "bytes to the server": size["to the server"],
    }
