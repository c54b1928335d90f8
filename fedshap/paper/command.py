"""``fedshap table1``: the paper's Table 1, trained, played and written to one JSON per data set.

    fedshap table1 --dataset mnist --seeds 3 --data ROOT --out book/results

Training runs that are finished are kept in a folder beside the result (``.table1_mnist``) until the result is written,
so that a command that was stopped goes on where it was. One process at a time makes a result: a second one with the
same folder and data set ends with a message that says which process is at work.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from fedshap._files import as_path, claimed, write_json
from fedshap._validation import as_count
from fedshap.federated import Dataset, TrainingConfig, contribution_grid, load_dataset
from fedshap.federated.config import as_device
from fedshap.federated.store import RunStore, machine, versions
from fedshap.federated.training import progress_bar
from fedshap.paper.experiment import Clients, deal_out, expected_clients, f1_score, fits, play, ratio
from fedshap.paper.published import SPREAD, TABLE_1, WEIGHTS
from fedshap.paper.settings import BETA, COST_TO_WORTH, EXPERIMENTS, STEP, Experiment

COLUMNS = (
    *("accuracy", "accuracy_gain", "f1"),  # of the trained networks
    *("share", "share_of_cap", "data_gain", "reciprocity", "welfare", "regret"),
    *("fitted_accuracy", "fitted_accuracy_gain"),
)
"""What is averaged over the repetitions."""


def repeat(experiment: Experiment, seed: int, weights: Mapping[str, Any], runs: RunStore | None) -> dict[str, Any]:
    """One repetition: train, fit, play every game, train at every answer.

    ``weights`` holds a matrix by the name of each game, None for the one that is fitted here. Without ``runs``
    nothing is trained.
    """
    clients = expected_clients(experiment) if runs is None else Clients.of(experiment, runs.federation)
    grid, fit = [], None
    if runs is not None and "fitted" in weights:
        grid = contribution_grid([0, experiment.given], clients.groups)
        measured = np.array([runs.train(profile)["group_accuracies"] for profile in grid])
        fit = fits(grid, measured, clients.groups, runs.federation.train[0].n_classes)
        weights = {**weights, "fitted": fit["by_chance"][0]["weights"]}
    games = {name: play(experiment, each, clients, seed) for name, each in weights.items()}
    table = [profiles for game in games.values() for profiles in game["answers"].values()]
    if runs is not None:
        given = [judged["contributions"] for profiles in table for judged in profiles.values()]
        runs.expect(runs.work([*grid, *given]) - _guess(experiment, len(games)))
    for profiles in table:
        _add_training(profiles, runs)
    return {
        "seed": seed,
        "groups": clients.groups.tolist(),
        "owned": clients.owned.tolist(),
        "fingerprint": None if runs is None else runs.fingerprint,
        "training_seconds": None if runs is None else round(sum(runs.seconds.values()), 1),
        "fit": fit,
        "games": games,
    }


def _add_training(profiles: dict[str, dict[str, Any]], runs: RunStore | None) -> None:
    """Train at the contributions of each mechanism and add what came of it; the accuracy is that of the mean client."""
    for judged in profiles.values():
        trained = None if runs is None else runs.train(judged["contributions"])
        judged |= dict.fromkeys(("accuracy", "accuracy_gain", "f1")) | {"trained": None}
        if trained is not None:
            judged["accuracy"] = float(np.mean(trained["client_accuracies"]))
            judged["accuracy_gain"] = ratio(judged["accuracy"], profiles["M0"]["accuracy"])
            judged["f1"] = None if trained["confusion"] is None else f1_score(np.sum(trained["confusion"], axis=0))
            kept = ("group_accuracies", "client_accuracies", "confusion")
            judged["trained"] = {name: trained[name] for name in kept} | {
                "contributions": trained["settings"]["contributions"],
                "loss": trained["losses"][-1] if trained["losses"] else None,
            }


def summary(repetitions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Mean, median and standard deviation over repetitions of each column: a row per game, answer and mechanism.

    A column is None where it has no value in some repetition, a standard deviation where there is one repetition.
    """
    rows = []
    for name, game in repetitions[0]["games"].items():
        for answer, profiles in game["answers"].items():
            for mechanism in profiles:
                each = [r["games"][name]["answers"][answer][mechanism] for r in repetitions]
                columns = {column: _spread([one[column] for one in each]) for column in COLUMNS}
                rows.append({"weights": name, "answer": answer, "mechanism": mechanism} | columns)
    return rows


def _spread(values: Sequence[float | None]) -> dict[str, float | None] | None:
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return None
    deviation = statistics.stdev(numbers) if len(numbers) > 1 else None
    return {"mean": statistics.fmean(numbers), "median": statistics.median(numbers), "sd": deviation}


