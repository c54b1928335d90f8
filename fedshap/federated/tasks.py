"""Federations that somebody's own functions make, and how one is run.

A folder with a file ``task.py`` says who takes part: its function ``make_client(number, options)`` returns a client,
her data, network and cost included, and ``make_rules(options)`` what they have agreed on. ``options`` is the table
``[tool.flwr.app.config]`` of the ``pyproject.toml`` beside it, with what the command line adds.
"""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from fedshap._files import as_path, read_json, write_json
from fedshap.federated.exchange import Clients
from fedshap.federated.ledger import NAME, Line
from fedshap.federated.members import Member

if TYPE_CHECKING:  # they load torch, and a client may have no use for it
    from fedshap.federated.protocol import FedBRShap, FederationRun

Options = Mapping[str, Any]
IRRELEVANT = ("rounds", "timeout", "out")
"""Options that decide no number in the books."""
MakeClient = Callable[[int, Options], Member]
MakeRules = Callable[[Options], "FedBRShap"]


def run_federation(
    rules: FedBRShap,
    clients: Clients,
    options: Options,
    out: Path,
    *,
    progress: bool | None = None,
    callbacks: Sequence[Callable[[Line], object]] = (),
) -> FederationRun:
    """Run a federation with its books in ``out``, or go on where they end.

    Raises
    ------
    ValueError
        If the books there were begun with other options. The ledger itself cannot tell all of them: it has no costs.
    """
    path, kept = out / "options.json", {key: options[key] for key in sorted(options) if key not in IRRELEVANT}
    if (out / NAME).exists() and path.exists():
        before = read_json(path, "the options of a federation", "choose another folder")
        if others := [key for key in sorted({*before, *kept}) if before.get(key) != kept.get(key)]:
            told = ", ".join(f"{key} ({before.get(key)!r} there, {kept.get(key)!r} here)" for key in others)
            raise ValueError(
                f"{out / NAME} was begun with other options: {told}; go on with those, or choose another folder"
            )
    else:
        write_json(path, kept)
    return rules.run(clients, options["rounds"], out=out, progress=progress, callbacks=callbacks)


def load_task(folder: str | Path) -> tuple[MakeClient, MakeRules, Options]:
    """The two functions of a folder's ``task.py``, and its options.

    Raises
    ------
    ValueError
        If something is missing; the message says what.
    """
    where = as_path("app", folder).absolute()
    task, project = where / "task.py", where / "pyproject.toml"
    for path in (task, project):
        if not path.exists():
            raise ValueError(f"{path} is not there: `fedshap federate new DIR` writes a folder that has it")
    try:
        options = tomllib.loads(project.read_text(encoding="utf8"))["tool"]["flwr"]["app"]["config"]
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{project} needs a table [tool.flwr.app.config] ({error}): `fedshap federate new DIR` writes one"
        ) from error
    module = _imported(task)
    for name in ("make_client", "make_rules"):
        if not callable(getattr(module, name, None)):
            raise ValueError(f"{task} needs a function {name}, as the one that `fedshap federate new DIR` writes")
    return module.make_client, module.make_rules, options


def _imported(path: Path) -> ModuleType:
    """The module in a file, which may import others beside it."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    with _on_the_path(path.parent):
        spec.loader.exec_module(module)
    return module


@contextmanager
def _on_the_path(folder: Path):
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
