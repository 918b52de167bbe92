"""Which rollouts each part of a round is made of, and what the ledger says when they are done."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from forge.config import AgentConfig, ForgeConfig
from forge.endpoint.acting import PREFIX
from forge.records import STAGES, AdapterRef, Example, Outcome, RoundPlan, RoundReport, Task, Trajectory
from forge.rollouts.rollout import Assignment
from forge.rounds.hands import Hands
from forge.rounds.names import choosing, collecting, evaluating, second_look, teaching, trying
from forge.rounds.past import Tally, tally
from forge.rounds.scaffold import Settings, Trial, agent_with
from forge.stages.stage import instructed
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger

EVALUATED = ("heldout", "transfer")


class Steps:
    """Makes assignments for the models and the agent that are to be tried, and has them carried out."""

    def __init__(self, config: ForgeConfig, ledger: Ledger, adapters: FolderAdapterStore, hands: Hands) -> None:
        self._config, self._ledger, self._adapters, self._hands = config, ledger, adapters, hands

    # Training tasks

    def collect(self, plan: RoundPlan, step: str, samples: Mapping[str, int], *, first: int = 0, what: str) -> None:
        """Rollouts `first` … of each training task up to its number of samples, by the promoted adapters, in a teacher's round by the
        teacher for the stages that it is to show."""
        taught = (plan.taught or STAGES) if plan.kind == "teacher" else ()
        models = self.models() | {stage: f"{PREFIX}{stage}" for stage in taught}
        agent = self._agent()
        asked = [
            self._assignment(task, step, plan.round, models, agent, sample=sample, temperature=plan.temperature)
            for task in self._hands.side("train")
            for sample in range(first, samples.get(task.id, 0))
        ]
        if asked:
            self._hands.roll_out(step, plan.round, asked, what)

    def try_settings(self, plan: RoundPlan, trial: int, settings: Settings, tasks: Sequence[Task]) -> Trial:
        """One greedy rollout of each task with these settings, and what they came to."""
        step, agent = trying(plan.round, trial), self._agent(settings)
        asked = [self._assignment(task, step, plan.round, self.models(), agent) for task in tasks]
        self._hands.roll_out(step, plan.round, asked, f"training tasks, settings {trial + 1} of {plan.samples}")
        found = self._ledger.trajectories(step)
        graded = [t for t in found if t.outcome is not Outcome.INFRA_ERROR]
        solved = sum(t.outcome is Outcome.SOLVED for t in graded)
        tokens = sum(t.tokens for t in graded)
        return Trial(settings=settings, solved=solved / max(1, len(graded)), tokens=tokens / max(1, len(graded)))

    def training(self, number: int) -> list[Trajectory]:
        """All rollouts of training tasks up to this round that may teach, the teacher's too."""
        steps = [step for n in range(2, number + 1) for step in (*collecting(n), teaching(n))]
        return [t for step in steps for t in self._ledger.trajectories(step)]

    # Held-out tasks

    def evaluate(
        self,
        name: str,
        number: int,
        models: Mapping[str, str],
        *,
        refs: Sequence[AdapterRef] = (),
        settings: Settings | None = None,
        beside: Sequence[Task] = (),
    ) -> list[Trajectory]:
        """The greedy rollouts of the held-out tasks; those of the transfer tasks and of others `beside` are recorded with them."""
        tasks = [*(task for side in EVALUATED for task in self._hands.side(side)), *beside]
        agent = self._agent(settings)
        asked = [self._assignment(task, evaluating(name), number, models, agent) for task in tasks]
        self._hands.roll_out(evaluating(name), number, asked, "held-out and transfer tasks, greedy", refs)
        return self.heldout(evaluating(name))

    def look_again(self, name: str, number: int, candidate: RoundReport | None = None, refs: Sequence[AdapterRef] = ()) -> dict[str, Tally]:
        """Sampled rollouts of the held-out tasks by what an evaluated step stands for, and all of its rollouts counted.

        That is what stood after its round; for the round under way the `candidate`: its `refs` over the promoted ones, its agent.
        """
        report = candidate or next(report for report in self._ledger.rounds() if report.name == name)
        served = refs or [self._adapters.get(model) for model in report.adapters.values()]
        models = self.models() | {ref.stage: ref.model_id for ref in served}
        agent, step = self._agent(report.agent), second_look(name)
        asked = self._sampled(step, number, models, agent, range(1, self._config.rounds.second_look + 1))
        self._hands.roll_out(step, number, asked, f"held-out tasks again, by {name}", served)
        heldout = {task.id for task in self._hands.side("heldout")}
        results = [*self._ledger.results(evaluating(name)), *self._ledger.results(step)]
        return tally(r for r in results if r.task_id in heldout)

    def choose(self, name: str, number: int) -> None:
        """Several answers to each held-out task by the promoted adapters, for what choosing by review is worth."""
        best_of = self._config.rounds.best_of
        asked = self._sampled(choosing(name), number, self.models(), self._agent(), range(best_of))
        self._hands.roll_out(choosing(name), number, asked, f"{best_of} answers to each held-out task, by {name}")

    def heldout(self, step: str) -> list[Trajectory]:
        """A step's trajectories of held-out tasks."""
        ids = {task.id for task in self._hands.side("heldout")}
        return [t for t in self._ledger.trajectories(step) if t.task_id in ids]

    def lost(self, name: str, tasks: Collection[Task]) -> tuple[int, tuple[str, ...]]:
        """Of tasks that were evaluated beside the held-out ones, how many have a grade, and which are not solved."""
        ids = {task.id for task in tasks}
        found = tally(r for r in self._ledger.results(evaluating(name)) if r.task_id in ids)
        return len(found), tuple(sorted(task for task, counted in found.items() if not counted.solved))

    # Who acts

    def models(self) -> dict[str, str]:
        """Model ids of the promoted adapters, the base where there is none."""
        return self._config.base_of_stages() | {stage: ref.model_id for stage, ref in self._adapters.promoted().items()}

    def settings(self) -> Settings:
        """The agent's settings that were adopted, where they deviate from the configuration."""
        rounds = self._ledger.rounds()
        return rounds[-1].agent if rounds else {}

    def in_use(self, rows: Sequence[Example]) -> list[Example]:
        """Mined rows under the instructions that their stages have now."""
        prompts = self._agent().prompts
        told = {stage: prompt.text for stage, prompt in prompts.items()}
        return [
            row.model_copy(update={"messages": instructed(row.messages, row.stage, told[row.stage])}) if row.stage in told else row
            for row in rows
        ]

    def _agent(self, settings: Settings | None = None) -> AgentConfig:
        """The agent with these settings, those in use when not given."""
        return agent_with(self._config.agent, self.settings() if settings is None else settings, self._config.rounds.scaffold)

    def _sampled(self, step: str, number: int, models: Mapping[str, str], agent: AgentConfig, samples: Collection[int]) -> list[Assignment]:
        temperature = self._config.rounds.temperature
        return [
            self._assignment(task, step, number, models, agent, sample=sample, temperature=temperature)
            for task in self._hands.side("heldout")
            for sample in samples
        ]

    def _assignment(
        self,
        task: Task,
        step: str,
        number: int,
        models: Mapping[str, str],
        agent: AgentConfig,
        *,
        sample: int = 0,
        temperature: float = 0.0,
    ) -> Assignment:
        """Greedy ones have the run's seed; sampled ones one of their own, with room for the seeds of repairs."""
        seed = self._config.seed * 1000 + number * 100 + sample * 10 if temperature else self._config.seed
        return Assignment(
            task=task, step=step, round=number, sample=sample, seed=seed, temperature=temperature, models=dict(models), agent=agent
        )
