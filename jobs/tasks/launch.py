"""A command as a job: on the Ray at an address, or on a private one that ends with it."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from rich.console import Console

from forge.config import RayConfig
from forge.observe.screen import Screen
from jobs.checkout import checkout
from jobs.local_ray import private_ray, sweep
from jobs.submit import run_job


def launch(module: str, arguments: Sequence[str], overrides: Sequence[str], address: str | None, ray: RayConfig | None = None) -> int:
    """Exit code of `python -m module arguments… overrides…` as a Ray job, its output shown as it comes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False)
    words = [*arguments, *overrides]
    environment = {"FORGE_PROGRESS_S": "0.5" if console.is_terminal else "5"}
    with Screen(console) as screen:
        if address is not None:
            return run_job(address, words, screen.line, environment=environment, module=module, upload=checkout())
        sweep()
        screen.line("  … starting a private Ray")
        with private_ray(ray or RayConfig()) as local:
            return run_job(local.address, words, screen.line, environment=environment, headers=local.headers, module=module)
