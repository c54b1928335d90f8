"""Ctrl-C while the command ``fedshap`` loads its modules, which takes a second or two: one line, and no traceback.

The package imports this before anything else. It acts only where the process is that command: a library leaves signals
alone. Compiled modules print or swallow the exception that an interruption raises in Python, and nothing is under way
yet that would have to be put in order, so the process ends at once.
"""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise

STOPPED = "fedshap: stopped; the same command goes on after what it has finished"
CODE = 130
"""Exit code of what an interruption ended."""


def is_the_command() -> bool:
    """Whether this process was started as ``fedshap`` or ``python -m fedshap``."""
    script = os.path.splitext(os.path.basename(sys.argv[0]))[0] if sys.argv else ""
    if script == "-m":  # what Python puts there until the package is imported
        return ("-m", "fedshap") in pairwise(sys.orig_argv)
    return script == "fedshap"


def _end(*_: object) -> None:
    os.write(2, f"\n{STOPPED}\n".encode())
    os._exit(CODE)


def loaded() -> None:
    """From now on an interruption raises KeyboardInterrupt, as usual."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_the_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
