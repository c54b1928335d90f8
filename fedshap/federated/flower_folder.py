"""A folder that Flower runs: ``pyproject.toml``, the functions that say who takes part, and the two apps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedshap._files import as_path, write_atomically
from fedshap.federated.options import FederationOptions

_PROJECT = """\
# A Flower app: `flwr run` runs it, and so does `fedshap federate --app` of this folder.
[project]
name = "federation"
version = "1.0.0"
description = "A federation that gives, earns and pays: FedBR-Shap"
license = "MIT"
dependencies = ["fedshap[flower]"]

[tool.flwr.app]
publisher = "fedshap"

[tool.flwr.app.components]
serverapp = "app:server"
clientapp = "app:client"

# What make_client and make_rules of task.py are given; add what yours need. `out` is a folder of the server's.
[tool.flwr.app.config]
{config}"""

_TASK = '''\
"""Who takes part, and by which rules. Change make_client to bring data, networks and costs of your own."""

from fedshap.federated import FederationOptions


def make_client(number, options):
    """Client ``number``, a fedshap.federated.Client. Runs where she is: her data and her cost stay there."""
    return FederationOptions.of(options).client(number)


def make_rules(options):
    """What the federation has agreed on, a fedshap.federated.FedBRShap. Runs on the server."""
    return FederationOptions.of(options).rules()
'''

_APP = '''\
"""What Flower runs on each client's machine, and on the server."""

from fedshap.federated.flower import client_app, server_app
from task import make_client, make_rules

client = client_app(make_client)
server = server_app(make_rules)
'''


def new(folder: str | Path) -> Path:
    """Write a Flower app into a folder.

    Parameters
    ----------
    folder : path
        One that is not there yet, or is empty.

    Returns
    -------
    Path
        The file to change, ``task.py``.

    Raises
    ------
    ValueError
        If the folder holds something.
    """
    where = as_path("folder", folder)
    if where.exists() and (not where.is_dir() or any(where.iterdir())):
        raise ValueError(f"{where} holds something already; choose another folder")
    return write_app(where, FederationOptions().table)


def write_app(folder: Path, options: Mapping[str, Any]) -> Path:
    """Write the files, with these options; returns the path of ``task.py``."""
    config = toml({**options, "out": options.get("out", "federation")})
    for name, text in {"pyproject.toml": _PROJECT.format(config=config), "app.py": _APP, "task.py": _TASK}.items():
        write_atomically(folder / name, text)
    return folder / "task.py"


def toml(table: Mapping[str, Any]) -> str:
    """A flat table of texts, numbers and truth values as TOML; JSON writes each of them as TOML does."""
    return "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in table.items())
