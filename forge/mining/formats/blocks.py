"""A commit's files as SEARCH/REPLACE blocks, the edits that generation answers in, proven by playing them.

A new file is a block with nothing to search for, its lines each ended by a newline. Deleted and renamed files cannot be
said this way.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge.errors import StageError
from forge.records import Drop, FileChange
from forge.stages.edits import apply_edits, format_edits, hunks_between, parse_edits
from forge.stages.stage import Hunk


def blocks_of(files: Sequence[FileChange]) -> str | Drop:
    """The blocks that make of these files' old contents the new ones, or why none do."""
    reason = next((found for found in map(_unfit, files) if found), "")
    if reason:
        return Drop(sha="", reason=reason)
    texts = [_text(file) for file in files if file.before != file.after]
    told = [text for text in texts if text is not None]
    if not texts or len(told) < len(texts):
        return Drop(sha="", reason="not expressible as edits" if texts else "no changed line")
    return "\n".join(told)


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


def _text(file: FileChange) -> str | None:
    """The blocks of one file: its changed places, or where these cannot be told apart one block around them all."""
    if file.before is None:
        found = [[Hunk(path=file.path, old=(), new=tuple((file.after or "").split("\n")[:-1]))]]
    else:
        found = [hunks_between(file.path, file.before, file.after or ""), [_around(file.path, file.before, file.after or "")]]
    return next((text for text in map(format_edits, found) if _makes(text, file)), None)


def _makes(text: str, file: FileChange) -> bool:
    try:
        return played(text, {} if file.before is None else {file.path: file.before}) == {file.path: file.after}
    except StageError:
        return False


def _around(path: str, before: str, after: str) -> Hunk:
    """One hunk from the first to the last changed line, with as many lines more as make it the only such place."""
    old, new = before.split("\n"), after.split("\n")
    most = min(len(old), len(new))
    head = next((n for n in range(most) if old[n] != new[n]), most)
    tail = next((n for n in range(most - head) if old[-1 - n] != new[-1 - n]), most - head)
    while (head or tail) and f"\n{before}\n".count("\n".join(["", *old[head : len(old) - tail], ""])) != 1:
        head, tail = max(0, head - 1), max(0, tail - 1)
    return Hunk(path=path, old=tuple(old[head : len(old) - tail]), new=tuple(new[head : len(new) - tail]))
