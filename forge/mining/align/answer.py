"""What a model answers becomes code and tests, and the exam that both have to pass: the tests hold for the code, and for no code that
does nothing.

Nothing is run here. What the exam does not find out: tests that are few, or that share the mistake of their code.
"""

from __future__ import annotations

import ast
import textwrap

from forge.errors import StageError
from forge.exam.alone import answer_task
from forge.mining.align.invent import Instruction, prompt
from forge.records import Message, Record, Task
from forge.stages.source.symbols import FunctionNode
from forge.teacher.prompt import tagged

LEAST_ASSERTIONS = 2
LARGEST = 20_000
"""Characters of code, and of tests."""
_BAD = (SyntaxError, ValueError, RecursionError, MemoryError)
_KEPT = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign)
"""What may stand beside the one function or class."""
_MEANS = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
"""What tests may have around them."""


class Answer(Record):
    """Code that claims to do what was asked, with tests of its own."""

    code: str
    tests: str
    """A test module in which the code's names are known."""
    ids: tuple[str, ...]
    """Its test functions."""


def answer_question(instruction: Instruction) -> tuple[Message, ...]:
    """Solution and tests of an instruction, asked for."""
    return prompt("answer", instruction=instruction.text, called=instruction.name, category=instruction.category)


def answer_of(said: str, instruction: Instruction) -> Answer:
    """The answer in a text; raises `StageError` with the reason why there is none that can be run."""
    code, tests = bare(tagged(said, "answer") or ""), bare(tagged(said, "tests") or "")
    if not code.strip() or not tests.strip():
        raise StageError("no code or no tests between the tags")
    if max(len(code), len(tests)) > LARGEST:
        raise StageError("its code or its tests are too long")
    tree = _parsed(code, "its code is not Python")
    others = [node for node in tree.body if not _is_entry(node, instruction) and not isinstance(node, _KEPT) and not _is_text(node)]
    if others or sum(_is_entry(node, instruction) for node in tree.body) != 1:
        raise StageError(f"its code is not the one {instruction.category} that was asked for")
    module, ids = test_module(tests, instruction.name)
    return Answer(code=code, tests=module, ids=ids)


def test_module(tests: str, name: str) -> tuple[str, tuple[str, ...]]:
    """Tests as a module: functions as they are, each bare assertion one of its own. Raises `StageError`.

    Imports of the answer are left out, whatever module they name: its names are known there.
    """
    tree = _parsed(tests, "its tests are not Python")
    kept: list[str] = []
    ids: list[str] = []
    for node in tree.body:
        source = ast.unparse(node)
        if isinstance(node, ast.Assert):
            ids.append(f"test_assertion_{len(ids)}")
            kept.append(f"def {ids[-1]}():\n{textwrap.indent(source, '    ')}")
        elif isinstance(node, ast.ImportFrom) and any(alias.name in (name, "*") for alias in node.names):
            continue
        elif isinstance(node, _MEANS):
            ids += [node.name] if isinstance(node, ast.FunctionDef) and node.name.startswith("test") else []
            kept.append(source)
        elif not _is_text(node) and not _starts_itself(node):
            raise StageError("its tests do more than define and assert")
    if len(ids) != len(set(ids)):
        raise StageError("two of its tests have one name")
    called = any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree))
    if not called or sum(isinstance(node, ast.Assert | ast.With) for node in ast.walk(tree)) < LEAST_ASSERTIONS or not ids:
        raise StageError("its tests assert too little of it")
    return "\n\n".join(kept), tuple(ids)


def exam_of(name: str, answer: Answer) -> Task:
    """The task whose hidden tests are the answer's own, with twins of them that must fail; `name` is `repository/id`."""
    return answer_task(name, answer.code, answer.tests, answer.ids)


def trivial(code: str, instruction: Instruction) -> list[str]:
    """The same code made to do nothing: it gives back `None`, or the first argument as it came where it has one.

    Of a class all methods do so, but for `__init__` and its like, which do nothing at all.
    """
    made: dict[str, None] = {}
    for echo in (False, True):
        tree = ast.parse(code)
        entry = next(node for node in tree.body if _is_entry(node, instruction))
        functions = [entry] if isinstance(entry, FunctionNode) else [node for node in entry.body if isinstance(node, FunctionNode)]  # type: ignore[attr-defined]
        for function in functions:
            function.body = [_nothing(function, echo)]
        made[ast.unparse(ast.fix_missing_locations(tree)) + "\n"] = None
    return list(made)


def _nothing(function: FunctionNode, echo: bool) -> ast.stmt:
    arguments = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    if function.name == "__new__":
        return ast.parse(f"return object.__new__({arguments[0]})").body[0] if arguments else ast.Pass()
    named = [name for name in arguments if name not in ("self", "cls")]
    if echo and named and function.name not in ("__init__", "__post_init__"):
        return ast.Return(ast.Name(named[0], ast.Load()))
    return ast.Return(ast.Constant(None))


def bare(text: str) -> str:
    """Code without the fence that models like to put around it, ended by a line end."""
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    if lines and lines[0].lstrip().startswith("```") and lines[-1].strip() == "```":
        lines = lines[1:-1]
    return "\n".join(lines).rstrip() + "\n"


def _is_entry(node: ast.stmt, instruction: Instruction) -> bool:
    kinds = FunctionNode if instruction.category == "function" else ast.ClassDef
    return isinstance(node, kinds) and node.name == instruction.name


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _starts_itself(node: ast.stmt) -> bool:
    """`if __name__ == "__main__": …`, which never runs under pytest."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _parsed(source: str, reason: str) -> ast.Module:
    try:
        return ast.parse(source)
    except _BAD:
        raise StageError(reason) from None
