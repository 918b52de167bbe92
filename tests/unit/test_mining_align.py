"""SelfCodeAlign without a Ray: which functions seed, what is asked and read, what passes, what the whole set keeps."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from forge.config import AlignConfig, ContaminationConfig, DuplicatesConfig
from forge.errors import EndpointError, StageError
from forge.fakes.sandbox import FakeProvider
from forge.fakes.teacher import FakeTeacher
from forge.mining.align import answer as answers
from forge.mining.align import invent
from forge.mining.align.aligner import PASSED, Aligner, Ended, Work, works
from forge.mining.align.card import card_of
from forge.mining.align.seeds import Seed, Sown, sow
from forge.mining.align.select import HELDOUT, Selection, benchmarks_of, select
from forge.mining.align.teach import Aligned, example_of, stub
from forge.mining.quality.contamination import Benchmarks
from forge.records import FileEdit, Limits, Lineage, Message, Task, TeacherAnswer, Verdict
from forge.stages.edits import apply_edits, parse_edits
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import PromptStyle
from sandboxes.grading import BoxGrader
from tests import aligned as made

FUNCTION = invent.Instruction(name="total_1", text="Write total_1.", category="function", difficulty="easy", concepts=("a", "b"))
CLASS = FUNCTION.model_copy(update={"name": "Summing1", "category": "class"})
NOTHING_KNOWN = Benchmarks({}, ContaminationConfig())


def sown(*rows: Any, known: Benchmarks = NOTHING_KNOWN, heldout: Sequence[tuple[str, str]] = (), **settings: Any) -> Sown:
    return sow(rows, AlignConfig(**settings), known, heldout=heldout)


def seed_of(name: str = "double") -> Seed:
    (seed,) = sown(made.row(1, made.source(name))).seeds
    return seed


# Seeds


def test_a_documented_function_that_stands_by_itself_is_a_seed_with_its_lineage_and_the_imports_that_it_needs() -> None:
    text = made.source("halves", "    return [math.floor(value / 2) for value in values]\n")
    found = sown(made.row(7, text, imports="import math\nimport os\nfrom .near import thing\n\n\n"))
    (seed,) = found.seeds
    assert seed.source == f"import math\n\n{text.rstrip()}"
    assert seed.lineage == Lineage(repo="shop", commit=f"{7:040}", files=("pkg/lists.py",)) and seed.licence == "MIT"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f(values):\n    return values[0]\n", "not documented"),
        ('def f(values):\n    """Do it."""\n    return values[0]\n', "not documented"),
        ('def f(values):\n    """Print all of the values here."""\n    print(values)\n', "gives nothing back"),
        ('def f(values):\n    """Gives the helper of all values."""\n    return helper(values)\n', "needs other code of its project"),
        ('def f(values: Cart):\n    """Gives the first of all values."""\n    return values[0]\n', "needs other code of its project"),
        ('def test_f(values):\n    """Gives the first of all values."""\n    return values[0]\n', "a test"),
        ('def f(values):\n    """Gives the first of all values."""\n' + "    values += [1]\n" * 60 + "    return values\n", "too long"),
        ('def f(values):\n    """Gives the inner function of all."""\n    def g():\n        return 1\n    g()\n', "gives nothing back"),
        ('def f(values):\n    """Gives the first of all values."""\n    return values[0\n', "does not parse"),
    ],
)
def test_every_function_that_is_no_seed_is_counted_by_reason(text: str, reason: str) -> None:
    found = sown(made.row(1, text))
    assert (found.seeds, found.drops, found.functions) == ((), {reason: 1}, 1)


def test_methods_tests_and_what_is_held_out_seed_nothing() -> None:
    plain = made.row(1, made.source("double"))
    method = plain.model_copy(update={"functions": (plain.functions[0].model_copy(update={"name": "Cart.double"}),)})
    assert sown(method).drops == {"a method": 1}
    assert sown(made.row(1, made.source("double"), path="tests/helpers.py")).drops == {"a test": 1}
    assert sown(made.row(1, made.source("double"), heldout=True)).drops == {"held out": 1}
    assert sown(plain, heldout=[("shop", "pkg/lists.py")]).drops == {"held out": 1}
    assert len(sown(plain, heldout=[("other", "pkg/lists.py")]).seeds) == 1


def test_the_newest_version_of_a_function_is_the_seed_and_copies_under_other_names_are_one() -> None:
    long = (
        "".join(f"    values = [value + {number} for value in values if value > {number}]\n" for number in range(20))
        + "    return values\n"
    )
    other = made.source("double", long).replace("+ 3", "+ 33")
    rows = [made.row(1, made.source("double", long)), made.row(2, other), made.row(3, made.source("double", long), path="pkg/copy.py")]
    found = sown(*rows)
    assert [seed.id for seed in found.seeds] == ["shop@2:pkg/lists.py::double"]
    assert found.drops == {"another version is a seed": 1, "near duplicate": 1}
    assert found.functions == len(found.seeds) + found.spare + sum(found.drops.values())


def test_seeds_are_drawn_by_lot_and_what_a_benchmark_has_is_none() -> None:
    bodies = {f"f{n}": f"    return [value ** {n} - len(values) * {n + 7} for value in values]\n" for n in range(8)}
    rows = [made.row(n, made.source(name, body), path=f"pkg/m{n}.py") for n, (name, body) in enumerate(bodies.items())]
    config = AlignConfig(seeds=3, duplicates=DuplicatesConfig(near=False))
    first, again, other = (sow(rows, config, NOTHING_KNOWN, seed=seed) for seed in (0, 0, 1))
    assert (len(first.seeds), first.spare) == (3, 5) and first == again and first.seeds != other.seeds
    known = Benchmarks({"humaneval": [made.source("f1", bodies["f1"])]}, ContaminationConfig(share=0.9))
    assert sow(rows, config, known).drops == {"contaminated: humaneval": 1}


# Questions and their answers


def test_a_fake_teacher_is_shown_the_seed_for_concepts_and_only_the_concepts_for_an_instruction() -> None:
    teacher = FakeTeacher(made.Base().says)

    async def both() -> invent.Instruction:
        concepts = invent.concepts_of((await teacher.ask(invent.concepts_question(seed_of()))).text)
        said = await teacher.ask(invent.instruction_question(concepts, "function", "hard"))
        return invent.instruction_of(said.text, concepts, "function", "hard")

    found = asyncio.run(both())
    assert found.concepts == ("running totals", "lists of numbers") and found.name == "total_1"
    (_, first), (system, second) = teacher.asked
    assert "Twice each of the values" in first.content and "Twice each" not in second.content
    assert "running totals; lists of numbers" in second.content and "Difficulty: hard" in second.content
    assert "exactly one function" in system.content and "group_anagrams" in system.content and "MovingAverage" not in system.content


def test_prompts_show_no_marks_of_their_templates() -> None:
    asked = [
        invent.concepts_question(seed_of()),
        invent.instruction_question(("a", "b"), "class", "easy"),
        answers.answer_question(CLASS),
    ]
    text = "\n".join(message.content for question in asked for message in question)
    assert not any(mark in text for mark in ("{{", "{%", "}}")) and "MovingAverage" in text and text.endswith("class: Summing1")


@pytest.mark.parametrize("said", ["none", "<concepts></concepts>", "<concepts>one</concepts>", f"<concepts>{'x' * 200}\ny</concepts>"])
def test_too_few_concepts_end_a_seed(said: str) -> None:
    with pytest.raises(StageError, match="concepts"):
        invent.concepts_of(said)


def test_concepts_may_stand_in_a_line_or_be_numbered() -> None:
    assert invent.concepts_of("<concepts>loops; sets, sums</concepts>") == ("loops", "sets", "sums")
    assert invent.concepts_of("<concepts>\n1. loops, nested\n2) sets\n</concepts>") == ("loops, nested", "sets")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("<name>", "<title>"), "no name"),
        (("total_1</name>", "sum</name>"), "its name is none"),
        (("total_1</name>", "a b</name>"), "its name is none"),
        (("total_1</name>", "other</name>"), "does not say the name"),
        (("that gives", "\ndef total_1(values):\nthat gives"), "gives code"),
        (("that gives", "that gives " + "long " * 500), "too short or too long"),
    ],
)
def test_an_instruction_that_cannot_be_used_says_why(change: tuple[str, str], reason: str) -> None:
    with pytest.raises(StageError, match=reason):
        invent.instruction_of(made.exercise().replace(*change), ("a", "b"), "function", "easy")


def test_categories_and_difficulties_are_drawn_by_lot_and_all_of_them_come() -> None:
    drawn = Counter(invent.properties_of(seed_of().model_copy(update={"id": str(n)})) for n in range(400))
    assert len(drawn) == 6
    assert 0.15 < sum(number for (category, _), number in drawn.items() if category == "class") / 400 < 0.35


@pytest.mark.parametrize(
    ("code", "tests", "reason"),
    [
        ("", made.TESTS, "no code or no tests"),
        ("def total_1(values:\n    return 1", made.TESTS, "its code is not Python"),
        ("def other(values):\n    return 1", made.TESTS, "not the one function"),
        (made.RIGHT + "\n\n\ndef helper():\n    pass", made.TESTS, "not the one function"),
        (made.RIGHT + "\n\n\nprint(total_1([1]))", made.TESTS, "not the one function"),
        (made.RIGHT, "assert {call}([1]) ==", "its tests are not Python"),
        (made.RIGHT, "assert {call}([1]) == 1", "assert too little"),
        (made.RIGHT, "assert sum([1]) == 1\nassert sum([2]) == 2", "assert too little"),
        (made.RIGHT, "for n in range(3):\n    assert {call}([n]) == n\nassert {call}([]) == 0", "do more than define and assert"),
    ],
)
def test_an_answer_that_cannot_be_run_says_why(code: str, tests: str, reason: str) -> None:
    said = made.answered("total_1", code, tests)
    with pytest.raises(StageError, match=reason):
        answers.answer_of(said, FUNCTION)


def test_assertions_become_tests_of_their_own_and_imports_of_the_answer_go() -> None:
    text = (
        "import math\nfrom solution import total_1\n\ndef test_it():\n    assert total_1([1]) == 1\n\n"
        "assert total_1([]) == 0\n\nif __name__ == '__main__':\n    test_it()\n"
    )
    module, ids = answers.test_module(text, "total_1")
    assert ids == ("test_it", "test_assertion_1")
    assert module == "import math\n\ndef test_it():\n    assert total_1([1]) == 1\n\ndef test_assertion_1():\n    assert total_1([]) == 0"


def test_code_is_made_to_do_nothing_in_two_ways() -> None:
    nothing, echo = answers.trivial(made.RIGHT.format(name="total_1"), FUNCTION)
    assert nothing == "def total_1(values):\n    return None\n" and echo == "def total_1(values):\n    return values\n"
    nothing, echo = answers.trivial(made.CLASS.format(name="Summing1"), CLASS)
    assert "def __init__(self):\n        return None" in echo and "def of(self, values):\n        return values" in echo
    assert "+=" not in nothing


# Rows


def taught(code: str, name: str, style: PromptStyle = "full") -> tuple[Any, str]:
    one = kept(code=code, name=name, instruction=f"Write {name}.")
    return example_of(one, style), stub(code)


def kept(**changes: Any) -> Aligned:
    fields = {
        "id": "shop@1:pkg/lists.py::double",
        "name": "total_1",
        "instruction": "Write total_1.",
        "category": "function",
        "difficulty": "easy",
        "concepts": ("a",),
        "code": made.RIGHT.format(name="total_1") + "\n",
        "tests": "",
        "passed": 1,
        "answers": 2,
        "model": "m",
        "licence": "MIT",
        "age": "2020",
        "lineage": Lineage(repo="shop", commit="c", files=("pkg/lists.py",)),
    }
    return Aligned.model_validate({**fields, **changes})


@pytest.mark.parametrize("style", ["full", "brief"])
@pytest.mark.parametrize(("code", "name"), [(made.RIGHT, "total_1"), (made.CLASS, "Summing1")])
def test_a_row_asks_in_the_prompt_of_generation_and_its_answer_fills_the_stub_in(style: PromptStyle, code: str, name: str) -> None:
    whole = "import math\n\n\n" + code.format(name=name) + "\n"
    row, before = taught(whole, name, style)
    assert row.stage == "generation" and row.lineage.files == ("pkg/lists.py",) and not row.completion_ids
    assert f"# issue\nWrite {name}." in row.messages[1].content and f"1 {name.lower()}.py::" in row.messages[1].content
    assert "+= value" not in row.messages[1].content and "+= value" in row.completion
    path = f"{name.lower()}.py"
    shown = [symbol for symbol, now in zip(symbols_of(path, before), symbols_of(path, whole), strict=True) if symbol.source != now.source]
    (edit,) = apply_edits(parse_edits(row.completion, shown), {path: before}, shown)
    assert edit.content == whole


def test_code_that_a_plan_would_say_all_of_teaches_nothing() -> None:
    short = "def total_1(values):\n    return sum(values)\n"
    with pytest.raises(StageError, match="a few tokens"):
        taught(short, "total_1")
    assert taught(short, "total_1", "brief")[0].completion.endswith(">>>>>>> REPLACE")


def test_a_stub_keeps_heads_docstrings_and_what_stands_outside() -> None:
    head = "LIMIT = 3\n\n\n@cache\ndef f(\n    a,  # first\n    b=':',\n):\n    '''Doc.\n\n    More.'''\n    # why\n"
    assert stub(f"{head}    x = a\n    return x\n") == f'{head}    raise NotImplementedError("f")\n'
    with pytest.raises(StageError, match="in the line of its head"):
        stub("def f(a): return a\n")


# From end to end, in a fake's boxes


def end(base: Any, provider: FakeProvider | None = None, retries: int = 1, **settings: Any) -> Ended:
    boxes = provider or FakeProvider()

    async def whole(folder: Any) -> Ended:
        grader = BoxGrader(boxes, lambda _: folder, Limits(), "t", chance=random.Random(0))
        config = AlignConfig(**{"answers": 3, **settings})
        (work,) = works([seed_of()], config, "full", 0)
        return await Aligner(base, grader, config, retries=retries).align(work)

    with tempfile.TemporaryDirectory() as folder:
        return asyncio.run(whole(Path(folder)))


def test_one_of_the_answers_that_pass_is_kept_and_every_answer_is_counted() -> None:
    base = made.Base([made.RIGHT, made.WRONG, "no function at all"])
    found = end(base)
    assert found.aligned is not None and found.aligned.code.startswith(("def total_1", "class Summing1"))
    assert found.answers == {PASSED: 1, "its own tests do not pass": 1, "its code is not Python": 1}
    assert (found.aligned.passed, found.aligned.answers) == (1, 3)
    assert len(base.asked) == 5 and len({seed for question, seed in base.asked if "The name of" in question}) == 3
    assert (found.spent.asked, found.spent.prompt_tokens) == (5, 50)


def test_which_of_those_that_pass_is_kept_is_chance_and_the_same_for_the_same_seed() -> None:
    codes = [f"def {{name}}(values):\n    x{number} = values\n    return sum(x{number})" for number in range(6)]
    drawn = []
    for run_seed in range(40):
        config = AlignConfig(answers=6)
        (work,) = works([seed_of()], config, "full", run_seed)
        results = [asyncio.run(Aligner(made.Base(codes), AlwaysRight(), config).align(work)) for _ in range(2)]
        assert results[0] == results[1] and results[0].aligned is not None
        drawn.append(results[0].aligned.code)
    assert len(set(drawn)) == 6


class AlwaysRight:
    """A grader for whom all but nothing passes."""

    async def grade(self, task: Task, edits: Sequence[FileEdit]) -> Any:
        return Verdict(passed="sum(x" in str(edits[0].content), reason="")


def test_tests_that_pass_for_code_that_does_nothing_keep_no_answer() -> None:
    found = end(made.Base(tests=made.VACUOUS))
    assert found.aligned is None and found.reason == "no answer passed"
    assert found.answers == {"its tests pass for code that does nothing": 3}


def test_an_object_that_equals_everything_does_not_pass_its_own_tests() -> None:
    equal = "{{'__eq__': lambda a, b: True, '__hash__': None}}"
    code = f"def {{name}}(values):\n    assert values is not None\n    return type('Any', (int,), {equal})(0)"
    found = end(made.Base(code))
    assert found.aligned is None and found.answers == {"its tests pass in versions that must fail": 3}


def test_a_lost_endpoint_or_box_masks_the_seed_and_a_box_is_tried_again_first() -> None:
    class Lost(made.Base):
        async def __call__(self, messages: Sequence[Message], seed: int) -> TeacherAnswer:
            if seed == 1:
                raise EndpointError("gone")
            return await super().__call__(messages, seed)

    lost = end(Lost())
    assert (lost.masked, lost.reason, lost.aligned) == ("gone", "", None)
    assert (lost.spent.asked, lost.spent.failed) == (4, 1)
    assert "told to fail" in end(made.Base(), FakeProvider(broken=9)).masked
    assert end(made.Base(), FakeProvider(broken=1)).aligned is not None


def test_an_answer_that_was_cut_is_the_models_failure() -> None:
    class Cut(made.Base):
        async def __call__(self, messages: Sequence[Message], seed: int) -> TeacherAnswer:
            said = await super().__call__(messages, seed)
            return said.model_copy(update={"cut": True})

    assert "limit of tokens" in end(Cut()).reason


def test_another_model_or_number_of_answers_is_other_work() -> None:
    def key(**settings: Any) -> str:
        (work,) = works([seed_of()], AlignConfig(**settings), "full", 0)
        assert isinstance(work, Work)
        return work.key

    assert len({key(), key(model="m"), key(answers=3), key(temperature=0.1)}) == 4
    assert key() == key(workers=7, concurrency=1, url="http://x", seeds=3)


# The whole set


def task(side: str) -> Task:
    text = "\n".join(f"LINE_{number} = {number}" for number in range(30))
    return Task(
        id="t", repo="shop", base_commit="b", origin="injected", statement="s", tree="h", gold=(FileEdit(path="a.py", content=text),),
        tests=(), fail_to_pass=("x",), pass_to_pass=(), files=("a.py",), side=side,
    )  # fmt: skip


def test_near_duplicates_and_what_a_held_out_task_shows_are_left_out() -> None:
    config, settings = ContaminationConfig(), DuplicatesConfig()
    words = " ".join(f"word{number}" for number in range(60))
    first = kept(id="a", instruction=f"Write one. {words}", age="2")
    again = kept(id="b", instruction=f"Write one. {words} more", age="1", code="def total_1(v):\n    v = v[0]\n    return v\n")
    other = kept(id="c", instruction="Another matter.", age="3")
    copied = kept(id="d", instruction="All new.", age="4", code="\n".join(f"LINE_{number} = {number}" for number in range(30)) + "\n")
    found = select([first, again, other, copied], benchmarks_of({}, [task("heldout")], config), settings)
    assert found.drops == {f"contaminated: {HELDOUT}": 1, "instruction: near duplicate": 1}
    assert [one.id for one in found.kept] == ["b", "c"] and len(found.rows) == 2
    assert benchmarks_of({}, [task("train")], config).of(copied.code) == ""


def test_the_card_accounts_for_every_function_and_seed() -> None:
    sown_ = Sown(seeds=(seed_of(), seed_of("other"), seed_of("third")), functions=9, spare=2, drops={"a method": 4})
    ends = [
        Ended(key="1", seed="a", aligned=kept(), answers={PASSED: 1, "its own tests do not pass": 1}),
        Ended(key="2", seed="b", reason="no answer passed", answers={"its own tests do not pass": 2}),
        Ended(key="3", seed="c", masked="gone"),
    ]
    chosen = Selection(kept=(kept(),), rows=(example_of(kept()),), drops={})
    card = card_of(sown_, ends, chosen, made="now", code_version="1", settings={}, data="d", model="m")
    assert card.functions == card.seeds + card.spare + sum(card.unfit.values())
    assert card.seeds == card.rows + sum(card.failed.values()) + sum(card.masked.values()) + sum(card.dropped.values())
    assert card.answers == {"its own tests do not pass": 3, PASSED: 1} and card.passed == {"1 of 2": 1}
