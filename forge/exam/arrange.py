"""Hidden tests as a grading box gets them: twins among them, and chance decides which version bears which name.

A hidden test with a twin stands in its file twice, once under its own name and once under a random one. Which of the two
must pass is decided anew for each grade, so neither names nor places tell it. Same file, same class: fixtures, helpers
and configuration are those of the test itself.
"""

from __future__ import annotations

import ast
import functools
import random
import re
import textwrap
from collections import defaultdict
from collections.abc import Sequence

from forge.exam.functions import TestNode, ids_by_function, join_id, span, split_id, unique_functions
from forge.records import FileEdit, Record, Twin

_DEFINITION = re.compile(r"^((?:async )?def )\w+", re.MULTILINE)


class Arrangement(Record):
    """Test files, and what to ask of them. Ids that are in neither map are asked under their own name."""

    files: tuple[FileEdit, ...]
    stand_ins: dict[str, str]
    """Id of a hidden test → the id under which it is run."""
    twins: dict[str, Twin]
    """Id that must fail → the twin that stands there."""


def arrange(tests: Sequence[FileEdit], ids: Sequence[str], twins: Sequence[Twin], chance: random.Random) -> Arrangement:
    """The test files with `twins` in them. A twin whose function is not there once, or that no id asks for, is left out."""
    wanted = ids_by_function(ids)
    by_function: dict[tuple[str, str], list[Twin]] = defaultdict(list)
    for twin in twins:
        if (twin.path, twin.name) in wanted:
            by_function[twin.path, twin.name].append(twin)
    files: list[FileEdit] = []
    stand_ins: dict[str, str] = {}
    standing: dict[str, Twin] = {}
    for edit in tests:
        functions = _functions(edit.content or "")
        written: list[tuple[TestNode, str]] = []
        for (path, name), versions in by_function.items():
            if path == edit.path and name in functions:
                node = functions[name]
                names = [name, *(f"{name}_{chance.getrandbits(32):08x}" for _ in versions)]
                chance.shuffle(names)
                sources = [_unparsed(edit.content or "", name), *(twin.source for twin in versions)]
                written.append((node, _written(sources, names, node, chance)))
                stand_ins |= {id_: _renamed(id_, names[0]) for id_ in wanted[path, name]}
                for twin, new in zip(versions, names[1:], strict=True):
                    standing |= {_renamed(id_, new): twin for id_ in wanted[path, name]}
        files.append(edit if not written else FileEdit(path=edit.path, content=_replaced(edit.content or "", written)))
    return Arrangement(files=tuple(files), stand_ins=stand_ins, twins=standing)


@functools.lru_cache(maxsize=256)
def _functions(text: str) -> dict[str, TestNode]:
    # Many grades ask for the same file.
    return unique_functions(text)


@functools.lru_cache(maxsize=1024)
def _unparsed(text: str, name: str) -> str:
    return ast.unparse(_functions(text)[name])


def _written(sources: Sequence[str], names: Sequence[str], place: TestNode, chance: random.Random) -> str:
    """All versions, each under its name, in any order, where `place` stands."""
    versions = [_named(source, name.rpartition(".")[2]) for source, name in zip(sources, names, strict=True)]
    chance.shuffle(versions)
    return textwrap.indent("\n\n".join(versions), " " * place.col_offset)


def _named(source: str, name: str) -> str:
    return _DEFINITION.sub(rf"\g<1>{name}", source, count=1)


def _renamed(id_: str, name: str) -> str:
    path, _, parameters = split_id(id_)
    return join_id(path, name, parameters)


def _replaced(text: str, written: Sequence[tuple[TestNode, str]]) -> str:
    lines = text.split("\n")
    for node, new in sorted(written, key=lambda one: -one[0].lineno):
        first, last = span(node)
        lines[first - 1 : last] = [new]
    return "\n".join(lines)
