"""Unified diffs as git reads and writes them: made from whole files, split by file, and turned round. Text only, pure.

`git apply` takes everything made here, files without a newline at the end, new and deleted ones included.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping

from forge.records import Record

_NO_NEWLINE = "\\ No newline at end of file\n"
_HUNK = re.compile(r"@@ -(\d+(?:,\d+)?) \+(\d+(?:,\d+)?) @@(.*)", re.DOTALL)
_BOTH_QUOTED = re.compile(r'("(?:[^"\\]|\\.)*") ("(?:[^"\\]|\\.)*")')
_SAFE = re.compile(r'[^\x00-\x1f"\\\x7f-\U0010ffff]+')
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_QUOTED = re.compile(r"\\([0-7]{3}|.)|([^\\]+)", re.DOTALL)
_BINARY = "GIT binary patch\n"
_BASE85 = re.compile(r"[A-Za-z][0-9A-Za-z!#$%&()*+;<=>?@^_`{|}~-]+\n|(literal|delta) \d+\n|\n")
_HEADER = re.compile(
    r"index |old mode |new mode |new file mode |deleted file mode |similarity index |dissimilarity index |rename (from|to) |copy (from|to) "
    r"|--- |\+\+\+ |\\ |GIT binary patch\n|Binary files "
)
_ORDER = ("diff --git", "old mode", "new mode", "similarity", "rename from", "rename to")
_SWAPPED = {
    "new file mode": "deleted file mode",
    "deleted file mode": "new file mode",
    "old mode": "new mode",
    "new mode": "old mode",
    "rename from": "rename to",
    "rename to": "rename from",
}


class FileDiff(Record):
    """The part of a diff that is about one file; a path is `None` on the side where there is no file."""

    old: str | None
    new: str | None
    paths: tuple[str, ...]
    """Every path that any of its headers names: whichever of them a program believes, it is among these."""
    text: str


def diff(before: Mapping[str, str | None], after: Mapping[str, str | None]) -> str:
    """The diff that turns files `before` into `after`, by path in sorted order; `None` or no key: no such file."""
    paths = sorted(before.keys() | after.keys())
    return "".join(_file_diff(path, before.get(path), after.get(path)) for path in paths if before.get(path) != after.get(path))


def split(patch: str) -> list[FileDiff]:
    """The files of a diff in its order, each with `diff --git` headers, or with a plain `---`/`+++` pair alone.

    A file's text is its headers and hunks and nothing else: what stands between files could be a diff in another format,
    which some programs would apply.
    """
    return [_named("".join(lines)) for lines in _sections(patch)]


def joined(files: list[FileDiff]) -> str:
    """One diff of these files; each ends with a newline, without which git calls a patch corrupt."""
    return "".join(file.text if file.text.endswith("\n") else file.text + "\n" for file in files)


def reversed_diff(patch: str) -> str:
    """The diff that takes `patch` back."""
    return "".join(_reversed(file) for file in split(patch))


def _file_diff(path: str, before: str | None, after: str | None) -> str:
    old, new = _quoted(f"a/{path}"), _quoted(f"b/{path}")
    head = f"diff --git {old} {new}\n"
    if before is None:
        head, old = head + "new file mode 100644\n", "/dev/null"
    if after is None:
        head, new = head + "deleted file mode 100644\n", "/dev/null"
    hunks = list(difflib.unified_diff(_lines(before or ""), _lines(after or ""), old, new))[2:]
    if not hunks:
        return head
    # A tab ends a name that holds a blank: without it git takes the rest for a date.
    ends = ["\t" if " " in name else "" for name in (old, new)]
    body = "".join(line if line.endswith("\n") else f"{line}\n{_NO_NEWLINE}" for line in hunks)
    return f"{head}--- {old}{ends[0]}\n+++ {new}{ends[1]}\n{body}"


def _lines(text: str) -> list[str]:
    """Lines as git counts them: `\\n` alone ends one."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _quoted(path: str) -> str:
    """The path as git prints it: in quotes, bytes in octal, where it holds anything unusual."""
    if _SAFE.fullmatch(path):
        return path
    parts = (
        _ESCAPES.get(char)
        or (char if " " <= char < "\x7f" else "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape")))
        for char in path
    )
    return f'"{"".join(parts)}"'


def _unquoted(path: str) -> str:
    if not path.startswith('"'):
        return path
    back = {escape[1]: char for char, escape in _ESCAPES.items()}
    found = bytearray()
    for escape, plain in _QUOTED.findall(path[1:-1]):
        octal = bytes([int(escape, 8) & 0xFF]) if len(escape) == 3 else back.get(escape, escape).encode()
        found += octal if escape else plain.encode("utf-8", "surrogateescape")
    return found.decode("utf-8", "surrogateescape")


