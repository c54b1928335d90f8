"""The built book, shared by the tests that look at its pages."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent


class Build(NamedTuple):
    """One run of Jupyter Book."""

    returncode: int
    log: str
    html: Path


def build_book(target: Path, book: Path = ROOT / "book", toc: Path = ROOT / "_toc.yml", execute: str = "off") -> Build:
    """Build a book from scratch, by default from its stored outputs; warnings and dangling references are errors."""
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(book), "-W", "-n", "--keep-going"]
    command += ["--config", str(ROOT / "_config.yml"), "--toc", str(toc), "--path-output", str(target)]
    environment = os.environ | {"BOOK_EXECUTE": execute, "NO_COLOR": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    return Build(run.returncode, run.stdout + run.stderr, target / "_build" / "html")


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """The book, built once per test run however many workers ask for it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    record = shared / "book.json"
    with open(shared / "book.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            made = build_book(shared / "book")
            record.write_text(json.dumps([made.returncode, made.log, str(made.html)]))
    returncode, log, html = json.loads(record.read_text())
    return Build(returncode, log, Path(html))


@pytest.fixture(scope="session")
def site(build: Build) -> Path:
    """The folder of the built pages."""
    if not (build.html / "index.html").exists():
        pytest.fail(f"the book was not built:\n{build.log[-4000:]}")
    return build.html
