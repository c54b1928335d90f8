"""Training runs over a grid of contributions: the measurements to which payoffs are fitted (Sec. 5.1, App. E)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedshap._files import as_path
from fedshap._records import Record, short_repr
from fedshap._types import Array, ArrayLike
from fedshap._validation import as_count, read_only
from fedshap.federated.checkpoints import fingerprint, profile_name
from fedshap.federated.config import TrainingConfig, as_contributions
from fedshap.federated.datasets import Federation
from fedshap.federated.training import federated_averaging, progress_bar, steps


@dataclass(frozen=True, eq=False, repr=False)
class TrainingRuns(Record):
    """What a set of training runs gave.

    Attributes
    ----------
    contributions : ndarray
        Batches per client and round, shape (R, n).
    group_accuracies, client_accuracies : ndarray
        Test accuracies, shapes (R, T) and (R, n).
    config : TrainingConfig
        The settings all runs share, the seed included.
    """

    contributions: Array
    group_accuracies: Array
    client_accuracies: Array
    config: TrainingConfig

    def __repr__(self) -> str:
        runs, clients = self.contributions.shape
        return short_repr(self, {"runs": runs, "clients": clients, "config": self.config})


def train_grid(
    federation: Federation,
    contributions: ArrayLike,
    *,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
    progress: bool | None = None,
    **settings: Any,
) -> TrainingRuns:
    """Train once per contribution profile, from the same initial weights and with the same shuffles.

    Parameters
    ----------
    federation : Federation
        The clients' data.
    contributions : array_like
        Shape (R, n): batches per client and round of each run, as :func:`contribution_grid` lays them out.
    checkpoint : path, optional
        A folder with one checkpoint per run: finished runs are kept, an unfinished one is resumed. More profiles
        may be added to the grid later. ``~`` is expanded.
    checkpoint_every : int
        Save the run under way after every so many rounds.
    progress : bool, optional
        Show one progress bar over all runs on stderr. By default only where stderr is a terminal.
    **settings
        Fields of :class:`TrainingConfig`: rounds, batch_size, learning_rate, model, seed, device, ...

    Returns
    -------
    TrainingRuns

    Raises
    ------
    ValueError
        If a profile or a setting is out of range, checked for all runs before the first one starts; or if a
        checkpoint is of a run with other data or settings.
    FloatingPointError
        If a run diverges.

    Examples
    --------
    >>> from fedshap.federated import load_dataset, partition
    >>> federation = partition(load_dataset("digits"), n_clients=3, rng=0)
    >>> runs = train_grid(federation, [[1, 0, 0], [1, 1, 1]], rounds=1)
    >>> runs.contributions.shape, runs.group_accuracies.shape
    ((2, 3), (2, 3))

    Notes
    -----
    Sec. 5.1 and App. E: "normal federated training without strategic behaviors" at sampled contributions.
    """
    config = TrainingConfig(**settings)
    profiles = as_contributions("contributions", contributions, federation, config.batch_size)
    if profiles.ndim != 2 or len(profiles) == 0:
        raise ValueError(f"contributions must have shape (R, {federation.n_clients}), R >= 1; got {profiles.shape}")
    every = as_count("checkpoint_every", checkpoint_every)
    folder = None if checkpoint is None else as_path("checkpoint", checkpoint)
    data = "" if folder is None else fingerprint(federation)
    with progress_bar(steps(profiles, config), progress) as bar:
        runs = [
            federated_averaging(
                federation,
                s,
                config,
                advance=bar.update,
                path=None if folder is None else folder / profile_name(s),
                every=every,
                data=data,
            )
            for s in profiles
        ]
    return TrainingRuns(
        contributions=profiles,
        group_accuracies=read_only(np.array([run.group_accuracies for run in runs])),
        client_accuracies=read_only(np.array([run.client_accuracies for run in runs])),
        config=config,
    )
