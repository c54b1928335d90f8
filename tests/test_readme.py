"""The README and the guide for contributors: their examples run (as doctests), their commands exist and their links
lead somewhere."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

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
