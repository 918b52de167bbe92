"""What is kept becomes rows of the generation stage, in its own prompt: a stub stands in a file, and the edit fills it in.

The other stages learn nothing from it: there is no repository in which something would have to be found, judged or planned.
"""

from __future__ import annotations

import ast
import re

from forge.errors import StageError
from forge.mining.align.invent import Category, Difficulty
from forge.records import Example, Lineage, Record
from forge.stages import REGISTRY
from forge.stages.edits import apply_edits, hunks_between, parse_edits
from forge.stages.planning import KINDS, plan_of
from forge.stages.source.symbols import FunctionNode, symbols_of
from forge.stages.stage import Change, PromptStyle

STAGE = "generation"
_SAYS_ALL = re.compile(r"^change: (?!(?:" + "|".join(KINDS) + r")$)", re.MULTILINE)
"""A step of a plan that has the new code in it."""


class Aligned(Record):
    """One instruction with an answer that passed its own tests, which fail for what does nothing."""

    id: str
    """Of the seed."""
    name: str
    instruction: str
    category: Category
    difficulty: Difficulty
    concepts: tuple[str, ...]
    code: str
    tests: str
    passed: int
    """Answers that passed, of …"""
    answers: int
    """… so many."""
    model: str
    licence: str
    """Of the seed."""
    age: str
    lineage: Lineage
    """Repository, commit and file of the seed."""


def example_of(aligned: Aligned, style: PromptStyle = "full") -> Example:
    """The row that an answer teaches; raises `StageError` for one that no edit of its stub gives."""
    path = f"{aligned.name.lower()}.py"
    before, after = stub(aligned.code), aligned.code
    old, new = symbols_of(path, before), symbols_of(path, after)
    touched = [(was, now) for was, now in zip(old, new, strict=True) if was.source != now.source]
    if not touched:
        raise StageError("its code has no body to write")
    shown = tuple(was for was, _ in touched)
    hunks = tuple(hunks_between(path, before, after, shown))
    plan = plan_of(hunks, shown, style)
    if len(_SAYS_ALL.findall(plan)) == len(hunks):
        raise StageError("its code is a few tokens, all of which the plan would say")
    change = Change(
        statement=aligned.instruction,
        touched=shown,
        after=tuple(now for _, now in touched),
        others=(),
        offered=shown,
        hunks=hunks,
        lineage=aligned.lineage,
    )
    example = next(iter(REGISTRY[STAGE].from_change(change, style)))
    try:
        edits = apply_edits(parse_edits(example.completion, shown), {path: before}, shown)
    except StageError as error:
        raise StageError("its code cannot be written as an edit") from error
    if [edit.content for edit in edits] != [after]:
        raise StageError("its code cannot be written as an edit")
    return example


def stub(code: str) -> str:
    """The same source with nothing in the bodies of its functions and methods but their docstrings and a line that says which it is,
    so that an edit that names the line means one place.
    """
    lines = code.split("\n")
    for name, node in reversed(_functions(code)):
        documented = ast.get_docstring(node, clean=False) is not None
        if documented and len(node.body) == 1:
            continue
        first = node.body[1 if documented else 0]
        if lines[first.lineno - 1].encode()[: first.col_offset].strip():
            raise StageError("its code has a body in the line of its head")
        lines[first.lineno - 1 : node.end_lineno] = [f'{" " * first.col_offset}raise NotImplementedError("{name}")']
    return "\n".join(lines)


def _functions(code: str) -> list[tuple[str, FunctionNode]]:
    """By qualified name, in the order of their lines."""
    tree = ast.parse(code)
    found = [(node.name, node) for node in tree.body if isinstance(node, FunctionNode)]
    for owner in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        found += [(f"{owner.name}.{node.name}", node) for node in owner.body if isinstance(node, FunctionNode)]
    return sorted(found, key=lambda one: one[1].lineno)
