"""``fedshap federate`` in this process: what it prints, keeps, refuses; and books that no kill can unbalance."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from federations import make_client, make_rules
from fedshap.cli import main
from fedshap.federated import FederationOptions, Members, flower_guard
from fedshap.federated.command import federate
from fedshap.federated.flower_folder import new
from fedshap.federated.flower_processes import Processes, check_port, free_ports
from fedshap.federated.flower_processes import lines_of as lines_of_stream
from fedshap.federated.ledger import exactly
from fedshap.federated.reports import progress, table

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["--clients", "3", "--rounds", "3", "--stage", "2", "--no-search", "--batch-size", "16"]
OPTIONS = {"clients": 3, "rounds": 5, "stage": 2, "seed": 0}
BLOCKED = """
import sys
sys.modules.update(dict.fromkeys({names!r}))
import runpy; runpy.run_module('fedshap', run_name='__main__', alter_sys=True)
"""
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and processes as POSIX has them")


def without(names, *arguments):
    command = [sys.executable, "-c", BLOCKED.format(names=names), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


def refused(capsys, *arguments):
    """What the command says when it refuses."""
    assert main(["federate", *map(str, arguments)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def lines_of(folder):
    return [json.loads(line) for line in (folder / "ledger.jsonl").read_text().splitlines()]


# ---- what it prints and keeps ------------------------------------------------------------------------


def test_the_command_prints_a_table_and_goes_on_where_it_was(tmp_path, capsys):
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert main(["federate", *QUICK, "--rounds", "4", "--out", str(once)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == str(once / "ledger.jsonl")
    rows = [line.split() for line in said[:-1]]
    assert rows[0] == ["client", "given", "share", "gain", "payment", "could", "gain"]
    assert [row[0] for row in rows[1:]] == ["0", "1", "2", "sum"]
    stages = [line for line in lines_of(once) if "payments" in line]
    for client in range(3):
        assert float(rows[1 + client][4]) == pytest.approx(sum(each["payments"][client] for each in stages), abs=6e-4)
        assert rows[1 + client][5] == "-"  # nothing was certified
    assert main(["federate", *QUICK, "--rounds", "2", "--out", str(twice)]) == 0
    assert main(["federate", *QUICK, "--rounds", "4", "--out", str(twice)]) == 0
    assert (once / "ledger.jsonl").read_bytes() == (twice / "ledger.jsonl").read_bytes()
    capsys.readouterr()
    assert main(["federate", *QUICK, "--rounds", "4", "--out", str(once)]) == 0  # nothing is left to do
    assert capsys.readouterr().out.splitlines() == said


def test_the_table_shows_the_last_certificate(tmp_path):
    options = {**OPTIONS, "search": True}
    members = Members([make_client(i, options) for i in range(3)])
    run = make_rules(options).run(members, 4, progress=False)
    found = run.stages[-1]["certificate"]
    last = [line.split("  ")[-1].strip() for line in table(run.lines).splitlines()]
    assert last[1:4] == [f"{found['gains'][i]:.4f} +- {found['standard errors'][i]:.4f}" for i in range(3)]
    columns = np.array([[float(cell) for cell in line.split()[2:5]] for line in table(run.lines).splitlines()[1:4]])
    np.testing.assert_allclose(columns, np.transpose([run.shares, run.gains, run.payments]), atol=6e-4)
    assert np.abs(run.shares - run.gains).max() > 0.01
    amounts = np.array([line["amounts"] for line in run.rounds])
    assert [line.split()[1] for line in table(run.lines).splitlines()[1:4]] == [f"{x:.3f}" for x in amounts.mean(0)]


def test_a_round_is_told_in_a_line():
    line = {"round": 2, "amounts": [1.0, None, 3.5], "gains": [0.1, 0.0, 0.3], "refused": {"1": "training: no answer"}}
    assert progress(line) == (
        "round 2: given 1, out, 3.5; gained +0.400 together; client 1 is out: training: no answer"
    )


def test_a_client_who_was_never_there_has_given_nothing():
    rounds = [{"amounts": [4.0, None, 1.0]}]
    assert table(rounds).splitlines()[2].split() == ["1", "0.000", "0.000", "0.000", "0.000", "-"]


def test_every_option_of_the_command_is_one_of_the_record(tmp_path, capsys):
    given = {
        "dataset": "breast-cancer", "seed": 3, "model": "mlp", "score": "probability", "batch-size": 4,
        "learning-rate": 0.05, "estimator": "two-models", "step": 7.0, "stage": 1, "start": 2.0, "repeats": 2,
        "average": "samples", "quorum": 3, "audit": 4, "clients": 3, "rounds": 1,
    }  # fmt: skip
    flags = [part for name, value in given.items() for part in (f"--{name}", str(value))]
    assert main(["federate", *flags, "--rates", "0", "1e-3", "0.002", "--no-search", "--out", str(tmp_path)]) == 0
    kept = json.loads((tmp_path / "options.json").read_text())
    expected = FederationOptions(
        **{name.replace("-", "_"): value for name, value in given.items()}, rates="0.0 0.001 0.002", search=False
    )
    assert kept == {key: value for key, value in expected.table.items() if key not in ("rounds", "timeout")}
    assert FederationOptions.of(expected.table) == expected
    head = lines_of(tmp_path)[0]
    assert head["settings"] == exactly(expected.rules())
    rules, training = expected.rules(), expected.training
    assert (rules.step, rules.stage, rules.start, rules.repeats, rules.average) == (7.0, 1, 2.0, 2, "samples")
    assert (rules.quorum, rules.search, type(rules.estimator).__name__) == (3, None, "TwoModels")
    assert rules.audit is not None
    assert rules.audit.sizes == [4, 4, 4]
    assert (training.batch_size, training.learning_rate, training.seed) == (4, 0.05, 3)
    assert (training.model, training.score) == ("mlp", "probability")
    assert [float(expected.client(i).cost.derivatives([1.0])[0]) for i in range(3)] == [0.0, 0.001, 0.002]
    capsys.readouterr()


def test_algorithm_1_as_printed_is_a_preset():
    rules = FederationOptions(as_printed=True, step=50.0, stage=3).rules()
    assert (rules.average, rules.start, rules.search, rules.stage, rules.step) == ("everyone", 1.0, None, 3, 50.0)
    with pytest.raises(ValueError, match="as_printed is Algorithm 1 as it stands: leave out average, start"):
        FederationOptions(as_printed=True, start=2.0, average="samples")


def test_costs_stay_in_the_options_and_out_of_the_ledger(tmp_path):
    federate(tmp_path, clients=3, rounds=1, search=False, rates="0.0123 0.0456 0.0789", batch_size=16)
    assert b"0.0123" not in (tmp_path / "ledger.jsonl").read_bytes()


@pytest.mark.parametrize("arguments", [["federate", "--help"], ["federate", "new", "--help"]])
def test_help_needs_neither_torch_nor_flower(arguments):
    run = without(["torch", "torchvision", "tqdm", "sklearn", "safetensors", "flwr"], *arguments)
    assert (run.returncode, run.stderr) == (0, "")
    assert "fedshap federate" in run.stdout


# ---- a folder of one's own ---------------------------------------------------------------------------


def test_a_new_folder_runs_in_this_process_and_gives_the_same_books(tmp_path, capsys):
    assert main(["federate", "new", str(tmp_path / "mine")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "mine" / "task.py")
    assert sorted(os.listdir(tmp_path / "mine")) == ["app.py", "pyproject.toml", "task.py"]
    assert main(["federate", *QUICK, "--out", str(tmp_path / "a"), "--app", str(tmp_path / "mine")]) == 0
    assert main(["federate", *QUICK, "--out", str(tmp_path / "b")]) == 0
    assert (tmp_path / "a" / "ledger.jsonl").read_bytes() == (tmp_path / "b" / "ledger.jsonl").read_bytes()
    capsys.readouterr()
    assert f"{tmp_path / 'mine'} holds something already" in refused(capsys, "new", tmp_path / "mine")


def light_app(folder, **options):
    """An app of light clients."""
    new(folder)
    shutil.copy(Path(__file__).with_name("federations.py"), folder / "federations.py")
    (folder / "task.py").write_text("from federations import make_client, make_rules\n")
    project = (folder / "pyproject.toml").read_text()
    given = {**OPTIONS, "search": False, "timeout": 60.0, "out": "", "mishap": "", **options}
    config = "".join(f"{key} = {json.dumps(value)}\n" for key, value in given.items())
    head = project.partition("[tool.flwr.app.config]")[0]
    (folder / "pyproject.toml").write_text(f"{head}[tool.flwr.app.config]\n{config}")
    return folder


def test_clients_need_not_be_ours(tmp_path):
    text, path = federate(tmp_path / "out", app=light_app(tmp_path / "app"), rounds=3)
    assert path == tmp_path / "out" / "ledger.jsonl"
    assert [line.get("round") for line in lines_of(tmp_path / "out")[1:]] == [1, 2, None, 3, None]
    assert text.splitlines()[-1].split()[0] == "sum"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda app: (app / "task.py").unlink(), "task.py is not there: `fedshap federate new DIR` writes a folder"),
        (lambda app: (app / "task.py").write_text("make_client = 3"), "needs a function make_client"),
        (lambda app: (app / "pyproject.toml").write_text("[tool]\n"), "needs a table [tool.flwr.app.config] ('flwr')"),
        (lambda app: (app / "pyproject.toml").write_text("="), "needs a table [tool.flwr.app.config]"),
    ],
    ids=["no task", "no function", "no table", "no TOML"],
)
def test_a_folder_that_is_no_app_is_refused(change, message, tmp_path, capsys):
    app = light_app(tmp_path / "app")
    change(app)
    assert message in refused(capsys, "--app", app, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_option_that_an_app_does_not_know_is_refused(tmp_path, capsys):
    app = light_app(tmp_path / "app")
    said = refused(capsys, "--app", app, "--model", "cnn", "--out", tmp_path / "out")
    assert "model must be in the table [tool.flwr.app.config]" in said


# ---- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--start", "-1"], "start must lie in [0, inf); got -1"),
        (["--clients", "0"], "clients must be an integer of at least 1; got 0"),
        (["--rounds", "0"], "rounds must be an integer of at least 1; got 0"),
        (["--stage", "0"], "stage must be an integer of at least 1; got 0"),
        (["--clients", "2", "--quorum", "3"], "quorum must be at most the number of clients, 2; got 3"),
        (["--rates", "1", "2"], "rates must be one for each of 4 clients; got 2"),
        (["--rates", "1", "2", "-3", "4"], "rates must be numbers of at least 0"),
        (["--rates", "1", "2", "nan", "4"], "rates must be numbers of at least 0"),
        (["--estimator", "secnat"], 'did you mean "secant"?'),
        (["--dataset", "digit"], "name must be one of 'digits'"),
        (["--model", "mpl"], "model must be one of"),
        (["--score", "loss"], 'score must be "accuracy" or "probability"'),
        (["--timeout", "0"], "timeout must lie in (0, inf); got 0"),
        (["--port", "8000"], "port is for a federation on Flower: add --flower or --connect HOST:PORT"),
        (["--certificate", "x"], "certificate is for a federation on Flower"),
        (["--as-printed", "--audit", "5"], "as_printed is Algorithm 1 as it stands: leave out audit"),
        (["--audit", "10000"], "inputs must be at least 2 and leave clients of group 0 some to test"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name(arguments, message, tmp_path, capsys):
    assert message in refused(capsys, *arguments, "--out", tmp_path / "out")
    assert not (tmp_path / "out" / "ledger.jsonl").exists()


def test_books_of_another_federation_are_refused_and_left_alone(tmp_path, capsys):
    assert main(["federate", *QUICK, "--rounds", "1", "--out", str(tmp_path)]) == 0
    before = (tmp_path / "ledger.jsonl").read_bytes()
    capsys.readouterr()
    for arguments, told in {
        ("--seed", "1"): "seed (0 there, 1 here)",
        ("--rates", "1", "1", "1"): "rates ('' there,",
    }.items():
        said = refused(capsys, *QUICK, *arguments, "--out", tmp_path)
        assert told in said
        assert "go on with those, or choose another folder" in said
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
    (tmp_path / "options.json").unlink()  # the ledger's own first line says it too
    assert "is the ledger of another federation" in refused(capsys, *QUICK, "--seed", "1", "--out", tmp_path)


def test_too_few_answers_are_an_error_in_one_line(tmp_path, capsys):

    app = light_app(tmp_path / "app")
    with (app / "task.py").open("a") as task:
        task.write(
            "\nimport numpy as np\nfrom fedshap.federated.exchange import Trained\n"
            "class Empty(type(make_client(0, {'seed': 0}))):\n"
            "    def train(self, task):\n"
            "        return Trained(np.full(task.n_amounts, np.nan), super().train(task).models)\n"
            "make_client = lambda number, options: Empty(number)\n"
        )
    said = refused(capsys, "--app", app, "--out", tmp_path / "out")
    assert "0 of 3 clients can be counted on and the quorum is 2" in said
    assert "with the same folder the same command goes on" in said


def test_without_flower_the_message_says_what_to_install(tmp_path):
    run = without(["flwr"], "federate", "--flower", "--out", tmp_path)
    message = (
        "fedshap: error: fedshap.federated.flower needs flwr, which is not installed: pip install fedshap[flower]\n"
    )
    assert (run.returncode, run.stdout, run.stderr) == (2, "", message)


def test_a_port_in_use_is_refused_before_anything_starts(tmp_path, capsys):
    pytest.importorskip("flwr", reason="Flower is not installed: pip install fedshap[flower]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = refused(capsys, "--flower", "--port", port, "--out", tmp_path / "out")
    assert f"port {port} cannot be used (Address already in use); choose another one" in said
    assert not (tmp_path / "out").exists()
    assert "port must be in 1..65535; got 70000" in refused(capsys, "--flower", "--port", 70000)


def test_where_nobody_listens_nothing_is_sent(tmp_path, capsys):
    pytest.importorskip("flwr", reason="Flower is not installed: pip install fedshap[flower]")
    assert "connect must be HOST:PORT, such as 127.0.0.1:8000; got 'here'" in refused(capsys, "--connect", "here")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    said = refused(capsys, "--connect", address, "--out", tmp_path / "out")
    assert f"nobody listens at {address}; start flower-superlink there, or correct the address" in said


# ---- certificates ------------------------------------------------------------------------------------


def authority(folder, name, days=(-1, 30), issuer=None):
    """A key and a certificate for the loopback address, self-signed unless ``issuer`` signs."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    issuer_name, issuer_key = (subject, key) if issuer is None else issuer
    import ipaddress

    made = (
        x509.CertificateBuilder(issuer_name, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(True, False, False, False, False, issuer is None, issuer is None, False, False), critical=True
        )
        .sign(issuer_key, hashes.SHA256())
    )
    pem = folder / f"{name}.pem"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private = serialization.PrivateFormat.TraditionalOpenSSL
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    )
    return pem, (subject, key)


