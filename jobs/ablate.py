"""The ablation as a Ray job: `python -m jobs.ablate CONFIG [key=value …]`.

    <workspace>/ablation/<rows>/    a workspace of its own: ledger, adapters, trajectories, ablation.json, ablation.html

Tasks, trees and rows are those of the workspace around it, whose own ledger, adapters and rounds stay as they are.
"""

from __future__ import annotations

import os
import sys

import ray

from forge.config import ForgeConfig
from forge.errors import ConfigError, StoreError
from forge.evals.pages.ablation import HTML, table, write
from forge.observe.progress import Progress, to_stream
from forge.records import STAGES, RoundReport
from forge.stages import REGISTRY
from forge.store.ledger import Ledger
from forge.store.workspace import MAY_CHANGE, Workspace
from jobs.ablation.arms import Arms, Rows
from jobs.launching import preflight
from jobs.launching.job import carry_out

FOLDER = "ablation"
COLD_START = "cold-start"
TRAINS = (*MAY_CHANGE, "training", "stages")
"""What may differ from the run whose rows are taken: how it is trained is the ablation's own."""
AGAIN = ("ray", "serve", "sandbox", "workspace", "ablation", "rounds")
"""What may differ from one start of an ablation to the next: arms and seeds are added to those that are there."""


def run(config: ForgeConfig) -> None:
    """Carry the ablation out on the Ray that this process belongs to, and write what it found."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    with Workspace.open(config.workspace_path) as workspace:
        settings, defaults = config.model_dump(mode="json"), ForgeConfig().model_dump(mode="json")
        workspace.bind(settings, may_change=TRAINS, defaults=defaults)
        rows = rows_of(config, workspace)
        with Workspace.open(workspace.root / FOLDER / rows.name) as results:
            again = results.bind(settings, may_change=AGAIN, defaults=defaults)
            progress.say(f"  ablation of {rows.name} in {results.root}{' (goes on from what is there)' if again else ''}")
            arms = Arms(config, workspace, results, progress, rows)
            try:
                found = arms.carry_out()
                write(results.root, found)
                progress.say(table(found))
                progress.say(f"  page: {results.root / HTML}")
            finally:
                arms.close()


def rows_of(config: ForgeConfig, workspace: Workspace) -> Rows:
    """Which rows are trained on: those of a finished round, or the cold start's where no run has ended yet.

    A stage that had none in that round has those of the last round before it that had some. Raises `StoreError` when the round that
    is asked for is not there.
    """
    rounds = _trained(workspace)
    wanted = config.ablation.round
    if not rounds and (config.ablation.finished or (wanted or 1) > 1):
        raise StoreError(f"{workspace.root} holds no finished run; run forge improve there first, or leave --from and --round out")
    if not rounds:
        return Rows(name=COLD_START, files={}, rounds=())
    chosen = next((r for r in rounds if r.round == wanted), None) if wanted else _promoted(rounds)
    if chosen is None:
        there = ", ".join(f"{r.round} ({r.name})" for r in rounds)
        raise StoreError(f"{workspace.root} has no round {wanted} that was trained on examples; there are {there}")
    files: dict[str, str] = {}
    for report in rounds:
        if report.round <= chosen.round:
            folder = workspace.round(report.round) / "rows"
            files |= {stage: str(folder / f"{stage}.parquet") for stage in STAGES if (folder / f"{stage}.parquet").exists()}
    return Rows(name=chosen.name, files=files, rounds=tuple(_all(workspace)))


def check(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when the ablation can start; raises a `ForgeError` for the first thing that lacks."""
    bases = set(config.base_of_stages().values())
    if len(bases) > 1:
        raise ConfigError(
            f"one adapter for all stages needs one base, and these stages have {', '.join(sorted(bases))}; set stages.*.base alike"
        )
    ranks = [config.stage(name).rank or REGISTRY[name].defaults.rank for name in STAGES]
    if config.ablation.match == "parameters" and sum(ranks) > config.serve.max_rank:
        raise ConfigError(
            f"as many parameters as the stages' adapters together need rank {sum(ranks)}, but serve.max_rank={config.serve.max_rank}; "
            f"set serve.max_rank={_next_rank(sum(ranks))}, or leave --match out"
        )
    if local_ray and config.ablation.finished and not _trained(Workspace(config.workspace_path)):
        raise StoreError(f"{config.workspace_path} holds no finished run of forge improve; give another folder, or leave --from out")
    preflight.check(config, local_ray=local_ray)


def _next_rank(rank: int) -> int:
    """The smallest highest rank that vLLM can be started with for adapters of this one."""
    return next((size for size in (8, 16, 32, 64, 128, 256, 320, 512) if size >= rank), rank)


def _all(workspace: Workspace) -> list[RoundReport]:
    if not workspace.ledger.exists():
        return []
    with Ledger(workspace.ledger) as ledger:
        return ledger.rounds()


def _trained(workspace: Workspace) -> list[RoundReport]:
    """Rounds that were trained on examples, in order."""
    return [r for r in _all(workspace) if r.round >= 1 and r.step is not None and (r.plan is None or r.plan.kind != "dpo")]


def _promoted(rounds: list[RoundReport]) -> RoundReport:
    return next((r for r in reversed(rounds) if r.step is not None and r.step.promoted), rounds[-1])


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run, check=check))
