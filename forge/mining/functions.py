"""Which functions a commit adds, removes or changes: Python's by its own parser, all others, and what that refuses, by tree-sitter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from forge.mining.python_functions import changed_functions
from forge.mining.row import FunctionChange
from forge.mining.tree_functions import Trees
from forge.records import FileChange
from forge.stages.source.languages import language_of


class Functions:
    """Finds changed functions, commit after commit."""

    def __init__(self) -> None:
        self._trees = Trees()

    def changed(self, files: Sequence[FileChange]) -> tuple[FunctionChange, ...]:
        """The functions that these files differ in, file by file in the order of their lines, removed ones last."""
        return tuple(change for file in files for change in self._in(file))

    def _in(self, file: FileChange) -> Iterator[FunctionChange]:
        language = language_of(file.path)
        if language is None:
            return
        changes = changed_functions(file.before or "", file.after or "") if language == "python" else None
        for name, before, after in self._trees.changed(file, language) if changes is None else changes:
            kind = "added" if before is None else "removed" if after is None else "modified"
            about = {"path": file.path, "name": name, "language": language, "kind": kind, "before": before, "after": after}
            yield FunctionChange.model_validate(about)