def listening(certificate=None, key=None):
    """A server on loopback that shakes hands and says nothing, with TLS where it has a certificate."""
    import ssl

    server = socket.create_server(("127.0.0.1", 0))
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

    def serve():
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            try:
                if context is not None:
                    connection = context.wrap_socket(connection, server_side=True)
                else:
                    connection.recv(64)
                    connection.sendall(b"HTTP/1.1 400 what?\r\n\r\n")
            except OSError:
                pass
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    return server


def test_certificates_that_will_not_do_are_refused_with_a_remedy(tmp_path, capsys):
    pytest.importorskip("flwr", reason="Flower is not installed: pip install fedshap[flower]")
    good, signer = authority(tmp_path, "ca")
    served, _ = authority(tmp_path, "server", issuer=signer)
    old, _ = authority(tmp_path, "old", days=(-60, -30))
    young, _ = authority(tmp_path, "young", days=(10, 30))
    other, _ = authority(tmp_path, "other")
    stale, _ = authority(tmp_path, "stale", days=(-60, -30), issuer=signer)
    (tmp_path / "text.pem").write_text("no certificate")
    remedy = 'the page "Run your own federation" shows how one is made'
    cases = [
        (tmp_path / "none.pem", served, "cannot be read (No such file or directory)"),
        (tmp_path / "text.pem", served, "holds none in PEM format"),
        (old, served, "and not today"),
        (young, served, "and not today"),
        (other, served, "does not vouch for 127.0.0.1:"),
        (good, stale, "(certificate has expired)"),
    ]
    for certificate, theirs, message in cases:
        with listening(theirs, theirs.with_suffix(".key")) as server:
            address = f"127.0.0.1:{server.getsockname()[1]}"
            said = refused(capsys, "--connect", address, "--certificate", certificate, "--out", tmp_path / "out")
        assert message in said
        assert remedy in said
    with listening() as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        said = refused(capsys, "--connect", address, "--certificate", good, "--out", tmp_path / "out")
    assert "speaks no TLS" in said
    assert not (tmp_path / "out").exists()


