"""``fedshap federate study``: what FedBR-Shap earns, measured; a JSON for each question and data set.

    fedshap federate study --dataset digits --out book/results

Finished pieces are kept in a folder beside the result (``.federation_settling_digits``) until the result is written,
so that a command that was stopped goes on where it was. The same seeds give the same numbers, but for seconds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fedshap._files import as_path, claimed, write_json
from fedshap._validation import as_choice, as_count
from fedshap.federated.datasets import Dataset
from fedshap.federated.sources import load_dataset
from fedshap.federated.store import machine, versions
from fedshap.federated.study.cheating import cheating
from fedshap.federated.study.contributions import contributions
from fedshap.federated.study.expense import expense
from fedshap.federated.study.noise import noise
from fedshap.federated.study.settings import SETTINGS, Settings
from fedshap.federated.study.settling import settling
from fedshap.federated.study.units import Units

Answer = Callable[[Settings, Dataset, int, Units], dict[str, Any]]

QUESTIONS: Mapping[str, tuple[str, Answer]] = {
    "settling": ("Does s settle, and where? Gains from deviating, by retraining on fresh shuffles", settling),
    "noise": ("What is the price of noise? Errors of a round's shares against coalitions scored", noise),
    "contributions": ("Does it see who contributes? Against training every coalition by itself", contributions),
    "cheating": ("Who can cheat? Gains of lies under each payment, and what the audit sees", cheating),
    "expense": ("What does it cost? Seconds and bytes of a round against the number of clients", expense),
}
"""By name: what is asked, and who answers."""


def study(
    dataset: str = "digits",
    out: str | Path = ".",
    *,
    question: str = "all",
    data: str | Path | None = None,
    seeds: int = 10,
    quick: bool = False,
    force: bool = False,
    keep: bool = False,
) -> Path:
    """Measure what FedBR-Shap earns, and write ``federation_{question}_{dataset}.json`` for each question.

    Parameters
    ----------
    dataset : {"digits", "mnist"}
        What clients learn.
    out : path
        Folder for the results, made if missing; ``~`` is expanded, here and in ``data``.
    question : str
        One of `QUESTIONS`, or ``"all"``.
    data : path, optional
        Where :func:`~fedshap.federated.load_dataset` finds the data.
    seeds : int
        Repetitions, with seeds 0 to ``seeds - 1``: each deals out, starts and shuffles afresh.
    quick : bool
        A small run, labelled so in the result and in its name.
    force : bool
        Replace a finished result; without it a question that is answered is passed over.
    keep : bool
        Keep the finished pieces when a result is written, so that seeds can be added with ``force`` later.

    Returns
    -------
    Path
        The folder of the results.

    Raises
    ------
    ValueError
        If an option is out of range or a finished piece is damaged; the message names the file.
    BlockingIOError
        If another process is answering the same question.
    OSError
        If something cannot be read or written.
    """
    as_choice("dataset", dataset, tuple(SETTINGS))
    names = list(QUESTIONS) if question == "all" else [as_choice("question", question, (*QUESTIONS, "all"))]
    as_count("seeds", seeds)
    settings = SETTINGS[dataset].quick() if quick else SETTINGS[dataset]
    folder = as_path("out", out)
    loaded: Dataset | None = None
    for name in names:
        path = folder / f"federation_{name}_{dataset}{'_quick' if quick else ''}.json"
        if path.exists() and not force:
            continue
        if loaded is None:
            loaded = load_dataset(dataset, None if data is None else as_path("data", data))
        _answer(name, path, settings, loaded, seeds, quick=quick, keep=keep)
    return folder


def _answer(name: str, path: Path, settings: Settings, data: Dataset, seeds: int, *, quick: bool, keep: bool) -> None:
    what, answer = QUESTIONS[name]
    pieces = path.with_name(f".{path.stem}")
    with (
        claimed(path.with_name(f".{path.stem}.lock"), str(path)),
        tqdm(desc=path.stem, unit="piece", disable=None) as bar,
    ):
        units = Units(pieces, asdict(settings), bar)
        about = {
            "what": what,
            "dataset": settings.dataset,
            "quick": quick,
            "date": date.today().isoformat(),
            "versions": versions(),
            "machine": machine("cpu"),
            "content": "verified" if data.verified else "unknown",
            "seeds": seeds,
            "settings": asdict(settings),
        }
        write_json(path, about | answer(settings, data, seeds, units))
        if not keep:
            shutil.rmtree(pieces, ignore_errors=True)
