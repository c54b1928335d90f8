"""The chapters as they are stored: run from top to bottom, in order, with every output kept.

That the outputs are still right is checked by nbval, which runs each chapter again and compares.
It compares nothing where nothing is stored, hence these tests.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import nbformat
import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted((ROOT / "book").glob("*.ipynb"))

# What takes nbval's eye off a cell. Only a cell that measures time may have its output ignored.
IGNORED = re.compile(r"(?:nbval|pytest_validate)[-_]ignore[-_]output", re.IGNORECASE)
SKIPPED = re.compile(r"nbval[-_](?:skip|raises[-_]exception)|raises-exception", re.IGNORECASE)
TIMED = re.compile(r"perf_counter|process_time|monotonic|timeit|^%%?time\b", re.MULTILINE)
MACHINE = re.compile(r"(?:/home|/root|/Users|/tmp|/work|/private|/var|site-packages)/\S*|[A-Z]:\\Users")


def problems(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with a stored chapter."""
    found = []
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        found.append("its kernel is not python3")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"its cells were not run once, in order: counts {counts}")
    if not any(cell.outputs for cell in code):
        found.append("it stores no output")
    for number, cell in enumerate(code, 1):
        marks = f"{' '.join(cell.metadata.get('tags', []))}\n{cell.source}"
        if not cell.source.strip():
            found.append(f"cell {number} is empty")
        if SKIPPED.search(marks):
            found.append(f"cell {number} is kept from being run or may fail")
        if IGNORED.search(marks) and not TIMED.search(cell.source):
            found.append(f"cell {number} keeps its output from being compared, but measures no time")
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"cell {number} stores an error: {output.ename}")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"cell {number} wrote to stderr: {output.text[:80]}")
            if MACHINE.search(_text(output)):
                found.append(f"cell {number} names a folder of the machine it ran on")
    return found


def _text(output: nbformat.NotebookNode) -> str:
    texts = [output.get("text", "")] + [value for kind, value in output.get("data", {}).items() if "text" in kind]
    return "\n".join("".join(each) for each in texts)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_is_stored_as_it_was_run(chapter):
    notebook = nbformat.read(chapter, as_version=4)
    nbformat.validate(notebook)
    assert problems(notebook) == []


SHORT = [path for path in CHAPTERS if path.stem in ("index", "algorithm_1") or path.stem[:2] <= "05"]


@pytest.mark.parametrize("chapter", SHORT, ids=lambda path: path.stem)
def test_a_chapter_is_short(chapter):
    """At most 30 cells, and no code cell of more than 15 lines, unless it draws and its input is folded."""
    cells = nbformat.read(chapter, as_version=4).cells
    folded = [cell for cell in cells if "hide-input" in cell.metadata.get("tags", [])]
    long = [cell.source for cell in cells if cell.cell_type == "code" and len(cell.source.splitlines()) > 15]
    assert len(cells) <= 30
    assert [source for source in long if source not in [cell.source for cell in folded]] == []
    assert [cell.source for cell in folded if "plt.show()" not in cell.source] == []


KINDS = re.compile(r"^\*\*(By hand|A proof|Open|A project)", re.MULTILINE)


@pytest.mark.parametrize("chapter", [path for path in SHORT if path.stem[:1] == "0"], ids=lambda path: path.stem)
def test_a_chapter_has_exercises_of_three_kinds(chapter):
    """By hand, a proof, something open; each but the open ones with a folded solution."""
    text = "\n\n".join(
        cell.source for cell in nbformat.read(chapter, as_version=4).cells if cell.cell_type == "markdown"
    )
    assert {"By hand", "A proof", "Open"} <= set(KINDS.findall(text))
    posed = set(re.findall(r"\{exercise-start\}\n:label: (\S+)", text))
    solved = re.findall(r"\{solution-start\} (\S+)\n:class: dropdown", text)
    assert sorted(posed) == sorted(solved)


def test_the_contents_list_every_chapter():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
    listed = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    assert len(listed) == len(set(listed))
    assert {path.stem for path in CHAPTERS} <= set(listed)
    assert [name for name in listed if not list((ROOT / "book").glob(f"{name}.*"))] == []


def _sound() -> nbformat.NotebookNode:
    cells = [nbformat.v4.new_code_cell(f"print({n})", execution_count=n) for n in (1, 2)]
    for cell in cells:
        cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    return nbformat.v4.new_notebook(
        cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    )


def _unrun(notebook):
    notebook.cells[1].execution_count = None


def _out_of_order(notebook):
    notebook.cells[0].execution_count, notebook.cells[1].execution_count = 2, 1


def _cleared(notebook):
    for cell in notebook.cells:
        cell.outputs = []


def _failed(notebook):
    notebook.cells[1].outputs.append(nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]))


def _warned(notebook):
    notebook.cells[1].outputs.append(nbformat.v4.new_output("stream", name="stderr", text="careful"))


def _ignored(notebook):
    notebook.cells[0].source = "# NBVAL_IGNORE_OUTPUT\nprint(1)"


def _ignored_by_tag(notebook):
    notebook.cells[0].metadata.tags = ["nbval-ignore-output"]


def _skipped(notebook):
    notebook.cells[0].metadata.tags = ["nbval-skip"]


def _no_kernel(notebook):
    del notebook.metadata["kernelspec"]


def _local_path(notebook):
    notebook.cells[0].outputs[0].text = "saved to /home/someone/book\n"


BREAKAGES = [
    _unrun,
    _out_of_order,
    _cleared,
    _failed,
    _warned,
    _ignored,
    _ignored_by_tag,
    _skipped,
    _no_kernel,
    _local_path,
]


@pytest.mark.parametrize("spoil", BREAKAGES, ids=lambda function: function.__name__.strip("_"))
def test_a_spoilt_chapter_is_noticed(spoil):
    notebook = _sound()
    assert problems(notebook) == []
    spoilt = copy.deepcopy(notebook)
    spoil(spoilt)
    assert len(problems(spoilt)) == 1


def test_a_cell_that_measures_time_may_ignore_its_output():
    notebook = _sound()
    notebook.cells[0].source = "# NBVAL_IGNORE_OUTPUT\nstart = time.perf_counter()"
    assert problems(notebook) == []


@pytest.mark.parametrize(
    "chapter", [each for each in CHAPTERS if "06" <= each.stem[:2] <= "99"], ids=lambda path: path.stem
)
def test_a_chapter_is_short_and_shows_short_cells(chapter):
    """At most 30 cells; code longer than 15 lines is folded; three kinds of exercises."""
    cells = nbformat.read(chapter, as_version=4).cells
    assert len(cells) <= 30
    code = [cell for cell in cells if cell.cell_type == "code"]
    long = [cell.execution_count for cell in code if len(cell.source.splitlines()) > 15]
    assert [n for n in long if "hide-input" not in code[n - 1].metadata.get("tags", [])] == []
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    kinds = {"by hand": "**By hand", "a proof": "**A proof", "open": "**Open|**A project"}
    assert [kind for kind, marks in kinds.items() if not any(mark in text for mark in marks.split("|"))] == []