# ---- killed and stopped ------------------------------------------------------------------------------


def counted(name, kill_at, counter):
    """A system call that kills this process, as `kill -9` does, before its ``kill_at``-th use."""
    call = getattr(os, name)

    def wrapper(*arguments):
        counter[0] += 1
        if counter[0] == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments)

    return wrapper


def run_here(folder, kill_at=0):
    """A short federation; returns how often it asked the disk for something."""
    options, counter = {**OPTIONS, "search": True}, [0]
    members = Members([make_client(i, options) for i in range(3)])
    before = {name: getattr(os, name) for name in ("fsync", "replace", "ftruncate")}
    try:
        for name in before:
            setattr(os, name, counted(name, kill_at, counter))
        make_rules(options).run(members, 3, out=folder, progress=False)
    finally:
        for name, call in before.items():
            setattr(os, name, call)
    return counter[0]


def _may_be_torn(folder):
    """Whether the last line may not have reached the disk: the state before it is still there."""
    lines = (folder / "ledger.jsonl").read_bytes().count(b"\n")
    return lines == 2 or (folder / f"state-{lines - 2:06d}.safetensors").exists()


@posix
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_killed_at_any_instant_the_books_go_on_to_the_same_bits(tmp_path):
    instants = run_here(tmp_path / "whole")
    whole = (tmp_path / "whole" / "ledger.jsonl").read_bytes()
    model = next((tmp_path / "whole").glob("state-*.safetensors")).read_bytes()
    assert instants >= 15  # five lines and their states
    for instant in range(1, instants + 1):
        folder = tmp_path / f"killed-{instant}"
        if (child := os.fork()) == 0:
            run_here(folder, kill_at=instant)
            os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
        assert os.WTERMSIG(status) == signal.SIGKILL
        left = folder / "ledger.jsonl"
        if left.exists() and _may_be_torn(folder):
            with left.open("r+b") as file:
                file.truncate(max(left.stat().st_size - 9, 0))
        assert whole.startswith(left.read_bytes() if left.exists() else b"")
        run_here(folder)
        assert left.read_bytes() == whole
        states = list(folder.glob("state-*.safetensors"))
        assert [each.read_bytes() for each in states] == [model]


