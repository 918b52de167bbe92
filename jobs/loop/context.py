"""What all phases of one run share: config, workspace, stores, the screen, and the sandbox that was picked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from forge.config import ForgeConfig
from forge.observe.on_ray import RayTracker
from forge.observe.progress import PhaseProgress, Progress
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger
from forge.store.trees import TreeStore
from forge.store.workspace import Workspace
from jobs.wiring import base_folder
from sandboxes.pick import pick


class RunContext:
    """The shared parts of one run in one workspace. The driver alone writes the ledger and the stores.

    What the run comes to is in `results`: the workspace itself, or another one beside its tasks and rows.
    """

    def __init__(self, config: ForgeConfig, workspace: Workspace, progress: Progress, results: Workspace | None = None) -> None:
        self.config, self.workspace, self.progress = config, workspace, progress
        self.results = results or workspace
        self.run_id = f"{config.name}-{config.seed}"
        self.ledger = Ledger(self.results.ledger)
        self.adapters = FolderAdapterStore(self.results.adapters, self.ledger)
        self.trees = TreeStore(workspace.trees)
        self.tracker = RayTracker()
        self.sandbox = pick(config.sandbox.kind)
        self.bases: Mapping[str, Path] = {name: base_folder(base) for name, base in config.bases.items()}

    @contextmanager
    def phase(self, name: str, what: str, rollouts: int = 0) -> Iterator[PhaseProgress]:
        """A phase on the screen and, as running, in the ledger; whoever opens it marks it as finished.

        `rollouts` are those that it will have in all, for whoever looks at the ledger meanwhile.
        """
        self.ledger.start_phase(name, {"what": what, "sandbox": self.sandbox.name, **({"rollouts": rollouts} if rollouts else {})})
        with self.progress.phase(name, what) as phase:
            yield phase
        self.ledger.touch_phase(name)

    def promoted_models(self) -> dict[str, str]:
        """Model ids of the promoted adapters, the base where there is none."""
        return self.config.base_of_stages() | {stage: ref.model_id for stage, ref in self.adapters.promoted().items()}

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()
