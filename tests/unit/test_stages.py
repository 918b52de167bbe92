"""The stages' formats: what is asked, what is read, and what is learnt from commits and trajectories."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import StageError
from forge.records import FileEdit, Lineage, Outcome, Symbol, Task, Trajectory, Turn
from forge.stages import REGISTRY, analysis, planning
from forge.stages.edits import apply_edits, format_edits, hunks_between, parse_edits
from forge.stages.mutations import mutations
from forge.stages.planning import kind_of, plan_of
from forge.stages.retrieval import Index, words
from forge.stages.stage import Change, Hunk, Situation
from forge.stages.statements import CallExample, compose, examples_in, examples_of, title_of
from forge.stages.symbols import symbols_of

BEFORE = """\
def total(values, cap):
    out = 0
    for v in values:
        if out + v > cap:
            break
        out += v
    return out
"""
AFTER = BEFORE.replace("> cap", ">= cap")
PATH = "shop/cart.py"


def _change() -> Change:
    touched = tuple(symbols_of(PATH, BEFORE))
    other = Symbol(path="shop/x.py", name="other", signature="other(a)", source="def other(a):\n    return a\n", first_line=1, last_line=2)
    return Change(
        statement=compose("wrong result from total", [CallExample(call="total([1, 2], 3)", expected="1")]),
        touched=touched,
        after=tuple(symbols_of(PATH, AFTER)),
        others=(other,),
        hunks=tuple(hunks_between(PATH, BEFORE, AFTER, touched)),
        broken=(Hunk(path=PATH, symbol=f"{PATH}::total", old=("        if out + v > cap:",), new=("        if out + v < cap:",)),),
        lineage=Lineage(repo="r", commit="c", files=(PATH,)),
    )


def _task() -> Task:
    gold = FileEdit(path=PATH, content=AFTER)
    return Task(
        id="t", repo="r", base_commit="b", origin="commit", statement="s", tree="h", gold=(gold,), tests=(), fail_to_pass=("a",),
        pass_to_pass=(), files=(PATH,), side="train",
    )  # fmt: skip


def _turn(stage: str, **fields: object) -> Turn:
    values = {
        "stage": stage,
        "model_id": stage,
        "messages": (),
        "text": "x",
        "prompt_ids": (1, 2),
        "completion_ids": (3,),
        "logprobs": (0.0,),
    }
    return Turn(**(values | fields))  # type: ignore[arg-type]


def _trajectory(turns: tuple[Turn, ...], outcome: Outcome) -> Trajectory:
    return Trajectory(
        id="j", task_id="t", repo="r", round=2, step="collect-1", sample=0, seed=0, temperature=1.0, turns=turns,
        edits=(FileEdit(path=PATH, content=AFTER),), outcome=outcome,
    )  # fmt: skip


def test_every_stage_learns_from_a_change_and_answers_in_its_own_format() -> None:
    change = _change()
    for name, stage in REGISTRY.items():
        rows = list(stage.from_change(change, "brief"))
        assert rows, name
        assert all(row.stage == name and row.messages[0].content == name and row.completion for row in rows)
        if stage.judgement:
            assert {row.completion for row in rows} == {"yes", "no"}


def test_brief_prompts_name_the_stage_and_full_ones_explain_it() -> None:
    situation = Situation(statement="s", symbols=tuple(symbols_of(PATH, BEFORE)))
    for name, stage in REGISTRY.items():
        assert stage.prompt(situation, "brief")[0].content == name
        assert len(stage.prompt(situation, "full")[0].content) > 80


def test_a_plan_names_place_line_and_kind_and_is_read_back() -> None:
    change = _change()
    text = plan_of(change.hunks, change.touched)
    assert text == "edit 1\nline: if out + v > cap:\nchange: comparison >"
    (step,) = planning.STAGE.parse(text, change.touched)
    assert (step.symbol, step.kind) == (f"{PATH}::total", "comparison")


@pytest.mark.parametrize("text", ["", "edit 7\nline: x\nchange: name", "edit 1\nline: not there\nchange: name"])
def test_a_plan_for_what_was_not_shown_is_refused(text: str) -> None:
    with pytest.raises(StageError):
        planning.STAGE.parse(text, _change().touched)


def test_analysis_reads_only_candidates_in_the_order_of_the_answer() -> None:
    change = _change()
    shown = (*change.touched, *change.others)
    named = analysis.STAGE.parse("nonsense\n2\n1\n9", shown)
    assert [symbol.name for symbol in named] == ["other", "total"]
    with pytest.raises(StageError):
        analysis.STAGE.parse("nothing here", shown)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("x > 1", "x >= 1", "comparison"),
        ("x + 1", "x - 1", "operator"),
        ("x + 1", "x + 2", "number"),
        ("return a", "return b", "name"),
        ("min(a)", "max(a)", "call"),
        ("if a and b:", "if a or b:", "condition"),
    ],
)
def test_the_kind_of_a_change_is_read_off_its_tokens(old: str, new: str, kind: str) -> None:
    assert kind_of(Hunk(path="p", old=(old,), new=(new,))) == kind


def test_solved_rollouts_teach_their_last_attempt_and_failed_ones_teach_review_no() -> None:
    choices = (7, 8, 9)
    turns = (
        _turn("planning", attempt=0),
        _turn("planning", attempt=1, completion_ids=(4,)),
        _turn("generation", attempt=1, subject=f"{PATH}::total"),
        _turn("relevance", subject=f"{PATH}::total", choice_ids=choices),
        _turn("review", attempt=1, choice_ids=choices),
    )
    solved = _trajectory(turns, Outcome.SOLVED)
    (plan,) = REGISTRY["planning"].from_trajectory(solved, _task())
    assert plan.completion_ids == (4,) and plan.prompt_ids == (1, 2)
    (relevant,) = REGISTRY["relevance"].from_trajectory(solved, _task())
    assert (relevant.completion_ids, relevant.completion) == ((7, 9), "yes")
    (review,) = REGISTRY["review"].from_trajectory(_trajectory(turns, Outcome.FAILED), _task())
    assert (review.completion_ids, review.completion) == ((8, 9), "no")


def test_edits_are_refused_when_their_place_is_not_found_exactly_once() -> None:
    files = {"a.py": "x = 1\nx = 1\n"}
    for old in (("x = 1",), ("y = 2",), ()):
        with pytest.raises(StageError):
            apply_edits([Hunk(path="a.py", old=old, new=("z",))], files)
    with pytest.raises(StageError):
        apply_edits([Hunk(path="gone.py", old=("x",), new=("z",))], files)


LINES = st.lists(st.sampled_from(["a", "b", "    c", "", "if x:", "d = 1"]), min_size=1, max_size=12)


@given(LINES, LINES)
def test_hunks_between_two_texts_can_be_applied_whenever_each_place_is_unique(before: list[str], after: list[str]) -> None:
    old, new = "\n".join(before), "\n".join(after)
    hunks = hunks_between("f.py", old, new)
    try:
        (edit,) = apply_edits(hunks, {"f.py": old}) or [FileEdit(path="f.py", content=old)]
    except StageError:
        return  # hunks that grew into each other are refused, never applied wrongly
    assert edit.content == new or not hunks


@given(st.lists(st.tuples(LINES, LINES), min_size=1, max_size=3))
def test_formatted_edits_are_parsed_back(parts: list[tuple[list[str], list[str]]]) -> None:
    hunks = [Hunk(path="p/q.py", old=tuple(old), new=tuple(new)) for old, new in parts]
    assert parse_edits(format_edits(hunks)) == hunks


@pytest.mark.parametrize("text", ["", "a.py\n<<<<<<< SEARCH\nx", "<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE"])
def test_answers_without_a_whole_edit_are_refused(text: str) -> None:
    with pytest.raises(StageError):
        parse_edits(text)


def test_mutations_differ_keep_formatting_and_parse() -> None:
    body = ["# keep me", "if a < b and b:", "    return max(a,   b)", "for i in range(b):", "    a += i", "return a[0]"]
    source = "\n    ".join(["def f(a, b):", *body]) + "\n"
    found = mutations(source)
    assert len({m.operator for m in found}) >= 10
    for mutation in found:
        compile(mutation.source, "m", "exec")
        assert mutation.source != source and "# keep me" in mutation.source
        changed = [i for i, (x, y) in enumerate(zip(source.splitlines(), mutation.source.splitlines(), strict=True), 1) if x != y]
        assert changed == [mutation.line]


def test_mutations_of_a_method_keep_its_margin_and_of_nonsense_are_none() -> None:
    assert all(m.source.startswith("    def f") for m in mutations("    def f(self):\n        return self.x + 1\n"))
    assert mutations("def (") == []


def test_statements_carry_examples_that_are_read_back() -> None:
    examples = examples_in("def test_a():\n    assert f([1], 'x') == {'a': 1}\n    assert g(1) == 2\n    assert f(2) > 1\n", {"f"})
    assert examples == [CallExample(call="f([1], 'x')", expected="{'a': 1}")]
    assert examples_of(compose("title here", examples)) == examples


@pytest.mark.parametrize(
    ("message", "title"),
    [
        ("fix: total is wrong (#12)\n\nbody", "total is wrong"),
        ("[cart] repair the sum.", "repair the sum"),
        ("oops", None),
        ("", None),
        ("Signed-off-by: A B <c@d>\nfix the broken total", "fix the broken total"),
    ],
)
def test_titles_are_subjects_without_ornament_and_poor_messages_have_none(message: str, title: str | None) -> None:
    assert title_of(message) == title


def test_retrieval_ranks_the_named_symbol_first() -> None:
    symbols = [*symbols_of("a.py", "def load_cart(x):\n    return x\n"), *symbols_of("b.py", "def maxSum_2(y):\n    return y\n")]
    index = Index([*symbols, *symbols_of("c.py", "def unrelated(z):\n    return z\n")])
    assert index.search("wrong max sum", 1)[0].name == "maxSum_2"
    assert Index([]).search("x", 3) == []
    assert words("maxSum_2") == ["max", "sum", "2", "maxsum_2"]


def test_lines_that_differ_in_indentation_alone_are_found_and_moved() -> None:
    files = {"a.py": "def f(x):\n    if x:\n        return 1\n    return 2\n"}
    (edit,) = apply_edits([Hunk(path="a.py", old=("return 1",), new=("x += 1", "return x"))], files)
    assert edit.content == "def f(x):\n    if x:\n        x += 1\n        return x\n    return 2\n"
    (edit,) = apply_edits([Hunk(path="a.py", old=("            return 2",), new=("            return 3",))], files)
    assert edit.content.endswith("\n    return 3\n")
    with pytest.raises(StageError, match="found 2 times"):
        apply_edits([Hunk(path="a.py", old=("y",), new=("z",))], {"a.py": "  y\n    y\n"})


def test_a_plan_names_the_token_that_goes() -> None:
    source = "def f(x, y):\n    return x - y\n"
    symbols = symbols_of("a.py", source)
    plan = plan_of((Hunk(path="a.py", symbol="a.py::f", old=("    return x - y",), new=("    return x + y",)),), tuple(symbols))
    assert plan == "edit 1\nline: return x - y\nchange: operator -"
    assert planning.STAGE.parse(plan, tuple(symbols))[0].kind == "operator"
