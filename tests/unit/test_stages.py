"""The stages' formats: what is asked, what is read, and what is learnt from commits and trajectories."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import StageError
from forge.records import FileEdit, Lineage, Message, Outcome, Symbol, Task, Trajectory, Turn
from forge.stages import REGISTRY, analysis, planning
from forge.stages.bugs.mutations import mutations, wrong_fixes
from forge.stages.edits import apply_edits, format_edits, hunks_between, parse_edits
from forge.stages.planning import plan_of
from forge.stages.retrieval.index import Index
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import Change, Explanation, Hunk, PromptStyle, Situation
from forge.stages.statements import CallExample, compose, examples_in, examples_of, title_of

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


def _wrong(condition: str) -> Hunk:
    old = "        if out + v > cap:"
    return Hunk(path=PATH, symbol=f"{PATH}::total", old=(old,), new=(old.replace("> cap", condition.replace("> cap", "< cap")),))


def _change() -> Change:
    touched = tuple(symbols_of(PATH, BEFORE))
    other = Symbol(path="shop/x.py", name="other", signature="other(a)", source="def other(a):\n    return a\n", first_line=1, last_line=2)
    return Change(
        statement=compose("wrong result from total", [CallExample(call="total([1, 2], 3)", expected="1")]),
        touched=touched,
        after=tuple(symbols_of(PATH, AFTER)),
        others=(other,),
        hunks=tuple(hunks_between(PATH, BEFORE, AFTER, touched)),
        offered=(other, *touched),
        wrong=((_wrong("> cap"),), (_wrong(">= out"),)),
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


def test_a_plan_names_place_line_and_change_and_is_read_back() -> None:
    change = _change()
    text = plan_of(change.hunks, change.touched)
    assert text == "edit 1\nline: if out + v > cap:\nchange: > -> >="
    (step,) = planning.STAGE.parse(text, change.touched)
    assert (step.symbol, step.change) == (f"{PATH}::total", "> -> >=")


def test_planning_learns_a_first_plan_and_plans_after_each_number_of_wrong_attempts() -> None:
    rows = list(planning.STAGE.from_change(_change(), "full"))
    prompts = [row.messages[1].content for row in rows]
    assert [prompt.count("change: > -> <") for prompt in prompts] == [0, 1, 1]
    assert [prompt.count("change: > cap -> >= out") for prompt in prompts] == [0, 0, 1]
    # Every second row has a distractor beside the touched symbol: retrieval's first here, so the touched one is number 2.
    assert [row.completion.splitlines()[0] for row in rows] == ["edit 2", "edit 1", "edit 2"]
    assert ["def other" in prompt for prompt in prompts] == [True, False, True]


def test_in_brief_style_plans_name_symbols_and_edits_replace_them_whole() -> None:
    change = _change()
    assert next(planning.STAGE.from_change(change, "brief")).completion == "edit 2"
    (step,) = planning.STAGE.parse("edit 1", change.touched)
    assert planning.written([step], (*change.others, *change.touched)) == "edit 2"
    row = next(REGISTRY["generation"].from_change(change, "brief"))
    assert row.messages[1].content.endswith("# plan\nedit 1")
    assert row.completion.startswith("1\n<<<<<<< SEARCH\n...\n=======\ndef total")
    (edit,) = apply_edits(parse_edits(row.completion, change.touched), {PATH: BEFORE}, change.touched)
    assert edit.content == AFTER


def _explained() -> Change:
    """Words that would be steps if they stood on lines of their own."""
    return _change().model_copy(update={"explanation": Explanation(analysis="1 or 2: total() sums.", plan="edit 9 is no step.")})


def test_in_explained_style_a_plan_says_why_first_and_its_steps_are_read_as_ever() -> None:
    change = _explained()
    rows, plain = (list(planning.STAGE.from_change(change, style)) for style in ("explained", "full"))
    assert [row.completion for row in rows] == [f"why: edit 9 is no step.\n{row.completion}" for row in plain]
    assert all("'why: '" in row.messages[0].content for row in rows)
    shown = (*change.others, *change.touched)
    assert planning.STAGE.parse(rows[0].completion, shown) == planning.STAGE.parse(plain[0].completion, shown)


def test_in_explained_style_analysis_says_why_first_and_names_the_same_symbols() -> None:
    change = _explained()
    (row,), (plain,) = (list(analysis.STAGE.from_change(change, style)) for style in ("explained", "full"))
    assert row.completion == f"why: 1 or 2: total() sums.\n{plain.completion}"
    assert "'why: '" in row.messages[0].content and "nothing else" not in row.messages[0].content
    assert [symbol.name for symbol in analysis.STAGE.parse(row.completion, change.offered)] == ["total"]


@pytest.mark.parametrize("style", ["brief", "full"])
def test_other_styles_keep_the_explanation_to_themselves(style: PromptStyle) -> None:
    for name, stage in REGISTRY.items():
        assert list(stage.from_change(_explained(), style)) == list(stage.from_change(_change(), style)), name


def test_nobody_learns_to_explain_a_change_that_nobody_explained() -> None:
    for name, stage in REGISTRY.items():
        assert list(stage.from_change(_change(), "explained")) == list(stage.from_change(_change(), "full")), name


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
    ("old", "new", "change"),
    [
        ("x > 1", "x >= 1", "> -> >="),
        ("x + 1", "x + 2", "1 -> 2"),
        ("  return None", "  return a // 5", "None -> a // 5"),
        ("return x", "return x + 1", "x -> x + 1"),
        ("x", "1 + x", "x -> 1 + x"),
        ("f(a, b)", "f(a)", "a, b -> a"),
        ("for i in range(n):", "for i in range(1, n):", "( -> (1,"),
        ("  x", "x", "rewrite"),
        ("a = b", "c = d + e + f + g + h + i + j", "rewrite"),
    ],
)
def test_a_plan_says_what_of_the_line_goes_and_what_comes(old: str, new: str, change: str) -> None:
    hunk = Hunk(path="p", symbol="p::f", old=(old,), new=(new,))
    symbol = Symbol(path="p", name="f", signature="f()", source=old, first_line=1, last_line=1)
    assert plan_of((hunk,), (symbol,)).splitlines()[-1] == f"change: {change}"


@given(st.text("ab+=( 1", max_size=12), st.text("ab+=( 1", max_size=12))
def test_what_goes_and_what_comes_make_one_line_of_the_other(old: str, new: str) -> None:
    hunk = Hunk(path="p", symbol="p::f", old=(old,), new=(new,))
    symbol = Symbol(path="p", name="f", signature="f()", source=old, first_line=1, last_line=1)
    change = plan_of((hunk,), (symbol,)).splitlines()[-1].removeprefix("change: ") if old != new else "rewrite"
    if change != "rewrite":
        gone, come = change.split(" -> ")
        squeezed = ["".join(line.split()) for line in (old, new, gone, come)]
        made = {squeezed[0][:i] + squeezed[3] + squeezed[0][i + len(squeezed[2]) :] for i in range(len(squeezed[0]) + 1)}
        assert squeezed[2] and squeezed[1] in made


def test_changes_of_several_lines_are_planned_by_kind() -> None:
    symbol = Symbol(path="p", name="f", signature="f()", source="a\nb\n", first_line=1, last_line=2)
    for new, kind in ((("a", "b", "c"), "insert"), (("a",), "delete"), (("c", "d"), "rewrite"), (("a", "c"), "b -> c")):
        plan = plan_of((Hunk(path="p", symbol="p::f", old=("a", "b"), new=new),), (symbol,))
        assert plan.endswith(f"change: {kind}")


def test_solved_rollouts_teach_their_last_attempt_and_failed_ones_teach_review_no() -> None:
    choices = (7, 8, 9)
    turns = (
        _turn("planning", attempt=0),
        _turn("planning", attempt=1, prompt_ids=(5,), completion_ids=(4,)),
        _turn("generation", attempt=1, subject=f"{PATH}::total"),
        _turn("relevance", subject=f"{PATH}::total", choice_ids=choices),
        _turn("review", attempt=1, choice_ids=choices),
    )
    solved = _trajectory(turns, Outcome.SOLVED)
    plan, in_hindsight = REGISTRY["planning"].from_trajectory(solved, _task())
    assert plan.completion_ids == in_hindsight.completion_ids == (4,)
    assert (plan.prompt_ids, in_hindsight.prompt_ids) == ((5,), (1, 2))
    (relevant,) = REGISTRY["relevance"].from_trajectory(solved, _task())
    assert (relevant.completion_ids, relevant.completion) == ((7, 9), "yes")
    (review,) = REGISTRY["review"].from_trajectory(_trajectory(turns, Outcome.FAILED), _task())
    assert (review.completion_ids, review.completion) == ((8, 9), "no")


def test_what_was_handed_in_teaches_and_not_what_was_tried_after_it() -> None:
    def attempt(number: int, score: float | None) -> tuple[Turn, ...]:
        own = {"attempt": number, "prompt_ids": (number,), "completion_ids": (10 + number,)}
        plan, answer = (_turn(stage, subject=f"{PATH}::total", **own) for stage in ("planning", "generation"))
        review = _turn("review", choice_ids=(7, 8, 9), score=score, **own)
        return (plan, answer) if score is None else (plan, answer, review)

    turns = (*attempt(0, 0.1), *attempt(1, 0.4), *attempt(2, 0.4), *attempt(3, 0.2), *attempt(4, None))
    for stage, answer in (("planning", (11,)), ("generation", (11,)), ("review", (7, 9))):
        row = next(iter(REGISTRY[stage].from_trajectory(_trajectory(turns, Outcome.SOLVED), _task())))
        assert (row.prompt_ids, row.completion_ids) == ((1,), answer), "the first of the best two was graded"
    (review,) = REGISTRY["review"].from_trajectory(_trajectory(turns, Outcome.FAILED), _task())
    assert (review.prompt_ids, review.completion) == ((1,), "no"), "nobody graded the others"


@pytest.mark.parametrize(("plan", "rows"), [("edit 1", 2), ("edit 1\nline: out = 1\nchange: 1 -> 0", 1)])
def test_a_repair_teaches_the_first_prompt_only_where_that_shows_the_same_plan(plan: str, rows: int) -> None:
    def turn(attempt: int, shown: str) -> Turn:
        prompt = (Message(role="user", content=f"# issue\ns\n# plan\n{shown}"),)
        return _turn("generation", attempt=attempt, messages=prompt, prompt_ids=(attempt,), completion_ids=(4,))

    solved = _trajectory((turn(0, "edit 1"), turn(1, plan)), Outcome.SOLVED)
    found = list(REGISTRY["generation"].from_trajectory(solved, _task()))
    assert [row.prompt_ids for row in found] == [(1,), (0,)][:rows]


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


def test_wrong_fixes_are_distinct_and_never_the_right_one_and_mostly_near_it() -> None:
    near = 0
    for seed in range(40):
        found = wrong_fixes(BEFORE, AFTER, random.Random(seed), 3)
        assert len(set(found)) == 3 and not {BEFORE, AFTER} & set(found)
        near += sum("if out + v > cap:" not in source for source in found)
    assert near > 60
    assert wrong_fixes("def (", AFTER, random.Random(0), 3) == []


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


def test_lines_that_differ_in_indentation_alone_are_found_and_moved() -> None:
    files = {"a.py": "def f(x):\n    if x:\n        return 1\n    return 2\n"}
    (edit,) = apply_edits([Hunk(path="a.py", old=("return 1",), new=("x += 1", "return x"))], files)
    assert edit.content == "def f(x):\n    if x:\n        x += 1\n        return x\n    return 2\n"
    (edit,) = apply_edits([Hunk(path="a.py", old=("            return 2",), new=("            return 3",))], files)
    assert edit.content.endswith("\n    return 3\n")
    with pytest.raises(StageError, match="found 2 times"):
        apply_edits([Hunk(path="a.py", old=("y",), new=("z",))], {"a.py": "  y\n    y\n"})
