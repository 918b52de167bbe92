"""What a run's workspace says, gathered into the record that the report is made of."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil

import forge
from forge.evals import summary
from forge.evals.best_of_n import best_of_n
from forge.evals.cost import step_cost
from forge.evals.levers import levers
from forge.evals.steps import solved_by_task
from forge.evals.summary import BaseNote, RunSummary
from forge.records import AdapterRef, Trajectory
from forge.rounds.names import SETTINGS_ALONE, WEIGHTS_ALONE, choosing
from forge.rounds.spent import spent_of
from forge.training.base import weights_sha256
from jobs.loop.context import RunContext
from jobs.loop.phases import Loop

STAND_IN = (
    "a Qwen3-architecture stand-in of about 1.8 million parameters, trained on generated functions of other families: "
    "it lets the same code run without a download and is no coding model"
)


def summarise(loop: Loop) -> RunSummary:
    """The summary of a loop that has run to its end."""
    run = loop.run
    rounds = run.ledger.rounds()
    steps = [report.step for report in rounds if report.step is not None]
    everything = {step: run.ledger.trajectories(step) for step in run.ledger.steps()}
    heldout = {step.name: loop.results(step.name, "heldout") for step in steps}
    transfer = {step.name: loop.results(step.name, "transfer") for step in steps}
    paired = summary.gain({name: solved_by_task(found) for name, found in heldout.items()}, steps, seed=run.config.seed)
    phases = {phase.name: phase.seconds for phase in run.ledger.phases()}
    weights, settings = (solved_by_task(loop.results(name, "heldout")) for name in (WEIGHTS_ALONE, SETTINGS_ALONE))
    promoted = [solved_by_task(heldout[step.name]) for step in steps if step.promoted and step.round >= 1]
    turns = [turn for found in everything.values() for trajectory in found for turn in trajectory.turns]
    main, *others = [_base_note(run, name) for name in sorted(run.bases, key=lambda name: name != "main")]
    last = [t for step in reversed(steps) for t in heldout[step.name]]
    return RunSummary(
        name=run.config.name,
        seed=run.config.seed,
        forge=forge.__version__,
        finished=datetime.now(UTC).astimezone().isoformat(timespec="seconds"),
        hardware=hardware(),
        base=main,
        other_bases=tuple(others),
        sandbox=run.sandbox.name,
        sandbox_why=run.sandbox.why,
        heldout=summary.Evaluated(tasks=max(step.tasks for step in steps), steps=tuple(steps)),
        transfer=summary.evaluated(steps, transfer) if any(transfer.values()) else None,
        paired=paired,
        paired_p=paired.p if paired else None,
        wall_s=sum(phases.values()),
        phase_s=phases,
        outcomes=run.ledger.outcomes(),
        outcomes_by_step={step: run.ledger.outcomes(step) for step in everything},
        prompt_tokens=sum(len(turn.prompt_ids) for turn in turns),
        completion_tokens=sum(len(turn.completion_ids) for turn in turns),
        tasks=loop.taskset.spread["side"],
        examples=loop.mining.examples,
        dropped=_dropped(loop, everything),
        stage_scores={step.name: step.stage_scores for step in steps},
        rounds=tuple(rounds),
        lineage=tuple(_told(run.workspace.root, ref) for ref in run.adapters.promoted().values()),
        stories=summary.choose_stories(last, {task.id: task for task in loop.taskset.tasks}),
        decisions=tuple(run.ledger.decisions()),
        outlook=loop.rounds.outlook,
        spent=spent_of(run.ledger, run.config),
        levers=levers(promoted[0], weights, settings, promoted[-1]) if weights and settings else None,
        budget=run.config.rounds.budget.limits,
        costs=tuple(step_cost(step, found) for step, found in everything.items()),
        best_of=best_of_n(everything.get(choosing(loop.rounds.promoted or ""), ()), seed=run.config.seed),
    )


def table(found: RunSummary) -> str:
    """The answer of a run as a few lines of text."""
    lines = ["", f"  {'step':<14}{'held-out pass@1':>16}{'95 % interval':>18}{'transfer':>10}  promoted"]
    transfer = {step.name: step.pass_at_1 for step in found.transfer.steps} if found.transfer else {}
    for step in found.heldout.steps:
        interval = f"{step.ci95.low:.1%} to {step.ci95.high:.1%}"
        beside = f"{transfer[step.name]:.1%}" if step.name in transfer else "-"
        lines.append(f"  {step.name:<14}{step.pass_at_1:>16.1%}{interval:>18}{beside:>10}  {'yes' if step.promoted else 'no'}")
    if found.paired is not None:
        change = f"{found.paired.difference:+.1%} from {found.reference} to the last promoted step, paired p = {found.paired.p:.2g}"
        lines.append(f"  {change}, on {found.heldout.tasks} held-out tasks")
    return "\n".join([*lines, ""])


def _told(root: Path, ref: AdapterRef) -> AdapterRef:
    """The adapter with its path from the workspace on: a report is read elsewhere too."""
    path = Path(ref.path)
    return ref.model_copy(update={"path": str(path.relative_to(root))}) if path.is_relative_to(root) else ref


def _base_note(run: RunContext, name: str) -> BaseNote:
    model = run.config.bases[name].model
    nano = model == "nano"
    about = STAND_IN if nano else f"the frozen base {model}"
    return BaseNote(model=model, sha256=weights_sha256(run.bases[name]), about=about, stand_in=nano)


def hardware() -> str:
    """This machine in a few words."""
    memory = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} CPU cores ({platform.machine()}), {memory:.0f} GiB of memory"


def _dropped(loop: Loop, everything: Mapping[str, list[Trajectory]]) -> dict[str, dict[str, int]]:
    dropped = {"mining": {**loop.mining.drops, **loop.mining.silent}, "tasks": dict(loop.taskset.counts.refused)}
    dropped |= {report.name: report.dropped for report in loop.run.ledger.rounds() if report.dropped}
    retries = sum(t.infra_retries for found in everything.values() for t in found)
    return dropped | ({"infrastructure": {"retries": retries}} if retries else {})
