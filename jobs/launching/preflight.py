"""What must hold before anything expensive starts: each lack is one sentence with its cure, and exit code 2."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

import psutil

from forge.config import ForgeConfig, TeacherConfig
from forge.endpoint.teacher import OpenAITeacher
from forge.errors import EnvironmentLackError, HistoryError
from forge.mining.history import open_history
from forge.stages.source.symbols import is_test_path
from forge.tasks.suite import is_test_file
from sandboxes import pick
from serve import pick as engine

GIB = 2**30
DISK_BYTES = 2 * GIB
"""Free disk for a workspace: quickstart writes about 0.3 GiB, Ray's session and spilled objects the rest."""
TASKS_MEMORY_BYTES = GIB
"""Available memory for making tasks: Ray and a few boxes."""
MEMORY_BYTES = 4 * GIB
"""Available memory to start with: quickstart peaks below 6 GiB in all, its parts not all at once."""


class Check(Protocol):
    """Returns when a job can start; raises a `ForgeError` for the first thing that lacks."""

    def __call__(self, config: ForgeConfig, *, local_ray: bool) -> None: ...


def check(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when the run can start; raises `EnvironmentLackError` or `HistoryError` for the first thing that lacks.

    `local_ray`: a private Ray is started here, so its ports, packages, memory and disk are this machine's.
    """
    check_git(config.history.repos)
    check_disk(config.workspace_path)
    check_teacher(config.teacher)
    if local_ray:
        check_packages(config)
        check_memory()
        check_ports(ports(config))
        check_sandbox(config, pick.pick(config.sandbox.kind))


def check_tasks(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when tasks can be made of `history.repos`; raises as `check` does."""
    check_git(config.history.repos, "REPO")
    check_names(config.history.repos)
    check_python(config.history.repos)
    check_disk(config.workspace_path)
    check_teacher(config.teacher)
    if local_ray:
        check_memory(TASKS_MEMORY_BYTES)
        check_ports({key: port for key, port in ports(config).items() if key.startswith("ray.")})
        check_sandbox(config, pick.pick(config.sandbox.kind))


def check_teacher(config: TeacherConfig) -> None:
    """The configured teacher answers, where there is one; raises `TeacherError` otherwise."""
    if config.model:
        asyncio.run(_answers(OpenAITeacher(config, Path())))


async def _answers(teacher: OpenAITeacher) -> None:
    try:
        await teacher.check()
    finally:
        await teacher.close()


def check_names(repos: Iterable[str]) -> None:
    """No two repositories lie in folders of one name, by which tasks tell them apart."""
    seen: dict[str, str] = {}
    for repo in repos:
        name = Path(repo).name
        if name in seen:
            raise HistoryError(f"{seen[name]} and {repo} are both called {name}; rename the folder of one of them")
        seen[name] = repo


def check_python(repos: Iterable[str]) -> None:
    """The head of at least one repository has Python sources and test files that pytest collects."""
    lacks = [_lack(repo) for repo in repos]
    if lacks and all(lacks):
        raise HistoryError(lacks[0])


def _lack(repo: str) -> str:
    """Why no task can be made of a repository's head; empty when some can."""
    history = open_history(Path(repo).name, str(Path(repo).expanduser()), None)
    try:
        files = [path for path in history.tree(history.head) if path.endswith(".py")]
    finally:
        history.close()
    if not any(not is_test_path(path) for path in files):
        return f"{repo} has no Python source at its head, so there is nothing to make tasks of; give another repository"
    if not any(is_test_file(path) for path in files):
        return f"{repo} has no pytest files (test_*.py or *_test.py) at its head, so nothing can be proven; add tests first"
    return ""


def check_git(repos: Iterable[str], option: str = "--repo") -> None:
    """Every path is a git repository with at least one commit; `option` is where it was given."""
    if shutil.which("git") is None:
        raise EnvironmentLackError("git is not installed; install it with the system's package manager, such as apt-get install git")
    for repo in repos:
        folder = Path(repo).expanduser()
        if not folder.is_dir():
            raise HistoryError(f"{repo} is no folder; give {option} the path of a git repository")
        inside = _git(folder, "rev-parse", "--show-cdup")
        if inside.returncode != 0:
            raise HistoryError(f"{repo} is no git repository; run git init there, or give {option} another path")
        if inside.stdout.strip():
            raise HistoryError(f"{repo} is no git repository of its own but a folder inside one; give {option} its top folder")
        if _git(folder, "rev-parse", "--verify", "HEAD").returncode != 0:
            raise HistoryError(f"{repo} has no commits, so there is no history to mine; commit something or give {option} another path")


def check_disk(workspace: Path, needed: int = DISK_BYTES) -> None:
    """The file system of the workspace has room and can be written."""
    folder = existing(workspace)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise EnvironmentLackError(
            f"{folder} has {free / GIB:.1f} GiB free, a run needs {needed / GIB:.1f}; free some or choose another disk with workspace=PATH"
        )


def check_memory(needed: int = MEMORY_BYTES) -> None:
    """Enough memory is available, the limit of a container counted in."""
    available = available_memory()
    if available < needed:
        raise EnvironmentLackError(
            f"{available / GIB:.1f} GiB of memory are available, a run needs {needed / GIB:.1f}; "
            "end other programs or raise the container's limit"
        )


def check_ports(listened: Mapping[str, int]) -> None:
    """Nobody listens on the ports (by config key) that this run will."""
    for key, port in listened.items():
        if not port_is_free(port):
            raise EnvironmentLackError(
                f"port {port} ({key}) is taken; choose another with {key}=NUMBER, or run on the Ray that is there with --address"
            )


def check_packages(config: ForgeConfig, *, serves: bool = True) -> None:
    """The packages of this machine's set are installed, and a GPU is there when the config holds one."""
    for name in ("ray", "torch", "trl", "peft"):
        if importlib.util.find_spec(name) is None:
            raise EnvironmentLackError(
                f"the package {name} is not installed; run make env, or uv pip install -r requirements/cpu.txt (gpu.txt on a card)"
            )
    if serves:
        engine.pick(config.serve)
    if ((serves and config.serve.gpus) or config.training.gpus) and gpu() is None:
        raise EnvironmentLackError(
            "the config holds a GPU, but nvidia-smi shows none; install NVIDIA's driver or use configs/quickstart.yaml"
        )


def check_sandbox(config: ForgeConfig, choice: pick.Choice) -> None:
    """The sandbox that this machine gives is strong enough for the repositories that are mined."""
    if choice.trusted_only and config.history.repos:
        raise EnvironmentLackError(
            f"{config.history.repos[0]} is not forge's own, and the only sandbox here ({choice.name}) is too weak for strange code; "
            "forge doctor says how to get a stronger one"
        )


def ports(config: ForgeConfig) -> dict[str, int]:
    """Config key and number of every port that a run listens on."""
    return {"ray.port": config.ray.port, "ray.dashboard_port": config.ray.dashboard_port, "serve.port": config.serve.port}


def port_is_free(port: int) -> bool:
    """Whether this process could listen on the port of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def available_memory() -> int:
    """Bytes that may still be taken: the machine's, or what a control group leaves."""
    available = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        cache = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())["inactive_file"]
    except (OSError, ValueError, KeyError):
        return available
    return min(available, limit - used + int(cache))


def gpu() -> str | None:
    """Name, memory and driver of the first NVIDIA GPU, `None` without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return found.stdout.splitlines()[0].strip() if found.returncode == 0 and found.stdout.strip() else None


def existing(path: Path) -> Path:
    """`path` or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)


def checkout() -> Path:
    """The folder that `forge`, `jobs`, `serve` and `sandboxes` lie in."""
    return Path(__file__).resolve().parents[2]
