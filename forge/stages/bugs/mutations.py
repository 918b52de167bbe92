"""Plausible bugs: small edits of a function's source that keep its formatting.

The standard library's `ast` finds the places, splicing by offset changes only the tokens concerned (SWE-smith's
procedural bugs, arXiv 2504.21798). Tasks inject them, review learns from them what wrong looks like.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence

from forge.records import Record
from forge.stages.bugs import tree_mutations
from forge.stages.bugs.core_operators import CORE
from forge.stages.bugs.expression_operators import EXPRESSIONS
from forge.stages.bugs.splices import Finder, Splice, Text
from forge.stages.bugs.statement_operators import STATEMENTS

EVERY: tuple[Finder, ...] = (*CORE, *EXPRESSIONS, *STATEMENTS)
"""All kinds of bugs, the core ones first."""
_BLOCK = "if True:\n"
"""Put before a method's source, it makes the method parse where it stands, so that no margin has to be touched."""


class Mutation(Record):
    """One bug: `source` is the whole new text, `line` (1-based, within it) where it differs first."""

    operator: str
    line: int
    source: str


def mutations(source: str) -> list[Mutation]:
    """Every core mutation of a function's (or a file's) source that still parses, in order of place; none if it does not parse."""
    found: dict[str, Mutation] = {}
    for splice in _splices(source, CORE):
        mutation = planted(source, splice)
        if mutation is not None:
            found.setdefault(mutation.source, mutation)
    return sorted(found.values(), key=lambda m: (m.line, m.operator, m.source))


def places(source: str, finders: Sequence[Finder] = EVERY) -> dict[str, list[Splice]]:
    """By operator, all that may be done to a function's source, in order of place; `planted` says which of it parses."""
    by_operator: dict[str, dict[tuple[int, int, str], Splice]] = defaultdict(dict)
    taken: set[tuple[int, int, str]] = set()
    for splice in _splices(source, finders):
        where = splice.start, splice.end, splice.text
        if where not in taken:
            taken.add(where)
            by_operator[splice.operator][where] = splice
    return {operator: [found[where] for where in sorted(found)] for operator, found in sorted(by_operator.items())}


def planted(source: str, splice: Splice) -> Mutation | None:
    """The source with the bug in it; `None` when that changes nothing or does not parse."""
    changed = source[: splice.start] + splice.text + source[splice.end :]
    if changed == source or _parse(changed) is None:
        return None
    return Mutation(operator=splice.operator, line=source.count("\n", 0, splice.start) + 1, source=changed)


def wrong_fixes(broken: str, right: str, chance: random.Random, count: int, language: str | None = None) -> list[str]:
    """Up to `count` distinct sources that failed attempts might have made of `broken`, none of them `right`.

    `language` is that of the sources, `None` for Python.

    Half differ at the very token that is wrong, as far as there are any, a quarter at its line, the rest elsewhere:
    what was tried in vain tells most when it is near the truth.
    """
    found = mutations(broken) if language is None else _by_tokens(broken, language)
    operators = {m.operator for m in found if m.source == right}
    kept = set(right.splitlines())
    changed = {number for number, line in enumerate(broken.splitlines(), 1) if line not in kept}
    piles: list[list[Mutation]] = [[], [], []]
    for mutation in found:
        if "".join(mutation.source.split()) != "".join(right.split()):
            piles[2 if mutation.line not in changed else 0 if mutation.operator in operators else 1].append(mutation)
    attempts: list[str] = []
    while len(attempts) < count and any(piles):
        pile = chance.choices(piles, [bool(pile) * weight for pile, weight in zip(piles, (2, 1, 1), strict=True)])[0]
        operator = chance.choice(sorted({m.operator for m in pile}))
        wrong = chance.choice([m for m in pile if m.operator == operator])
        pile.remove(wrong)
        attempts.append(wrong.source)
    return attempts


def _by_tokens(source: str, language: str) -> list[Mutation]:
    made: dict[str, Mutation] = {}
    for splice in tree_mutations.splices(language, source):
        changed = source[: splice.start] + splice.text + source[splice.end :]
        line = source.count("\n", 0, splice.start) + 1
        made.setdefault(changed, Mutation(operator=splice.operator, line=line, source=changed))
    return list(made.values())


def _splices(source: str, finders: Sequence[Finder]) -> Iterator[Splice]:
    tree = _parse(source)
    if tree is None:
        return
    before = _BLOCK if _indented(source) else ""
    text = Text(before + source)
    roots: list[ast.AST] = list(tree.body[0].body) if before and isinstance(tree.body[0], ast.If) else [tree]
    for finder in finders:
        for root in roots:
            for node in ast.walk(root):
                for splice in finder(node, text):
                    start, end = splice.start - len(before), splice.end - len(before)
                    yield Splice(operator=splice.operator, start=start, end=end, text=splice.text)


def _parse(source: str) -> ast.Module | None:
    try:
        return ast.parse(_BLOCK + source if _indented(source) else source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _indented(source: str) -> bool:
    return source[:1] in (" ", "\t")
