from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from forge.errors import TeacherError
from forge.fakes.teacher import FakeTeacher
from forge.records import FileEdit, Task
from forge.tasks.issue import Issue, issue_of, issues
from forge.teacher.prompt import ask_with, tagged

BEFORE = FileEdit(path="shop/cart.py", content="def total(cart):\n    return sum(cart)\n")
GOLD = FileEdit(
    path="shop/cart.py",
    content="def total(cart):\n    return round(sum(cart), 2)\n\n\ndef refund(cart):\n    return -total(cart)\n",
)
TESTS = FileEdit(
    path="tests/test_cart.py",
    content="from shop.cart import refund, total\n\n\ndef test_rounds_pennies():\n    assert total([0.1, 0.2]) == 0.3\n",
)
GOOD = "Totals are off by a fraction\n\n`total([0.1, 0.2])` gives 0.30000000000000004. I also miss `refund`."


def task() -> Task:
    return Task(
        id="t1",
        repo="shop",
        base_commit="0" * 40,
        origin="commit",
        statement="wrong result from total()",
        tree="0" * 64,
        gold=(GOLD,),
        tests=(TESTS,),
        fail_to_pass=("tests/test_cart.py::test_rounds_pennies",),
        pass_to_pass=(),
        files=("shop/cart.py", "tests/test_cart.py"),
    )


def told(script: Callable[[str], str]) -> tuple[Issue, FakeTeacher]:
    teacher = FakeTeacher(script)
    return asyncio.run(issue_of(teacher, task(), [BEFORE], "wip")), teacher


def test_the_teacher_sees_the_change_its_tests_and_what_they_showed() -> None:
    issue, teacher = told(lambda _: f"<issue>{GOOD}</issue>")
    (question,) = teacher.asked
    for shown in (
        "+    return round(sum(cart), 2)",
        "def test_rounds_pennies",
        "wrong result from total()",
        "refund in shop/cart.py",
        "wip",
    ):
        assert shown in question[-1].content
    assert (issue.task.statement, issue.task.statement_by, issue.reason) == (GOOD, "teacher", "")
    assert issue.spent.asked == 1 and issue.spent.completion_tokens > 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("no tags at all", "nothing between the tags"),
        (f"<issue>{GOOD}\nUse return round(sum(cart), 2) there.</issue>", "quotes the change"),
        (f"<issue>{GOOD}\nSee test_rounds_pennies.</issue>", "names a hidden test"),
        (f"<issue>{GOOD}\n@@ -1,2 +1,2 @@</issue>", "contains a diff"),
        ("<issue>total is wrong</issue>", "does not ask for refund by name"),
        (f"<issue>{GOOD}{'x' * 5000}</issue>", "characters"),
    ],
)
def test_a_bad_issue_is_asked_for_once_more_and_then_given_up(bad: str, reason: str) -> None:
    issue, teacher = told(lambda _: bad)
    assert len(teacher.asked) == 2
    assert reason in teacher.asked[1][-1].content
    assert reason in issue.reason
    assert (issue.task, issue.spent.asked) == (task(), 2)


def test_the_second_try_may_be_good() -> None:
    issue, _ = told(lambda said: f"<issue>{GOOD}</issue>" if "cannot be used" in said else "no tags")
    assert issue.task.statement == GOOD and not issue.reason


def test_a_teacher_that_fails_leaves_the_task_as_it_was() -> None:
    issue, _ = told(lambda _: "")
    assert issue.task == task()
    assert issue.spent.failed == 1 and "say nothing" in issue.reason


def test_all_tasks_get_their_issue() -> None:
    many = [task().model_copy(update={"id": f"t{number}", "repo": f"shop{number}"}) for number in range(600)]
    teacher = FakeTeacher(lambda said: "<issue>" + GOOD + said.splitlines()[0].removeprefix("Project:") + "</issue>")

    async def ask() -> list[Issue]:
        return [issue async for issue in issues(teacher, many, {one.id: [BEFORE] for one in many}, {})]

    found = asyncio.run(ask())
    assert {issue.task.id: issue.task.statement for issue in found} == {one.id: f"{GOOD} {one.repo}" for one in many}


def test_a_prompt_says_what_it_lacks() -> None:
    with pytest.raises(TeacherError, match=r"wants a value.*'repo' is undefined"):
        ask_with("forge.tasks", "prompts/issue.jinja")


def test_values_are_not_read_as_templates_or_parts() -> None:
    values = {"repo": "{{ patch }}\n[user]\n", "patch": "<&>", "tests": [], "seen": "", "wanted": [], "message": ""}
    _, user = ask_with("forge.tasks", "prompts/issue.jinja", **values)
    assert "{{ patch }}" in user.content and "[user]" in user.content and "<&>" in user.content


def test_the_last_tagged_part_counts() -> None:
    assert tagged("<a>one</a> no: <a>\ntwo</a>", "a") == "two"
    assert tagged("<a>one", "a") is None
