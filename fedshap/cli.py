"""The command ``fedshap``, also ``python -m fedshap``.

Its options are read without torch, so that ``fedshap --help`` answers wherever the package is installed; a command
imports what it needs when it is run.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fedshap
from fedshap import _interruptions
from fedshap.paper.settings import EXPERIMENTS

FEDERATION_OPTIONS = (
    ("clients", int, "N", "how many (default: 4)"),
    ("rounds", int, "N", "rounds in all (default: 20)"),
    ("dataset", str, "NAME", "what the clients' data are dealt out from (default: digits)"),
    ("data", str, "ROOT", "folder of the data sets"),
    ("seed", int, "N", "decides who gets what, weights and shuffles (default: 0)"),
    ("model", str, "NAME", "the network (default: mlp)"),
    ("score", str, "NAME", "accuracy, or the true class's probability (default: accuracy)"),
    ("batch-size", int, "N", "inputs per batch (default: 8)"),
    ("learning-rate", float, "X", "step of the training (default: 0.1)"),
    ("estimator", str, "NAME", "secant, two-models or local-fit (default: secant)"),
    ("step", float, "X", "batches moved per unit of marginal utility (default: 100)"),
    ("stage", int, "N", "rounds that are settled together (default: 5)"),
    ("start", float, "X", "batches that everybody gives first (default: 4)"),
    ("repeats", int, "N", "shuffles that shares are measured on (default: 1)"),
    ("average", str, "NAME", "participants, everyone or samples (default: participants)"),
    ("audit", int, "N", "public inputs that reports are held against, per group (default: 0, none)"),
    ("quorum", int, "N", "clients that must answer (default: all but one)"),
)
"""Of ``fedshap federate``: name, type, metavar, help. Defaults are those of FederationOptions, or of one's own app."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        What follows the command's name; by default those of the process.

    Returns
    -------
    int
        The exit code: 0, or 2 after an error shown in one line, or 130 after an interruption, said in one line too.

    Examples
    --------
    >>> main(["table1", "--dataset", "mnist", "--untrained", "--weights", "best"])
    2
    """
    _open_closed_streams()
    try:
        options = vars(_parser().parse_args(arguments))
        run = options.pop("run")
        _print(run(**options))
    except KeyboardInterrupt:
        print(f"\n{_interruptions.STOPPED}", file=sys.stderr)
        return _interruptions.CODE
    except (ValueError, OSError, ImportError, FloatingPointError) as error:
        print(f"fedshap: error: {_in_one_line(error)}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    """The options of all commands; ``run`` is the function that takes those of one."""
    name = "python -m fedshap" if Path(sys.argv[0]).name == "__main__.py" else "fedshap"
    parser = argparse.ArgumentParser(
        name, description="Reciprocally fair federated learning: the experiments as commands.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"fedshap {fedshap.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_table1(commands.add_parser("table1", help="the paper's Table 1 for one data set", allow_abbrev=False))
    _add_federate(commands.add_parser("federate", help="a federation that gives, earns and pays", allow_abbrev=False))
    return parser


def _add_table1(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Train, play and write the row of the paper's Table 1 for one data set. After an interruption the same "
        "command goes on where it was. Training needs: pip install fedshap[train]."
    )
    parser.set_defaults(run=_run_table1)
    parser.add_argument("--dataset", default="digits", help=f"one of {', '.join(EXPERIMENTS)} (default: digits)")
    parser.add_argument("--data", metavar="ROOT", help="folder of the data sets; for lumpy its CSV file")
    parser.add_argument("--out", default=".", metavar="DIR", help="folder for the result (default: here)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="repetitions (default: 3)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:k (default: auto)")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds of federated averaging")
    parser.add_argument("--weights", default="both", help="of the games: fitted, published or both (default)")
    parser.add_argument("--untrained", action="store_true", help="play the published game only, without data")
    parser.add_argument("--quick", action="store_true", help="a small run, labelled so")
    parser.add_argument("--force", action="store_true", help="replace a finished result")
    parser.add_argument("--keep", action="store_true", help="keep the training runs, to add seeds later")


def _run_table1(**options: Any) -> Path:
    from fedshap.paper.command import table1

    _interruptions.loaded()
    return table1(**options)


def _add_federate(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Run FedBR-Shap: clients choose how much to give, train, and are paid and charged for it. After an "
        "interruption the same command goes on where it was. Training needs: pip install fedshap[train]."
    )
    parser.set_defaults(run=_run_federate, command=None)
    commands = parser.add_subparsers(metavar="[COMMAND]", title="further commands", dest="command")
    new = commands.add_parser("new", help="write a folder with data, models and costs of your own", allow_abbrev=False)
    new.description = "Write a Flower app into a folder: edit its task.py to bring data, models and costs of your own."
    new.add_argument("folder", metavar="DIR", help="a folder that is not there, or is empty")
    new.set_defaults(run=_run_new)
    _add_study(commands.add_parser("study", help="measure what the protocol earns", allow_abbrev=False))
    parser.add_argument("--out", default="federation", metavar="DIR", help="folder for the books (default: federation)")
    parser.add_argument("--app", metavar="DIR", help="folder with a task.py of your own, see `fedshap federate new`")
    for name, kind, metavar, text in FEDERATION_OPTIONS:
        parser.add_argument(f"--{name}", type=kind, metavar=metavar, help=text)
    parser.add_argument("--rates", type=float, nargs="+", metavar="X", help="cost of a batch to each client")
    parser.add_argument("--no-search", dest="search", action="store_false", default=None, help="certify nothing")
    parser.add_argument("--as-printed", action="store_true", default=None, help="Algorithm 1 as the paper prints it")
    flower = parser.add_argument_group("on Flower", "needs: pip install fedshap[flower]")
    where = flower.add_mutually_exclusive_group()
    where.add_argument("--flower", action="store_true", help="start SuperLink and SuperNodes here, and stop them after")
    where.add_argument("--connect", metavar="HOST:PORT", help="run on a SuperLink that is there already")
    flower.add_argument("--certificate", metavar="FILE", help="of the authority that vouches for that SuperLink")
    flower.add_argument("--port", type=int, metavar="N", help="of the SuperLink that is started (default: a free one)")
    flower.add_argument("--timeout", type=float, metavar="S", help="seconds a client has for an answer (default: 600)")


def _run_federate(command: None, rates: Sequence[float] | None, **options: Any) -> Path:
    from fedshap.federated.command import federate

    _interruptions.loaded()
    table, path = federate(rates=None if rates is None else " ".join(map(repr, rates)), **options)
    print(table)
    return path


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure what FedBR-Shap earns: one JSON for each question. After an interruption the same command goes on "
        "where it was. An hour or more on one core."
    )
    parser.set_defaults(run=_run_study)
    parser.add_argument("--dataset", default="digits", help="digits or mnist (default: digits)")
    parser.add_argument("--question", default="all", help="settling, noise, contributions, cheating, expense or all")
    parser.add_argument("--data", metavar="ROOT", help="folder of the data sets")
    parser.add_argument("--out", default=".", metavar="DIR", help="folder for the results (default: here)")
    parser.add_argument("--seeds", type=int, default=10, metavar="N", help="repetitions (default: 10)")
    parser.add_argument("--quick", action="store_true", help="a small run, labelled so")
    parser.add_argument("--force", action="store_true", help="replace a finished result")
    parser.add_argument("--keep", action="store_true", help="keep the finished pieces, to add seeds later")


def _run_study(command: str, **options: Any) -> Path:
    from inspect import signature

    from fedshap.federated.study import study

    _interruptions.loaded()
    return study(**{name: options[name] for name in signature(study).parameters})


def _run_new(folder: str, **_: Any) -> Path:
    from fedshap.federated.flower_folder import new

    return new(folder)


def _open_closed_streams() -> None:
    """Open the null device where stdout or stderr was closed (``2>&-``).

    It gets the number that was free. Otherwise the next file would get it, a checkpoint say, and whatever a library in
    C has to say would be written into that.
    """
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115 (as long as the process lives)


def _print(result: Path) -> None:
    try:
        print(result, flush=True)
    except OSError as error:  # a full disk, a closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again, in vain, when it ends
        raise OSError(f"{result} is written, but standard output takes nothing ({error.strerror})") from error


def _in_one_line(error: Exception) -> str:
    """What an error says, without its number where it says more."""
    text = error.strerror if isinstance(error, OSError) and not error.filename else None
    return " ".join((text or str(error)).split())
