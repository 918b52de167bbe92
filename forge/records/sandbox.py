"""What boxes are given and give back."""

from __future__ import annotations

from typing import Literal

from forge.records.base import Record


class CommandResult(Record):
    """What a command in a box did. A non-zero exit, a time-out and a breached limit are results."""

    exit_code: int
    stdout: str
    stderr: str
    seconds: float
    breach: Literal["", "time", "memory", "pids", "output", "disk"] = ""


class TestRun(Record):
    """Outcome of each requested test id; `complete` is false when the run died, lied or was cut short."""

    outcomes: dict[str, Literal["passed", "failed", "error", "skipped", "missing"]]
    complete: bool
    reason: str = ""
    messages: dict[str, str] = {}
    """For each failed id the assertion message, at most 400 characters."""
    lines: dict[str, int] = {}
    """For each failed id the line of its test file at which it failed, where it came from there."""
    seconds: float = 0.0
    killed: bool = False
    """SIGKILL ended the run, and none of the box's limits sent it: the code itself, or somebody outside (a host without memory)."""


class Limits(Record, use_attribute_docstrings=True):
    """Limits of one box."""

    memory_bytes: int = 512 * 2**20
    """Of all its processes together."""
    pids: int = 64
    """Processes and threads at once."""
    disk_bytes: int = 64 * 2**20
    """What may be written beside the tree that the box begins with."""
    output_bytes: int = 2**20
    """Of one command, which is ended when it says more."""
    command_s: float = 20.0
    """Seconds that one command or run of tests may take."""


class EnvironmentSpec(Record):
    """What an environment is made from: the newest packages that fit, of those published before a day (ISO date)."""

    python: str
    """Minor version, such as `3.9`."""
    requirements: tuple[str, ...]
    before: str
    project: str = ""
    """Distribution name of the repository itself, which is imported from the work tree and never installed."""


class Environment(Record):
    """Where a repository's code runs: a Python and installed packages, read-only in every box."""

    id: str
    spec: EnvironmentSpec
    interpreter: str
    """Path of the Python, the same on the host and in a box."""
    roots: tuple[str, ...] = ()
    """Folders of the work tree to import from, beside the tree itself."""
    plugins: tuple[str, ...] = ()
    """Modules of pytest plugins that are installed, to be named to pytest: it loads none by itself."""
    installed: tuple[str, ...] = ()
    """`name==version` of every package: what an evicted environment is built from again."""
    lacking: tuple[str, ...] = ()
    """Requirements that nothing could be installed for."""
