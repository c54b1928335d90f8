"""A federation of real processes: clients that fail, nodes and links that are killed, and nothing left running.

Flower starts a process for each request to a client, so these tests take minutes; the clients need no torch.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("flwr", reason="Flower is not installed: pip install fedshap[flower]")

from safetensors.numpy import load_file
from test_federate import light_app, lines_of
from test_flower import balanced

from federations import make_client, make_rules
from fedshap.federated import Members
from fedshap.federated.exchange import Refusal
from fedshap.federated.flower_guard import with_descendants

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "book" / "run_your_own_federation.md"
DEADLINE = 240.0  # seconds for anything that is waited for; a busy machine is slow
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals and processes as POSIX has them"),
]


@pytest.fixture
def federate(tmp_path):
    """Starts the command; when the test is over nothing of it may be left."""
    started = []

    def start(*arguments, **more):
        command = [sys.executable, "-m", "fedshap", "federate", *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "FEDSHAP_TEST": str(tmp_path)}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=environment,
            start_new_session=True, **more,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
    left = wait_for(lambda: [] if not ours(tmp_path) else None, 30.0, "processes to end", fail=False)
    for pid in ours(tmp_path):
        os.kill(pid, signal.SIGKILL)
    assert left == []


def ours(folder):
    """Processes, zombies aside, that were started with the environment of a test."""
    found = []
    mark = f"FEDSHAP_TEST={folder}".encode()
    for place in Path("/proc").glob("[0-9]*"):
        try:
            zombie = (place / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            if not zombie and mark in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def wait_for(condition, seconds, what, fail=True):
    """What a condition returns, as soon as it is not None."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if (found := condition()) is not None:
            return found
        time.sleep(0.1)
    assert not fail, f"waited {seconds:g} s for {what}"
    return None


def node(folder, number):
    """The process of a SuperNode, or the SuperLink."""
    wanted = "flower-superlink" if number is None else f"partition-id={number} "
    found = [pid for pid in ours(folder) if wanted in command_line(pid) and "superexec" not in command_line(pid)]
    return found[0] if found else None


def kill_all_of(pid):
    """SIGKILL a process and whatever it has started."""
    for group in with_descendants([os.getpgid(pid)]):
        os.killpg(group, signal.SIGKILL)


def rounds_done(folder):
    path = folder / "ledger.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return sum('"round":' in line and line.endswith("\n") for line in lines)


class Replayed(Members):
    """The clients of a federation in this process, failing where those of a ledger failed, for the same reasons."""

    def __init__(self, members, refused):
        super().__init__(members)
        self.refused, self.round = refused, [0]

    def train(self, task):
        self.round[0] = task.streams[0][0] + 1
        return dict(super().train(task)) | self._silent("training: ")

    def score(self, task, who):
        silent = {client: why for client, why in self._silent("scoring: ").items() if client in who}
        return dict(super().score(task, who)) | silent

    def _silent(self, where):
        refused = self.refused[self.round[0]].items()
        return {int(client): Refusal(why.removeprefix(where)) for client, why in refused if why.startswith(where)}


def test_every_mishap_leaves_balanced_books_and_the_run_goes_on_to_the_same_bits(tmp_path, federate):
    """A client that raises, one that sends NaN, one that is late, a node and then the link killed in mid-round."""
    out, patience = tmp_path / "out", 25
    mishap = f"1:0:raises 2:1:nan 3:2:slow{patience + 3} 4:0:marks{tmp_path / 'mark'}"
    app = light_app(tmp_path / "app", mishap=mishap, quorum=1)  # one is late a while longer, on a busy machine more are
    arguments = ["--flower", "--app", app, "--out", out, "--timeout", patience]
    first = federate(*arguments)
    wait_for(lambda: True if (tmp_path / "mark").exists() else first.poll(), DEADLINE, "round 4")
    kill_all_of(node(tmp_path, 0))
    wait_for(lambda: True if rounds_done(out) >= 4 else first.poll(), DEADLINE, "the rest of round 4")
    assert rounds_done(out) == 4
    kill_all_of(node(tmp_path, None))
    said = first.communicate(timeout=DEADLINE)[1]
    assert first.returncode == 2
    assert "The same command goes on" in said.splitlines()[-1]
    lines = lines_of(out)[1:]
    assert not ours(tmp_path)

    refused = {line["round"]: line["refused"] for line in lines if "round" in line}
    assert refused[1]["0"] == "training: her app raised ValueError: the scanner is broken"
    assert refused[2]["1"] == "training: sent a local model with NaN or infinite weights"
    assert refused[3]["2"] == f"training: no answer within {patience} s"
    assert refused[4]["0"].startswith(("training: no answer", "training: her SuperNode is gone", "training: her app"))
    assert [line.get("round") for line in lines[:5]] == [1, 2, None, 3, 4]
    assert abs(sum(lines[2]["payments"])) <= 1e-12
    state = load_file(max(out.glob("state-*.safetensors")))
    assert np.isfinite(state["weights"]).all()
    assert state["counts"][0] == rounds_done(out)

    second = federate(*arguments)
    table = second.communicate(timeout=DEADLINE)[0]
    assert second.returncode == 0
    assert table.splitlines()[-2].split()[0] == "sum"
    lines = lines_of(out)[1:]
    balanced(lines, 5)
    refused = {line["round"]: line["refused"] for line in lines if "round" in line}
    options = {"clients": 3, "seed": 0, "stage": 2, "quorum": 1}
    replayed = Replayed([make_client(i, options) for i in range(3)], refused)
    make_rules(options).run(replayed, 5, out=tmp_path / "replayed", progress=False)
    assert (tmp_path / "replayed" / "ledger.jsonl").read_bytes() == (out / "ledger.jsonl").read_bytes()
    last = load_file(max(out.glob("state-*.safetensors")))
    np.testing.assert_array_equal(
        last["weights"], load_file(max((tmp_path / "replayed").glob("state-*.safetensors")))["weights"]
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["ctrl-c", "term", "kill"])
def test_a_command_that_is_stopped_stops_what_it_started(number, tmp_path, federate):
    process = federate("--flower", "--app", light_app(tmp_path / "app"), "--out", tmp_path / "out")
    wait_for(lambda: node(tmp_path, 2), DEADLINE, "the last SuperNode")
    assert node(tmp_path, None)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        wait_for(lambda: None if ours(tmp_path) else True, 30.0, "the guard to end the rest")
    else:
        assert process.returncode == 130
        assert said.splitlines()[-1] == "fedshap: stopped; the same command goes on after what it has finished"
        assert not ours(tmp_path)


