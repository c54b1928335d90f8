"""The README and the guide for contributors: their examples run (as doctests), their commands exist and their links
lead somewhere."""

from __future__ import annotations

import doctest
import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")
PAGES = ["README.md", "CONTRIBUTING.md"]


def test_the_example_is_a_doctest_that_solves_a_game():
    examples = doctest.DocTestParser().get_examples(README)
    assert any("fedshap" in example.source for example in examples)
    assert any("find_equilibrium" in example.source and "fs." in example.source for example in examples)
    assert any(example.want for example in examples)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_it_names_exists(page):
    text = (ROOT / page).read_text(encoding="utf8")
    code = "\n".join(re.findall(r"`[^`]*`|^```.*?^```", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"\bmake (?:[A-Z]+=\S* )?([a-z]+)\b", code))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf8"), re.MULTILINE))
    assert {"book", "test"} <= named
    assert named <= targets


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file(page):
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", (ROOT / page).read_text(encoding="utf8"))
    paths = [link for pair in links for link in pair if link and not re.match(r"[a-z]+:|#", link)]
    assert [path for path in paths if not (ROOT / path.split("#")[0]).exists()] == []


def test_the_readme_claims_what_was_measured():
    """Time and memory of a million agents, and errors and time next to those of samplers."""
    assert "a million agents is solved within half a minute and 1 GB" in " ".join(README.split())
    million = [row for row in results("scale")["rows"] if row["agents"] == 10**6]
    assert million
    assert all(max(row["seconds"]) < 30.0 and row["megabytes"] < 1000.0 for row in million)
    assert "10^13 times smaller than those of shapiq's samplers" in README
    ours, *others = results("methods")["values_and_gradients"]
    samplers = [row for row in others if row["method"].startswith("shapiq")]
    assert ours["method"] == "fedshap"
    assert samplers
    for row in samplers:
        assert row["errors"]["values"][1] > 1e13 * ours["errors"]["values"][0]
        assert row["seconds"][1] > 10.0 * ours["seconds"][0]


def results(name: str) -> dict[str, Any]:
    return json.loads((ROOT / "book" / "results" / f"{name}.json").read_text(encoding="utf8"))
