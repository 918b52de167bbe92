"""A commit's files as SEARCH/REPLACE blocks, the edits that generation answers in, proven by playing them.

A new file is a block with nothing to search for, its lines each ended by a newline. Deleted and renamed files cannot be
said this way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from forge.errors import StageError
from forge.records import Drop, FileChange
from forge.stages.edits import apply_edits, format_edits, hunks_between, parse_edits
from forge.stages.stage import Hunk


def blocks_of(files: Sequence[FileChange]) -> str | Drop:
    """The blocks that make of these files' old contents the new ones, or why none do."""
    reason = next((found for found in map(_unfit, files) if found), "")
    if reason:
        return Drop(sha="", reason=reason)
    text = format_edits([hunk for file in files for hunk in _hunks(file)])
    before = {file.path: file.before for file in files if file.before is not None}
    try:
        made = played(text, before)
    except StageError:
        made = {}
    return text if made == {file.path: file.after for file in files} else Drop(sha="", reason="not expressible as edits")


def played(text: str, files: Mapping[str, str]) -> dict[str, str]:
    """The files after the blocks of `text`, new ones included; raises `StageError` when one does not fit."""
    hunks = parse_edits(text)
    new = {hunk.path: "".join(f"{line}\n" for line in hunk.new) for hunk in hunks if not hunk.old and hunk.path not in files}
    changed = apply_edits([hunk for hunk in hunks if hunk.path not in new], files)
    return {**files, **new, **{edit.path: edit.content or "" for edit in changed}}


def _unfit(file: FileChange) -> str:
    if file.after is None:
        return "deletes a file"
    if file.old_path not in (None, file.path) and file.before is not None:
        return "renames a file"
    if file.before is None and file.after and not file.after.endswith("\n"):
        return "a new file without a newline at its end"
    return ""


def _hunks(file: FileChange) -> Iterator[Hunk]:
    if file.before is None:
        yield Hunk(path=file.path, old=(), new=tuple((file.after or "").split("\n")[:-1]))
    elif file.before != file.after:
        yield from hunks_between(file.path, file.before, file.after or "")
