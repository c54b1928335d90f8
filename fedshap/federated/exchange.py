"""What crosses between the server of FedBR-Shap and its clients, and what is refused of it.

The server makes two requests a round: *choose an amount and train* and *score these models*. Whatever carries them,
function calls or a network, is a `Clients` object. ``n`` clients, ``P`` weights of the network, ``K`` shuffles, ``k``
amounts per client, ``m`` mixtures of local models. Everything is numpy: the protocol trains nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fedshap._records import Record, short_repr
from fedshap._types import Array, PerAgent

Stream = tuple[int, ...]
"""Which shuffle: numbers that follow the seed and the client's own in the seed of her generator."""


@dataclass(frozen=True)
class Keep(Record):
    """Give what you gave.

    Attributes
    ----------
    amount : float
        Batches a round.
    """

    amount: float


@dataclass(frozen=True)
class Slope(Record):
    """Your marginal share, for one step of Eq. (11).

    Attributes
    ----------
    amount : float
        Batches a round that it was measured at.
    marginal : float
        By how much a further batch a round raises your Shapley share of a round.
    step : float
        Batches moved for each unit by which marginal share and marginal cost differ.
    """

    amount: float
    marginal: float
    step: float


@dataclass(frozen=True, eq=False, repr=False)
class Curve(Record):
    """Your share of a round at several amounts of your own, for a search that sees more than a slope.

    Attributes
    ----------
    amounts : ndarray
        Batches a round, shape (k,), the present amount first.
    shares : ndarray
        Your Shapley share at each, the others' amounts unchanged, for each of K shuffles, shape (K, k).
    level : float
        Confidence of the bound on your gain, in (0.5, 1).
    """

    amounts: Array
    shares: Array
    level: float


Offer = Keep | Slope | Curve
"""What the server tells a client before she chooses."""


@dataclass(frozen=True)
class Decision(Record):
    """What a client makes of a `Curve`; her cost stays with her.

    Attributes
    ----------
    amount : float
        Batches a round that she gives next.
    gain : float
        By how much her best other amount, chosen on one half of the shuffles, raised her utility on the other half.
    standard_error : float
        Of ``gain``.
    bound : float
        Upper confidence bound, at the level asked for, of what she could gain by any of the amounts.
    """

    amount: float
    gain: float
    standard_error: float
    bound: float


@dataclass(frozen=True, eq=False, repr=False)
class TrainTask(Record):
    """Choose an amount each, and train.

    Attributes
    ----------
    weights : ndarray
        Where training starts, shape (P,).
    offers : mapping
        From the number of each client that is asked to what she is told.
    streams : tuple
        One shuffle each; with none, clients choose and train nothing.
    offsets : tuple of float
        Further amounts, by their distance from the one chosen; see :func:`~fedshap.federated.choices.further_amounts`.
    levels : tuple of float
        Further amounts, as they are; one beyond what she has becomes all she has.
    """

    weights: Array
    offers: Mapping[int, Offer]
    streams: tuple[Stream, ...]
    offsets: tuple[float, ...] = ()
    levels: tuple[float, ...] = ()

    @property
    def n_amounts(self) -> int:
        """Amounts that each client trains, ``k``."""
        return 1 + len(self.offsets) + len(self.levels)

    def __repr__(self) -> str:
        return short_repr(self, {"offers": dict(self.offers), "streams": self.streams})


@dataclass(frozen=True, eq=False, repr=False)
class Trained(Record):
    """A client's answer to a `TrainTask`.

    Attributes
    ----------
    amounts : ndarray
        Batches a round, shape (k,): the one chosen, then those asked for.
    models : ndarray
        Her weights after each, shape (K, k, P).
    decision : Decision or None
        What she made of a `Curve`.
    """

    amounts: Array
    models: Array
    decision: Decision | None = None


@dataclass(frozen=True, eq=False, repr=False)
class ScoreTask(Record):
    """Score mixtures of local models on your own test inputs.

    Each client gets the local models and mixes them herself: ``c`` of them in place of up to ``2^n`` mixtures.

    Attributes
    ----------
    weights : ndarray
        The model that the round started from, shape (P,); it stands for the mixture of nothing.
    models : ndarray
        Local models, shape (K, c, P).
    mixing : ndarray
        Weight of each local model in each mixture, shape (m, c): the mixture is their weighted mean.
    """

    weights: Array
    models: Array
    mixing: Array


