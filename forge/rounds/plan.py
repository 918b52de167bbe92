"""What the next round does: one pure function of the past, and the plan in words for whoever asks before it runs."""

from __future__ import annotations

from forge.config import BudgetConfig, RoundsConfig
from forge.records import Decision, RoundPlan, Spent
from forge.rounds import easier, plateau
from forge.rounds.bootstrap import held_back, self_training
from forge.rounds.past import Past
from forge.rounds.plateau import Stock


class Means(Stock):
    """What the next round could use."""

    tasks: int
    """Training tasks that are proven."""
    teacher: bool = False


def next_plan(past: Past, means: Means, rounds: RoundsConfig) -> tuple[Decision, RoundPlan]:
    """The plan of the round after the last one, `stop` when there is to be none, and why."""
    number = past.next_round
    if number <= 1:
        return _decided(RoundPlan(round=1, kind="cold-start"), "the first adapters learn from mined commits")
    if over := overspent(past.spent, rounds.budget):
        return _decided(RoundPlan(round=number, kind="stop"), over)
    if number > rounds.limit + 1:
        return _decided(RoundPlan(round=number, kind="stop"), f"all {rounds.limit} rounds after the cold start are done")
    short = held_back(past.own, rounds.bootstrap_solves)
    if number - 1 in past.refused and self_training(past, rounds.bootstrap_solves, past.own).choice == "refused":
        if means.teacher:
            return _decided(_plan(past, means, rounds, kind="teacher"), "too few own solves to learn from, so the teacher shows how")
        if rounds.scaffold.trials and not any(plan.kind == "scaffold" for plan in past.plans):
            why = "too few own solves to learn from, and no teacher: the agent's own settings first"
            return _decided(_plan(past, means, rounds, kind="scaffold"), why)
        if means.easier is not None:
            why = f"too few own solves to learn from ({past.own_solves()} of {rounds.bootstrap_solves}), and no teacher"
            return _decided(_eased(_plan(past, means, rounds), means), f"{why}: {easier.in_words(means.easier)}")
        tried = ", not even for easier tasks" if easier.batches(past.plans) else ""
        return _decided(RoundPlan(round=number, kind="stop"), f"too few own solves to learn from, and there is no teacher{tried}")
    if short and means.teacher and past.plans[-1].kind == "rft":
        why = f"too few own answers of {' and '.join(short)} to learn from, so the teacher shows how; the other stages act for themselves"
        plan = _plan(past, means, rounds, kind="teacher").model_copy(update={"taught": short})
        return _decided(plan, why)
    trained = _trained_since_search(past)
    if rounds.scaffold.trials and trained >= rounds.scaffold.every:
        why = f"{trained} training rounds since the agent's own settings were looked at"
        return _decided(_plan(past, means, rounds, kind="scaffold"), why)
    progress = plateau.progress(past, rounds)
    if progress.choice == "learning":
        return _decided(_plan(past, means, rounds), progress.why)
    lever = plateau.next_lever(past, means, rounds)
    if lever is None:
        tried = ", ".join(dict.fromkeys(plateau.levers_since_gain(past).values())) or "no lever is configured"
        return _decided(RoundPlan(round=number, kind="stop"), f"{progress.why}; tried: {tried}")
    plan = _plan(past, means, rounds, kind="dpo" if lever == plateau.DPO else "rft", lever=lever)
    return _decided(_eased(plan, means) if lever == plateau.EASIER_TASKS else plan, progress.why)


def overspent(spent: Spent, budget: BudgetConfig) -> str:
    """Which budget is used up, in a sentence; empty when none is."""
    for name, unit in (("wall_s", "s"), ("tokens", "tokens"), ("gpu_hours", "GPU hours"), ("money", "in money")):
        limit, used = getattr(budget, name), getattr(spent, name)
        if limit is not None and used >= limit:
            return f"the budget rounds.budget.{name} of {limit:,g} {unit} is used up: {used:,.0f}"
    return ""


def in_words(plan: RoundPlan, why: str) -> str:
    """The plan as a person reads it, one line."""
    if plan.kind == "stop":
        return f"no further round: {why}"
    return f"round {plan.round}, {plan.name}: {plan.doing} ({why})"


def _plan(past: Past, means: Means, rounds: RoundsConfig, kind: str = "rft", lever: str = "") -> RoundPlan:
    """A round that goes on from the last one, with more of what the lever says."""
    number = past.next_round
    before = [plan for plan in past.plans if plan.kind in ("rft", "teacher")]
    samples = before[-1].samples if before and before[-1].kind == "rft" else rounds.samples
    fresh = rounds.fresh_tasks or means.tasks
    tasks = min(means.tasks, (before[-1].tasks if before else 0) + fresh)
    if number - 1 in past.refused or kind == "teacher":
        tasks = before[-1].tasks if before else tasks
    if lever == plateau.FRESH:
        tasks = means.tasks
    elif lever == plateau.MORE_TASKS:
        tasks = means.tasks + rounds.more_tasks
    elif lever == plateau.MORE_SAMPLES:
        samples = min(rounds.most_samples, 2 * samples)
    if kind == "scaffold":
        tasks, samples = min(tasks, rounds.scaffold.tasks), rounds.scaffold.trials
        return RoundPlan(round=number, kind="scaffold", tasks=tasks, samples=samples)
    if kind == "teacher":
        samples = 1  # the same question has the same answer
    shared = {"round": number, "tasks": tasks, "probe": min(rounds.probe, samples), "samples": samples, "temperature": rounds.temperature}
    return RoundPlan.model_validate({**shared, "kind": kind, "lever": lever})


def _eased(plan: RoundPlan, means: Means) -> RoundPlan:
    """The plan with the batch of easier tasks that can be asked for."""
    return plan.model_copy(update={"easier": means.easier})


def _trained_since_search(past: Past) -> int:
    """Training rounds after the cold start, or after the last search of the agent's settings."""
    kinds = [plan.kind for plan in past.plans if plan.kind != "cold-start"]
    return len(kinds) - (max(place for place, kind in enumerate(kinds) if kind == "scaffold") + 1 if "scaffold" in kinds else 0)


def _decided(plan: RoundPlan, why: str) -> tuple[Decision, RoundPlan]:
    choice = plan.kind + (f" with {plan.lever}" if plan.lever and plan.lever != plan.kind else " on easier tasks" if plan.easier else "")
    return Decision(round=plan.round, name="plan", choice=choice, why=why), plan
