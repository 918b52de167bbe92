"""Small real git repositories made on the spot, for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

BODIES = {
    "total": ("    result = 0\n    for item in items:\n        result += item\n    return result\n", "items", "[1, 2, 3]", "6"),
    "highest": (
        "    best = items[0]\n    for item in items:\n        if item > best:\n            best = item\n    return best\n",
        "items",
        "[4, 9, 2]",
        "9",
    ),
    "clamp": ("    if value > 10:\n        return 10\n    return value\n", "value", "11", "10"),
}
WRONG = {"total": ("result = 0", "result = 1"), "highest": ("item > best", "item < best"), "clamp": ("value > 10", "value > 11")}


class SmallRepo:
    """A git repository in a folder; every commit is a minute after the one before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._minutes = 0
        path.mkdir(parents=True, exist_ok=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, author: str = "Ada Lovelace") -> str:
        date = f"2024-01-01T{10 + self._minutes // 60:02}:{self._minutes % 60:02}:00+02:00"
        who = {
            "GIT_AUTHOR_NAME": author,
            "GIT_AUTHOR_EMAIL": "ada@example.org",
            "GIT_COMMITTER_NAME": author,
            "GIT_COMMITTER_EMAIL": "ada@example.org",
        }
        when = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", "-C", str(self.path), *arguments], check=True, capture_output=True, env={**os.environ, **who, **when})
        return done.stdout.decode("utf-8", "replace").strip()

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "change something here", author: str = "Ada Lovelace") -> str:
        """Write (or with `None` delete) files and commit everything; returns the commit's id."""
        self._minutes += 1
        for name, content in files.items():
            target = self.path / name
            if content is None:
                target.unlink()
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", message, author=author)
        return self.git("rev-parse", "HEAD")


def function(name: str, kind: str, *, wrong: bool = False) -> str:
    """Source of one small function; `wrong` plants the bug that a fix commit takes out."""
    body, argument, _, _ = BODIES[kind]
    if wrong:
        body = body.replace(*WRONG[kind])
    return f"def {name}({argument}):\n{body}"


def check_of(name: str, kind: str) -> str:
    """A pytest function with one assert for `function(name, kind)`."""
    _, _, call, expected = BODIES[kind]
    return f"def test_{name}():\n    assert {name}({call}) == {expected}\n"


def module(stem: str, wrong: str = "") -> str:
    """A module with the three functions `total_<stem>`, `highest_<stem>`, `clamp_<stem>`."""
    return "\n\n".join(function(f"{kind}_{stem}", kind, wrong=kind == wrong) for kind in BODIES)


def suite(stem: str, without: str = "") -> str:
    """Its test file; `without` leaves one kind out."""
    names = [kind for kind in BODIES if kind != without]
    head = f"from pkg.{stem} import {', '.join(f'{kind}_{stem}' for kind in BODIES)}\n"
    return "\n\n".join([head, *(check_of(f"{kind}_{stem}", kind) for kind in names)])


def practice(path: Path, stems: tuple[str, ...] = ("apple", "birch", "cedar", "dune")) -> SmallRepo:
    """Modules with one planted bug each, then commits: fixes with tests, a refactoring, docs, a merge, a bot, a revert."""
    repo = SmallRepo(path)
    kinds = list(BODIES)
    bugs = {stem: kinds[number % len(kinds)] for number, stem in enumerate(stems)}
    start: dict[str, str] = {"pkg/__init__.py": "", "README.md": "# small\n"}
    for stem, bug in bugs.items():
        start |= {f"pkg/{stem}.py": module(stem, bug), f"tests/test_{stem}.py": suite(stem, bug)}
    repo.commit(start, "start of the package")
    for stem, bug in bugs.items():
        repo.commit(
            {f"pkg/{stem}.py": module(stem), f"tests/test_{stem}.py": suite(stem)}, f"fix: {bug}_{stem} gives a wrong number (#{len(stem)})"
        )
    first = stems[0]
    repo.commit({f"pkg/{first}.py": module(first).replace("result", "amount")}, "rename the variable of the sum")
    repo.commit({"README.md": "# small\n\nWords.\n"}, "docs: say more")
    repo.commit({f"pkg/{first}.py": module(first).replace("result", "subtotal")}, "wip")
    repo.commit({f"pkg/{first}.py": module(first)}, "bump something in a file", author="renovate[bot]")
    repo.git("checkout", "-q", "-b", "side")
    repo.commit({f"pkg/{stems[1]}.py": module(stems[1]).replace("best", "top")}, "call the highest one top")
    repo.git("checkout", "-q", "main")
    repo.commit({f"pkg/extra_{first}.py": function("clamp_extra", "clamp")}, "feature: one more clamp")
    repo.git("merge", "-q", "--no-ff", "-m", "Merge branch 'side'", "side")
    return repo
