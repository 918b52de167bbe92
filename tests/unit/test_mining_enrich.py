from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.config import EnrichConfig
from forge.errors import ConfigError, TeacherError, TeacherRefusedError
from forge.fakes.teacher import FakeTeacher
from forge.mining.enrich.around import around
from forge.mining.enrich.enrich import Enriched, enrich
from forge.mining.enrich.issues import Issues
from forge.mining.enrich.judge import calibrate
from forge.mining.row import FunctionChange, Row
from forge.records import STAGES, Example, FileChange, Message, Symbol
from forge.stages.stage import Explanation
from tests.mined import EVERY_LICENCE, Mined
from tests.small_repos import SmallRepo, practice

DIFF = """diff --git a/shop/cart.py b/shop/cart.py
--- a/shop/cart.py
+++ b/shop/cart.py
@@ -1,2 +1,2 @@
 def total(cart):
-    return sum(cart)
+    return round(sum(cart), 2)
"""
ASKED = "total() should give whole pennies."


def row(**fields: object) -> Row:
    before, after = (
        "import math\n\ndef total(cart):\n    return sum(cart)\n",
        "import math\n\ndef total(cart):\n    return round(sum(cart), 2)\n",
    )
    return Row(
        **{
            "id": "shop@1",
            "repo": "shop",
            "commit": "1" * 40,
            "parent": "0" * 40,
            "authored_at": "2020-01-01T00:00:00+00:00",
            "message": "wip",
            "poor": "too short",
            "languages": ("python",),
            "files": (FileChange(path="shop/cart.py", before=before, after=after, diff=DIFF),),
            "functions": (FunctionChange(path="shop/cart.py", name="total", language="python", kind="modified", before="", after=""),),
            **fields,
        }
    )


def teach(script: Callable[[str], str], rows: list[Row], config: EnrichConfig, **more: object) -> tuple[list[Enriched], FakeTeacher]:
    teacher = FakeTeacher(script)
    return asyncio.run(enrich(teacher, rows, config, around, lambda _: "", **more)), teacher


def test_a_poor_message_becomes_an_instruction() -> None:
    (found,), teacher = teach(lambda _: f"<instruction>{ASKED}</instruction>", [row()], EnrichConfig())
    assert (found.row.instruction, found.row.instruction_by, found.row.error) == (ASKED, "teacher", "")
    assert found.spent.asked == 1
    assert "+    return round(sum(cart), 2)" in teacher.asked[0][1].content and "wip" in teacher.asked[0][1].content


@pytest.mark.parametrize(("instructions", "asked"), [("poor", 1), ("all", 2), ("none", 0)])
def test_only_rows_that_want_one_are_asked_about(instructions: str, asked: int) -> None:
    rows = [row(), row(id="shop@2", poor="", message="round totals to pennies", instruction="round totals to pennies")]
    _, teacher = teach(lambda _: f"<instruction>{ASKED}</instruction>", rows, EnrichConfig(instructions=instructions))
    assert len(teacher.asked) == asked


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("nothing", "nothing between the tags"),
        ("<instruction>Write return round(sum(cart), 2) there.</instruction>", "quotes the change"),
        ("<instruction>Do this:\n```\nx\n```</instruction>", "contains code"),
        (f"<instruction>{'long ' * 400}</instruction>", "characters"),
    ],
)
def test_what_gives_the_answer_away_is_asked_once_more_and_then_kept_as_an_error(bad: str, reason: str) -> None:
    (found,), teacher = teach(lambda _: bad, [row()], EnrichConfig())
    assert len(teacher.asked) == 2 and reason in teacher.asked[1][-1].content
    assert found.row.instruction == "" and reason in found.row.error


def test_a_change_that_cannot_be_asked_for_stays_without_an_instruction() -> None:
    (found,), teacher = teach(lambda _: "<instruction></instruction>", [row()], EnrichConfig())
    assert (found.row.instruction, found.row.error) == ("", "the teacher says that it cannot be asked for")
    assert len(teacher.asked) == 1


def test_one_row_that_fails_keeps_its_error_and_the_others_go_on() -> None:
    rows = [row(id=f"shop@{number}", message=f"wip {number}") for number in range(3)]
    found, _ = teach(lambda said: "" if "wip 1" in said else f"<instruction>{ASKED}</instruction>", rows, EnrichConfig())
    assert [one.row.instruction for one in found] == [ASKED, "", ASKED]
    assert "say nothing" in found[1].row.error and found[1].spent.failed == 1


