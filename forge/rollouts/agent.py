"""The staged agent: analysis → retrieval → relevance → planning → generation → apply → run → review, with repairs.

Straight-line on purpose. Each stage is one model call whose turn is kept whether or not its answer could be parsed.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from forge.config import AgentConfig
from forge.errors import StageError
from forge.records import FileEdit, Message, Record, Symbol, Turn
from forge.rollouts.checks import CheckResult
from forge.rollouts.room import Shown, fits, fitted
from forge.rollouts.tree import TaskTree
from forge.seams import ChatModel, ChatTokenizer, Sample, SampleRequest
from forge.stages import REGISTRY, analysis, planning
from forge.stages.edits import apply_edits, hunks_between, parse_edits
from forge.stages.source.syntax import refuse_broken
from forge.stages.stage import Hunk, PromptStyle, Situation, instructed, mending

T = TypeVar("T")
NO_FUNCTIONS = "no function was found in it, in any of the languages that are known"
NO_LIMITS: Mapping[str, int] = {}
GRAMMARS: Mapping[str, Callable[[Situation, PromptStyle], str]] = {"analysis": analysis.STAGE.grammar, "planning": planning.STAGE.grammar}
"""What the answers of a stage have to be like. Generation has none: whether text can be found, and Python be parsed, no grammar says."""

Checker = Callable[[Sequence[FileEdit], Sequence[Symbol]], Awaitable[CheckResult]]
"""Runs edits in the rollout's box."""


class Attempt(Record):
    """One try: edits that apply, and what review thinks of them."""

    edits: tuple[FileEdit, ...]
    hunks: tuple[Hunk, ...]
    score: float
    number: int


class Work(Record):
    """What the agent hands in: the accepted attempt, or the best rejected one, or none."""

    turns: tuple[Turn, ...]
    handed_in: Attempt | None
    attempts: int
    """Times that it tried; each may be several attempts side by side."""
    reason: str = ""


class Models(Record):
    """The model id that answers for each stage, and how to sample from it."""

    ids: Mapping[str, str]
    max_answer_tokens: Mapping[str, int]
    temperature: float
    seed: int
    context_tokens: Mapping[str, int] = NO_LIMITS
    """Tokens of prompt and answer together that a stage's base takes; no limit is known of one that is not named."""


