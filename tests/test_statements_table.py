"""The table of verdicts (book/results/statements.json) against the chapters, the tests and the paper's numbers."""

from __future__ import annotations

import ast
import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
TABLE = json.loads((BOOK / "results" / "statements.json").read_text(encoding="utf8"))

VERDICTS = {
    "definition",
    "holds as stated",
    "holds with an extra hypothesis",
    "proof repaired",
    "fails: counterexample",
    "typo",
}

DEFINITIONS = ["2-1", "3-1", "3-2", "3-3", "3-5", "3-6", "3-7", "4-1"]
LEMMAS = ["2-3", "3-4", "4-2", "4-5", "4-6"]
LABELS = {
    **{f"Definition {n.replace('-', '.')}": f"def-{n}" for n in DEFINITIONS},
    **{f"Lemma {n.replace('-', '.')}": f"lemma-{n}" for n in LEMMAS},
    **{f"Example {n}": f"example-{n}" for n in range(1, 8)},
    "Lemma D.1": "lemma-d1",
    "Proposition 2.2": "prop-2-2",
    "Theorem 4.3": "thm-4-3",
    "Theorem 4.4": "thm-4-4",
    "Theorem 4.7, reciprocity": "thm-4-7",
    "Theorem 4.7, equal treatment": "thm-4-7",
    "Theorem 4.8": "thm-4-8",
    "Theorem 4.9 (i)": "thm-4-9",
    "Theorem 4.9 (ii)": "thm-4-9",
}
"""The paper's numbered statements and the label of each."""

BESIDES = {f"Eq. ({n})" for n in (2, 3, 8, 9, 10, 11, 12, 13, 25, 26, 27)} | {
    "Introduction",
    "After Lemma 4.5",
    "Table 1",
    "App. E, sample bound",
    "App. E, σ ≤ 0.1",
    "Sec. 5.2, no data sharing",
    "Sec. 5.2, equilibrium of a stage",
    "Assumption F.1",
    "App. F, payments",
    "App. F.2, second model",
    "App. F.2, difference quotient",
    "App. F.2, weights",
    "Algorithm 1",
}
"""Equations and claims that the table must cover too."""

PAPER_LABEL = re.compile(r"(def|prop|lemma|thm)-(\d-\d|[a-z]\d)|example-\d")
PROOF_BLOCK = re.compile(r"\{prf:(\w+)\}[^\n]*\n((?::\w+:[^\n]*\n)*)")
LABEL = re.compile(r"^:label:\s*(\S+)\s*$", re.MULTILINE)
ANCHOR = re.compile(r"^\((\S+)\)=\s*$", re.MULTILINE)


@cache
def labels_of(chapter: str) -> tuple[frozenset[str], frozenset[str]]:
    """The labels of a chapter's statements, and its other anchors."""
    cells = nbformat.read(BOOK / f"{chapter}.ipynb", as_version=4).cells
    text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    blocks = {label for _, options in PROOF_BLOCK.findall(text) for label in LABEL.findall(options)}
    return frozenset(blocks), frozenset(ANCHOR.findall(text))


def statement_labels() -> set[tuple[str, str]]:
    """Chapter and label of every statement in the book; stubs (`thm-04_...`) are not statements yet."""
    chapters = sorted(path.stem for path in BOOK.glob("*.ipynb"))
    return {(name, label) for name in chapters for label in labels_of(name)[0] if "_" not in label}


@cache
def functions_in(path: str) -> frozenset[str]:
    """The test functions that a file defines."""
    file = ROOT / path
    if not file.exists():
        return frozenset()
    return frozenset(
        node.name for node in ast.parse(file.read_text(encoding="utf8")).body if isinstance(node, ast.FunctionDef)
    )


def verdicts_of(record: dict[str, Any]) -> list[str]:
    found = record["verdict"]
    return [found] if isinstance(found, str) else found


