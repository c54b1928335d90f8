"""The README: its example runs (as a doctest), its commands exist and its links lead somewhere."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf8")


def test_the_example_is_a_doctest_that_solves_a_game():
    examples = doctest.DocTestParser().get_examples(README)
    assert any("fedshap" in example.source for example in examples)
    assert any("find_equilibrium" in example.source and "fs." in example.source for example in examples)
    assert any(example.want for example in examples)


def test_every_make_target_it_names_exists():
    named = set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(re.findall(r"`[^`]*`|^```.*?^```", README, re.M | re.S))))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"book", "test"} <= named
    assert named <= targets


def test_every_relative_link_leads_to_a_file():
    links = re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", README)
    paths = [link for pair in links for link in pair if link and not re.match(r"[a-z]+:|#", link)]
    assert [path for path in paths if not (ROOT / path.split("#")[0]).exists()] == []
