"""Ends groups of processes when the one that started them is gone, in whatever way: run as a program of its own.

It reads from its standard input, a pipe whose other end that process holds: ``+GROUP`` for one that was started,
``-GROUP`` for one that was stopped. When the pipe closes it kills those that are left.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def watch(lines: Iterable[str]) -> None:
    """Until the lines end; then kill the groups that were started and not stopped."""
    groups: set[int] = set()
    for line in lines:
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for group in groups:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    watch(sys.stdin)