@dataclass(frozen=True)
class Refusal(Record):
    """Why there is no answer, or none that could be used.

    Attributes
    ----------
    reason : str
        In a few words, for the ledger.
    """

    reason: str


@dataclass(frozen=True)
class Description(Record):
    """What a client says of herself before the first round.

    Attributes
    ----------
    capacity : float
        Most batches a round that she can give.
    n_tests : int
        Test inputs that her scores are means over.
    n_weights : int
        Weights of her network.
    name : str
        Who she is, for messages and the ledger.
    digest : str
        A few characters that change with her data and with how she trains: a federation that goes on is the same one.
    """

    capacity: float
    n_tests: int
    n_weights: int
    name: str = ""
    digest: str = ""


class Clients(Protocol):
    """Those who take part, whatever carries the requests to them."""

    @property
    def weights(self) -> Array:
        """Initial weights of the network, shape (P,)."""
        ...

    @property
    def descriptions(self) -> Sequence[Description | Refusal]:
        """One for each client, in the order of their numbers."""
        ...

    def train(self, task: TrainTask) -> Mapping[int, Trained | Refusal]:
        """Answers by client; one who is missing did not answer."""
        ...

    def score(self, task: ScoreTask, who: Sequence[int]) -> Mapping[int, Array | Refusal]:
        """Scores in [0, 1], shape (K, m), by client; one who is missing did not answer."""
        ...


def accepted(answers: Mapping[int, Any], asked: Sequence[int], check: Any) -> tuple[dict[int, Any], dict[int, str]]:
    """Part the answers into those that can be used and the reasons why the others cannot.

    ``check`` takes an answer that is no `Refusal` and returns what is wrong with it, or an empty string.
    """
    usable, refused = {}, {}
    for client in asked:
        answer = answers.get(client)
        if answer is None:
            refused[client] = "no answer"
        elif isinstance(answer, Refusal):
            refused[client] = answer.reason
        elif wrong := check(answer):
            refused[client] = wrong
        else:
            usable[client] = answer
    return usable, refused


def wrong_training(answer: Trained, task: TrainTask) -> str:
    """What is wrong with a client's local models."""
    if not isinstance(answer, Trained):
        return f"sent {type(answer).__name__} for local models"
    shape = (len(task.streams), task.n_amounts, len(task.weights))
    if answer.models.shape != shape:
        return f"sent local models of shape {answer.models.shape}, not {shape}"
    if not np.isfinite(answer.models).all():
        return "sent a local model with NaN or infinite weights"
    if answer.amounts.shape != shape[1:2]:
        return f"sent amounts of shape {answer.amounts.shape}, not {shape[1:2]}"
    if not (np.isfinite(answer.amounts).all() and (answer.amounts >= 0.0).all()):
        return "sent an amount that is negative or not finite"
    return ""


def wrong_decision(answer: Trained, task: TrainTask) -> str:
    """What is wrong with a client's decision."""
    if wrong := wrong_training(answer, task):
        return wrong
    if answer.decision is None:
        return "sent no decision"
    numbers = (answer.decision.gain, answer.decision.standard_error, answer.decision.bound)
    return "" if np.isfinite(numbers).all() else "sent a gain that is NaN or infinite"


def wrong_scores(answer: Array, task: ScoreTask) -> str:
    """What is wrong with a client's scores. That they are true, nobody can see here: see `audit`."""
    if not isinstance(answer, np.ndarray):
        return f"sent {type(answer).__name__} for scores"
    shape = (len(task.models), len(task.mixing))
    if answer.shape != shape:
        return f"sent scores of shape {answer.shape}, not {shape}"
    if not np.isfinite(answer).all():
        return "sent a score that is NaN or infinite"
    if (answer < 0.0).any() or (answer > 1.0).any():
        return "sent a score outside [0, 1]"
    return ""


def mixtures(task: ScoreTask) -> Any:
    """The mixtures, one after the other: for each shuffle and each row of ``mixing`` weights of shape (P,).

    Sums run in the order of the local models, so that the same task gives the same bits everywhere.
    """
    for models in task.models:
        for row in task.mixing:
            yield mixture(models, row, task.weights)


def mixture(models: Array, row: PerAgent, weights: Array) -> Array:
    """Weighted mean of ``models``, shape (c, P), with the weights in ``row``; of nothing, ``weights``."""
    if not row.any():
        return weights
    total = np.zeros_like(weights)
    for model, share in zip(models, row, strict=True):
        if share:
            total += model if share == 1.0 else float(share) * model
    return total / float(row.sum())
