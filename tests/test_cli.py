"""The command ``fedshap``: what it says, with which exit code, and what happens when it is stopped or shut out."""

from __future__ import annotations

import importlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fedshap as fs
from fedshap import _interruptions
from fedshap._files import claimed
from fedshap.cli import main

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT_TORCH = """
import sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "tqdm", "sklearn", "matplotlib"]))
"""
AS_MODULE = "import runpy; runpy.run_module('fedshap', run_name='__main__', alter_sys=True)"
UNTRAINED = ["table1", "--dataset", "mnist", "--untrained", "--seeds", "1"]
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and descriptors as POSIX has them")


def fedshap(*arguments: object, before: str | None = None, **more) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, after the statements ``before``."""
    start = ["-m", "fedshap"] if before is None else ["-c", before + AS_MODULE]
    command = [sys.executable, *start, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, **more)


# ---- without torch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, WITHOUT_TORCH], ids=["as installed", "without torch"])
def test_the_version_is_the_projects(before):
    run = fedshap("--version", before=before)
    assert (run.returncode, run.stdout, run.stderr) == (0, f"fedshap {PROJECT['version']}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["table1", "--help"]])
def test_help_needs_no_torch(arguments):
    run = fedshap(*arguments, before=WITHOUT_TORCH)
    assert (run.returncode, run.stderr) == (0, "")
    assert "table1" in run.stdout
    if arguments[0] == "table1":
        assert "mnist, fashion-mnist, cifar10, lumpy, quadratic, breast-cancer, digits" in " ".join(run.stdout.split())


def test_without_torch_a_command_says_what_to_install(tmp_path):
    run = fedshap(*UNTRAINED, "--out", tmp_path, before=WITHOUT_TORCH)
    message = "fedshap: error: fedshap.federated needs torch, which is not installed: pip install fedshap[train]\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", message)


def test_usage_names_the_command_that_was_given(capsys, monkeypatch):
    for argv0, name in [("/somewhere/bin/fedshap", "fedshap"), ("/fedshap/__main__.py", "python -m fedshap")]:
        monkeypatch.setattr(sys, "argv", [argv0])
        for arguments, rest in [(["--help"], ""), (["table1", "--help"], " table1")]:
            with pytest.raises(SystemExit) as ended:
                main(arguments)
            assert ended.value.code == 0
            assert capsys.readouterr().out.startswith(f"usage: {name}{rest} [-h]")


def test_the_installed_command_is_this_one():
    assert PROJECT["scripts"] == {"fedshap": "fedshap.cli:main"}
    module, name = PROJECT["scripts"]["fedshap"].split(":")
    assert getattr(importlib.import_module(module), name) is main
    assert fs.__version__ == PROJECT["version"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["table2"], "invalid choice: 'table2'"),
        (["table1", "--datset", "mnist"], "unrecognized arguments: --datset mnist"),
        (["table1", "--seed", "3"], "unrecognized arguments: --seed 3"),  # abbreviations are not guessed at
        (["table1", "--seeds", "many"], "argument --seeds: invalid int value: 'many'"),
    ],
)
def test_what_is_no_command_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit) as refused:
        main(arguments)
    assert refused.value.code == 2
    assert message in capsys.readouterr().err


# ---- streams that are closed or full -----------------------------------------------------------------


@posix
@pytest.mark.parametrize(
    "closed", [pytest.param("2>&-", marks=pytest.mark.slow), pytest.param("1>&-", marks=pytest.mark.slow), "1>&- 2>&-"]
)
def test_closed_streams_are_no_obstacle(closed, tmp_path):
    command = f'"{sys.executable}" -m fedshap {" ".join(UNTRAINED)} --out "{tmp_path}" {closed}'
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, timeout=120).returncode == 0
    assert os.listdir(tmp_path) == ["table1_mnist.json"]
    assert subprocess.run(["sh", "-c", command], cwd=ROOT, timeout=120).returncode == 2  # it is finished


@posix
def test_the_next_file_does_not_get_the_number_of_a_closed_stderr():
    code = (
        "import os, sys\nfrom fedshap.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: print(os.open(os.devnull, os.O_RDONLY) > 2, sys.stderr.fileno())"
    )
    run = subprocess.run(["sh", "-c", '"$0" -c "$1" 2>&-', sys.executable, code], cwd=ROOT, stdout=subprocess.PIPE)
    assert run.stdout.split()[2:] == [b"True", b"2"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full here")
def test_a_full_stdout_is_told_and_the_result_kept(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "fedshap", *UNTRAINED, "--out", str(tmp_path)]
        streams = {"stdout": full, "stderr": subprocess.PIPE, "text": True}
        run = subprocess.run(command, cwd=ROOT, timeout=120, env=environment, **streams)
    path = tmp_path / "table1_mnist.json"
    message = f"{path} is written, but standard output takes nothing (No space left on device)"
    assert (run.returncode, run.stderr) == (2, f"fedshap: error: {message}\n")
    assert path.exists()


# ---- stopped -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def interruptions_are_heeded():
    """A test run in the background ignores Ctrl-C, and so would every process it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


