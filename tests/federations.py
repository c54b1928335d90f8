"""Clients without torch: softmax regression in numpy, each with data of her own; and what can go wrong with them.

Beside the tests, processes of Flower import this file: copied into an app's folder it is the app's.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

import fedshap as fs
from fedshap.federated.choices import check_cost, choose, further_amounts
from fedshap.federated.exchange import Description, ScoreTask, Trained, TrainTask, mixtures

BATCH, FEATURES, CLASSES, ROWS, TESTS = 8, 5, 3, 80, 40
N_WEIGHTS = (FEATURES + 1) * CLASSES


class LightClient:
    """Like `fedshap.federated.Client`, with a softmax regression on drawn rows; ``mishap`` happens in its round."""

    def __init__(self, number: int, cost: fs.Cost | None = None, seed: int = 0, mishap: str = "", size: int = 0):
        rng = np.random.default_rng((seed, number))
        centres = np.random.default_rng(seed).normal(size=(CLASSES, FEATURES))
        centres = centres + 0.5 * rng.normal(size=centres.shape)
        labels = rng.integers(CLASSES, size=ROWS + TESTS)
        inputs = np.column_stack([centres[labels] + rng.normal(size=(ROWS + TESTS, FEATURES)), np.ones(ROWS + TESTS)])
        self.number, self.mishap = number, mishap
        self.capacity = ROWS / BATCH
        self.cost = check_cost(cost or fs.LinearCost([0.002 * (number + 1)]), self.capacity, f"client {number}")
        self.inputs, self.labels = inputs[:ROWS], labels[:ROWS]
        self.tests, self.truth = inputs[ROWS:], labels[ROWS:]
        self.seed = seed
        self.weights = 0.01 * np.random.default_rng(seed).normal(size=N_WEIGHTS + size)

    @property
    def description(self) -> Description:
        return Description(self.capacity, TESTS, len(self.weights), f"client {self.number}")

    def train(self, task: TrainTask) -> Trained:
        decision, amount = choose(task.offers[self.number], self.cost, self.capacity)
        amounts = np.array([amount, *further_amounts(amount, task, self.capacity)])
        models = np.array([[self._trained(task.weights, stream, a) for a in amounts] for stream in task.streams])
        models = models.reshape(len(task.streams), len(amounts), len(task.weights))
        if task.streams:
            models = self._mishap(task.streams[0], models)
        return Trained(amounts, models, decision)

    def score(self, task: ScoreTask) -> np.ndarray:
        found = [(self._logits(self.tests, w).argmax(1) == self.truth).mean() for w in mixtures(task)]
        return np.array(found).reshape(len(task.models), len(task.mixing))

    def _trained(self, weights: np.ndarray, stream: tuple[int, ...], amount: float) -> np.ndarray:
        order = np.random.default_rng((self.seed, self.number, *stream)).permutation(ROWS)
        weights = weights.copy()
        counts = np.clip(amount * BATCH - np.arange(ROWS), 0.0, 1.0)
        for first in range(0, int(np.ceil(amount)) * BATCH, BATCH):
            rows, count = order[first : first + BATCH], counts[first : first + BATCH]
            logits = self._logits(self.inputs[rows], weights)
            chances = np.exp(logits - logits.max(1, keepdims=True))
            chances /= chances.sum(1, keepdims=True)
            chances[np.arange(len(rows)), self.labels[rows]] -= 1.0
            weights -= 0.3 / BATCH * (self.inputs[rows].T @ (chances * count[:, None])).ravel()
        return weights

    @staticmethod
    def _logits(inputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return inputs @ weights[:N_WEIGHTS].reshape(FEATURES + 1, CLASSES)

    def _mishap(self, stream: tuple[int, ...], models: np.ndarray) -> np.ndarray:
        """What goes wrong this round: ``ROUND:CLIENT:WHAT`` for each, with blanks between them."""
        for each in self.mishap.split():
            round_, client, what = each.split(":", 2)
            if len(stream) == 3 or (int(round_), int(client)) != (stream[0] + 1, self.number):
                continue
            if what == "raises":
                raise ValueError("the scanner is broken")
            if what == "nan":
                models[..., 0] = np.nan
            elif what == "shape":
                models = models[..., 1:]
            elif what.startswith("slow"):
                time.sleep(float(what.removeprefix("slow")))
            elif what.startswith("marks"):  # tells whoever waits for it, and leaves some time
                Path(what.removeprefix("marks")).touch()
                time.sleep(60.0)
        return models


def make_client(number: int, options: dict) -> LightClient:
    size = 1 if str(number) in str(options.get("wider", "")).split() else 0
    rates = [float(each) for each in str(options.get("rates", "")).split()]
    cost = fs.LinearCost([rates[number]]) if rates else None
    if str(number) in str(options.get("concave", "")).split():
        cost = fs.CustomCost(lambda s: np.sqrt(s + 1.0), 1)
    return LightClient(number, cost, int(options["seed"]), str(options.get("mishap", "")), size)


def make_rules(options: dict):
    from fedshap.federated import FedBRShap, Search

    search = Search(levels=(0.0, 4.0), shuffles=4) if options.get("search") else None
    quorum = options.get("quorum") or None
    return FedBRShap(stage=int(options["stage"]), start=2.0, step=50.0, search=search, quorum=quorum)
