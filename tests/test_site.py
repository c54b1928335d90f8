"""The built pages: complete, free of warnings, and nothing in them comes from another host."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup, Tag

from conftest import build_book

ROOT = Path(__file__).resolve().parent.parent
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf8"))
CONTENTS = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]

# Attributes that make a browser fetch something; <a href> is followed only by the reader's own click.
FETCHED = {
    "audio": ["src"],
    "embed": ["src"],
    "form": ["action"],
    "frame": ["src"],
    "iframe": ["src"],
    "image": ["href", "xlink:href"],
    "img": ["src", "srcset"],
    "input": ["src"],
    "link": ["href"],
    "object": ["data"],
    "script": ["src"],
    "source": ["src", "srcset"],
    "track": ["src"],
    "use": ["href", "xlink:href"],
    "video": ["src", "poster"],
}
CSS_FETCH = re.compile(r"""(?:url\(\s*['"]?|@import\s+['"])([^'")\s]+)""")
SCRIPT_FETCH = re.compile(r"""['"`]((?:https?:)?//[\w.-]+\.[a-z]{2,}[^'"`]*)['"`]""")


def is_external(address: str) -> bool:
    """Whether an address names a host."""
    return bool(urlsplit(address.strip()).netloc)


def fetched_by_page(html: str) -> Iterator[str]:
    """Every address that a browser fetches, or a script of the page could, when it shows this page."""
    soup = BeautifulSoup(html, "html.parser")
    for name, attributes in FETCHED.items():
        for element in soup.find_all(name):
            if name == "link" and "canonical" in (element.get("rel") or []):
                continue
            for attribute in attributes:
                value = str(element.get(attribute, ""))
                yield from (
                    (part.split()[0] for part in value.split(",") if part.split()) if "srcset" in attribute else [value]
                )
    for style in soup.find_all("style"):
        yield from CSS_FETCH.findall(style.get_text())
    for element in soup.find_all(style=True):
        yield from CSS_FETCH.findall(str(element["style"]))
    for script in soup.find_all("script", src=False):
        yield from SCRIPT_FETCH.findall(script.get_text())


def pages(site: Path) -> list[Path]:
    return sorted(path for path in site.rglob("*.html") if "_static" not in path.parts)


def test_the_book_builds_without_a_warning(build):
    told = [line for line in build.log.splitlines() if "WARNING:" in line or "ERROR:" in line]
    assert told == []
    assert build.returncode == 0, build.log[-3000:]


def test_a_chapter_that_fails_stops_the_build_and_shows_its_cell(tmp_path):
    book = tmp_path / "book"
    shutil.copytree(ROOT / "book" / "_static", book / "_static")
    shutil.copy(ROOT / "book" / "references.bib", book)
    cell = nbformat.v4.new_code_cell("gap = 0.001\nassert gap < 1e-10, f'the budget gap is {gap}'")
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A"), cell]), book / "index.ipynb")
    toc = tmp_path / "_toc.yml"
    toc.write_text("format: jb-book\nroot: index\n")

    made = build_book(tmp_path, book=book, toc=toc, execute="cache")

    assert made.returncode != 0
    end = made.log[made.log.index(f"{book / 'index.ipynb'} failed.") :]
    assert "assert gap < 1e-10" in end
    assert "the budget gap is 0.001" in end
    assert "jupyter_book" not in end


def test_every_page_of_the_contents_is_built(site):
    assert len(CONTENTS) >= 5
    assert [name for name in CONTENTS if not (site / f"{name}.html").exists()] == []


def test_no_page_fetches_from_another_host(site):
    found = {
        f"{page.relative_to(site)}: {address}"
        for page in pages(site)
        for address in fetched_by_page(page.read_text(encoding="utf8"))
        if is_external(address)
    }
    assert found == set()


def test_no_style_sheet_fetches_from_another_host(site):
    sheets = list(site.rglob("*.css"))
    assert sheets
    found = {
        f"{sheet.relative_to(site)}: {address}"
        for sheet in sheets
        for address in CSS_FETCH.findall(sheet.read_text(encoding="utf8"))
        if is_external(address)
    }
    assert found == set()


@pytest.mark.parametrize(
    ("html", "address"),
    [
        ('<script src="https://cdn.example.org/a.js"></script>', "https://cdn.example.org/a.js"),
        ('<link rel="stylesheet" href="//fonts.example.org/css">', "//fonts.example.org/css"),
        ('<img src="a.png" srcset="b.png 1x, https://example.org/c.png 2x">', "https://example.org/c.png"),
        ('<iframe src="https://example.org/"></iframe>', "https://example.org/"),
        ('<p style="background: url(https://example.org/d.png)">x</p>', "https://example.org/d.png"),
        ('<style>@import "https://example.org/e.css";</style>', "https://example.org/e.css"),
        ('<script>load("https://unpkg.example.org/f.js")</script>', "https://unpkg.example.org/f.js"),
    ],
)
def test_the_check_sees_what_a_browser_would_fetch(html, address):
    assert address in [found for found in fetched_by_page(html) if is_external(found)]


def test_the_check_lets_plain_links_and_own_files_pass():
    html = '<a href="https://example.org/">read on</a><img src="_images/a.png"><script src="_static/b.js"></script>'
    assert [found for found in fetched_by_page(html) if is_external(found)] == []


def test_no_link_between_pages_is_broken(site):
    anchors: dict[Path, set[str]] = {}

    def ids(page: Path) -> set[str]:
        if page not in anchors:
            soup = BeautifulSoup(page.read_text(encoding="utf8"), "html.parser")
            anchors[page] = {str(element["id"]) for element in soup.find_all(id=True)}
        return anchors[page]

    broken = []
    for page in pages(site):
        soup = BeautifulSoup(page.read_text(encoding="utf8"), "html.parser")
        for link in soup.find_all("a", href=True):
            address = urlsplit(str(link["href"]))
            if address.scheme or address.netloc:
                continue
            target = (page.parent / unquote(address.path)).resolve() if address.path else page
            missing = not target.exists()
            if not missing and address.fragment and target.suffix == ".html":
                missing = unquote(address.fragment) not in ids(target)
            if missing:
                broken.append(f"{page.relative_to(site)} -> {link['href']}")
    assert broken == []


PACKAGES = ["cooperative", "costs", "equilibrium", "federated", "mechanisms", "payoffs"]


@pytest.mark.parametrize("module", ["fedshap", *(f"fedshap.{name}" for name in PACKAGES)])
def test_the_reference_describes_every_public_name(site, module):
    soup = BeautifulSoup((site / "api.html").read_text(encoding="utf8"), "html.parser")
    described = {str(entry["id"]).rsplit(".", 1)[-1] for entry in soup.select("dl.py > dt[id]")}
    names = importlib.import_module(module).__all__
    assert names
    assert sorted(set(names) - described - {"__version__"}) == []


def test_every_described_name_has_a_description(site):
    soup = BeautifulSoup((site / "api.html").read_text(encoding="utf8"), "html.parser")
    entries = soup.select("dl.py > dt[id]")
    bare = [entry["id"] for entry in entries if not _text(entry.find_next_sibling("dd"))]
    assert entries
    assert bare == []


def _text(element: Tag | None) -> str:
    return element.get_text(strip=True) if element is not None else ""


def test_no_page_shows_what_the_build_could_not_resolve(site):
    """Roles, directives and citations that reached the reader as source text."""
    leak = re.compile(r"\{(?:prf:ref|cite:\w|ref|eq|doc|numref|math)\}`|:::\{|\[\[?\?\]|system-message")
    found = []
    for page in pages(site):
        if "_modules" in page.parts:
            continue
        soup = BeautifulSoup(page.read_text(encoding="utf8"), "html.parser")
        for code in soup.select("pre, script, style"):
            code.decompose()
        found += [f"{page.name}: {match}" for match in leak.findall(str(soup))]
    assert found == []


def test_the_search_index_knows_the_chapters(site):
    text = (site / "searchindex.js").read_text(encoding="utf8")
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    assert sorted(index["docnames"]) == sorted(CONTENTS)


# ---- the names of statements ------------------------------------------------------------------------------------

KINDS = "Theorem|Lemma|Proposition|Definition|Example|Corollary"
PAPERS = re.compile(rf"(?:{KINDS}) (?:[A-Z]\.)?\d+(?:\.\d+)?")
BADGE = {"as printed", "with a hypothesis", "repaired", "fails", "misprint", "definition", "ours"}


def boxes(site: Path) -> list[tuple[str, Tag, list[str]]]:
    """Page, heading and badges of every statement in the book."""
    found = []
    for name in CONTENTS:
        soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf8"), "html.parser")
        for heading in soup.select("div.proof > p.admonition-title"):
            badges = [badge.extract().get_text(strip=True) for badge in heading.select(".verdict")]
            found.append((name, heading, badges))
    return found


def test_no_statement_has_a_number_that_is_not_the_papers(site):
    """ "Theorem 4.1 (Theorem 4.7, ...)" would be cited wrongly: one number, the paper's, or a name."""
    paper = {
        record["number"].split(",")[0].split(" (")[0]
        for record in json.loads((ROOT / "book" / "results" / "statements.json").read_text("utf8"))["statements"]
    }
    wrong = []
    for name, heading, _ in boxes(site):
        text = heading.get_text(" ", strip=True)
        if PAPERS.match(text):
            if PAPERS.match(text)[0] not in paper:
                wrong.append(f"{name}: {text}")
        elif not re.match(rf"(?:{KINDS}) ?: \S", text):
            wrong.append(f"{name}: {text}")
    assert len(boxes(site)) > 40
    assert wrong == []


def test_every_statement_has_its_verdict_beside_it(site):
    of = {f"{name}: {heading.get_text(strip=True)}": badges for name, heading, badges in boxes(site)}
    words = {badge.rsplit(": ", 1)[-1] for badges in of.values() for each in badges for badge in each.split(", ")}
    assert [name for name, badges in of.items() if not badges] == []
    assert words <= BADGE
    assert {"as printed", "with a hypothesis", "fails", "repaired", "ours"} <= words


def test_a_reference_says_the_papers_number_or_the_name(site):
    """Links to statements: "Theorem 4.7", or "Theorem" and the name in quotation marks."""
    labels = {str(heading.parent["id"]): heading.get_text(strip=True) for _, heading, _ in boxes(site)}
    said = []
    for name in CONTENTS:
        soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf8"), "html.parser")
        for link in soup.select("article a.reference.internal[href*='#']"):
            label = str(link["href"]).rsplit("#", 1)[-1]
            if label in labels and link.find_parent("table") is None:
                said.append((labels[label], link.get_text(strip=True)))
    assert len(said) > 30
    numbered = [(heading, text) for heading, text in said if re.fullmatch(rf"(?:{KINDS}) [A-Z\d.]+", text)]
    assert [each for each in numbered if not each[0].startswith(each[1])] == []
    assert ("Theorem 4.7", "Theorem 4.7") in [(heading[:11], text) for heading, text in numbered]
