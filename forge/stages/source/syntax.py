"""Whether an edit leaves a file that can be parsed, in any language with a grammar."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from forge.errors import StageError
from forge.records import FileEdit
from forge.stages.source.grammars import WITH_FUNCTIONS
from forge.stages.source.languages import language_of
from forge.stages.source.tree_symbols import parsed


def refuse_broken(edits: Sequence[FileEdit], before: Mapping[str, str]) -> None:
    """Raise `StageError`, with the line, for a file that could be parsed before the edits and cannot be after them."""
    for edit in edits:
        if edit.content is None or not (broken := syntax_error(edit.path, edit.content)):
            continue
        if not syntax_error(edit.path, before.get(edit.path, "")):
            raise StageError(f"{edit.path} does not parse after the edit: {broken}")


def syntax_error(path: str, source: str) -> str:
    """What is wrong with a file's syntax, empty where nothing is or nobody can tell."""
    language = language_of(path)
    if path.endswith(".py"):
        try:
            ast.parse(source)
        except SyntaxError as error:
            return f"{error.msg}, line {error.lineno}"
        except (ValueError, RecursionError, MemoryError) as error:
            return str(error)
        return ""
    if language is None or language == "python" or language not in WITH_FUNCTIONS:
        return ""
    waiting = [parsed(language, source.encode("utf-8", "surrogatepass")).root_node]
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            return f"syntax error, line {node.start_point.row + 1}"
        waiting += reversed([child for child in node.children if child.has_error or child.is_missing])
    return ""