def test_clients_that_do_not_fit_together_are_told_and_all_is_stopped(tmp_path, federate):
    app = light_app(tmp_path / "app", wider="1")
    process = federate("--flower", "--app", app, "--out", tmp_path / "out")
    out, said = process.communicate(timeout=DEADLINE)
    assert (process.returncode, out) == (2, "")
    message = "all clients must train the same network; weights: client 0 18, client 1 19, client 2 18; server 18"
    assert said.splitlines()[-1] == f"fedshap: error: {message}"
    assert not ours(tmp_path)
    assert not (tmp_path / "out" / "ledger.jsonl").exists()


SIMULATION = """
import sys
from flwr.serverapp import ServerApp
from flwr.simulation import run_simulation
from federations import make_client, make_rules
from fedshap.federated.flower import FlowerClients, client_app

options, server = {"clients": 3, "seed": 0, "stage": 2, "search": True}, ServerApp()

@server.main()
def main(grid, context):
    make_rules(options).run(FlowerClients(grid, 3, timeout=120.0), 3, out=sys.argv[1], progress=False)

resources = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": {"num_cpus": 2}}
run_simulation(server, client_app(lambda number, _: make_client(number, options)), 3, backend_config=resources)
"""


def test_flowers_simulation_gives_the_same_bits(tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'flwr[simulation]'")
    environment = os.environ | {"FLWR_HOME": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, "-c", SIMULATION, str(tmp_path / "simulated")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert run.returncode == 0, run.stderr[-3000:]
    options = {"clients": 3, "seed": 0, "stage": 2, "search": True}
    make_rules(options).run(Members([make_client(i, options) for i in range(3)]), 3, out=tmp_path / "here")
    assert (tmp_path / "here" / "ledger.jsonl").read_bytes() == (tmp_path / "simulated" / "ledger.jsonl").read_bytes()


# ---- the page "Run your own federation" ----------------------------------------------------------------


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf8"), re.DOTALL)


def as_short(text):
    """The page's commands with light clients and two rounds; what is installed already is not installed again."""
    text = re.sub(r"^pip install .*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"fedshap federate (?!new)(.*?)--dataset digits", r"fedshap federate \1--app light", text).replace(
        "--rounds 20", "--rounds 2"
    )


def test_the_commands_of_the_page_run(tmp_path):
    if missing := [name for name in ("openssl", "ssh-keygen", "bash", "cmp") if shutil.which(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed")
    light_app(tmp_path / "light", stage=5)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "fedshap").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fedshap "$@"\n')
    (programs / "fedshap").chmod(0o755)
    script = "set -euo pipefail\ntrap 'trap - EXIT; kill $(jobs -p) 2>/dev/null || true; wait' EXIT\n"
    script += as_short("".join(blocks("bash")))
    assert script.count("--app light") == 3
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment |= {"FEDSHAP_TEST": str(tmp_path), "FLWR_DISABLE_UPDATE_CHECK": "1"}
    log = tmp_path / "log"
    with log.open("w") as file:
        run = subprocess.Popen(
            ["bash", "-c", script], cwd=tmp_path, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        code = run.wait(timeout=2 * DEADLINE)
    for pid in ours(tmp_path):  # what Flower's own shutdown leaves behind is not ours to judge
        os.kill(pid, signal.SIGKILL)
    assert code == 0, log.read_text()[-3000:]
    for name in ("here", "there", "safe"):
        assert rounds_done(tmp_path / name) == 2
        balanced(lines_of(tmp_path / name)[1:], 2)
    assert rounds_done(tmp_path / "mine-here") == 2


def test_the_client_of_the_page_is_one(tmp_path):
    table = np.random.default_rng(0).normal(size=(80, 4))
    table[:, -1] = table[:, 0] > 0.0
    np.savetxt(tmp_path / "table.csv", table, delimiter=",")
    names: dict = {}
    exec(blocks("python")[0], names)  # noqa: S102
    options = {"file": tmp_path / "table.csv", "seed": 0}
    members = [names["make_client"](number, options) for number in range(3)]
    assert [each.description.n_tests for each in members] == [20, 20, 20]
    from fedshap.federated import FedBRShap

    run = FedBRShap(search=None, start=2.0).run(Members(members), 1, progress=False)
    assert len(run.rounds) == 1


def test_the_app_of_the_page_is_what_is_written(tmp_path):
    from fedshap.federated.flower_folder import new

    new(tmp_path / "mine")
    config = (tmp_path / "mine" / "pyproject.toml").read_text()
    assert json.dumps("federation") in config
    command = [Path(sys.executable).with_name("flwr"), "build", "--app", tmp_path / "mine"]
    environment = os.environ | {"FLWR_HOME": str(tmp_path), "FLWR_TELEMETRY_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    environment["FLWR_DISABLE_UPDATE_CHECK"] = "1"
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("*.fab"))
