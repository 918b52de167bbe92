"""A command as a job: on the Ray at an address, or on a private one that ends with it."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from rich.console import Console

from forge.observe.screen import Screen
from jobs.checkout import checkout
from jobs.local_ray import private_ray, sweep
from jobs.submit import run_job
from jobs.tasks.settings import check_machine, settings


def launch(module: str, words: Sequence[str], address: str | None) -> int:
    """Exit code of `python -m module words…` as a Ray job, its output shown as it comes; bad words end it before it starts."""
    config, _ = settings(words)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False)
    environment = {"FORGE_PROGRESS_S": "0.5" if console.is_terminal else "5"}
    with Screen(console) as screen:
        if address is not None:
            return run_job(address, words, screen.line, environment=environment, module=module, upload=checkout())
        sweep()
        check_machine(config)
        screen.line("  … starting a private Ray")
        with private_ray(config.ray) as local:
            return run_job(local.address, words, screen.line, environment=environment, headers=local.headers, module=module)
