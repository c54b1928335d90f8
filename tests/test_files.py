"""Files: whole or not at all, named in every error, and one process at a time."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fedshap import _files
from fedshap._files import as_path, claimed, read_json, write_atomically, write_json

ROOT = Path(__file__).resolve().parent.parent


def child(code: str, *arguments: object) -> subprocess.Popen[str]:
    """A process of its own that runs ``code``."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


# ---- writing -----------------------------------------------------------------------------------------


def test_text_and_bytes_into_new_folders(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_atomically(path, "größer\n")
    assert path.read_bytes() == "größer\n".encode()
    write_atomically(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(path.parent) == ["file"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "disk" / "file")
    write_atomically(link, "new")
    assert link.is_symlink()
    assert (tmp_path / "disk" / "file").read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_others_may_read_what_was_written(tmp_path):
    (tmp_path / "usual").write_text("")
    write_atomically(tmp_path / "file", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "file")]
    assert modes[0] == modes[1]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("x" * 255)
    write_atomically(path, "long")
    assert path.read_text() == "long"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows opens no folders")
def test_file_and_folder_reach_the_disk_before_and_after_the_renaming(tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (done.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file"), fsync(fd))
    )
    monkeypatch.setattr(os, "replace", lambda *pair: (done.append("renamed"), replace(*pair)))
    write_atomically(tmp_path / "file", "x")
    assert done == ["file", "renamed", "folder"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_is_told_with_its_name(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    path.write_text("old")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match=rf"{path} cannot be written \(No space left on device\); make room") as caught:
        write_atomically(path, "new")
    assert caught.value.errno == errno.ENOSPC
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_real_limit_leaves_the_old_file(tmp_path):
    """The system itself refuses the bytes beyond the first thousand."""
    (tmp_path / "file").write_text("old")
    process = child(
        "import resource, sys; from pathlib import Path; from fedshap._files import write_atomically\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try: write_atomically(Path(sys.argv[1]), 'x' * 100_000)\n"
        "except OSError as error: print(error)",
        tmp_path / "file",
    )
    said, _ = process.communicate()
    assert f"{tmp_path / 'file'} cannot be written (File too large)" in said
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_folder_or_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=f"{path} cannot be written"):
            write_atomically(path, "x")
    assert os.listdir(tmp_path) == ["file"]


def test_processes_that_write_the_same_file_do_not_meet(tmp_path):
    """Four processes write long files of one letter each; whoever reads meanwhile sees one of them whole."""
    path = tmp_path / "file"
    code = (
        "import sys; from pathlib import Path; from fedshap._files import write_atomically\n"
        "for _ in range(50): write_atomically(Path(sys.argv[1]), sys.argv[2] * 100_000)"
    )
    processes = [child(code, path, letter) for letter in "abcd"]
    seen = set()
    while any(process.poll() is None for process in processes):
        if path.exists():
            text = path.read_text()
            assert len(text) == 100_000
            assert len(set(text)) == 1
            seen.add(text[0])
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4
    assert len(seen) > 1
    assert os.listdir(tmp_path) == ["file"]


# ---- JSON --------------------------------------------------------------------------------------------


def test_lists_of_numbers_stay_on_one_line(tmp_path):
    record = {"a": [1, 2.5, None], "b": [[1, 2], [3, 4]], "c": ["x [1,\n 2]"], "d": {"e": []}}
    write_json(tmp_path / "file.json", record)
    text = (tmp_path / "file.json").read_text()
    assert json.loads(text) == record
    assert '"a": [1, 2.5, null]' in text
    assert text.endswith("}\n")
    assert read_json(tmp_path / "file.json", "a record", "") == record


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_refused_with_the_name(tmp_path, value):
    path = tmp_path / "file.json"
    with pytest.raises(ValueError, match=rf"{path} cannot hold what JSON has no word for, such as NaN"):
        write_json(path, {"a": [1.0, value]})
    assert not path.exists()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"),
        (b'{"a": [1, 2', "Expecting"),
        (b"null", "a JSON object expected, got null"),
        (b"[]", r"a JSON object expected, got \[\]"),
        (b"[" + b"1, " * 99 + b"1]", r"got \[1, 1, .*\.\.\.\)"),
        (b"[" * 100_000, "recursion"),
        (b"\xff\xfe\x00", "utf-8"),
    ],
    ids=["empty", "truncated", "null", "list", "long list", "deep", "no text"],
)
def test_what_is_no_record_is_refused_with_name_and_fix(tmp_path, content, why):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{path} is not a record \(.*{why}.*; delete it$"):
        read_json(path, "a record", "delete it")


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no\.json"):
        read_json(tmp_path / "no.json", "a record", "")


# ---- paths -------------------------------------------------------------------------------------------


def test_home_is_expanded(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert as_path("out", "~/x") == tmp_path / "x"
    assert as_path("out", Path("a") / "~") == Path("a/~")


@pytest.mark.parametrize("value", [3, None, ["a"], b"x", "a\0b", "~nobody-of-this-name/x"])
def test_what_is_no_path_is_refused(value):
    with pytest.raises(ValueError, match=rf"out must be a path; got {re.escape(repr(value))}"):
        as_path("out", value)


# ---- one at a time -----------------------------------------------------------------------------------

HOLD = """
import sys; from pathlib import Path; from fedshap._files import claimed
with claimed(Path(sys.argv[1]), "the table"):
    print("mine", flush=True)
    sys.stdin.read()
"""


def test_the_second_is_told_who_is_at_work(tmp_path):
    path = tmp_path / "new" / "lock"
    holder = child(HOLD, path)
    assert holder.stdout.readline() == "mine\n"
    message = rf"process {holder.pid} on .+ since \d{{4}}-.* is at work on the table; wait until it is done, or choose"
    with pytest.raises(BlockingIOError, match=message), claimed(path, "the table"):
        pass
    assert path.exists()
    holder.communicate()
    assert holder.returncode == 0
    assert not path.exists()
    with claimed(path, "the table"):
        pass


def test_a_killed_one_blocks_nobody(tmp_path):
    path = tmp_path / "lock"
    holder = child(HOLD, path)
    assert holder.stdout.readline() == "mine\n"
    holder.kill()
    holder.communicate()
    assert path.exists()
    with claimed(path, "the table"):
        assert f"process {os.getpid()} " in path.read_text()
        assert str(holder.pid) not in path.read_text()
    assert not path.exists()


def test_the_claim_ends_with_an_error_and_an_interruption(tmp_path):
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), claimed(tmp_path / "lock", "the table"):
            raise error
        assert os.listdir(tmp_path) == []


def test_never_two_at_once(tmp_path):
    """Threads count as well as processes: each opens the file itself. Removing the file must let nobody slip in."""
    inside, most, turns, failures = [0], [0], [0], []

    def work():
        while turns[0] < 300:
            try:
                with claimed(tmp_path / "lock", "the table"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    turns[0] += 1
                    inside[0] -= 1
            except BlockingIOError:
                pass
            except OSError as error:  # pragma: no cover
                failures.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert most == [1]


def test_a_file_removed_between_opening_and_locking_is_made_anew(tmp_path, monkeypatch):
    """The one before releases its claim, and removes the file, after we have opened it."""
    path, lock_now, calls = tmp_path / "lock", _files._lock_now, []

    def late(file):
        calls.append(file)
        if len(calls) == 1:
            path.unlink()
        lock_now(file)

    monkeypatch.setattr(_files, "_lock_now", late)
    with claimed(path, "the table"):
        assert len(calls) == 2
        assert path.exists()


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def without(file):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(_files, "_lock_now", without)
    with pytest.raises(OSError, match=rf"{tmp_path / 'lock'} cannot be locked \(No locks available\); choose another"):
        claimed(tmp_path / "lock", "the table").__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=rf"{tmp_path / 'file'} cannot be written to .*; choose another folder"):
        claimed(tmp_path / "file" / "lock", "the table").__enter__()
