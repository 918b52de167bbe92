"""What the next round of a workspace would do, read from its ledger alone: nothing is run, nothing is recorded."""

from __future__ import annotations

from forge.config import ForgeConfig
from forge.records import Decision, RoundPlan, Task
from forge.rounds import pairs
from forge.rounds.names import collecting, teaching
from forge.rounds.past import Past, past_of
from forge.rounds.plan import Means, next_plan
from forge.rounds.spent import spent_of
from forge.store.ledger import Ledger
from forge.store.parquet import read_records
from forge.store.workspace import Workspace


def outlook(config: ForgeConfig, workspace: Workspace, ledger: Ledger) -> tuple[Decision, RoundPlan]:
    """The next round's plan and why; one that is under way already is told as it was decided.

    A doubt that a run would look at again is not looked at here, so a run may come to another plan.
    """
    tasks = tasks_of(workspace)
    heldout, soft = {task.id for task in tasks if task.side == "heldout"}, {task.id for task in tasks if task.soft}
    past = past_of(ledger, heldout, spent_of(ledger, config), soft)
    under_way = [decision for decision in ledger.decisions(past.next_round) if decision.name == "plan"]
    decision, plan = next_plan(past, means_of(config, past, tasks, ledger), config.rounds)
    if under_way:
        return under_way[0], ledger.decide(past.next_round, "plan", RoundPlan, lambda: (decision, plan))
    return decision, plan


def means_of(config: ForgeConfig, past: Past, tasks: list[Task], ledger: Ledger) -> Means:
    """What the next round could use."""
    train = {task.id: task for task in tasks if task.side == "train"}
    taken = max((plan.tasks for plan in past.plans), default=0)
    stock: dict[str, int] = {}
    if len(past.rounds) > 1 + config.rounds.plateau:
        steps = [step for number in range(2, past.next_round + 1) for step in (*collecting(number), teaching(number))]
        trajectories = (t for step in steps for t in ledger.trajectories(step))
        found = pairs.preferences(trajectories, train, keep_per_task=config.rounds.keep_per_task)
        stock = {stage: len(rows) for stage, rows in found.items()}
    fresh = max(0, (len(train) or config.tasks.train) - taken)
    return Means(tasks=len(train) or config.tasks.train, fresh=fresh, pairs=stock, teacher=config.teacher.model is not None)


def tasks_of(workspace: Workspace) -> list[Task]:
    """The proven tasks of a workspace; none before there are any."""
    file = workspace.tasks / "tasks.parquet"
    return list(read_records(file, Task)) if file.exists() else []
