"""Facts into what is shown: every word and figure of `forge status`, computed from records alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from forge.config import ForgeConfig
from forge.evals.headline import shown
from forge.records import Decision, Record, RoundPlan, Spent, StepReport
from forge.rounds import plateau
from forge.rounds.names import choosing, collecting, evaluating, teaching, trying
from forge.rounds.plan import in_words
from forge.rounds.spent import spent_of
from forge.store.ledger import Phase
from jobs.status.facts import Facts

BEFORE = ("history", "tasks", "mining", "evaluate-baseline")
"""Phases before the first round."""
RESUME = "the same forge improve command goes on from here"
SILENT_S = 300.0
"""A run on another machine that has given no sign for so long may be dead; training gives none for minutes."""

State = Literal["running", "elsewhere", "stopped", "finished"]
PartState = Literal["done", "now", "to come"]


class Part(Record):
    """One part of the round, such as `collect`, and how far it is."""

    name: str
    state: PartState


class Work(Record):
    """The phase under way, or that was when the run ended. `all` is 0 where the number is not known; times in seconds."""

    phase: str
    what: str
    done: int = 0
    all: int = 0
    unit: str = ""
    per_s: float | None = None
    left_s: float | None = None
    spent_s: float
    outcomes: dict[str, int] = {}


class Try(Record):
    """What is being tried."""

    round: int | None
    plan: str
    why: str
    parts: tuple[Part, ...]
    work: Work | None


class Evaluated(Record):
    """One evaluated step and what was decided on it."""

    step: StepReport
    reason: str


class Cost(Record):
    """What it has cost so far; `budget` names limits as in the configuration."""

    spent: Spent
    budget: dict[str, float] = {}
    rollouts: dict[str, int]
    retries: int


class Status(Record):
    """Everything that is shown; `forge status --json` is this record."""

    workspace: str
    name: str
    seed: int
    base: str
    sandbox: str
    state: State
    told: str
    """The state in words."""
    silent_s: float | None
    """Seconds since the last entry in the ledger."""
    now: Try | None
    """`None` once the run is over."""
    steps: tuple[Evaluated, ...]
    better: str
    lately: str
    """Whether the last rounds brought a proven gain, with the evidence."""
    cost: Cost
    next: str
    round: int
    """The round under way, or the last one."""
    decisions: tuple[Decision, ...]

    def of_round(self) -> list[Decision]:
        """The decisions of the round that is shown."""
        return [decision for decision in self.decisions if decision.round == self.round]


def status_of(facts: Facts) -> Status:
    """What `forge status` shows of a run at one moment."""
    config, ahead = facts.config, facts.prospect
    state = state_of(facts)
    steps = [report.step for report in facts.rounds if report.step is not None]
    reasons = {report.name: report.decision for report in facts.rounds}
    sign = last_sign(facts)
    return Status(
        workspace=str(facts.root),
        name=config.name,
        seed=config.seed,
        base=_bases(config),
        sandbox=facts.sandbox,
        state=state,
        told=_told(facts, state),
        silent_s=max(0.0, facts.now - sign) if sign is not None else None,
        now=_tried(facts) if state != "finished" else None,
        steps=tuple(Evaluated(step=step, reason=reasons[step.name]) for step in steps),
        better=shown(steps, ahead.gain).replace("*", "") if len(steps) > 1 else "",
        lately=_lately(facts),
        cost=Cost(
            spent=spent_of(_Clock(_timed(facts), facts.tokens), config),
            budget=config.rounds.budget.limits,
            rollouts=facts.outcomes,
            retries=facts.retries,
        ),
        next=_next(facts, state),
        round=ahead.plan.round if _under_way(facts) else (facts.rounds[-1].round if facts.rounds else 0),
        decisions=facts.decisions,
    )


def state_of(facts: Facts) -> State:
    """Whether a run is at work: what its lock says, and where that cannot be seen, its last sign of life."""
    if facts.holder is not None and facts.holder.alive:
        return "running"
    over = facts.prospect.plan.kind == "stop" and facts.running is None and facts.report_at is not None
    sign = last_sign(facts)
    if over and facts.report_at is not None and sign is not None and facts.report_at >= sign:
        return "finished"
    return "elsewhere" if facts.holder is not None and facts.holder.alive is None else "stopped"


def last_sign(facts: Facts) -> float | None:
    """When the ledger was last written to."""
    signs = [*(phase.touched for phase in facts.phases), *facts.recent[-1:]]
    return max(signs, default=None)


def course(plan: RoundPlan) -> tuple[str, ...]:
    """The phases of a round in order; the last one is the gate, which is a decision."""
    ends = (f"train-{plan.name}", evaluating(plan.name), "gate")
    probe, collect = collecting(plan.round)
    match plan.kind:
        case "rft":
            return (*((probe,) if plan.probe < plan.samples else ()), collect, *ends)
        case "teacher":
            return (teaching(plan.round), *ends)
        case "scaffold":
            return (*(trying(plan.round, trial) for trial in range(plan.samples)), *ends[1:])
        case "stop":
            return ()
    return ends


def work_of(phase: Phase, facts: Facts) -> Work:
    """How far a phase is, how fast it goes and how long it will take, as far as that can be seen."""
    spent_s = next(timed.seconds for timed in _timed(facts) if timed.name == phase.name)
    shared = {"phase": phase.name, "what": str(phase.detail.get("what", "")), "spent_s": spent_s}
    if "rollouts" not in phase.detail:
        done, everything = facts.counted or (0, 0)
        unit = "adapters" if phase.name.startswith("train-") else "tried" if done else ""
        return Work.model_validate({**shared, "done": done, "all": everything, "unit": unit})
    done, everything = sum(facts.current.values()), int(phase.detail["rollouts"])
    per_s = pace([at for at in facts.recent if at >= phase.touched], facts.now) if _alive(facts) else None
    left_s = (everything - done) / per_s if per_s else None
    return Work.model_validate(
        {**shared, "done": done, "all": everything, "unit": "rollouts", "per_s": per_s, "left_s": left_s, "outcomes": facts.current}
    )


def pace(recorded: Sequence[float], now: float) -> float | None:
    """Items a second over the last ones and the time since: it falls when nothing comes any more. `None` before there are two."""
    if len(recorded) < 2 or now <= recorded[0]:
        return None
    return (len(recorded) - 1) / (now - recorded[0])


class _Clock(NamedTuple):
    """Phases and tokens, as `spent_of` asks for them."""

    timed: Sequence[Phase]
    used: int

    def phases(self) -> Sequence[Phase]:
        return self.timed

    def tokens(self) -> int:
        return self.used


def _timed(facts: Facts) -> list[Phase]:
    """The phases with the time up to now: the ledger learns of it only when a phase is over."""
    running = facts.running
    if running is None:
        return list(facts.phases)
    until = facts.now if _alive(facts) else max([running.touched, *facts.recent])
    more = max(0.0, until - running.touched)
    return [p.model_copy(update={"seconds": p.seconds + more}) if p.name == running.name else p for p in facts.phases]


def _alive(facts: Facts) -> bool:
    return facts.holder is not None and facts.holder.alive is not False


def _under_way(facts: Facts) -> bool:
    """Whether the plan of the prospect is one that was decided and has no report yet."""
    plan = facts.prospect.plan
    return any(decision.round == plan.round and decision.name == "plan" for decision in facts.decisions) and plan.kind != "stop"


def _bases(config: ForgeConfig) -> str:
    used = dict.fromkeys(config.base_of_stages().values())
    return ", ".join(config.bases[name].model for name in used)


def _told(facts: Facts, state: State) -> str:
    holder, running = facts.holder, facts.running
    if state == "finished":
        return "finished"
    if state == "running" and holder is not None:
        return f"running, process {holder.process}"
    if state == "elsewhere" and holder is not None:
        sign = last_sign(facts)
        quiet = sign is None or facts.now - sign > SILENT_S
        return f"started on {holder.host}, which cannot be seen from here{'; it may have ended' if quiet else ''}"
    where = f"in the middle of {running.name}" if running is not None else "between two phases"
    return f"ended {where}, stopped or killed; {RESUME}"


def _tried(facts: Facts) -> Try | None:
    """The round under way with its parts, or what is done before and after the rounds."""
    running, ahead = facts.running, facts.prospect
    work = work_of(running, facts) if running is not None else None
    if _under_way(facts):
        plan = ahead.plan
        parts = _parts(course(plan), facts, plan.round)
        return Try(round=plan.round, plan=f"round {plan.round}, {plan.name}: {plan.doing}", why=ahead.decision.why, parts=parts, work=work)
    if len(facts.rounds) < 1:
        what = "before the first round: repositories, proven tasks, mined rows, and the base alone on held-out tasks"
        return Try(round=None, plan=what, why="gains are measured from here", parts=_parts(BEFORE, facts, 0), work=work)
    if work is not None:
        chosen = ahead.past.promoted()
        after = running is not None and chosen is not None and running.name == choosing(chosen)
        what = "after the last round: several answers to each held-out task" if after else "between two rounds"
        return Try(round=None, plan=what, why="what choosing by review is worth" if after else "", parts=(), work=work)
    return None


def _parts(names: Sequence[str], facts: Facts, number: int) -> tuple[Part, ...]:
    """Each phase with its state, and what runs besides (a second look); the gate is done when it has decided."""
    states = {phase.name: phase.state for phase in facts.phases}
    decided = {decision.name for decision in facts.decisions if decision.round == number}
    running = facts.running
    found = [(name, "done" if (name in decided if name == "gate" else states.get(name) == "done") else "to come") for name in names]
    if running is not None:
        found = [(name, "now" if name == running.name else state) for name, state in found if name != "gate" or running.name in names]
        if running.name not in names:
            found.append((running.name, "now"))
    return tuple(Part.model_validate({"name": name, "state": state}) for name, state in found)


def _lately(facts: Facts) -> str:
    if len(facts.rounds) < 2:
        return ""
    progress = plateau.progress(facts.prospect.past, facts.config.rounds)
    if progress.steps is None and progress.choice == "learning":
        return f"too early to say whether it is still learning: {progress.why}"
    words = {"learning": "still learning", "flat": "no longer learning", "doubt": "perhaps still learning"}
    return f"{words[progress.choice]}: {progress.why}"


def _next(facts: Facts, state: State) -> str:
    """What follows on what is shown as under way; or what a further start would do."""
    rounds, ahead = facts.config.rounds, facts.prospect
    if not facts.rounds:
        return "round 1 trains every stage on mined commits; the gate compares from round 2 on"
    if _under_way(facts):
        number = ahead.plan.round
        if number <= rounds.limit:
            left = rounds.limit + 1 - number
            told = f"round {number + 1} ({left} of {rounds.limit} rounds left), planned from what this one shows"
            return f"{told}; unless a budget or the levers run out"
        return (
            f"it is the last of {rounds.limit} rounds after the cold start: {_ending(facts)}; rounds.limit={rounds.limit + 1} would go on"
        )
    if state == "finished":
        return f"{in_words(ahead.plan, ahead.decision.why)}; the report is {facts.root / 'report.html'}"
    told = in_words(ahead.plan, ahead.decision.why)
    return f"{told}; {_ending(facts)}" if ahead.plan.kind == "stop" else told


def _ending(facts: Facts) -> str:
    answers = facts.config.rounds.best_of
    return f"then {answers} answers to each held-out task, then the report" if answers > 1 else "then the report"
