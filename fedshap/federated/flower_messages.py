"""The requests of FedBR-Shap and their answers as the contents of Flower's messages, and back.

Arrays travel as float64, bit for bit; everything else is one JSON text, in which floats have as many digits as it takes
to read the same ones again. What comes from a client is not trusted: whatever cannot be read raises a ValueError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fedshap._types import Array
from fedshap._validation import read_only
from fedshap.federated.exchange import (
    Curve,
    Decision,
    Description,
    Keep,
    Offer,
    ScoreTask,
    Slope,
    Trained,
    TrainTask,
)

_ARRAYS, _WORDS, _TEXT = "arrays", "words", "json"


def hello() -> RecordDict:
    """Who are you?"""
    return _packed({}, {})


def introduction(number: int, description: Description, weights: Array) -> RecordDict:
    """Answer to `hello`: the client's number, what she says of herself and her initial weights."""
    return _packed({"weights": weights}, {"number": number, "description": asdict(description)})


def read_introduction(content: RecordDict) -> tuple[int, Description, Array]:
    """The client's number, what she says of herself and her initial weights, shape (P,)."""
    arrays, words = _unpacked(content)
    return _number(words), _description(words), _array(arrays, "weights", 1)


def training(task: TrainTask, number: int) -> RecordDict:
    """A `TrainTask` for one client; what others are offered is no business of hers."""
    offer = task.offers[number]
    arrays, words = {"weights": task.weights}, {"kind": type(offer).__name__}
    if isinstance(offer, Curve):
        arrays |= {"amounts": offer.amounts, "shares": offer.shares}
        told: dict[str, Any] = {"level": offer.level}
    else:
        told = asdict(offer)
    return _packed(
        arrays,
        words
        | {"number": number, "offer": told}
        | {name: getattr(task, name) for name in ("streams", "offsets", "levels")},
    )


def read_training(content: RecordDict) -> TrainTask:
    """The task of one client."""
    arrays, words = _unpacked(content)
    kinds = {"Keep": Keep, "Slope": Slope}
    offer: Offer
    if words["kind"] == "Curve":
        offer = Curve(_array(arrays, "amounts", 1), _array(arrays, "shares", 2), **words["offer"])
    else:
        offer = kinds[words["kind"]](**words["offer"])
    streams = tuple(tuple(stream) for stream in words["streams"])
    offsets, levels = tuple(words["offsets"]), tuple(words["levels"])
    return TrainTask(_array(arrays, "weights", 1), {words["number"]: offer}, streams, offsets, levels)


def trained(answer: Trained) -> RecordDict:
    """Answer to `training`."""
    decision = None if answer.decision is None else asdict(answer.decision)
    return _packed({"amounts": answer.amounts, "models": answer.models}, {"decision": decision})


def read_trained(content: RecordDict) -> Trained:
    """A client's local models, and her decision."""
    arrays, words = _unpacked(content)
    told = words.get("decision")
    try:
        decision = None if told is None else Decision(**{name: float(value) for name, value in told.items()})
    except (TypeError, AttributeError) as error:
        raise ValueError("sent a decision that cannot be read") from error
    return Trained(_array(arrays, "amounts", 1), _array(arrays, "models", 3), decision)


def scoring(task: ScoreTask) -> RecordDict:
    """A `ScoreTask`, the same for all."""
    return _packed({"weights": task.weights, "models": task.models, "mixing": task.mixing}, {})


def read_scoring(content: RecordDict) -> ScoreTask:
    """The task."""
    arrays, _ = _unpacked(content)
    return ScoreTask(_array(arrays, "weights", 1), _array(arrays, "models", 3), _array(arrays, "mixing", 2))


def scores(answer: Array) -> RecordDict:
    """Answer to `scoring`."""
    return _packed({"scores": answer}, {})


def read_scores(content: RecordDict) -> Array:
    """A client's scores, shape (K, m)."""
    return _array(_unpacked(content)[0], "scores", 2)


def _packed(arrays: Mapping[str, Array], words: Mapping[str, Any]) -> RecordDict:
    record = RecordDict()
    record[_ARRAYS] = ArrayRecord(
        {name: FlowerArray(np.ascontiguousarray(each, dtype=np.float64)) for name, each in arrays.items()}
    )
    record[_WORDS] = ConfigRecord({_TEXT: json.dumps(words)})
    return record


def _unpacked(content: RecordDict) -> tuple[ArrayRecord, dict[str, Any]]:
    try:
        arrays, words = content.array_records[_ARRAYS], json.loads(str(content.config_records[_WORDS][_TEXT]))
    except (KeyError, ValueError) as error:
        raise ValueError("sent what is no answer of FedBR-Shap") from error
    if not isinstance(words, dict):
        raise ValueError("sent what is no answer of FedBR-Shap")
    return arrays, words


def _array(arrays: ArrayRecord, name: str, ndim: int) -> Array:
    try:
        array = arrays[name].numpy()
    except (KeyError, ValueError, TypeError, EOFError) as error:
        raise ValueError(f"sent no {name} that can be read") from error
    if array.dtype != np.float64 or array.ndim != ndim:
        raise ValueError(f"sent {name} as {array.ndim}-dimensional {array.dtype}, not {ndim}-dimensional float64")
    return read_only(array)


def _number(words: Mapping[str, Any]) -> int:
    number = words.get("number")
    if not isinstance(number, int):
        raise ValueError(f"said that her number is {number!r}")
    return number


def _description(words: Mapping[str, Any]) -> Description:
    told: Any = words.get("description")
    try:
        return Description(
            capacity=float(told["capacity"]),
            n_tests=int(told["n_tests"]),
            n_weights=int(told["n_weights"]),
            name=str(told["name"]),
            digest=str(told["digest"]),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"described herself as {told!r}") from error
