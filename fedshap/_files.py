"""Files that are written whole or not at all, read with an error that names them, and worked on by one at a time."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_LOCKED_BYTE = 1 << 30  # Windows locks bytes and lets nobody read them: one beyond the end


def as_path(name: str, value: str | os.PathLike[str]) -> Path:
    """Check that ``value`` is a path and expand a ``~`` at its beginning."""
    try:
        path = Path(value).expanduser()
        if "\0" in str(path):
            raise TypeError("no name has a null character")
        return path
    except (TypeError, RuntimeError) as error:  # RuntimeError: ~nobody
        raise ValueError(f"{name} must be a path; got {value!r} ({error})") from error


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file by ``content``, text as UTF-8: at any moment the old file or the new one is there, and whole.

    That holds too where several processes write the same file, each under a temporary name of its own, and where the
    power fails. Folders are made as needed. A process that is killed meanwhile leaves a file ``.NAME.*.tmp`` behind,
    which nobody reads.

    Raises
    ------
    OSError
        If it cannot be written; the message names the file.
    """
    data = content.encode() if isinstance(content, str) else content
    target = Path(os.path.realpath(path))  # a link stays one
    temporary = target.with_name(f".{target.name[:100]}.{os.urandom(8).hex()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the new name on an empty file
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _failed(error, f"{path} cannot be written", "make room or choose another folder") from error
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """Have the new name survive a power cut, on systems that open folders; the file is in its place without that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, record: Mapping[str, Any]) -> None:
    """Replace a file by ``record`` as JSON, see :func:`write_atomically`; lists of numbers stay on one line."""
    try:
        text = json.dumps(record, indent=1, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path} cannot hold what JSON has no word for, such as NaN ({error})") from error
    text = re.sub(r"\[\s+([^\[\]{}\"]*?)\s+\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    write_atomically(path, text + "\n")


def read_json(path: Path, what: str, fix: str) -> dict[str, Any]:
    """The JSON object in a file.

    Parameters
    ----------
    path : Path
        The file.
    what, fix : str
        What it should hold and what to do if it does not, for the message.

    Raises
    ------
    ValueError
        If the file holds something else: ``"{path} is not {what} (why); {fix}"``.
    OSError
        If it cannot be read.
    """
    try:
        record = json.loads(path.read_text(encoding="utf8"))
    except (ValueError, RecursionError) as error:  # ValueError: neither JSON nor UTF-8
        raise ValueError(f"{path} is not {what} ({error}); {fix}") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is not {what} (a JSON object expected, got {_in_short(record)}); {fix}")
    return record


def _in_short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


@contextmanager
def claimed(path: Path, work: str) -> Iterator[None]:
    """Let one process at a time do ``work``; while it does, the file ``path`` says which.

    The claim is the system's lock on that file and not the file: a process that is killed loses it at once, and the
    file it leaves behind keeps nobody away.

    Raises
    ------
    BlockingIOError
        If another process is at it; the message says which, and since when.
    OSError
        If the file cannot be made or the file system has no locks.
    """
    file = _lock(path, work)
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()} since {datetime.now():%Y-%m-%d %H:%M:%S}")
        file.flush()
        yield
    finally:
        if sys.platform != "win32":
            path.unlink(missing_ok=True)  # while it is still ours
        file.close()
        if sys.platform == "win32":
            with suppress(OSError):  # the next one has opened it
                path.unlink(missing_ok=True)


def _lock(path: Path, work: str) -> IO[str]:
    """The file, opened and locked."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = open(path, "a+", encoding="utf8")  # noqa: SIM115 (the caller closes it)
        except OSError as error:
            raise _failed(error, f"{path.parent} cannot be written to", "choose another folder") from error
        try:
            _lock_now(file)
            if _is_still_there(path, file):
                return file
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            text = f"{holder} is at work on {work}; wait until it is done, or choose another folder"
            raise BlockingIOError(errno.EAGAIN, text) from None
        except OSError as error:
            file.close()
            raise _failed(error, f"{path} cannot be locked", "choose another folder") from error
        file.close()  # whoever had it removed it after we opened it


def _failed(error: OSError, what: str, fix: str) -> OSError:
    """The same error, saying what failed and what to do."""
    return OSError(error.errno, f"{what} ({error.strerror or error}); {fix}")


def _is_still_there(path: Path, file: IO[str]) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


if sys.platform == "win32":

    def _lock_now(file: IO[str]) -> None:
        file.seek(_LOCKED_BYTE)
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError from error

else:

    def _lock_now(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
