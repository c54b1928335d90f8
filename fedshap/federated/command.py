"""``fedshap federate``: run FedBR-Shap in this process, on Flower started here, or on a Flower that runs already.

    fedshap federate --clients 4 --rounds 20 --dataset digits --out DIR

The books are ``DIR/ledger.jsonl``. A command that was stopped, in whatever way, goes on where they end.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fedshap._files import as_path
from fedshap._validation import as_count
from fedshap.federated.ledger import NAME
from fedshap.federated.members import Members
from fedshap.federated.options import FederationOptions
from fedshap.federated.reports import progress, table
from fedshap.federated.rules import QuorumError
from fedshap.federated.tasks import MakeClient, MakeRules, load_task, run_federation


def federate(
    out: str | Path = "federation",
    *,
    app: str | Path | None = None,
    flower: bool = False,
    connect: str | None = None,
    certificate: str | Path | None = None,
    port: int | None = None,
    **options: Any,
) -> tuple[str, Path]:
    """Run a federation, or go on with it.

    Parameters
    ----------
    out : path
        Folder for the books, made if missing.
    app : path, optional
        Folder with one's own ``task.py``, see :mod:`fedshap.federated.tasks`; by default the clients are made of the
        data set that the options name.
    flower : bool
        Start Flower's SuperLink and a SuperNode for each client on this machine, run there, and stop them.
    connect : str, optional
        ``HOST:PORT`` of a SuperLink that runs already, with the SuperNodes of all clients; ``out`` is a folder on its
        machine.
    certificate : path, optional
        Of the authority that vouches for that SuperLink; without one the connection is not encrypted.
    port : int, optional
        Of the SuperLink that is started; by default a free one.
    options
        Those of :class:`~fedshap.federated.FederationOptions`, or of one's own app; None for what is not given.

    Returns
    -------
    table : str
        What each client gave, earned and paid.
    path : Path
        The ledger.

    Raises
    ------
    ValueError
        If an option is out of range, clients do not fit together, or the books are those of another federation.
    ConnectionError
        If too few clients answer, or Flower stops; the same command goes on.
    ImportError
        If Flower is wanted and not installed.
    """
    make_client, make_rules, chosen = _task(app, {name: each for name, each in options.items() if each is not None})
    folder = as_path("out", out)
    if not flower and connect is None:
        for name, value in (("certificate", certificate), ("port", port)):
            if value is not None:
                raise ValueError(f"{name} is for a federation on Flower: add --flower or --connect HOST:PORT")
        return _here(make_client, make_rules, chosen, folder)
    from fedshap.federated import flower_command

    target = flower_command.Target(connect, certificate, port)
    return flower_command.run(target, app, chosen, folder)


def _task(app: str | Path | None, given: Mapping[str, Any]) -> tuple[MakeClient, MakeRules, dict[str, Any]]:
    """Who makes clients and rules, and from which options."""
    if app is None:
        options = FederationOptions(**given)
        return lambda number, _: options.client(number), lambda _: options.rules(), options.table
    make_client, make_rules, table = load_task(app)
    added = {name.replace("_", "-"): value for name, value in given.items()}
    if unknown := sorted(set(added) - set(table)):
        raise ValueError(
            f"{', '.join(unknown)} must be in the table [tool.flwr.app.config] of {Path(app) / 'pyproject.toml'}; it "
            f"has {', '.join(table)}"
        )
    chosen = {**table, **added}
    for name in ("clients", "rounds"):
        as_count(name, chosen.get(name, 0))
    return make_client, make_rules, chosen


def _here(make_client: MakeClient, make_rules: MakeRules, options: Mapping[str, Any], out: Path) -> tuple[str, Path]:
    """In this process."""
    clients = Members([make_client(number, options) for number in range(options["clients"])])
    try:
        run = run_federation(make_rules(options), clients, options, out, callbacks=[_say])
    except QuorumError as error:
        raise ConnectionError(str(error)) from error
    return table(run.lines), out / NAME


def _say(line: Mapping[str, Any]) -> None:
    """A line above the progress bar, for stages alone."""
    if "payments" in line:
        tqdm.write(progress(line), file=sys.stderr)
