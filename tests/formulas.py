"""Clients without data: what they train and score is a formula, so that shares can be worked out by other means."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np

import fedshap as fs
from fedshap.federated.choices import choose, further_amounts
from fedshap.federated.exchange import Description, Refusal, ScoreTask, Trained, TrainTask, mixtures


class Formula:
    """Client i trains ``theta + a e_i``, a little more or less on each shuffle; j scores how far a model has come.

    ``score_j = 0.9 (1 - exp(-(W (theta - start))_j))``, where ``start`` is the model of the round: every round is the
    same game. ``noise`` is the spread over shuffles.
    """

    def __init__(
        self, n: int, *, noise: float = 0.0, rates: Sequence[float] | None = None, capacity: float = 20.0
    ) -> None:
        self.weights = np.zeros(n)
        self.worth = np.random.default_rng(n).uniform(0.0, 0.2, (n, n)) + 0.1 * np.eye(n)
        self.noise = noise
        self.capacity = capacity
        rates = np.linspace(0.01, 0.03, n) if rates is None else np.asarray(rates)
        self.costs = [fs.LinearCost([rate]) for rate in rates]

    @property
    def descriptions(self) -> list[Description | Refusal]:
        return [Description(self.capacity, 100, len(self.weights), f"client {i}") for i in range(len(self.costs))]

    def train(self, task: TrainTask) -> Mapping[int, Trained | Refusal]:
        return {client: self.train_one(client, task) for client in task.offers}

    def train_one(self, client: int, task: TrainTask) -> Trained:
        decision, amount = choose(task.offers[client], self.costs[client], self.capacity)
        amounts = np.array([amount, *further_amounts(amount, task, self.capacity)])
        models = np.tile(task.weights, (len(task.streams), len(amounts), 1))
        for k, stream in enumerate(task.streams):
            luck = np.random.default_rng((client, *stream)).normal()
            models[k, :, client] += amounts * max(1.0 + self.noise * luck, 0.0)
        return Trained(amounts, models, decision)

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Any]:
        return {client: self.score_one(client, task) for client in who}

    def score_one(self, client: int, task: ScoreTask) -> Any:
        found = [self.true_score(client, model - task.weights) for model in mixtures(task)]
        return np.array(found).reshape(len(task.models), len(task.mixing))

    def true_score(self, client: int, come: np.ndarray) -> float:
        return float(0.9 * (1.0 - np.exp(-self.worth[client] @ come)))

    def mean(self, members: Sequence[int], amounts: np.ndarray, average: str) -> np.ndarray:
        """How far the mean of some members' models has come, from the rule in words."""
        if average == "participants":
            members = [i for i in members if amounts[i] > 0.0]
        come = np.zeros(len(self.weights))
        share = {i: amounts[i] if average == "samples" else 1.0 for i in members}
        total = sum(share.values())
        for i in members:
            if total:
                come[i] = share[i] * amounts[i] / total
        return come


def brute_shapley(value: Callable[[frozenset[int]], float], n: int) -> np.ndarray:
    """Mean marginal contribution over all orders of arrival."""
    found, orders = np.zeros(n), list(permutations(range(n)))
    for order in orders:
        for k, player in enumerate(order):
            found[player] += value(frozenset(order[: k + 1])) - value(frozenset(order[:k]))
    return found / len(orders)


def brute_owed(clients: Formula, amounts: np.ndarray, average: str = "participants") -> np.ndarray:
    """``Phi`` of a round in which all give ``amounts``, shape (n, n), without noise."""
    n = len(amounts)

    def column(scorer: int) -> np.ndarray:
        return brute_shapley(lambda X: clients.true_score(scorer, clients.mean(sorted(X), amounts, average)), n)

    return np.array([column(scorer) for scorer in range(n)]).T