def _sections(patch: str) -> Iterator[list[str]]:
    """Lines of each file; a hunk's lines are counted, so that a changed line cannot pass for a header."""
    lines: list[str] = []
    left = [0, 0]
    hunks = False
    for line in _lines(patch):
        if left != [0, 0]:
            _count(line, left)
            lines.append(line)
            continue
        plain = line.startswith("--- ") and (hunks or not lines)
        if plain or line.startswith("diff --git "):
            if lines:
                yield lines
            lines, hunks = [line], False
        elif lines and (found := _HUNK.match(line)):
            left, hunks = [_length(found[1]), _length(found[2])], True
            lines.append(line)
        elif lines and (_HEADER.match(line) or (_BINARY in lines and _BASE85.fullmatch(line))):
            lines.append(line)
    if lines:
        yield lines


def _count(line: str, left: list[int]) -> None:
    """Take one line of a hunk off what is left of its old and its new side."""
    if line[:1] in (" ", "-", "\n"):
        left[0] = max(0, left[0] - 1)
    if line[:1] in (" ", "+", "\n"):
        left[1] = max(0, left[1] - 1)


def _length(side: str) -> int:
    return int(side.partition(",")[2] or 1)


def _named(text: str) -> FileDiff:
    head = text.partition("\n@@ ")[0]
    line = [_inside(name) for name in _names_of_line(head.partition("\n")[0])]
    moved = [_name(head, f"{verb} {end} ") for verb in ("rename", "copy") for end in ("from", "to")]
    sides: list[str | None] = []
    for number, (sign, absent) in enumerate((("--- ", "\nnew file mode "), ("+++ ", "\ndeleted file mode "))):
        said = _name(head, sign)
        sides.append(_inside(said) if said is not None else None if absent in head else moved[number] or line[number])
    paths = dict.fromkeys(path for path in (*sides, *line, *moved) if path is not None)
    return FileDiff(old=sides[0], new=sides[1], paths=tuple(paths), text=text)


def _name(head: str, start: str) -> str | None:
    found = re.search(rf"^{re.escape(start)}(\"(?:[^\"\\]|\\.)*\"|[^\t\n]*)", head, re.MULTILINE)
    return None if found is None else _unquoted(found[1].rstrip("\r"))


def _names_of_line(line: str) -> tuple[str | None, str | None]:
    """Both names of a `diff --git` line; where they differ and hold blanks, git's own choice is the other headers'."""
    if not line.startswith("diff --git "):
        return None, None
    line = line.removeprefix("diff --git ")
    if quoted := _BOTH_QUOTED.fullmatch(line):
        return _unquoted(quoted[1]), _unquoted(quoted[2])
    half = len(line) // 2
    if line[2:half] == line[half + 3 :]:
        return line[:half], line[half + 1 :]
    old, _, new = line.rpartition(" b/")
    return old, f"b/{new}"


def _inside(name: str | None) -> str | None:
    if name is None or name == "/dev/null":
        return None
    return name.partition("/")[2] if name[:2] in ("a/", "b/") else name


def _reversed(file: FileDiff) -> str:
    lines = _lines(file.text if file.text.endswith("\n") else file.text + "\n")
    first = next((i for i, line in enumerate(lines) if _HUNK.match(line)), len(lines))
    return "".join([*_reversed_head(lines[:first]), *_reversed_hunks(lines[first:])])


def _reversed_head(lines: list[str]) -> list[str]:
    turned, names = [], dict[str, str]()
    for line in lines:
        key = next((key for key in _SWAPPED if line.startswith(f"{key} ")), None)
        if key is not None:
            turned.append(_SWAPPED[key] + line[len(key) :])
        elif line.startswith(("--- ", "+++ ")):
            names[line[:3]] = line[4:]
        elif found := re.fullmatch(r"index (\w+)\.\.(\w+)(.*\n)", line):
            turned.append(f"index {found[2]}..{found[1]}{found[3]}")
        elif (found := re.fullmatch(r"diff --git (a/.*) (b/.*)\n", line)) and any(after.startswith("rename ") for after in lines):
            turned.append(f"diff --git {_on_side(found[2], 'a')} {_on_side(found[1], 'b')}\n")
        else:
            turned.append(line)
    # git wants the old mode, and the old name, before the new one.
    turned.sort(key=lambda line: next((i for i, start in enumerate(_ORDER) if line.startswith(start)), len(_ORDER)))
    return [*turned, f"--- {_on_side(names['+++'], 'a')}", f"+++ {_on_side(names['---'], 'b')}"] if len(names) == 2 else turned


def _on_side(name: str, side: str) -> str:
    return re.sub(r'^("?)[ab]/', rf"\g<1>{side}/", name)


def _reversed_hunks(lines: list[str]) -> Iterator[str]:
    removed: list[str] = []
    added: list[str] = []
    side = removed
    for line in lines:
        if line.startswith("\\"):
            side.append(line)
        elif line.startswith("-"):
            side = added
            side.append("+" + line[1:])
        elif line.startswith("+"):
            side = removed
            side.append("-" + line[1:])
        else:
            yield from (*removed, *added)
            removed, added = [], []
            side, found = removed, _HUNK.match(line)
            yield line if found is None else f"@@ -{found[2]} +{found[1]} @@{found[3]}"
    yield from (*removed, *added)