def problems(table: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Everything that is wrong with a table."""
    found = []
    statements, own = table["statements"], table["own"]
    for record in [*statements, *own]:
        name = record.get("number", record["title"])
        if not (BOOK / f"{record['chapter']}.ipynb").exists():
            found.append(f"{name}: no chapter {record['chapter']}")
        elif record["label"] not in frozenset.union(*labels_of(record["chapter"])):
            found.append(f"{name}: no label {record['label']} in {record['chapter']}")
        if not record["tests"]:
            found.append(f"{name}: no test")
        for test in record["tests"]:
            path, _, function = test.partition("::")
            if not function.startswith("test_") or function not in functions_in(path):
                found.append(f"{name}: no test {test}")
        if not record.get("note", record.get("statement")):
            found.append(f"{name}: nothing is said")
    for record in statements:
        verdicts = verdicts_of(record)
        if not verdicts or not set(verdicts) <= VERDICTS or len(set(verdicts)) < len(verdicts):
            found.append(f"{record['number']}: verdict {record['verdict']}")
        if record["label"] != LABELS.get(record["number"], record["label"]):
            found.append(f"{record['number']}: label {record['label']}")
    numbers = [record["number"] for record in statements]
    found += [f"{number}: listed twice" for number in sorted({n for n in numbers if numbers.count(n) > 1})]
    found += [f"{number}: not in the table" for number in sorted((LABELS.keys() | BESIDES) - set(numbers))]

    in_book = statement_labels()
    of_paper = {(record["chapter"], record["label"]) for record in statements}
    of_book = {(record["chapter"], record["label"]) for record in own}
    for chapter, label in sorted(in_book):
        if PAPER_LABEL.fullmatch(label) and (chapter, label) not in of_paper:
            found.append(f"{label} of {chapter}: not in the table")
        elif not PAPER_LABEL.fullmatch(label) and (chapter, label) not in of_paper | of_book:
            found.append(f"{label} of {chapter}: in neither list")
    found += [f"{label}: the paper's, listed as own" for _, label in sorted(of_book) if PAPER_LABEL.fullmatch(label)]
    where = [label for _, label in sorted(in_book)]
    found += [f"{label}: in two chapters" for label in sorted({x for x in where if where.count(x) > 1})]
    return found


def test_the_table_agrees_with_the_chapters_and_the_tests():
    assert problems(TABLE) == []


def test_the_book_has_statements_to_compare_with():
    found = {label for _, label in statement_labels()}
    assert set(LABELS.values()) <= found
    assert len(found) > len(LABELS)
    assert any(len(verdicts_of(record)) == 2 for record in TABLE["statements"])


def record_of(table, number):
    return next(record for record in table["statements"] if record["number"] == number)


def _no_such_chapter(table):
    record_of(table, "Theorem 4.8")["chapter"] = "08_warfare"


def _no_such_label(table):
    record_of(table, "Eq. (27)")["label"] = "bound-app-f"


def _label_of_another_statement(table):
    record_of(table, "Theorem 4.8").update(label="lemma-d1")


def _no_such_test(table):
    record_of(table, "Lemma 4.2")["tests"].append("tests/test_statements_payments.py::test_lemma_4_2_of_nobody")


def _no_such_test_file(table):
    record_of(table, "Lemma 4.2")["tests"] = ["tests/test_nothing.py::test_lemma_4_2_of_the_package"]


def _no_test(table):
    record_of(table, "Lemma 4.2")["tests"] = []


def _no_such_verdict(table):
    record_of(table, "Theorem 4.3")["verdict"] = "true"


def _no_verdict(table):
    record_of(table, "Theorem 4.3")["verdict"] = []


def _no_note(table):
    record_of(table, "Theorem 4.3")["note"] = ""


def _statement_left_out(table):
    table["statements"].remove(record_of(table, "Theorem 4.3"))


def _half_of_a_theorem_left_out(table):
    table["statements"].remove(record_of(table, "Theorem 4.9 (ii)"))


def _equation_left_out(table):
    table["statements"].remove(record_of(table, "Eq. (26)"))


def _listed_twice(table):
    table["statements"].append(dict(record_of(table, "Eq. (26)")))


def _own_result_left_out(table):
    table["own"] = [record for record in table["own"] if record["label"] != "thm-potential"]


def _the_papers_listed_as_own(table):
    table["own"].append(dict(record_of(table, "Theorem 4.8"), statement="As in the paper."))


BREAKAGES = [
    (_no_such_chapter, "Theorem 4.8: no chapter"),
    (_no_such_label, "Eq. (27): no label"),
    (_label_of_another_statement, "Theorem 4.8: label lemma-d1"),
    (_no_such_test, "Lemma 4.2: no test tests/"),
    (_no_such_test_file, "Lemma 4.2: no test tests/"),
    (_no_test, "Lemma 4.2: no test"),
    (_no_such_verdict, "Theorem 4.3: verdict"),
    (_no_verdict, "Theorem 4.3: verdict"),
    (_no_note, "Theorem 4.3: nothing is said"),
    (_statement_left_out, "thm-4-3 of 05_hidden_potential: not in the table"),
    (_half_of_a_theorem_left_out, "Theorem 4.9 (ii): not in the table"),
    (_equation_left_out, "Eq. (26): not in the table"),
    (_listed_twice, "Eq. (26): listed twice"),
    (_own_result_left_out, "thm-potential of 05_hidden_potential: in neither list"),
    (_the_papers_listed_as_own, "thm-4-8: the paper's, listed as own"),
]


@pytest.mark.parametrize(("spoil", "complaint"), BREAKAGES, ids=lambda x: getattr(x, "__name__", "").strip("_") or None)
def test_a_spoilt_table_is_noticed(spoil, complaint):
    table = copy.deepcopy(TABLE)
    spoil(table)
    assert any(complaint in problem for problem in problems(table))
