"""Problem statements: a title, and calls with what they should give, as people write them in issues.

wrong result in clamp_sum
>>> clamp_sum([5, 9], 10)
10
"""

from __future__ import annotations

import ast
import doctest
import re
from collections.abc import Collection, Sequence

from forge.records import Record

_PREFIX = re.compile(r"^(?:\w+(?:\([^)]*\))?!?:|\[[^\]]+\])\s*")
_TRAILER = re.compile(r"^(?:signed-off-by|co-authored-by|reviewed-by|change-id|fixes|closes|refs)\b.*$", re.IGNORECASE)


class CallExample(Record):
    """A call and the literal that it should give, both as source text."""

    call: str
    expected: str


def title_of(message: str, min_words: int = 3) -> str | None:
    """The subject of a commit message without prefix and issue number, `None` when it has too few words to mean anything."""
    lines = [line.strip() for line in message.strip().splitlines() if not _TRAILER.match(line.strip())]
    subject = _PREFIX.sub("", lines[0]) if lines else ""
    subject = re.sub(r"\s*\(?#\d+\)?", "", subject).strip().rstrip(".")
    return subject if len(re.findall(r"\w+", subject)) >= min_words else None


def examples_in(test_source: str, names: Collection[str]) -> list[CallExample]:
    """The calls of `names` that asserts of this source compare with a literal, in order."""
    try:
        tree = ast.parse(test_source)
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assert) or not isinstance(node.test, ast.Compare):
            continue
        call, operators, values = node.test.left, node.test.ops, node.test.comparators
        named = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in names
        if named and len(operators) == 1 and isinstance(operators[0], (ast.Eq, ast.Is)) and _is_literal(values[0]):
            found.append(CallExample(call=ast.unparse(call), expected=ast.unparse(values[0])))
    return found


def compose(title: str, examples: Sequence[CallExample] = ()) -> str:
    """The statement: title, then each example as a doctest."""
    return "\n".join([title, *(f">>> {e.call}\n{e.expected}" for e in examples)])


def plain_title(names: Collection[str]) -> str:
    """The title when nobody wrote a good one: what is wrong is known only by the symbols' names."""
    return f"wrong result from {', '.join(sorted(names))}"


def examples_of(statement: str) -> list[CallExample]:
    """The doctests that a statement contains; none when they are malformed."""
    try:
        parsed = doctest.DocTestParser().get_examples(statement)
    except ValueError:
        return []
    return [CallExample(call=e.source.strip(), expected=e.want.strip()) for e in parsed if e.want.strip()]


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError):
        return False
    return True