@posix
@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_the_command_is_stopped_in_a_line_and_goes_on(number, code, tmp_path):
    app = light_app(tmp_path / "app", mishap=f"2:1:marks{tmp_path / 'mark'}")
    command = [sys.executable, "-m", "fedshap", "federate", "--app", str(app), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    end = time.monotonic() + 60.0
    while not (tmp_path / "mark").exists():
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code
    if number == signal.SIGINT:
        assert said.splitlines()[-1] == "fedshap: stopped; the same command goes on after what it has finished"
        assert "Traceback" not in said
    assert len(lines_of(tmp_path / "out")) == 2  # its first line, and a round
    (tmp_path / "out" / "options.json").unlink()
    federate(tmp_path / "out", app=light_app(tmp_path / "again"))
    federate(tmp_path / "whole", app=tmp_path / "again")
    assert (tmp_path / "out" / "ledger.jsonl").read_bytes() == (tmp_path / "whole" / "ledger.jsonl").read_bytes()


# ---- processes that are always stopped ------------------------------------------------------------------

NESTED = 'sleep 300 & python3 -c \'import os; os.setsid(); os.execlp("sleep", "sleep", "300")\' & echo here; wait'


def alive(mark):
    """Processes whose environment has a mark, zombies aside."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:
            continue
    return found


def apart(mark):
    """Those of them that have gone into a session of their own."""
    found = []
    for pid in alive(mark):
        with suppress(OSError):  # it has ended meanwhile
            if os.getsid(pid) == pid and Path(f"/proc/{pid}/comm").read_text() == "sleep\n":
                found.append(pid)
    return found


def soon(condition):
    end = time.monotonic() + 30.0
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc here")


@linux
def test_processes_are_stopped_with_what_they_started_in_groups_apart(tmp_path):
    mark = f"MARK={tmp_path}"
    environment = os.environ | {"MARK": str(tmp_path)}
    with Processes(tmp_path) as processes:
        processes.start("nested", ["sh", "-c", NESTED], environment)
        processes.start("brief", ["sh", "-c", "echo a last word; exit 3"], environment)
        soon(lambda: len(apart(mark)) == 1)
        soon(lambda: processes.running["brief"].poll() is not None)
        for name in ("nested", "nobody"):
            processes.check(name)
        with pytest.raises(ConnectionError, match="brief has stopped .exit code 3.: a last word; see .* goes on"):
            processes.check("brief")
    assert alive(mark) == []


@linux
def test_one_that_does_not_listen_is_killed(tmp_path):
    with Processes(tmp_path) as processes:
        script = "trap '' TERM; echo deaf; while true; do sleep 1; done"
        process = processes.start("deaf", ["sh", "-c", script], os.environ | {"MARK": str(tmp_path)})
        soon(lambda: processes.last_words("deaf") == "deaf")
    assert process.returncode == -signal.SIGKILL
    assert alive(f"MARK={tmp_path}") == []


@linux
def test_the_guard_ends_what_was_started_and_not_what_was_stopped(tmp_path):
    mark = f"MARK={tmp_path}"
    environment = os.environ | {"MARK": str(tmp_path)}
    one, two = (
        subprocess.Popen(["sh", "-c", NESTED], env=environment, start_new_session=True, stdout=subprocess.DEVNULL)
        for _ in range(2)
    )
    soon(lambda: len(apart(mark)) == 2)
    guard = subprocess.Popen([sys.executable, "-I", flower_guard.__file__], stdin=subprocess.PIPE, text=True)
    guard.communicate(f"+{one.pid}\n+{two.pid}\n-{one.pid}\n")
    soon(lambda: two.poll() is not None)
    assert one.poll() is None
    for group in flower_guard.with_descendants([one.pid]):
        flower_guard.signal_group(group, signal.SIGKILL)
    one.wait()
    soon(lambda: not alive(mark))


def test_lines_come_whole_and_silence_is_told(tmp_path):
    script = "printf 'one\\ntw'; sleep 0.6; printf 'o\\nthree'"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True) as process:
        found = list(lines_of_stream(process.stdout, 0.2))
    assert [line for line in found if line is not None] == ["one", "two", "three"]
    assert None in found


def test_free_ports_are_free_and_differ():
    ports = free_ports(5)
    assert len(set(ports)) == 5
    assert [check_port(port) for port in ports] == ports
