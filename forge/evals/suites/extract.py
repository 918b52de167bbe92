"""Code in what a model wrote: thoughts and prose are left out, a body that goes on from the prompt is told from a whole program."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

_THOUGHT = re.compile(r"\A.*?</think>", re.DOTALL)
_OPEN_THOUGHT = re.compile(r"\A\s*<think>.*\Z", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(`{3,}|~{3,})[^\n`]*\n(.*?)(?:^[ \t]*\1[ \t]*$|\Z)", re.DOTALL | re.MULTILINE)


def without_thoughts(text: str) -> str:
    """What follows a reasoning model's thoughts; nothing when they never ended."""
    return _OPEN_THOUGHT.sub("", _THOUGHT.sub("", text))


def blocks(text: str) -> list[str]:
    """The contents of fenced code blocks, in order; one that is not closed reaches to the end."""
    return [match.group(2) for match in _FENCE.finditer(text)]


def last_block(text: str) -> str:
    """The last fenced block that is not empty; the whole text when it has no fence but is Python; else nothing."""
    said = without_thoughts(text)
    found = [block for block in blocks(said) if block.strip()]
    return found[-1] if found else said if parses(said) and said.strip() else ""


def program(text: str, entry_point: str, start: str = "", stop: Sequence[str] = ()) -> str:
    """The source that defines `entry_point`: a block that does, or else `start` with the text after it, up to a `stop`.

    Without an entry point it is the longest block that is Python. When a block stands alone, `start` comes before it
    as a stub, for its imports and helpers (as BigCodeBench's calibration does).
    """
    said = without_thoughts(text)
    found = [block for block in blocks(said) if block.strip()]
    if not found and defines(said, entry_point):
        found = [said]
    if whole := [block for block in found if defines(block, entry_point)]:
        return joined(stub(start), max(whole, key=lambda block: (parses(block), len(block))))
    if not start:
        return max(found or [said], key=lambda block: (parses(block), len(block)))
    return start + cut(found[0] if found else said, stop)


def stub(start: str) -> str:
    """`start` made whole: a function that ends with its docstring gets a body."""
    return f"{start.rstrip()}\n    pass\n\n" if start.strip() else ""


def joined(before: str, source: str) -> str:
    """`before` and then `source`, whose imports from `__future__` come first, as Python wants them."""
    if not before:
        return source
    lines = source.split("\n")
    future = [line for line in lines if line.startswith("from __future__ import")]
    return "\n".join([*future, before, *(line for line in lines if line not in future)])


def cut(text: str, stop: Sequence[str]) -> str:
    """The text up to the first of the words in `stop`."""
    return text[: min((place for word in stop if (place := text.find(word)) >= 0), default=len(text))]


def defines(source: str, name: str) -> bool:
    """Whether a function, class or variable of this name is defined at the top level, even in source that does not parse."""
    if not name:
        return True
    plain = re.escape(name)
    return (
        re.search(rf"^(?:(?:async\s+)?def\s+{plain}\s*\(|class\s+{plain}\b|{plain}\s*(?::[^=\n]*)?=(?!=))", source, re.MULTILINE)
        is not None
    )


def parses(source: str) -> bool:
    """Whether it is Python."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
