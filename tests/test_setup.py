"""What meets those who come: set-up in any folder, what is pinned, how to cite, what a contributor is told."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

from conftest import missing

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf8")
PINS = dict(re.findall(r"^(\S+)==(\S+)$", (ROOT / "book" / "constraints.txt").read_text(encoding="utf8"), re.MULTILINE))


# ---- make, wherever the checkout lies --------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """What `make` reads, in a folder whose name has all that a shell might trip over."""
    if shutil.which("make") is None or os.name == "nt":
        pytest.skip("there is no make here, or no such name for a folder")
    folder = tmp_path / 'a b\'c $HOME "d"'
    shutil.copytree(ROOT / ".ci", folder / ".ci")
    (folder / "fedshap").mkdir()
    (folder / "book").mkdir()
    for name in ("Makefile", "pyproject.toml", "book/constraints.txt"):
        shutil.copy(ROOT / name, folder / name)
    return folder


def make(folder: Path, *arguments: str) -> str:
    # A make that runs the tests hands down its flags, which would make this one report the folders it enters.
    environment = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    run = subprocess.run(["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return run.stdout


def test_help_lists_every_target(elsewhere: Path) -> None:
    listed = re.findall(r"^([a-z]+) +\S", make(elsewhere), re.MULTILINE)
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony is not None
    assert sorted(listed) == sorted(phony[1].split())


@pytest.mark.parametrize("target", ["site", "unit", "test"])
def test_commands_survive_any_name_of_the_folder(elsewhere: Path, target: str) -> None:
    """Each command that would be run is one that a shell can read, and none has the folder's name in it."""
    told = make(elsewhere, "--dry-run", "PYTHON=python3", target)
    assert elsewhere.name not in told
    assert subprocess.run(["sh", "-n"], input=told, text=True, capture_output=True).stderr == ""


def test_make_builds_where_the_folder_has_blanks_and_quotes(elsewhere: Path) -> None:
    """With a stand-in for Jupyter Book that says what it was told."""
    tool = elsewhere / ".venv" / "bin" / "jupyter-book"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\nfor each; do echo "<$each>"; done\n', encoding="utf8")
    tool.chmod(0o755)
    (elsewhere / ".venv" / ".ready").touch()
    told = make(elsewhere, "CI=true", "site")
    assert f"<{elsewhere}/_toc.yml>" in told
    assert f"The book is in {elsewhere}/_build/html/index.html" in told


# ---- what is run ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_unit_leaves_out_what_is_slow() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--collect-only",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_summation.py",
    ]
    everything, unit = (
        subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
        for more in ([], ["--unit"])
    )
    assert {line.split("[")[1] for line in everything if "::" in line and line not in unit} == {"1000000]"}


def test_unit_says_what_a_file_is_in_want_of(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("import numpy as np, no_such_package.part\n\ndef test_it():\n    from nor_this import one\n")
    assert missing(file) == ["no_such_package", "nor_this"]


# ---- versions -------------------------------------------------------------------------------------------------


def test_what_the_chapters_import_is_pinned() -> None:
    used = set()
    for chapter in (ROOT / "book").glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(chapter, as_version=4).cells if cell.cell_type == "code"]
        for node in ast.walk(ast.parse("\n".join(cells))):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                used.add(node.module.split(".")[0])
    assert {"numpy", "sympy"} <= used
    from_elsewhere = used - {"fedshap", "IPython", *sys.stdlib_module_names}
    assert {"scikit-learn" if name == "sklearn" else name for name in from_elsewhere} <= set(PINS)


def test_what_is_pinned_is_asked_for() -> None:
    """Each pin meets the bounds in pyproject.toml, or pip could not install both."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    extras = project["optional-dependencies"]
    asked = [Requirement(each) for each in [*project["dependencies"], *extras["train"], *extras["book"]]]
    bounds = {requirement.name: requirement.specifier for requirement in asked}
    assert [name for name, version in PINS.items() if name in bounds and version not in bounds[name]] == []


# ---- citation -----------------------------------------------------------------------------------------------


def test_what_is_cited_is_the_book_and_the_paper_stands_beside_it() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    assert citation["type"] == "software"
    assert citation["repository-code"] == config["repository"]["url"]
    assert citation["date-released"].year >= 2026
    assert "preferred-citation" not in citation
    assert [reference["title"].split(":")[0] for reference in citation["references"]] == ["You Get What You Give"]


# ---- what a contributor is told -----------------------------------------------------------------------------


def test_every_file_and_name_of_the_guide_is_there() -> None:
    quoted = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL))
    paths = [each for each in quoted if re.fullmatch(r"\.?[\w-]+/[\w./*-]*|[\w.]+\.(?:md|yml|toml|cff)", each)]
    modules = [each for each in quoted if re.fullmatch(r"fedshap(?:\.\w+)+", each)]
    assert len(paths) > 10
    assert len(modules) > 10
    assert [path for path in paths if "NAME" not in path and "NN_" not in path and not list(ROOT.glob(path))] == []
    for module in modules:
        if module != "fedshap.federated":  # needs torch
            importlib.import_module(module)


def test_every_part_of_the_package_is_in_the_guides_table() -> None:
    parts = {path.stem for path in (ROOT / "fedshap").iterdir() if path.is_dir() or path.suffix == ".py"}
    rows = [line for line in GUIDE.splitlines() if line.startswith("|")]
    assert {part for part in parts if not part.startswith("_")} <= set(re.findall(r"`fedshap\.(\w+)`", "".join(rows)))