STOP = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
SWALLOW = f"""
try:
    {STOP}
except BaseException:
    raise ImportError("as compiled modules do")
"""


@posix
@pytest.mark.parametrize("module", ["numpy", "torch", "tqdm"])
@pytest.mark.parametrize("code", [STOP, SWALLOW], ids=["plain", "swallowed"])
@pytest.mark.parametrize("script", [False, True], ids=["python -m fedshap", "fedshap"])
def test_stopped_while_modules_load(tmp_path, module, code, script):
    """The module stops the process by Ctrl-C as soon as it is imported."""
    (tmp_path / f"{module}.py").write_text(code)
    (tmp_path / "bin").mkdir()
    installed = tmp_path / "bin" / "fedshap"
    installed.write_text("import sys\nfrom fedshap.cli import main\nsys.exit(main())\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, *([str(installed)] if script else ["-m", "fedshap"]), *UNTRAINED]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert (run.returncode, run.stdout) == (130, "")
    assert run.stderr == "\nfedshap: stopped; the same command goes on after what it has finished\n"


@posix
@pytest.mark.parametrize("program", ["import fedshap, signal", "import fedshap.cli, signal"])
def test_a_program_that_imports_the_package_keeps_its_signals(program):
    code = f"{program}; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"


@pytest.mark.slow
@posix
def test_once_loaded_an_interruption_is_an_exception_again(tmp_path):
    """So that a training run in progress puts its things in order."""
    code = (
        "import signal, sys; sys.argv = ['fedshap']; import fedshap\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
        f"from fedshap.cli import main; main({[*UNTRAINED, '--out', str(tmp_path)]!r})\n"
        "print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", f"{tmp_path / 'table1_mnist.json'}", "True"]


@pytest.mark.parametrize(
    ("argv", "original", "expected"),
    [
        (["/usr/bin/fedshap"], ["python", "/usr/bin/fedshap"], True),
        (["C:/Scripts/fedshap.exe"], ["python"], True),
        (["-m"], ["python", "-X", "dev", "-m", "fedshap", "table1"], True),
        (["-m"], ["python", "-m", "fedshap.cli"], False),
        (["-m"], ["python", "-m", "mypackage", "fedshap"], False),
        (["analysis.py"], ["python", "analysis.py", "-m", "fedshap"], False),
        (["-c"], ["python", "-c"], False),
        ([], [], False),
    ],
)
def test_which_processes_are_the_command(monkeypatch, argv, original, expected):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.setattr(sys, "orig_argv", original)
    assert _interruptions.is_the_command() is expected


# ---- files -------------------------------------------------------------------------------------------


def test_the_second_of_two_with_one_result_says_who_is_at_work(tmp_path, capsys):
    pytest.importorskip("torch")
    with claimed(tmp_path / ".table1_mnist.lock", "the same"):
        assert main([*UNTRAINED, "--out", str(tmp_path)]) == 2
        error = capsys.readouterr().err
        assert re.fullmatch(
            rf"fedshap: error: process {os.getpid()} on .* since .* is at work on {tmp_path}/table1_mnist\.json; "
            r"wait until it is done, or choose another folder\n",
            error,
        )
        assert main([*UNTRAINED[:2], "fashion-mnist", *UNTRAINED[3:], "--out", str(tmp_path)]) == 0  # another result
    assert main([*UNTRAINED, "--out", str(tmp_path)]) == 0
    assert sorted(os.listdir(tmp_path)) == ["table1_fashion-mnist.json", "table1_mnist.json"]


def test_home_is_expanded(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert main([*UNTRAINED, "--out", "~/results"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'results' / 'table1_mnist.json'}\n"
    assert os.listdir(tmp_path) == ["results"]


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path, capsys):
    pytest.importorskip("torch")
    (tmp_path / "file").write_text("")
    assert main([*UNTRAINED, "--out", str(tmp_path / "file")]) == 2
    error = capsys.readouterr().err
    assert error == f"fedshap: error: {tmp_path / 'file'} cannot be written to (File exists); choose another folder\n"
