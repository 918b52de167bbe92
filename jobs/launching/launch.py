"""A command that works on Ray: its words become a configuration, which runs as a Ray job, its output shown as it comes."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ConfigError
from forge.mining.clones import is_address
from forge.observe import logs
from forge.observe.screen import Screen
from jobs.launching import preflight
from jobs.launching.local_ray import private_ray, sweep
from jobs.launching.submit import overrides_of, run_job


def resolved(arguments: Sequence[str], out: Path, defaults: Sequence[str], options: Mapping[str, object]) -> ForgeConfig:
    """The configuration of a command line: repositories and `key=value` strings in any order, over `defaults`; options win.

    Raises `ConfigError` for a wrong key and when no repository is given.
    """
    repos = [argument for argument in arguments if "=" not in argument]
    if not repos and not options.get("history.listed"):
        raise ConfigError("no repository is given; name at least one folder, such as ../mine")
    named = {
        "history.repos": [repo if is_address(repo) else str(Path(repo).expanduser().absolute()) for repo in repos],
        "history.practice.repositories": 0,
        "tasks.transfer": 0,
        "workspace": str(out.expanduser().absolute()),
        **{key: value for key, value in options.items() if value is not None},
    }
    given = [argument for argument in arguments if "=" in argument]
    return configuration.load([], [*defaults, *given, *(f"{key}={configuration.as_value(value)}" for key, value in named.items())])


def launch(module: str, config: ForgeConfig, address: str | None, check: preflight.Check = preflight.check_tasks) -> int:
    """Exit code of `module` as a job on the Ray at `address`, or on a private one that ends with it.

    What a person got wrong, or `check` finds lacking, raises before anything starts.
    """
    logs.set_up("WARNING")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep()
    check(config, local_ray=address is None)
    carried = overrides_of(config.model_dump(mode="json", exclude_defaults=True) | {"workspace": str(config.workspace_path)})
    console = Console(highlight=False)
    environment = {"FORGE_PROGRESS_S": "0.5" if console.is_terminal else "5"}
    with Screen(console) as screen:
        if address is not None:
            return run_job(address, carried, screen.line, module=module, environment=environment, upload=preflight.checkout())
        screen.line("  … starting a private Ray")
        with private_ray(config.ray) as local:
            return run_job(local.address, carried, screen.line, module=module, environment=environment, headers=local.headers)
