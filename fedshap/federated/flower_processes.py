"""Processes that are always stopped: each in a group of its own, with whatever it starts in turn.

They end with the `Processes` they were started by; where this process ends without a word, a guard ends them.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from fedshap.federated import flower_guard
from fedshap.federated.flower_guard import signal_group, with_descendants

_GRACE = 5.0  # seconds to end by themselves
_STEP = 0.05


class Processes:
    """Starts processes, and stops them when its ``with`` block ends.

    Parameters
    ----------
    logs : Path
        Folder for what they say, a file each.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.running: dict[str, subprocess.Popen[str]] = {}
        self._groups: set[int] = set()  # all that the running ones have made, as far as seen
        self._seen = 0.0

    def __enter__(self) -> Processes:
        if sys.platform == "win32":
            raise OSError("processes of Flower are started and stopped on POSIX systems alone; use --connect")
        self.logs.mkdir(parents=True, exist_ok=True)
        self._guard = subprocess.Popen(
            [sys.executable, "-I", flower_guard.__file__], stdin=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        self._guard.wait()

    def start(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, piped: bool = False
    ) -> subprocess.Popen[str]:
        """Start a process; what it says goes to ``logs``, or with ``piped`` to the caller."""
        with open(self.logs / f"{name}.log", "w") as log:
            process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self._tell(f"+{process.pid}")
        self.running[name] = process
        return process

    def check(self, name: str) -> None:
        """Raise a ConnectionError if that one has ended, with the last it said; does nothing if it was not started."""
        self._look()
        process = self.running.get(name)
        if process is not None and process.poll() is not None:
            raise ConnectionError(
                f"{name} has stopped (exit code {process.returncode}): {self.last_words(name)}; see "
                f"{self.logs / name}.log. The same command goes on"
            )

    def last_words(self, name: str) -> str:
        """The last line that a process said."""
        lines = (self.logs / f"{name}.log").read_text(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def stop(self) -> None:
        """Stop all: ask, wait, kill what is left of each group."""
        self._look(every=0.0)
        for process in self.running.values():
            signal_group(process.pid, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while time.monotonic() < end and any(process.poll() is None for process in self.running.values()):
            time.sleep(_STEP)
        for group in self._groups:
            signal_group(group, signal.SIGKILL)
        for name, process in list(self.running.items()):
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            self._tell(f"-{process.pid}")
            del self.running[name]
        self._groups.clear()

    def _look(self, every: float = 2.0) -> None:
        """Note the groups that the processes have made, before they are orphans that nobody can tell."""
        if time.monotonic() >= self._seen + every:
            self._groups |= with_descendants(process.pid for process in self.running.values())
            self._seen = time.monotonic()

    def _tell(self, text: str) -> None:
        assert self._guard.stdin is not None
        self._guard.stdin.write(f"{text}\n")
        self._guard.stdin.flush()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def check_port(port: int) -> int:
    """Refuse a port that somebody listens at.

    Raises
    ------
    ValueError
        If it is in use, or no port.
    """
    if not 1 <= port <= 65535:
        raise ValueError(f"port must be in 1..65535; got {port}")
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise ValueError(
                f"port {port} cannot be used ({error.strerror}); choose another one, or leave --port out for a free one"
            ) from error
    return port


def listens(host: str, port: int, patience: float = 5.0) -> bool:
    """Whether somebody listens there."""
    with suppress(OSError):
        socket.create_connection((host, port), patience).close()
        return True
    return False


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP stop this process as Ctrl-C does, so that it puts things in order first."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def lines_of(stream: IO[str], idle: float) -> Iterator[str | None]:
    """Lines as they come, and None after each ``idle`` seconds without one."""
    import selectors

    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        rest = b""
        while True:
            if not selector.select(idle):
                yield None
                continue
            chunk = os.read(stream.fileno(), 1 << 16)
            if not chunk:
                break
            *whole, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
    if rest:
        yield rest.decode(errors="replace")
