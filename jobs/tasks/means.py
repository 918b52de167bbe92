"""What the task commands work with on this machine."""

from __future__ import annotations

from forge.config import ForgeConfig
from forge.mining.history import open_history
from forge.store.workspace import Workspace
from forge.tasks.on_ray import Means
from jobs.wiring import EnvironmentFactory, ProviderFactory


def means_of(config: ForgeConfig, provider: ProviderFactory, workspace: Workspace, name: str) -> Means:
    """Boxes of `provider` in environments of their time, trees in the workspace; `name` labels what the run starts."""
    return Means(
        open_history=open_history,
        make_provider=provider,
        trees=workspace.trees,
        run_id=f"{name}-{config.seed}",
        limits=config.sandbox.limits,
        seed=config.seed,
        workers=config.sandbox.workers,
        make_environments=EnvironmentFactory(),
    )
