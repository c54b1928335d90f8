"""The paper's statements go by the paper's numbers; the book's own go by name.

A reader who cites "Theorem 4.7" means the paper's. sphinx-proof would number the
boxes anew, by chapter, and put "Theorem 4.1" in front of it. Here a box whose title
begins with a number of the paper keeps that number, every other box its title, and
none gets a second number; `{prf:ref}` says the same. The badge beside it is the
verdict in ``results/statements.json``, which the tests compare with the chapters.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.nodes import Element, Node
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.nodes import make_refnode
from sphinx_proof.domain import ProofDomain
from sphinx_proof.nodes import NODE_TYPES

BOXES = tuple(NODE_TYPES.values())
NUMBER = re.compile(
    r"(?:Theorem|Lemma|Proposition|Definition|Example) (?:[A-Z]\.)?\d+(?:\.\d+)?"
)
VERDICTS = "14_where_the_paper_needs_care"
BADGES = {
    "holds as stated": "as printed",
    "holds with an extra hypothesis": "with a hypothesis",
    "proof repaired": "repaired",
    "fails: counterexample": "fails",
    "typo": "misprint",
    "definition": "definition",
}

Table = dict[str, list[dict[str, Any]]]
Badge = tuple[str, str]  # its words, and the end of its class


def badges_of(label: str, title: str, table: Table) -> list[Badge]:
    """The badges of a statement: "ours", or the verdicts, by parts if they differ.

    Examples
    --------
    >>> first = {"number": "Theorem 1.2, first", "verdict": "holds as stated"}
    >>> other = {
    ...     "number": "Theorem 1.2, other",
    ...     "verdict": ["proof repaired", "typo"],
    ... }
    >>> both = [record | {"label": "thm-1-2"} for record in (first, other)]
    >>> badges_of("thm-1-2", "Theorem 1.2, repaired", {"own": [], "statements": both})
    [('first: as printed', 'printed'), ('other: repaired, misprint', 'repaired')]
    """
    if any(record["label"] == label for record in table["own"]):
        return [("ours", "ours")]
    parts = _verdicts(label, title, table)
    if not parts:
        raise ExtensionError(f"{label}: no verdict in results/statements.json")
    if len(set(parts.values())) == 1:
        verdicts = next(iter(parts.values()))
        # Without a number the box is ours, and the verdict is on what the paper says.
        paper = (
            "" if NUMBER.match(title) or "definition" in verdicts else "the paper: "
        )
        return [(paper + BADGES[verdict], _kind(verdict)) for verdict in verdicts]
    badges = []
    for name, verdicts in parts.items():
        words = ", ".join(BADGES[verdict] for verdict in verdicts)
        badges.append((f"{name}: {words}", _kind(verdicts[0])))
    return badges


def _verdicts(label: str, title: str, table: Table) -> dict[str, tuple[str, ...]]:
    """The verdicts on each part of the statement that a title names."""
    records = [each for each in table["statements"] if each["label"] == label]
    number = NUMBER.match(title)
    if number:
        same = re.compile(rf"{re.escape(number[0])}(?![\d.])[ ,]*")
        records = [each for each in records if same.match(each["number"])]
    else:
        same = re.compile("")
        records = [r for r in records if r["number"] in title] or records[:1]
    parts = {}
    for record in records:
        verdict = record["verdict"]
        verdicts = (verdict,) if isinstance(verdict, str) else tuple(verdict)
        parts[same.sub("", record["number"], count=1)] = verdicts
    return parts


def _kind(verdict: str) -> str:
    return BADGES[verdict].split()[-1]


def name_statements(app: Sphinx, doctree: nodes.document) -> None:
    """Name every box of a page, and remember what references are to call it."""
    boxes = list(doctree.findall(lambda node: isinstance(node, BOXES)))
    if not boxes:
        return
    source = Path(app.srcdir) / "results" / "statements.json"
    app.env.note_dependency(str(source))
    table = json.loads(source.read_text(encoding="utf8"))
    for box in boxes:
        title, body = box.children
        number = NUMBER.match(title.astext())
        name = number[0] if number else box["realtype"].title()
        rest = _rest(title, number.end() if number else 0)
        shown = [nodes.Text(name)] if number else _quoted(name, rest)
        app.env.proof_list[box["label"]]["shown"] = nodes.inline("", "", *shown)
        heading = nodes.title(
            "", "", nodes.inline("", name, classes=["caption-number"])
        )
        heading += rest if number else [nodes.Text(": "), *rest]
        for words, kind in badges_of(box["label"], title.astext(), table):
            heading += [nodes.Text(" "), _badge(words, kind)]
        named = nodes.admonition("", heading, body, ids=box["ids"])
        named["classes"] = box["classes"]
        box.replace_self(named)


def _rest(title: Element, skip: int) -> list[Node]:
    """What a title says after its first ``skip`` letters, which are plain text."""
    first, *others = title.children
    if isinstance(first, nodes.Text):
        first = nodes.Text(first.astext()[skip:])
    return [each.deepcopy() for each in (first, *others)]


def _quoted(name: str, rest: list[Node]) -> list[Node]:
    """What a reference to one of the book's own statements says."""
    said = [each.deepcopy() for each in rest]
    return [nodes.Text(f"{name} “"), *said, nodes.Text("”")]


def _badge(words: str, kind: str) -> Node:
    """The badge; one that judges the paper leads to the table of all verdicts."""
    badge = nodes.inline("", "", classes=["verdict", f"verdict-{kind}"])
    text = nodes.inline("", words)
    if kind in ("ours", "definition"):
        badge += text
        return badge
    link = {"refdomain": "std", "reftype": "doc", "reftarget": f"/{VERDICTS}"}
    badge += pending_xref("", text, refexplicit=True, refwarn=True, **link)
    return badge


class StatementDomain(ProofDomain):
    """References by the paper's number, or by name."""

    def resolve_xref(self, env, fromdocname, builder, typ, target, node, contnode):  # type: ignore[no-untyped-def]
        known = getattr(env, "proof_list", {}).get(target)
        if known is None or node.get("refdomain") != self.name:
            places = (env, fromdocname, builder, typ, target, node, contnode)
            return super().resolve_xref(*places)
        said = contnode if node.get("refexplicit") else known["shown"].deepcopy()
        return make_refnode(builder, fromdocname, known["docname"], target, said)


def setup(app: Sphinx) -> dict[str, bool]:
    app.setup_extension("sphinx_proof")
    app.add_domain(StatementDomain, override=True)
    app.connect("doctree-read", name_statements)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
