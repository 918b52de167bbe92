"""What strange repositories want other than the practice ones that the schema's defaults are for."""

from __future__ import annotations

REAL_REPOSITORIES = (
    "tasks.train=1000000",
    "tasks.heldout=1000000",
    "tasks.new_names=true",
    "tasks.max_files=12",
    "sandbox.limits.memory_bytes=2147483648",
    "sandbox.limits.disk_bytes=268435456",
    "sandbox.limits.pids=128",
    "sandbox.limits.command_s=120",
)
"""Configuration keys, which those of a command line override."""
