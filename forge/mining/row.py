"""`Row`: one commit that is worth learning from, as mining keeps it."""

from __future__ import annotations

from typing import ClassVar, Literal

from forge.records import FileChange, Record
from forge.stages.stage import Change, Explanation


class FunctionChange(Record):
    """One function or method that a commit adds, removes or changes, with its whole source on either side."""

    path: str
    """Where it is after the commit, before it when it is removed."""
    name: str
    """Qualified, such as `Cart.total`."""
    language: str
    kind: Literal["added", "removed", "modified"]
    before: str | None
    after: str | None


class Row(Record):
    """One surviving commit. Who wrote it is not in it."""

    schema_version: ClassVar[int] = 2

    id: str
    """Repository and the first twelve digits of the commit: `boltons@3f9c…`."""
    repo: str
    commit: str
    parent: str
    authored_at: str
    message: str
    """Without conventional prefix, issue numbers, trailers and sign-offs."""
    issues: tuple[int, ...] = ()
    """Numbers of issues and pull requests that the message named."""
    kind: str = ""
    """The conventional prefix that the message had, such as `fix`."""
    poor: str = ""
    """Why the message does not say what was done; empty when it does."""
    instruction: str = ""
    """What is asked for, as somebody would ask for it; empty when nothing says it."""
    instruction_by: Literal["", "people", "tests", "teacher"] = ""
    reasoning: Explanation | None = None
    """A teacher's, of what the change had to find out and to decide; its `change` has it too."""
    licence: str = ""
    """SPDX expression, `NOASSERTION` when none was found."""
    languages: tuple[str, ...]
    files: tuple[FileChange, ...]
    """Those that are code, with their diffs."""
    functions: tuple[FunctionChange, ...] = ()
    """Looked for once the row is sure to be kept."""
    change: Change | None = None
    """What the stages learn from it, when it is Python and inside functions."""
    no_change: str = ""
    """Why there is no `change`."""
    heldout: bool = False
    score: float | None = None
    """A judge's, between 0 and 1."""
    judged: str = ""
    """The judge's reasons."""
    error: str = ""
    """What a teacher failed with; the row is kept."""

    @property
    def diff(self) -> str:
        """The diff of all files."""
        return "".join(file.diff for file in self.files)
