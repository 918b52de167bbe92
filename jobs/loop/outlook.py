"""What the next round of a workspace would do, read from its ledger alone: nothing is run, nothing is recorded."""

from __future__ import annotations

from collections.abc import Sequence

from forge.config import ForgeConfig
from forge.records import EASIER, Decision, RoundPlan, Task
from forge.rounds import easier, pairs
from forge.rounds.names import collecting, teaching
from forge.rounds.past import Past, past_of
from forge.rounds.plan import Means, next_plan, overspent
from forge.rounds.spent import spent_of
from forge.store.ledger import Ledger
from forge.store.parquet import read_records
from forge.store.workspace import Workspace


def outlook(config: ForgeConfig, workspace: Workspace, ledger: Ledger) -> tuple[Decision, RoundPlan]:
    """The next round's plan and why; one that is under way already is told as it was decided.

    A doubt that a run would look at again is not looked at here, so a run may come to another plan.
    """
    tasks = tasks_of(workspace)
    return outlook_of(config, past_so_far(config, tasks, ledger), tasks, ledger)


def outlook_of(config: ForgeConfig, past: Past, tasks: Sequence[Task], ledger: Ledger) -> tuple[Decision, RoundPlan]:
    """The same, for a past that is known. Trajectories are read only where the plan depends on the pairs in them."""
    plan = ledger.decided(past.next_round, "plan", RoundPlan)
    if plan is not None:
        return next(decision for decision in ledger.decisions(past.next_round) if decision.name == "plan"), plan
    means = means_of(config, past, tasks)
    found = next_plan(past, means, config.rounds)
    if found[1].kind == "stop" and _pairs_matter(past, config):
        return next_plan(past, means.model_copy(update={"pairs": _stock(config, past, tasks, ledger)}), config.rounds)
    return found


def past_so_far(config: ForgeConfig, tasks: Sequence[Task], ledger: Ledger) -> Past:
    """The past of a workspace's run with these tasks."""
    heldout, soft = {task.id for task in tasks if task.side == "heldout"}, {task.id for task in tasks if task.soft}
    return past_of(ledger, heldout, spent_of(ledger, config), soft)


def means_of(config: ForgeConfig, past: Past, tasks: Sequence[Task]) -> Means:
    """What the next round could use, pairs of answers aside."""
    train = sum(task.side == "train" and not task.id.startswith(EASIER) for task in tasks) or config.tasks.train
    taken = max((plan.tasks for plan in past.plans if plan.kind != "scaffold"), default=0)
    eased = easier.variants(past, tasks, config.rounds) if config.tasks.inject else None
    teacher, hard = config.teacher.model is not None, easier.too_hard(past)
    return Means(tasks=train, fresh=max(0, train - taken), teacher=teacher, too_hard=hard, easier=eased)


def tasks_of(workspace: Workspace) -> list[Task]:
    """The proven tasks of a workspace, easier ones last; none before there are any."""
    files = [workspace.tasks / name for name in ("tasks.parquet", "easier.parquet")]
    return [task for file in files if file.exists() for task in read_records(file, Task)]


def _pairs_matter(past: Past, config: ForgeConfig) -> bool:
    """Whether a round of DPO, the last lever, may be what there is instead of the end."""
    rounds = config.rounds
    enough = bool(rounds.preference_pairs) and len(past.rounds) > 1 + rounds.plateau
    return enough and past.next_round <= rounds.limit + 1 and not overspent(past.spent, rounds.budget)


def _stock(config: ForgeConfig, past: Past, tasks: Sequence[Task], ledger: Ledger) -> dict[str, int]:
    """Pairs of a solved and a failed answer that there are, by stage."""
    train = {task.id: task for task in tasks if task.side == "train"}
    steps = [step for number in range(2, past.next_round + 1) for step in (*collecting(number), teaching(number))]
    found = pairs.preferences((t for step in steps for t in ledger.trajectories(step)), train, keep_per_task=config.rounds.keep_per_task)
    return {stage: len(rows) for stage, rows in found.items()}
