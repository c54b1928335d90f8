"""GTG-Shapley as FedML implements it, run in this process where the package is there.

``pip install --no-deps fedml==0.9.6`` is enough: of the package two files are loaded, without what it imports. Its
rule is run as it stands: clients are numbered from 1, what it truncates it keeps as that coalition's value, and what
it returns are shares of 1.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from fedshap._types import Array, PerAgent

_FOLDER = ("core", "contribution")
_FILES = ("base_contribution_assessor", "gtg_shapley_value")


def version() -> str | None:
    """Of FedML; None where it is not installed."""
    try:
        return importlib.metadata.version("fedml")
    except importlib.metadata.PackageNotFoundError:
        return None


def fedml_gtg(rounds: list[Array], seed: int) -> tuple[PerAgent, int] | None:
    """Its contributions, shape (n,), shares of 1, and the coalitions it evaluated.

    ``rounds`` hold the accuracy of every coalition by bit mask, shape (2^n,), for each round. None where the package
    is not installed, or where it gives no answer: if no round changes accuracy by more than its threshold.
    """
    module = _module()
    if module is None:
        return None
    n = len(rounds[0]).bit_length() - 1
    clients = list(range(1, n + 1))
    settings = SimpleNamespace(client_num_in_total=n, round_idx=0)
    rule, evaluations = module.GTGShapleyValue(settings), 0
    kept = np.random.get_state()  # noqa: NPY002 (its generator is numpy's global one)
    try:
        np.random.seed(seed)  # noqa: NPY002
        for number, values in enumerate(rounds):
            asked: list[int] = []
            settings.round_idx = number
            rule.shapley_values_by_round[number] = {}
            with contextlib.redirect_stdout(io.StringIO()):
                rule.run(
                    n,
                    clients,
                    _mask,
                    {i: 1 << (i - 1) for i in clients},
                    values[0],
                    values[-1],
                    asked,
                    _value(values),
                    None,
                )
            evaluations += 2 + len(set(asked) - {(1 << n) - 1})
    finally:
        np.random.set_state(kept)  # noqa: NPY002
    if not any(rule.shapley_values_by_round.values()):
        return None
    found = rule.get_final_contribution_assignment()
    return np.array([found[i] for i in clients]), evaluations


def _mask(settings: Any, models: dict[int, int]) -> int:
    """Its aggregation: here the models are bits."""
    return sum(models.values())


def _value(values: Array) -> Any:
    def validate(mask: int, asked: list[int], device: None) -> float:
        asked.append(mask)
        return float(values[mask])

    return validate


def _module() -> Any:
    """The file with the rule, under a name of its own; None where it is not installed."""
    found = importlib.util.find_spec("fedml")
    if found is None or not found.submodule_search_locations:
        return None
    folder = Path(next(iter(found.submodule_search_locations)), *_FOLDER)
    parent = ModuleType("_fedml_contribution")
    parent.__path__ = [str(folder)]
    sys.modules[parent.__name__] = parent
    module = None
    for name in _FILES:
        spec = importlib.util.spec_from_file_location(f"{parent.__name__}.{name}", folder / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module