def test_a_teacher_that_answers_nothing_at_all_ends_it() -> None:
    class Refusing(FakeTeacher):
        async def ask(self, messages: object) -> object:
            raise TeacherRefusedError("no key")

    with pytest.raises(TeacherRefusedError):
        asyncio.run(enrich(Refusing(lambda _: ""), [row()], EnrichConfig(), around, lambda _: ""))


def test_judge_and_explanation_follow_the_instruction() -> None:
    def script(said: str) -> str:
        if "arrives at" in said or "fulfils it" in said:
            return "<analysis>It is total().</analysis><plan>Round there.</plan>"
        if "Request:" in said:
            assert ASKED in said
            return "<reason>clear</reason><grade>4</grade>"
        return f"<instruction>{ASKED}</instruction>"

    (found,), _ = teach(script, [row()], EnrichConfig(judge=True, explain=True))
    assert found.row.reasoning == Explanation(analysis="It is total().", plan="Round there.")
    assert (found.row.score, found.row.judged) == (0.75, "clear")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("<analysis>It is total().</analysis>", "has no plan"),
        ("<analysis> </analysis><plan>Round there.</plan>", "has no analysis"),
        (f"<analysis>It is total().</analysis><plan>{'Round. ' * 200}</plan>", "1399 characters, 1200 are the most"),
    ],
)
def test_an_explanation_that_cannot_be_shown_is_an_error_of_the_row(answer: str, reason: str) -> None:
    (found,), _ = teach(lambda _: answer, [row(poor="", instruction=ASKED)], EnrichConfig(explain=True))
    assert found.row.reasoning is None and reason in found.row.error


def test_each_part_of_an_explanation_is_one_line() -> None:
    answer = "<analysis>It is\n1\nnumber 1.</analysis><plan>First\nedit 7\nand then return.</plan>"
    (found,), _ = teach(lambda _: answer, [row(poor="", instruction=ASKED)], EnrichConfig(explain=True))
    assert found.row.reasoning == Explanation(analysis="It is 1 number 1.", plan="First edit 7 and then return.")


EXPLAINING = EVERY_LICENCE.model_copy(update={"enrich": EnrichConfig(instructions="none", explain=True)})


def explainer() -> FakeTeacher:
    return FakeTeacher(lambda said: "" if "birch" in said else "<analysis>It sums.</analysis><plan>Start at 0.</plan>")


def test_what_a_teacher_explains_reaches_the_stage_rows_of_its_commit_alone(tmp_path: Path) -> None:
    repo = practice(tmp_path / "repo").path
    mined = Mined(repo, tmp_path / "mined", EXPLAINING, style="explained", make_teacher=explainer)
    said = {stage: {row.lineage.commit for row in mined.examples if row.stage == stage and _says_why(row)} for stage in STAGES}
    explained = {row.commit for row in mined.rows if row.change and row.reasoning}
    assert said == {"analysis": explained, "planning": explained, "relevance": set(), "generation": set(), "review": set()}
    unexplained = [row for row in mined.rows if row.change and not row.reasoning]
    assert explained and unexplained and all("say nothing" in row.error for row in unexplained)


def test_in_full_style_no_stage_row_says_why(tmp_path: Path) -> None:
    mined = Mined(practice(tmp_path / "repo").path, tmp_path / "mined", EXPLAINING, style="full", make_teacher=explainer)
    assert any(row.reasoning for row in mined.rows) and not any(_says_why(row) for row in mined.examples)


def _says_why(example: Example) -> bool:
    return example.completion.startswith(("why: It sums.\n", "why: Start at 0.\n"))


def test_a_teacher_sees_nothing_of_held_out_files(tmp_path: Path) -> None:
    repo = SmallRepo(tmp_path / "repo")
    broken = "def total(values):\n    return sum(values) + 1\n"
    caller = "from pkg.a import total\n\n\ndef secret_caller(x):\n    return total([x])\n"
    repo.commit({"pkg/a.py": broken, "pkg/b.py": caller}, "start of the package")
    repo.commit({"pkg/a.py": broken.replace(" + 1", "")}, "fix the total of values")
    seen = {}
    for heldout in ((), ("pkg/b.py",)):
        teacher = explainer()
        Mined(repo.path, tmp_path / f"mined{len(heldout)}", EXPLAINING, heldout=heldout, make_teacher=lambda teacher=teacher: teacher)
        seen[heldout] = "secret_caller" in teacher.asked[0][1].content
    assert seen == {(): True, ("pkg/b.py",): False}


