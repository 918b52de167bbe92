"""What every job does around its work: read its words, check the machine, say in one sentence what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ForgeError
from forge.observe import logs
from jobs.launching import preflight

RAY_COPIES = "working_dir_files"
"""The folder of a Ray session in which uploaded working directories lie."""


def read(argv: Sequence[str]) -> ForgeConfig:
    """The config of YAML files and `key=value` words."""
    return configuration.load([Path(a) for a in argv if "=" not in a], [a for a in argv if "=" in a])


def carry_out(
    argv: Sequence[str],
    run: Callable[[ForgeConfig], object],
    check: preflight.Check = preflight.check_tasks,
    read: Callable[[Sequence[str]], ForgeConfig] = read,
) -> int:
    """Exit code of a job: 0, or that of a `ForgeError`, whose sentence goes to standard error."""
    try:
        config = kept(read(argv))
        check(config, local_ray=False)
        logs.set_up("WARNING")
        run(config)
    except ForgeError as error:
        print(f"forge: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def kept(config: ForgeConfig) -> ForgeConfig:
    """The config with a workspace that outlives the job: `ray job submit --working-dir` runs in a copy that Ray deletes."""
    in_copy = RAY_COPIES in Path.cwd().parts
    if not in_copy or Path(config.workspace).expanduser().is_absolute():
        return config
    return config.model_copy(update={"workspace": f"~/forge/{config.workspace}"})
