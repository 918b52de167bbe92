"""A private Ray takes jobs from its owner alone, shows forge's metrics, and is gone afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from ray.job_submission import JobStatus

from forge.config import RayConfig
from forge.errors import ForgeError
from jobs.launching.local_ray import PLACE, PREFIX, PrivateRay, environment, private_ray, sweep
from jobs.launching.submit import follow, run_job

LOG_AND_SHOW = """
import sys, time, urllib.request
import ray
from forge.observe.on_ray import RayTracker

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
tracker = RayTracker()
tracker.log({"rollouts_total": 2.0}, tags={"outcome": "solved"})
tracker.log({"rollouts_total": 3.0}, tags={"outcome": "solved"})
tracker.log({"round": 4.0})
url = f"http://127.0.0.1:{ray.nodes()[0]['MetricsExportPort']}/metrics"
for _ in range(60):
    text = urllib.request.urlopen(url, timeout=10).read().decode()
    if "forge_rollouts" in text and "forge_round{" in text:
        break
    time.sleep(1)
print(text)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def driver(script: str, port: int, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A process of its own, because Ray reads how to authenticate when it is imported."""
    command = [sys.executable, "-c", script, f"127.0.0.1:{port}"]
    return subprocess.run(command, env=environment(os.environ) | variables, capture_output=True, text=True, timeout=240)


def check_that_strangers_are_refused(private: PrivateRay, port: int) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{private.address}/api/jobs/", timeout=10)
    refused = driver(LOG_AND_SHOW, port, {"RAY_AUTH_MODE": "disabled"})
    assert refused.returncode != 0
    assert "InvalidAuthToken" in refused.stderr
    assert private.token_file.stat().st_mode & 0o077 == 0


def check_that_metrics_are_shown(private: PrivateRay, port: int) -> None:
    shown = driver(LOG_AND_SHOW, port, private.environment)
    assert shown.returncode == 0, shown.stderr
    counted = [line for line in shown.stdout.splitlines() if line.startswith("ray_forge_rollouts") and 'outcome="solved"' in line]
    assert counted
    assert all(line.endswith(" 5.0") for line in counted)
    assert any(line.startswith("ray_forge_round{") and line.endswith(" 4.0") for line in shown.stdout.splitlines())


def test_a_private_ray_serves_its_owner_alone_and_leaves_nothing_behind() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    lines: list[str] = []
    config = RayConfig(port=free_port(), dashboard_port=free_port(), cpus=2)
    with private_ray(config) as private:
        folder = private.token_file.parent
        sweep()
        assert folder.exists(), "a Ray whose owner lives is left alone"
        check_that_strangers_are_refused(private, config.port)
        code = run_job(private.address, ["rounds.limt=1"], lines.append, environment={}, headers=private.headers)
        check_that_metrics_are_shown(private, config.port)
    assert code == 2
    assert any("unknown config key 'rounds.limt'; did you mean 'rounds.limit'?" in line for line in lines)
    assert not folder.exists()
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert [process.cmdline() for process in left if process.status() != psutil.STATUS_ZOMBIE] == []


def test_a_ray_that_dies_under_a_run_is_one_clear_sentence(tmp_path: Path) -> None:
    config = RayConfig(port=free_port(), dashboard_port=free_port(), cpus=2)
    shown: list[str] = []
    with private_ray(config) as private:

        def show(line: str) -> None:
            shown.append(line)
            for process in psutil.process_iter(["name", "cmdline"]):
                if process.info["name"] == "raylet" and str(private.token_file.parent) in " ".join(process.info["cmdline"] or []):
                    process.kill()

        with pytest.raises(ForgeError, match="ended while the run was under way; the same command goes on"):
            run_job(private.address, [f"workspace={tmp_path}/workspace"], show, environment={}, headers=private.headers)
    assert shown
    assert not private.token_file.parent.exists()


class Streams:
    """A job client whose log breaks off twice before it is whole."""

    def __init__(self, *streams: str) -> None:
        self._streams = list(streams)

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        yield self._streams.pop(0)
        if self._streams:
            raise RuntimeError("WebSocket connection closed unexpectedly")

    def get_job_status(self, job: str) -> JobStatus:
        return JobStatus.RUNNING


def test_a_log_that_breaks_off_is_taken_up_again_and_shows_each_line_once() -> None:
    lines: list[str] = []
    follow(Streams("a\nb", "a\nb\n", "a\nb\nc"), "job", lines.append)  # type: ignore[arg-type]
    assert lines == ["a", "b", "c"]


def test_what_a_killed_run_left_is_swept() -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    folder = PLACE / f"{PREFIX}test-{os.getpid()}"
    folder.mkdir()
    (folder / "owner").write_text(dead.stdout.strip())
    orphan = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", str(folder)])
    assert sweep() >= 1
    orphan.poll()
    assert not psutil.pid_exists(orphan.pid)
    assert not folder.exists()
