"""The configuration of a task command, checked before anything starts."""

from __future__ import annotations

from collections.abc import Sequence

from forge import config as configuration
from forge.config import ForgeConfig
from jobs import preflight

REAL_REPOSITORIES = (
    "tasks.heldout_fraction=0",
    "tasks.train=1000000",
    "tasks.heldout=1000000",
    "tasks.transfer=0",
    "tasks.new_names=true",
    "tasks.max_files=12",
    "sandbox.limits.memory_bytes=2147483648",
    "sandbox.limits.disk_bytes=268435456",
    "sandbox.limits.pids=128",
    "sandbox.limits.command_s=120",
)
"""What strange repositories want other than the practice ones that the schema's defaults are for."""


def settings(words: Sequence[str]) -> tuple[ForgeConfig, list[str]]:
    """The configuration that `key=value` words make over those defaults, and the other words: folders of repositories.

    Raises `ConfigError` for a key that is wrong and `HistoryError` for a folder that is no repository with commits.
    """
    repos = [word for word in words if "=" not in word]
    config = configuration.load([], [*REAL_REPOSITORIES, *(word for word in words if "=" in word)])
    preflight.check_git(repos)
    return config, repos


def check_machine(config: ForgeConfig) -> None:
    """Room for a private Ray and its boxes; raises `EnvironmentLackError`."""
    preflight.check_ports(config, serving=False)
    preflight.check_disk(config.workspace_path)
