"""What is run: everything, or with ``--unit`` the package alone; and the built book, shared by those who look at it."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK_TESTS = ("test_browser.py", "test_notebooks.py", "test_site.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--unit",
        action="store_true",
        help="the package alone: no chapters or pages, nothing slow, nothing that needs a package not installed here",
    )


def pytest_configure(config: pytest.Config) -> None:
    """With ``--unit`` fewer examples of each property, too: see `games.examples`."""
    hypothesis.settings.register_profile("all", max_examples=200)
    hypothesis.settings.register_profile("unit", max_examples=15)
    hypothesis.settings.load_profile("unit" if config.option.unit else "all")
    if config.option.unit:
        config.option.doctest_ignore_import_errors = True


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With ``--unit``, pass over files about the book and those that need what is not installed."""
    if not config.option.unit or collection_path.suffix != ".py":
        return None
    return True if collection_path.name in BOOK_TESTS or missing(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With ``--unit``, leave out the chapters and the tests marked slow."""
    if config.option.unit:
        kept = [item for item in items if item.path.suffix != ".ipynb" and not item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Nothing is passed over in silence."""
    if config.option.unit:
        for path in sorted(Path(__file__).parent.glob("*.py")):
            if path.name not in BOOK_TESTS and (lacks := missing(path)):
                terminalreporter.write_line(f"left out: {path.name}, for want of {', '.join(lacks)}")


def missing(path: Path) -> list[str]:
    """Packages that a test file imports and that are not installed; training stands for torch."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module}
    tops = {"torch" if name.startswith("fedshap.federated") else name.split(".")[0] for name in names}
    return sorted(top for top in tops if find_spec(top) is None)


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
    import fcntl  # not on Windows, where the package's tests run but not these

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
