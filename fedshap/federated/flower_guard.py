"""Ends groups of processes when the one that started them is gone, in whatever way: run as a program of its own.

It reads from its standard input, a pipe whose other end that process holds: ``+GROUP`` for one that was started,
``-GROUP`` for one that was stopped. When the pipe closes it kills those that are left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress


def watch(lines: Iterable[str]) -> None:
    """Until the lines end; then kill the groups that were started and not stopped."""
    started: set[int] = set()
    for line in lines:
        (started.add if line[0] == "+" else started.discard)(int(line[1:]))
    for group in with_descendants(started):
        signal_group(group, signal.SIGKILL)


def with_descendants(groups: Iterable[int]) -> set[int]:
    """Groups, and those that their processes have made: a SuperLink starts some of its helpers in a group apart."""
    found = set(groups)
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,pgid="], capture_output=True, text=True).stdout
    processes = {int(pid): (int(parent), int(group)) for pid, parent, group in map(str.split, listed.splitlines())}
    while True:
        members = {pid for pid, (_, group) in processes.items() if group in found}
        more = {group for parent, group in processes.values() if parent in members} - found
        if not more:
            return found
        found |= more


def signal_group(group: int, number: int) -> None:
    """Send a signal to a group that may be gone."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


if __name__ == "__main__":
    watch(sys.stdin)
