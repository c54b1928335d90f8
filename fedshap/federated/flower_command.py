"""``fedshap federate --flower`` and ``--connect``: a federation on Flower, which is started here or runs already."""

from __future__ import annotations

import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from tqdm import tqdm

from fedshap._files import as_path
from fedshap.federated.flower import FAILED, SAID, TABLE
from fedshap.federated.flower_folder import toml, write_app
from fedshap.federated.flower_processes import (
    Processes,
    check_port,
    free_ports,
    lines_of,
    listens,
    stopped_by_signals,
)
from fedshap.federated.ledger import NAME

_START = 60.0  # seconds for a SuperLink to listen
_QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
}
CONNECTION = "federation"


@dataclass(frozen=True)
class Target:
    """Where a federation runs: see :func:`fedshap.federated.command.federate`; checked before anything starts."""

    connect: str | None = None
    certificate: str | Path | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        if self.connect is None:
            if self.certificate is not None:
                raise ValueError("certificate is for a SuperLink that runs already: --connect HOST:PORT")
            if self.port is not None:
                check_port(self.port)
            return
        if self.port is not None:
            raise ValueError("port is for a SuperLink that is started here; with --connect it is in HOST:PORT")
        host, port = self.address
        if not listens(host, port):
            raise ConnectionError(
                f"nobody listens at {self.connect}; start flower-superlink there, or correct the address"
            )
        if self.certificate is not None:
            check_certificate(as_path("certificate", self.certificate), host, port)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the SuperLink that runs already."""
        host, _, port = str(self.connect).rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"connect must be HOST:PORT, such as 127.0.0.1:8000; got {self.connect!r}")
        return host.strip("[]"), int(port)


def check_certificate(path: Path, host: str, port: int) -> None:
    """Refuse a file that holds no valid certificate, or one that does not vouch for who listens there.

    Raises
    ------
    ValueError
        With what to do about it.
    """
    remedy = 'the page "Run your own federation" shows how one is made'
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as error:
        raise ValueError(f"certificate {path} cannot be read ({error.strerror}); {remedy}") from error
    except ValueError as error:
        raise ValueError(f"certificate {path} holds none in PEM format; {remedy}") from error
    now = datetime.now(UTC)
    for each in found:
        if not each.not_valid_before_utc <= now <= each.not_valid_after_utc:
            valid = f"{each.not_valid_before_utc:%Y-%m-%d} to {each.not_valid_after_utc:%Y-%m-%d}"
            raise ValueError(f"certificate {path} is valid from {valid} and not today; {remedy}")
    import socket

    context = ssl.create_default_context(cafile=str(path))
    try:
        with socket.create_connection((host, port), 10.0) as plain, context.wrap_socket(plain, server_hostname=host):
            pass
    except ssl.SSLCertVerificationError as error:
        raise ValueError(
            f"certificate {path} does not vouch for {host}:{port} ({error.verify_message}); {remedy}"
        ) from error
    except OSError as error:  # an SSLError is one
        raise ValueError(f"{host}:{port} speaks no TLS ({error}); leave --certificate out, or start it with") from error


def run(target: Target, app: str | Path | None, options: Mapping[str, Any], out: Path) -> tuple[str, Path]:
    """Run a federation on Flower; what it returns and raises is that of :func:`fedshap.federated.command.federate`."""
    folder = out.absolute()
    with tempfile.TemporaryDirectory(prefix="fedshap-") as scratch, stopped_by_signals():
        place = Path(scratch)
        options = {**options, "out": str(folder)}
        if app is None:
            write_app(place / "app", options)
        source = place / "app" if app is None else as_path("app", app).absolute()
        (place / "options.toml").write_text(toml(options), encoding="utf8")
        with Processes(folder / "logs") as processes:
            address = target.connect or _start(processes, place, options["clients"], target.port)
            _write_connection(place, address, target.certificate)
            result = _watch(processes, place, source, remote=target.connect is not None)
    return result, folder / NAME


def _start(processes: Processes, place: Path, clients: int, port: int | None) -> str:
    """Start a SuperLink and the clients' SuperNodes; returns the SuperLink's address once it listens."""
    link, *nodes = free_ports(clients + 1)
    link = link if port is None else port
    address = f"127.0.0.1:{link}"
    command = [_program("flower-superlink"), "--insecure", "--host", "127.0.0.1", "--port", str(link)]
    command.append("--disable-runtime-dependency-installation")
    processes.start("superlink", command, _environment(place, "superlink"))
    end = time.monotonic() + _START
    while not listens("127.0.0.1", link):
        processes.check("superlink")
        if time.monotonic() > end:
            raise ConnectionError(f"superlink does not listen at {address}: {processes.last_words('superlink')}")
        time.sleep(0.1)
    for number, own in enumerate(nodes):
        config = f"partition-id={number} num-partitions={clients}"
        command = [_program("flower-supernode"), "--insecure", "--superlink", address]
        command += ["--port", str(own), "--node-config", config]
        processes.start(f"supernode-{number}", command, _environment(place, f"supernode-{number}"))
    return address


def _watch(processes: Processes, place: Path, source: Path, *, remote: bool) -> str:
    """Submit the run, and show what its server says until it ends; returns the table."""
    overrides = ["--run-config", str(place / "options.toml")]
    command = [_program("flwr"), "run", str(source), CONNECTION, *overrides, "--stream"]
    environment = _environment(place, "flwr")
    process = processes.start("flwr", command, environment, piped=True)
    assert process.stdout is not None
    table, failed, started = [], "", ""
    try:
        with open(processes.logs / "flwr.log", "w", encoding="utf8") as log:
            for line in lines_of(process.stdout, idle=0.5):
                processes.check("superlink")  # a SuperNode may stop: her client is out, and the others go on
                if line is None:
                    continue
                log.write(f"{line}\n")
                log.flush()
                started = started or "".join(re.findall(r"started run (\d+)", line))
                if line.startswith(SAID):
                    tqdm.write(line.removeprefix(SAID), file=sys.stderr)
                elif line.startswith(TABLE):
                    table.append(line.removeprefix(TABLE))
                elif line.startswith(FAILED):
                    failed = line.removeprefix(FAILED)
    except BaseException:
        if remote and started:  # what was started here is stopped anyhow
            subprocess.run([_program("flwr"), "stop", started, CONNECTION], env=environment, capture_output=True)
        raise
    if failed:
        raise ValueError(failed)
    if not table:
        said = processes.last_words("flwr")
        raise ConnectionError(f"the run on Flower ended early: {said}; see {processes.logs}. The same command goes on")
    return "\n".join(table)


def _write_connection(place: Path, address: str, certificate: str | Path | None) -> None:
    """Tell `flwr` where the SuperLink is."""
    home = place / "flwr"
    home.mkdir(exist_ok=True)
    safe = {"insecure": True} if certificate is None else {"root-certificates": str(Path(certificate).absolute())}
    (home / "config.toml").write_text(f"[superlink.{CONNECTION}]\n{toml({'address': address, **safe})}")


def _environment(place: Path, name: str) -> dict[str, str]:
    """Flower keeps its files in a folder of ours, tells nobody of this run, and finds its programs."""
    home = place / name
    home.mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, **_QUIET, "FLWR_HOME": str(home), "PATH": path, "PYTHONUNBUFFERED": "1", "COLUMNS": "1000"}


def _program(name: str) -> str:
    """A program of Flower's, preferably the one beside this Python."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise ImportError(f"{name} is not there: pip install fedshap[flower]")
    return found
