"""A private Ray for one run on this machine: started as a child, used with a token of its own, ended by its pid.

Only its dashboard listens on the loopback address: Ray binds its own ports to every interface even when it is told a
loopback node address. So it runs with token authentication, and the token lies in a file that this user alone can read.
The token does not cover the Prometheus ports (numbers only) nor what is served by Ray Serve.
"""

from __future__ import annotations

import ctypes
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from forge.config import RayConfig
from forge.errors import EnvironmentLackError

log = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
# Short on purpose: the paths of Ray's sockets must stay under 107 bytes.
PLACE, PREFIX = Path("/tmp"), "forge-ray-"  # noqa: S108
OWNER, TOKEN = "owner", "token"
"""Files with the id of the process that started a Ray, and with its token."""
START_TIMEOUT_S = 180.0
"""A calm machine takes about 10 s; this is for one that others keep busy."""
END_TIMEOUT_S = 20.0
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Workers run at nice 15 otherwise.
    "RAY_worker_niceness": "0",
    # `datasets` floods the log through Ray Train's print patch; `uv run` would be reproduced in every worker.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    # Nothing outside this machine waits for a drained node; the job is over or was stopped before.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
}
"""What the head is started with; every worker inherits it."""


class PrivateRay(NamedTuple):
    """A Ray that is up: the address of its dashboard, and the file that holds its token."""

    address: str
    token_file: Path

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the dashboard or the job server must carry."""
        return {"Authorization": f"Bearer {self.token_file.read_text()}"}

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment to connect."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file)}


@contextmanager
def private_ray(config: RayConfig) -> Iterator[PrivateRay]:
    """A Ray that lives as long as the block; raises `EnvironmentLackError` if it cannot start."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=PLACE))
    (folder / OWNER).write_text(str(os.getpid()))
    output = folder / "start.log"
    (folder / TOKEN).touch(mode=0o600)
    (folder / TOKEN).write_text(secrets.token_hex(32))
    private = PrivateRay(f"http://{LOOPBACK}:{config.dashboard_port}", folder / TOKEN)
    with output.open("wb") as stream:
        head = subprocess.Popen(
            _command(config, folder),
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=environment(os.environ) | private.environment,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        _wait_until_up(head, private, output)
        yield private
    finally:
        _end(head)
        _clear(folder)


def sweep() -> int:
    """End every private Ray of this user whose run was killed, and remove its folder; returns how many there were."""
    swept = 0
    for folder in PLACE.glob(f"{PREFIX}*"):
        try:
            owner = int((folder / OWNER).read_text())
        except (OSError, ValueError):
            continue
        if folder.stat().st_uid != os.getuid() or psutil.pid_exists(owner):
            continue
        _clear(folder)
        swept += 1
    return swept


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of the head: this Python first on the PATH, this checkout importable, byte code written."""
    root = str(Path(__file__).resolve().parents[2])
    merged = {
        key: value for key, value in inherited.items() if key != "PYTHONDONTWRITEBYTECODE" and not key.startswith("RAY_")
    } | ENVIRONMENT
    merged["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    merged["PYTHONPATH"] = os.pathsep.join(part for part in (root, inherited.get("PYTHONPATH", "")) if part)
    return merged


def logical_cpus(config: RayConfig) -> int:
    """Logical CPUs of the private Ray: as configured, else the machine's, at least 4 so that all parts of a run fit."""
    return config.cpus or max(4, os.cpu_count() or 1)


def _command(config: RayConfig, folder: Path) -> list[str]:
    options = {
        "node-ip-address": LOOPBACK,
        "port": config.port,
        # Its default, 10001, is taken as soon as another Ray runs here.
        "ray-client-server-port": _free_port(),
        "dashboard-host": LOOPBACK,
        "dashboard-port": config.dashboard_port,
        "dashboard-agent-listen-port": 0,
        "temp-dir": folder,
        "num-cpus": logical_cpus(config),
        "object-store-memory": config.object_store_bytes,
        "log-style": "record",
    }
    start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    return start + [f"--{key}={value}" for key, value in options.items()]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _end_with_parent() -> None:
    """In the child: get SIGTERM when the parent dies, even by SIGKILL (prctl PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait_until_up(head: subprocess.Popen[bytes], private: PrivateRay, output: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if head.poll() is not None:
            raise EnvironmentLackError(f"Ray did not start: {_last_words(output)}; see forge doctor")
        if _answers(private, "/api/version") and _answers(private, "/api/jobs/"):
            return
        time.sleep(0.2)
    raise EnvironmentLackError(
        f"Ray did not answer at {private.address} within {START_TIMEOUT_S:.0f} s: {_last_words(output)}; see forge doctor"
    )


def _clear(folder: Path) -> None:
    """Remove the folder of a Ray and first whatever still runs in it: a killed raylet leaves processes that write there."""
    left = [process for process in psutil.process_iter() if _runs_in(process, folder)]
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)


def _runs_in(process: psutil.Process, folder: Path) -> bool:
    """Whether a process belongs to the Ray in `folder`: its session's path is on its command line or in its environment."""
    try:
        told = [*process.cmdline(), *process.environ().values()]
    except psutil.Error:
        return False
    return any(str(folder) in text for text in told)


def _answers(private: PrivateRay, path: str) -> bool:
    request = urllib.request.Request(private.address + path, headers=private.headers)  # noqa: S310  http on loopback, our own
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _last_words(output: Path) -> str:
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines() if line.strip()]
    return " / ".join(lines[-3:])[-400:] or "it said nothing"


def _end(head: subprocess.Popen[bytes]) -> None:
    """End the head and whatever it started, by pid; returns when they are gone."""
    try:
        everything = psutil.Process(head.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        everything = []
    head.terminate()
    try:
        head.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        log.warning("Ray's head did not end within %.0f s; killing it", END_TIMEOUT_S)
        head.kill()
        head.wait()
    _, left = psutil.wait_procs(everything, timeout=5)
    for process in left:
        process.kill()
    psutil.wait_procs(left, timeout=5)
