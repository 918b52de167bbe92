"""One seed from end to end: asked three kinds of questions, answers run in boxes, one of those that pass drawn.

What the model gets wrong is a counted reason. What endpoint or boxes get wrong is `masked`: nothing is known of the seed then, and the
next run takes it up again.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from itertools import count

from forge.config import AlignConfig
from forge.errors import EndpointError, SandboxError, StageError
from forge.exam.alone import ANSWER
from forge.mining.align import answer as answers
from forge.mining.align import invent
from forge.mining.align.answer import Answer
from forge.mining.align.invent import Ask, Instruction
from forge.mining.align.seeds import Seed
from forge.mining.align.teach import Aligned, example_of
from forge.mining.shard import fingerprint
from forge.records import FileEdit, Keyed, Message, Task, TeacherAnswer
from forge.seams import Grader
from forge.stages.stage import PromptStyle
from forge.teacher.spent import Spent, spent_on

PROMPTS = ("concepts", "instruction", "answer")


class Work(Keyed):
    """One seed to align."""

    seed: Seed


class Ended(Keyed):
    """What came of a seed: `aligned`, or the `reason` why there is nothing, or `masked`, which is nobody's failure."""

    seed: str
    """Its id."""
    aligned: Aligned | None = None
    reason: str = ""
    masked: str = ""
    answers: dict[str, int] = {}
    """Its answers by what came of them; `PASSED` of those that could have been kept."""
    spent: Spent = Spent()


PASSED = "passed"


def works(seeds: Sequence[Seed], config: AlignConfig, style: PromptStyle, run_seed: int) -> list[Work]:
    """What there is to do, each under a key of all that its end depends on."""
    package = resources.files("forge.mining.align")
    prompts = [(package / "prompts" / f"{name}.jinja").read_text(encoding="utf-8") for name in PROMPTS]
    asked = config.model_dump(mode="json", include={"model", "answers", "temperature", "max_answer_tokens", "extra", "test_s"})
    settings = fingerprint(prompts, asked, style, run_seed)
    return [Work(key=f"{seed.content_hash()[:32]}-{settings}", seed=seed) for seed in seeds]


class Aligner:
    """Safe to use from many coroutines at once."""

    def __init__(
        self, ask: Ask, grader: Grader, config: AlignConfig, *, style: PromptStyle = "full", run_seed: int = 0, retries: int = 3
    ) -> None:
        """`retries` are fresh boxes for what a box failed; `run_seed` is that of all that is asked."""
        self._ask, self._grader, self._config = ask, grader, config
        self._style, self._run_seed, self._retries = style, run_seed, retries

    async def align(self, work: Work) -> Ended:
        """The end of a seed; never raises for what infrastructure loses."""
        attempt = _Attempt(self._ask, self._run_seed * 10_000)
        ended = Ended(key=work.key, seed=work.seed.id)
        try:
            ended = await self._aligned(work, attempt, ended)
        except StageError as error:
            ended = ended.model_copy(update={"reason": str(error)})
        except (EndpointError, SandboxError) as error:
            ended = ended.model_copy(update={"masked": str(error)})
        return ended.model_copy(update={"spent": attempt.spent})

    async def _aligned(self, work: Work, attempt: _Attempt, ended: Ended) -> Ended:
        concepts = invent.concepts_of(await attempt.ask(invent.concepts_question(work.seed)))
        properties = invent.properties_of(work.seed)
        said = await attempt.ask(invent.instruction_question(concepts, *properties))
        instruction = invent.instruction_of(said, concepts, *properties)
        found = await attempt.ask_often(answers.answer_question(instruction), self._config.answers)
        results = [await self._judged(work, instruction, one) for one in found]
        told = Counter(result if isinstance(result, str) else PASSED for result in results)
        passed = [result for result in results if isinstance(result, Answer)]
        ended = ended.model_copy(update={"answers": dict(told)})
        if not passed:
            return ended.model_copy(update={"reason": "no answer passed"})
        kept = random.Random(work.key).choice(passed)
        return ended.model_copy(update={"aligned": self._kept(work, instruction, kept, len(passed), len(results))})

    async def _judged(self, work: Work, instruction: Instruction, said: TeacherAnswer) -> Answer | str:
        """The answer when it can be kept, else the reason why not."""
        if said.cut:
            return "it ran into the limit of tokens"
        try:
            answer = answers.answer_of(said.text, instruction)
            example_of(self._kept(work, instruction, answer, 0, 0), self._style)
        except StageError as error:
            return str(error)
        task = answers.exam_of(f"{work.seed.lineage.repo}/{instruction.name}", answer)
        verdict = await self._passes(task, answer.code)
        if verdict:
            return verdict
        for nothing in answers.trivial(answer.code, instruction):
            # Twins are of no use here: they would fail code that passes vacuous tests, and make these look strict.
            if not await self._passes(task.model_copy(update={"twins": ()}), nothing):
                return "its tests pass for code that does nothing"
        return answer

    async def _passes(self, task: Task, code: str) -> str:
        """Why code does not pass, in words that many answers share; empty when it does."""
        edit = FileEdit(path=ANSWER, content=code)
        for tried in count():
            try:
                verdict = await self._grader.grade(task, [edit])
                break
            except SandboxError:
                if tried == self._retries:
                    raise
                await asyncio.sleep(0.5)
        if verdict.passed:
            return ""
        return "its tests pass in versions that must fail" if "reports are not true" in verdict.reason else "its own tests do not pass"

    def _kept(self, work: Work, instruction: Instruction, answer: Answer, passed: int, of: int) -> Aligned:
        seed = work.seed
        return Aligned(
            id=seed.id,
            name=instruction.name,
            instruction=instruction.text,
            category=instruction.category,
            difficulty=instruction.difficulty,
            concepts=instruction.concepts,
            code=answer.code,
            tests=answer.tests,
            passed=passed,
            answers=of,
            model=self._config.model,
            licence=seed.licence,
            age=seed.age,
            lineage=seed.lineage,
        )


class _Attempt:
    """The questions about one seed, and what they took."""

    def __init__(self, ask: Ask, first_seed: int) -> None:
        self._ask, self._first = ask, first_seed
        self.spent = Spent()

    async def ask(self, question: Sequence[Message]) -> str:
        (said,) = await self.ask_often(question, 1)
        if said.cut:
            raise StageError("an answer ran into the limit of tokens before there was an instruction")
        return said.text

    async def ask_often(self, question: Sequence[Message], times: int) -> list[TeacherAnswer]:
        """So many answers to one question, in the order of their seeds; all of them have ended when one has failed."""
        asked = (self._ask(question, self._first + number) for number in range(times))
        found = await asyncio.gather(*asked, return_exceptions=True)
        said = [one for one in found if isinstance(one, TeacherAnswer)]
        self.spent = sum((spent_on(one) for one in said), self.spent)
        for one in found:
            if isinstance(one, BaseException):
                self.spent += Spent(failed=1)
        for one in found:
            if isinstance(one, BaseException):
                raise one
        return said
