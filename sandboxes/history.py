"""Whether an image tells the future: its work tree must be one orphan commit, or have no repository at all.

The image's own git is asked, in a container like any other. An image made to deceive could bring a git that lies; what this
finds is history that was left in by mistake, as in most public images.
"""

from __future__ import annotations

import shlex
from collections import defaultdict

from forge.records import Record
from sandboxes.errand import Errand

_LOOK = r"""
cd WORKDIR 2>/dev/null || { echo "lost"; exit; }
find . -mindepth 2 -name .git -prune 2>/dev/null | head -n 5 | sed 's/^/nested /'
[ -e .git ] || { echo "none"; exit; }
command -v git >/dev/null || { echo "unreadable there is no git in the image"; exit; }
there=$(git rev-parse --absolute-git-dir 2>&1) || { echo "unreadable $there"; exit; }
all() { git cat-file --batch-all-objects --unordered --batch-check='%(objecttype)' 2>/dev/null; }
echo "objects $(all | wc -l)"
echo "commits $(all | grep -c '^commit')"
echo "parents $(git cat-file -p HEAD 2>/dev/null | sed '/^$/q' | grep -c '^parent')"
echo "reachable $(git rev-list --objects HEAD 2>/dev/null | cut -c1-40 | sort -u | wc -l)"
git for-each-ref --format='ref %(refname)'
echo "reflog $(find "$there/logs" -type f -exec cat {} + 2>/dev/null | wc -l)"
for trace in ORIG_HEAD FETCH_HEAD MERGE_HEAD CHERRY_PICK_HEAD shallow objects/info/alternates info/grafts; do
    [ -s "$there/$trace" ] && echo "trace $trace"
done
echo "end"
"""


class History(Record):
    """What was found in an image's work tree; `clean` is the proof, `reason` what speaks against it."""

    image: str
    clean: bool
    reason: str
    seconds: float = 0.0


def look(image: str, workdir: str) -> Errand:
    """The errand that looks for history in an image."""
    return Errand(image, _LOOK.replace("WORKDIR", shlex.quote(workdir)))


def judge(image: str, output: str) -> History:
    """What the look's output proves."""
    said: dict[str, list[str]] = defaultdict(list)
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        said[word].append(rest)
    problems = list(_problems(said))
    good = "no repository" if "none" in said else "one orphan commit"
    return History(image=image, clean=not problems, reason="; ".join(problems) or good)


def _problems(said: dict[str, list[str]]) -> list[str]:
    found = [f"a repository inside at {path}" for path in said["nested"]]
    if "none" in said:
        return found
    if "lost" in said or "unreadable" in said or "end" not in said:
        return [*found, "the work tree cannot be looked at" + "".join(f": {why}" for why in said["unreadable"])]
    number = {word: int(said[word][0]) for word in ("objects", "commits", "parents", "reachable", "reflog")}
    branches = [name for name in said["ref"] if name.startswith("refs/heads/")]
    others = [name for name in said["ref"] if name not in branches[:1]]
    if number["commits"] != 1 or number["parents"]:
        found.append(f"{number['commits']} commits" if number["commits"] != 1 else "its commit has a parent")
    if others:
        found.append(f"{len(others)} refs more, such as {others[0]}")
    if number["reflog"]:
        found.append(f"a reflog of {number['reflog']} lines")
    if number["objects"] != number["reachable"]:
        found.append(f"{number['objects'] - number['reachable']} objects that its commit does not need")
    return found + [f"{trace} is there" for trace in said["trace"]]