class StagedAgent:
    """One agent for one rollout; `check` runs an attempt in the rollout's own box."""

    def __init__(
        self,
        model: ChatModel,
        tokenizers: Mapping[str, ChatTokenizer],
        models: Models,
        settings: AgentConfig,
        check: Checker,
        listen: Callable[[Turn], None] = lambda _: None,
    ) -> None:
        self._model, self._tokenizers, self._models, self._settings, self._check = model, tokenizers, models, settings, check
        self._listen = listen
        self._turns: list[Turn] = []
        self._box = asyncio.Lock()

    async def solve(self, tree: TaskTree) -> Work:
        """The agent's work on the tree's task; raises only what the seams raise."""
        statement = tree.task.statement
        ranked = tree.index.search(statement, self._settings.candidates)
        if not ranked:
            return Work(turns=self._told(), handed_in=None, attempts=0, reason=NO_FUNCTIONS)
        named = await self._analyse(statement, ranked)
        judged = list(dict.fromkeys([*named, *ranked]))[: self._settings.judged]
        symbols = await self._judge(statement, sorted(judged, key=ranked.index))
        best: Attempt | None = None
        rejected: tuple[Hunk, ...] = ()
        reason = ""
        tries = number = 0
        while tries <= self._settings.repairs:
            tries += 1
            numbers = range(number, number + self._side_by_side(number))
            number = numbers.stop
            ended = await _all(self._attempted(statement, symbols, tree, rejected, it) for it in numbers)
            made = [attempt for attempt in ended if isinstance(attempt, Attempt)]
            if not made:
                reason = str(ended[0])
                if self._says_the_same(number):
                    break
                continue
            best = max(([best] if best else []) + made, key=lambda attempt: attempt.score)
            if best.score >= self._settings.accept_score:
                break
            rejected = (*rejected, *(hunk for attempt in made for hunk in attempt.hunks))
        return Work(turns=self._told(), handed_in=best, attempts=tries, reason=reason)

    def _side_by_side(self, number: int) -> int:
        """How many attempts are made at once from this one on: one where all would say the same."""
        sampled = any(self._temperature(stage, max(1, number)) > 0.0 for stage in ("planning", "generation"))
        return self._settings.samples if sampled else 1

    def _told(self) -> tuple[Turn, ...]:
        """All turns, an attempt's after those of the attempt before it, though they were made side by side."""
        return tuple(sorted(self._turns, key=lambda turn: turn.attempt))

    async def _analyse(self, statement: str, ranked: Sequence[Symbol]) -> list[Symbol]:
        """Those of retrieval's candidates that analysis names."""
        try:
            shown = self._shown("analysis", Situation(statement=statement, candidates=tuple(ranked)))
            turn, named = await self._write("analysis", shown, 0, lambda text: analysis.STAGE.parse(text, shown.situation.candidates))
        except StageError:
            return []
        self._keep(turn.model_copy(update={"subject": "\n".join(symbol.key for symbol in named)}))
        return named

    async def _judge(self, statement: str, candidates: Sequence[Symbol]) -> tuple[Symbol, ...]:
        """The candidates that relevance says yes to, in retrieval's order; the first one when it says no to all.

        A yes is a filter, not a rank: the scores of two that are both a yes differ by less than they err. What is too long to be
        judged gets no yes.
        """
        asked: list[tuple[Shown, Symbol]] = []
        for symbol in candidates:
            with suppress(StageError):
                asked.append((self._shown("relevance", Situation(statement=statement, symbols=(symbol,))), symbol))
        turns = await self._ask("relevance", [shown for shown, _ in asked], 0, [symbol.key for _, symbol in asked])
        self._keep(*turns)
        chosen = [symbol for turn, (_, symbol) in zip(turns, asked, strict=True) if (turn.score or 0.0) >= 0.5]
        return tuple(chosen[: self._settings.planned]) or (candidates[0],)

    async def _attempted(
        self, statement: str, symbols: tuple[Symbol, ...], tree: TaskTree, rejected: tuple[Hunk, ...], number: int
    ) -> Attempt | StageError:
        """An attempt, or why an answer of it could not be used."""
        try:
            return await self._attempt(statement, symbols, tree, rejected, number)
        except StageError as error:
            return error

    async def _attempt(
        self, statement: str, symbols: tuple[Symbol, ...], tree: TaskTree, rejected: tuple[Hunk, ...], number: int
    ) -> Attempt:
        """Plan, edit, run and review once; raises `StageError` when an answer cannot be used."""
        shown = self._shown("planning", Situation(statement=statement, symbols=symbols, rejected=rejected))
        symbols = shown.situation.symbols
        plan, steps = await self._write("planning", shown, number, lambda text: planning.STAGE.parse(text, symbols))
        planned = tuple(s for s in symbols if s.key in {step.symbol for step in steps})
        self._keep(plan.model_copy(update={"subject": "\n".join(symbol.key for symbol in planned)}))
        situation = Situation(statement=statement, symbols=planned, rejected=rejected, plan=planning.written(steps, planned))
        shown = self._shown("generation", situation)
        answer, (edits, hunks) = await self._write(
            "generation", shown, number, lambda text: self._edits(text, tree.files, planned), [planned[0].key]
        )
        self._keep(answer)
        async with self._box:
            checked = await self._check(edits, planned)
        shown = self._shown("review", Situation(statement=statement, symbols=planned, hunks=hunks, tests=checked.summary))
        verdict = (await self._ask("review", [shown], number, [planned[0].key]))[0]
        self._keep(verdict)
        return Attempt(edits=edits, hunks=hunks, score=verdict.score or 0.0, number=number)

    def _temperature(self, stage: str, attempt: int) -> float:
        """Of a writing stage: a first attempt's is the rollout's own; what is not greedy then takes the stage's own where it has one."""
        of_all = self._models.temperature if attempt == 0 else max(self._models.temperature, self._settings.retry_temperature)
        return self._settings.temperatures.get(stage, of_all) if of_all > 0.0 else 0.0

    def _says_the_same(self, attempt: int) -> bool:
        """Whether the stage whose answer could not be used would be asked the same and say the same again."""
        told = self._told()
        failed = told[-1].stage if told else ""
        asked = ("planning", "generation")[: 1 if failed == "planning" else 2]
        return all(self._temperature(stage, attempt) == 0.0 for stage in asked)

    def _shown(self, stage: str, situation: Situation) -> Shown:
        """As much of the situation as the stage's base has room for; raises `StageError` where it has none for the rest."""
        told = self._settings.prompts.get(stage)

        def show(situation: Situation) -> Shown:
            prompt = REGISTRY[stage].prompt(situation, self._settings.prompt_style)
            return self._rendered(stage, situation, instructed(prompt, stage, told.text if told is not None else ""))

        return fitted(stage, situation, show, answer=self._longest_answer(stage), context=self._models.context_tokens.get(stage))

    def _rendered(self, stage: str, situation: Situation, prompt: tuple[Message, ...]) -> Shown:
        return Shown(situation, prompt, tuple(self._tokenizers[stage].render(prompt)))

    def _longest_answer(self, stage: str) -> int:
        return 1 if REGISTRY[stage].judgement else self._models.max_answer_tokens[stage]

    async def _write(
        self, stage: str, shown: Shown, attempt: int, parse: Callable[[str], T], subjects: Sequence[str] = ()
    ) -> tuple[Turn, T]:
        """A turn and its parsed answer, of two where the first was refused; raises `StageError` when the last one is."""
        structured = self._settings.structured and stage in GRAMMARS
        grammar = GRAMMARS[stage](shown.situation, self._settings.prompt_style) if structured else ""
        turn = (await self._ask(stage, [shown], attempt, subjects, grammar))[0]
        try:
            return turn, self._parsed(turn, parse)
        except StageError as error:
            if not self._settings.mend:
                raise
            again = self._rendered(stage, shown.situation, mending(shown.messages, turn.text, str(error)))
            if not fits(again, answer=self._longest_answer(stage), context=self._models.context_tokens.get(stage)):
                raise
        turn = (await self._ask(stage, [again], attempt, subjects, grammar))[0]
        return turn, self._parsed(turn, parse)

    def _edits(self, text: str, files: Mapping[str, str], scopes: Sequence[Symbol]) -> tuple[tuple[FileEdit, ...], tuple[Hunk, ...]]:
        """See `_applied`. What breaks a file's syntax is refused where answers are mended, and where nothing runs it: only Python is."""
        edits, hunks = _applied(text, files, scopes)
        refuse_broken([edit for edit in edits if self._settings.mend or not edit.path.endswith(".py")], files)
        return edits, hunks

    def _parsed(self, turn: Turn, parse: Callable[[str], T]) -> T:
        """The parsed answer; a turn that cannot be parsed is kept as such."""
        try:
            return parse(turn.text)
        except StageError:
            self._keep(turn.model_copy(update={"parsed": False}))
            raise

    def _keep(self, *turns: Turn) -> None:
        self._turns += turns
        for turn in turns:
            self._listen(turn)

    async def _ask(self, stage: str, prompts: Sequence[Shown], attempt: int, subjects: Sequence[str] = (), grammar: str = "") -> list[Turn]:
        """One turn for each prompt. Judgements are never sampled: their score is what counts."""
        tokenizer, judgement = self._tokenizers[stage], REGISTRY[stage].judgement
        choices = (tokenizer.yes_id, tokenizer.no_id) if judgement else ()
        requests = [
            SampleRequest(
                model_id=self._models.ids[stage],
                prompt_ids=prompt.ids,
                max_tokens=self._longest_answer(stage),
                temperature=0.0 if judgement else self._temperature(stage, attempt),
                seed=self._models.seed + attempt,
                choices=choices,
                grammar=grammar,
                messages=prompt.messages,
            )
            for prompt in prompts
        ]
        began = time.monotonic()
        samples = await self._model.sample(requests)
        seconds = time.monotonic() - began
        shared = {"stage": stage, "model_id": self._models.ids[stage], "attempt": attempt, "seconds": seconds}
        return [
            Turn(
                **shared,
                messages=prompt.messages,
                text=tokenizer.decode(sample.completion_ids),
                prompt_ids=request.prompt_ids,
                completion_ids=sample.completion_ids,
                logprobs=sample.logprobs,
                score=_probability_of_yes(sample) if judgement else None,
                subject=subjects[place] if subjects else "",
                choice_ids=(*choices, tokenizer.end_id) if judgement else (),
            )
            for place, (prompt, request, sample) in enumerate(zip(prompts, requests, samples, strict=True))
        ]


async def _all(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What all of them return; if one raises the others are ended before it goes on."""
    tasks = [asyncio.ensure_future(it) for it in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


def _applied(text: str, files: Mapping[str, str], scopes: Sequence[Symbol]) -> tuple[tuple[FileEdit, ...], tuple[Hunk, ...]]:
    """The edits of an answer, and where they differ from what was there, whatever the answer repeated around it."""
    edits = apply_edits(parse_edits(text, scopes), files, scopes)
    hunks = [hunk for e in edits for hunk in hunks_between(e.path, files[e.path], e.content or "", [s for s in scopes if s.path == e.path])]
    if not hunks:
        raise StageError("an edit that changes nothing")
    return tuple(edits), tuple(hunks)


def _probability_of_yes(sample: Sample) -> float:
    """Softmax over the two exact logprobs: the other tokens do not count."""
    yes, no = sample.choice_logprobs
    return 1.0 / (1.0 + math.exp(max(-60.0, min(60.0, no - yes))))
