"""What the book needs from Sphinx beyond its configuration.

* ``BOOK_EXECUTE=off`` in the environment builds every page from its stored outputs.
* When a chapter fails, the failing cell and its error are the last thing on the
  screen, not the stack of the programs around it.
* The live-code scripts that Jupyter Book puts on every page are left out: they point
  to another host, and the book is to be read without a network.
* A `name` in single backticks in a docstring is code, and a link where the API
  reference describes it.
* The fields of a named tuple are described in its docstring, not twice, and the
  description of a constant or a property may hold a colon.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any

from docutils import nodes
from myst_nb.core.execute.base import ExecutionError
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

# Libraries that have no page here to link to.
ELSEWHERE = ("abc", "collections", "numpy", "torch", "typing")
LIVE_CODE = {"init_thebe_core", "update_thebe_context"}


def configure(app: Sphinx, config: Config) -> None:
    """Choose how chapters are executed, and which references need no target."""
    mode = os.environ.get("BOOK_EXECUTE", config.nb_execution_mode)
    config.nb_execution_mode = mode
    config.nitpick_ignore_regex = {("py:.*", rf"({'|'.join(ELSEWHERE)})\..*")}


def show_failed_cell(
    kind: type[BaseException], error: BaseException, stack: TracebackType | None
) -> None:
    """Print the chapter, the cell and its error, if these stopped the build."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ExecutionError):
        cause = cause.__cause__
    if cause is None:
        sys.__excepthook__(kind, error, stack)
    else:
        print(f"\n{cause} failed.\n{cause.__cause__}", file=sys.stderr)


def name_role(
    role: str, raw: str, text: str, line: int, inliner: Any, *_: Any, **__: Any
) -> tuple[list[nodes.Node], list[nodes.system_message]]:
    """The default role: code that `resolve_name` may turn into a link."""
    code = nodes.literal(raw, text)
    link = pending_xref(raw, code, refdomain="", reftype="name", reftarget=text)
    return [link], []


def resolve_name(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, code: nodes.Element
) -> nodes.Element | None:
    """Find a name in the API reference by its last parts, whatever its module."""
    if node["reftype"] != "name" and node.get("refdomain") != "py":
        return None
    target = node["reftarget"].removesuffix("()")
    objects = env.domaindata["py"]["objects"]
    found = [name for name in objects if f".{name}".endswith(f".{target}")]
    if len(found) == 1 and objects[found[0]].objtype != "module":
        place = objects[found[0]]
        page = (app.builder, node["refdoc"], place.docname, place.node_id)
        return make_refnode(*page, code, found[0])
    return code if node["reftype"] == "name" else None


def skip_member(
    app: Sphinx, what: str, name: str, obj: object, skip: bool, options: Any
) -> bool | None:
    """Leave out the fields of a named tuple; all else is autodoc's choice."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def keep_colons(
    app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]
) -> None:
    """Begin with an empty comment: napoleon takes a first "word:" for a type."""
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    sys.excepthook = show_failed_cell
    for listeners in app.events.listeners.values():
        listeners[:] = [
            each
            for each in listeners
            if getattr(each.handler, "__name__", "") not in LIVE_CODE
        ]
    app.add_role("name", name_role)
    app.connect("config-inited", configure)
    app.connect("missing-reference", resolve_name)
    app.connect("autodoc-skip-member", skip_member)
    # before napoleon, which comes at 500
    app.connect("autodoc-process-docstring", keep_colons, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