def table1(
    dataset: str = "digits",
    out: str | Path = ".",
    *,
    data: str | Path | None = None,
    seeds: int = 3,
    device: str = "auto",
    rounds: int | None = None,
    weights: str = "both",
    untrained: bool = False,
    quick: bool = False,
    force: bool = False,
    keep: bool = False,
) -> Path:
    """Make the row of Table 1 for one data set and write it as JSON.

    Parameters
    ----------
    dataset : str
        One of `fedshap.paper.settings.EXPERIMENTS`.
    out : path
        Folder for the result, made if missing; ``~`` is expanded, here and in ``data``.
    data : path, optional
        Where `load_dataset` finds the data. Under ``"content"`` the result says whether checksums know them:
        ``"verified"`` or ``"unknown"``.
    seeds : int
        Repetitions, with seeds 0 to ``seeds - 1``: each deals out, trains, fits and draws costs afresh.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:k"``, or ``"auto"`` for a GPU if there is one.
    rounds : int, optional
        Rounds of federated averaging, instead of the experiment's.
    weights : {"both", "fitted", "published"}
        Which games to play: with the weights fitted here, with those of App. E, or with all there are.
    untrained : bool
        Play the published game only, without data and training; what training would tell is None.
    quick : bool
        A small run, labelled so in the result and in its name.
    force : bool
        Replace a finished result.
    keep : bool
        Keep the training runs when the result is written, so that repetitions can be added with ``force`` later.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        If an option is out of range, a finished result is there and ``force`` is not given, or a kept training run is
        damaged; the message names the file and says what to do.
    BlockingIOError
        If another process is making this result.
    OSError
        If something cannot be read or written; the message names the file.
    """
    as_count("seeds", seeds)
    experiment = _experiment(dataset, rounds, quick)
    games = _games(dataset, weights, untrained)
    name = f"table1_{dataset}{'_quick' if quick else ''}"
    path, folder = as_path("out", out) / f"{name}.json", as_path("out", out) / f".{name}"
    root = None if data is None else as_path("data", data)
    names = ("model", "rounds", "batch_size", "learning_rate", "dtype")
    config = TrainingConfig(**{each: getattr(experiment, each) for each in names}, device=as_device(device))
    with claimed(path.with_name(f".{name}.lock"), str(path)):
        if path.exists() and not force:
            raise ValueError(f"{path} is finished; --force replaces it")
        loaded = None if untrained else load_dataset(dataset, root)
        batches = seeds * _guess(experiment, len(games))
        repetitions = []
        with progress_bar(batches, False if untrained else None, name) as bar:
            for seed in range(seeds):
                runs = None
                if loaded is not None:
                    runs = RunStore(deal_out(experiment, loaded, seed), replace(config, seed=seed), folder, bar)
                repetitions.append(repeat(experiment, seed, games, runs))
        about = _about(experiment, config.device, quick, loaded)
        write_json(path, about | {"summary": summary(repetitions), "repetitions": repetitions})
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return path


def _experiment(dataset: str, rounds: int | None, quick: bool) -> Experiment:
    if not isinstance(dataset, str) or dataset not in EXPERIMENTS:
        raise ValueError(f"dataset must be one of {', '.join(map(repr, EXPERIMENTS))}; got {dataset!r}")
    experiment = EXPERIMENTS[dataset].quick() if quick else EXPERIMENTS[dataset]
    return experiment if rounds is None else replace(experiment, rounds=as_count("rounds", rounds))


def _games(dataset: str, weights: str, untrained: bool) -> dict[str, Any]:
    """The matrix of each game, None for the one that is fitted."""
    if weights not in ("both", "fitted", "published"):
        raise ValueError(f"weights must be 'both', 'fitted' or 'published'; got {weights!r}")
    published, fitted = weights != "fitted" and dataset in WEIGHTS, weights != "published" and not untrained
    if not (published or fitted):
        raise ValueError(
            f"weights must be 'fitted', with training, for {dataset!r}: App. E has weights for {', '.join(WEIGHTS)}"
            if dataset not in WEIGHTS
            else "weights must be 'published' where nothing is trained; got 'fitted'"
        )
    return ({"published": WEIGHTS[dataset]} if published else {}) | ({"fitted": None} if fitted else {})


def _guess(experiment: Experiment, n_games: int) -> int:
    """About how many batches a repetition trains, before the games are played."""
    per_client = 4 * experiment.given + n_games * 3 * (experiment.cap or experiment.given)
    return experiment.rounds * experiment.n_clients * per_client


def _about(experiment: Experiment, device: str, quick: bool, data: Dataset | None) -> dict[str, Any]:
    """Everything in the result but the numbers; ``data`` is None where nothing is trained."""
    name = experiment.dataset
    return {
        "what": f"Table 1 of the paper for {name}: as printed, rerun, and at certified equilibria",
        "dataset": name,
        "quick": quick,
        "date": date.today().isoformat(),
        "versions": versions(),
        "device": device,
        "machine": machine(device),
        "settings": asdict(experiment) | {"movers": experiment.movers, "step": STEP, "beta": BETA},
        "costs": "App. E" if experiment.rate_limit else f"uniform up to {COST_TO_WORTH} of the mean own weight",
        "trained": data is not None,
        "content": None if data is None else "verified" if data.verified else "unknown",
        "printed": {
            "source": "Sec. 5.1 and App. E, Tables 1 to 4",
            "table_1": {column: list(each) for column, each in TABLE_1.get(name, {}).items()},
            "spread": {
                mechanism: {column: list(each) for column, each in columns.items()}
                for mechanism, columns in SPREAD.get(name, {}).items()
            },
        },
    }