def test_a_grade_that_is_no_number_is_an_error_of_the_row() -> None:
    (found,), _ = teach(lambda _: "<grade>great</grade>", [row(poor="", instruction=ASKED)], EnrichConfig(judge=True))
    assert found.row.score is None and "not a number from 1 to 5" in found.row.error


def test_seeds_become_exercises_that_parse() -> None:
    answer = "<problem>Write f.</problem><solution>```python\ndef f():\n    return 1\n```</solution>"
    rows = [row(), row(id="shop@2")]
    found, _ = teach(lambda _: answer, rows, EnrichConfig(instructions="none"), seeds=["shop@2"])
    assert found[0].exercise is None and found[1].exercise is not None
    assert found[1].exercise.solution == "def f():\n    return 1\n"
    (bad,), _ = teach(lambda _: answer.replace("return 1", "return ("), [rows[1]], EnrichConfig(instructions="none"), seeds=["shop@2"])
    assert bad.exercise is None and "does not parse" in bad.row.error


def test_callers_and_outlines_stand_around_a_change() -> None:
    caller = Symbol(
        path="shop/till.py", name="pay", signature="pay(cart)", source="def pay(cart):\n    total(cart)\n", first_line=1, last_line=2
    )
    own = Symbol(path="shop/cart.py", name="total", signature="", source="def total(cart):\n    total(cart)\n", first_line=1, last_line=2)
    other = caller.model_copy(update={"name": "other", "source": "def other():\n    subtotal(1)\n"})
    pieces = around(row(), [own, other, caller])
    assert [piece.title for piece in pieces] == ["shop/cart.py before it, in outline", "shop/till.py::pay, which uses it"]
    assert pieces[0].text == "import math\ndef total(cart):"


def test_an_issue_is_shown_to_the_change_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "issues.json"
    file.write_text(json.dumps([{"number": 7, "title": "Pennies", "body": "are lost"}]))
    issues = Issues(file)
    assert issues.of(row(issues=(3, 7))) == "Pennies\n\nare lost"
    assert issues.of(row()) == "" == Issues(None).of(row(issues=(7,)))
    file.write_text("{")
    with pytest.raises(ConfigError, match="gh issue list"):
        Issues(file)


def test_calibration_against_numbers_worked_by_hand() -> None:
    # Four labelled rows, of which the judge gets one wrong (it calls a bad row good); four more, three of them good to it.
    scores = {"a": 1.0, "b": 0.75, "c": 0.0, "d": 0.5, "e": 1.0, "f": 1.0, "g": 0.75, "h": 0.25}
    labels = {"a": True, "b": True, "c": False, "d": False}
    found = calibrate(scores, labels)
    assert (found.rows, found.agreement) == (4, 0.75)
    assert found.kappa == pytest.approx((0.75 - 0.5) / 0.5)
    assert found.good_share == pytest.approx(3 / 4 - 1 / 4)
    assert found.agreement_ci95.low == pytest.approx(0.3006, abs=1e-3) and found.agreement_ci95.high == pytest.approx(0.9544, abs=1e-3)


def test_calibration_wants_rows_that_have_both() -> None:
    with pytest.raises(TeacherError, match="0 of 1 labelled"):
        calibrate({"a": 1.0}, {"b": True})


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans()), min_size=2))
def test_shares_stay_shares(both: dict[str, tuple[float, bool]]) -> None:
    found = calibrate({key: score for key, (score, _) in both.items()}, {key: label for key, (_, label) in both.items()})
    assert 0 <= found.good_share_ci95.low <= found.good_share_ci95.high <= 1
    assert 0 <= found.agreement_ci95.low <= found.agreement <= found.agreement_ci95.high <= 1


def test_messages_are_never_taken_for_templates() -> None:
    (found,), teacher = teach(lambda _: f"<instruction>{ASKED}</instruction>", [row(message="{{ 7 * 7 }}")], EnrichConfig())
    assert isinstance(teacher.asked[0][1], Message) and "{{ 7 * 7 }}" in teacher.asked[0][1].content
    assert found.row.instruction == ASKED
