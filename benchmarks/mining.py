"""Reading histories: forge beside `git log -p` and PyDriller with `changed_methods`, on one core, in one run.

`filtered` is what mining does to all commits before it opens one; `contents` adds sources and diffs of those that are left, `rows`
everything that makes rows of them (licences, secrets, messages, fingerprints), `functions` finds what they change. PyDriller is
timed on a sample of the non-merge commits and reckoned up. Ratios are of medians, runs interleaved. With --workers two processes
share the shards of the largest repository; with --large a history of that many commits is made and read for its peak memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pydriller

from forge.config import MiningConfig
from forge.mining.functions import Functions
from forge.mining.history import GitHistory
from forge.mining.quality.contamination import Benchmarks
from forge.mining.quality.mechanical import is_kept, summary_reason
from forge.mining.reading import Reader
from forge.mining.shard import Shard, Survey
from forge.mining.surveying import survey
from forge.records import Commit, Drop

SHARDS = 30
"""Shards of a made-up history that are read for its memory; a shard keeps nothing of another."""
CONFIG = MiningConfig.model_validate({"licences": {"allow": ["*"], "unknown": "keep"}})


def main() -> None:
    """Run all, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repos", nargs="+", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--sample", type=int, default=60, help="commits that PyDriller reads of each repository")
    parser.add_argument("--workers", action="store_true", help="two processes against one")
    parser.add_argument("--large", type=int, default=0, help="commits of a history that is made for its memory")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    made = datetime.now(UTC).isoformat(timespec="seconds")
    figures: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "made": made}
    named = {path.name if path.name != "repo" else path.parent.name: path for path in given.repos}
    figures["repositories"] = {name: measured(path, given.runs, given.sample) for name, path in named.items()}
    if given.workers:
        figures["workers"] = shared(max(given.repos, key=lambda path: survey("x", path, listings()).commits), given.runs)
    if given.large:
        figures["memory"] = [memory(commits) for commits in (1_000, given.large)]
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


@cache
def listings() -> Path:
    """Where the commits of the repositories are listed."""
    return Path(tempfile.mkdtemp(prefix="forge-bench-"))


def measured(path: Path, runs: int, sample: int) -> dict[str, Any]:
    """Seconds of each part for one repository, medians of interleaved runs."""
    known = survey("x", path, listings())
    commits = contents(path)
    parts: dict[str, Callable[[], object]] = {
        "git log -p": lambda: subprocess.run(["git", "-C", str(path), "log", "-p", known.head], stdout=subprocess.DEVNULL, check=True),
        "filtered": lambda: survivors(path),
        "contents": lambda: contents(path),
        "rows": lambda: rows(path, known),
        "functions": lambda: [functions(commits)],
    }
    reader(known)  # models are loaded once a worker
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(runs):
        for name, part in parts.items():
            began = time.perf_counter()
            part()
            taken[name].append(time.perf_counter() - began)
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    seconds["PyDriller with changed_methods"] = pydriller_seconds(path, sample)
    return {"commits": known.commits, "survivors": len(commits), "seconds": seconds}


def survivors(path: Path) -> list[Any]:
    """Summaries that metadata leaves."""
    history = GitHistory("x", path)
    found = [summary for summary in history.summaries() if not summary_reason(summary, CONFIG)]
    history.close()
    return found


def contents(path: Path) -> list[Commit]:
    """The same with sources and diffs."""
    history = GitHistory("x", path)
    kept = [summary for summary in history.summaries() if not summary_reason(summary, CONFIG)]
    found = list(history.contents(kept, wanted=lambda name: is_kept(name, CONFIG), max_lines=CONFIG.max_changed_lines))
    history.close()
    return [commit for commit in found if isinstance(commit, Commit)]


def functions(commits: list[Commit]) -> int:
    """Functions that these commits change."""
    finder = Functions()
    return sum(len(finder.changed(commit.files)) for commit in commits)


_READERS: dict[str, Reader] = {}


def reader(known: Survey) -> Reader:
    """The reader, made once, as in a worker."""
    if "" not in _READERS:
        _READERS[""] = Reader(CONFIG, Benchmarks({}, CONFIG.contamination))
        history = GitHistory("x", Path(known.path), known.head)
        list(_READERS[""].rows(history, known, next(known.shards(20))))
        history.close()
    return _READERS[""]


def rows(path: Path, known: Survey) -> int:
    """Everything that reading does."""
    history = GitHistory("x", path, known.head)
    found = sum(not isinstance(end, Drop) for shard in known.shards() for end in reader(known).rows(history, known, shard))
    history.close()
    return found


def pydriller_seconds(path: Path, sample: int) -> float:
    """Seconds that PyDriller would take for all non-merge commits, from a sample of them drawn with seed 0."""
    history = GitHistory("x", path)
    shas = [summary.sha for summary in history.summaries() if len(summary.parents) < 2]
    history.close()
    chosen = random.Random(0).sample(shas, min(sample, len(shas)))
    git = pydriller.Git(str(path))
    began = time.perf_counter()
    for sha in chosen:
        for file in git.get_commit(sha).modified_files:
            _ = file.diff, file.source_code, file.source_code_before, file.changed_methods
    took = time.perf_counter() - began
    git.clear()
    return took / len(chosen) * len(shas)


def shared(path: Path, runs: int) -> dict[str, float]:
    """Wall seconds for a repository's shards eight times over, by one process and by two, each with its git on a core of its own."""
    known = survey("x", path, listings())
    work = [(str(path), known.model_dump_json(), shard.model_dump_json()) for _ in range(8) for shard in known.shards()]
    taken: dict[int, list[float]] = {1: [], 2: []}
    context = multiprocessing.get_context("spawn")
    for _ in range(runs):
        for workers in taken:
            cores = context.SimpleQueue()
            for core in sorted(os.sched_getaffinity(0))[:workers]:
                cores.put(core)
            with context.Pool(workers, _stay, (cores,)) as pool:
                pool.map(_read, work[: 2 * workers], chunksize=1)  # models are loaded before the clock runs
                began = time.perf_counter()
                pool.map(_read, work, chunksize=1)
                taken[workers].append(time.perf_counter() - began)
    one, two = (statistics.median(times) for times in taken.values())
    return {"one": one, "two": two, "ratio": one / two}


def _stay(cores: Any) -> None:
    """Keep this process and what it starts on one core, as Ray counts a worker."""
    os.sched_setaffinity(0, {cores.get()})


def _read(unit: tuple[str, str, str]) -> int:
    path, known, shard = unit
    history = GitHistory("x", Path(path))
    survey_ = Survey.model_validate_json(known)
    found = sum(1 for _ in reader(survey_).rows(history, survey_, Shard.model_validate_json(shard)))
    history.close()
    return found


def memory(commits: int) -> dict[str, Any]:
    """Peak memory of a process that lists a made-up history of so many commits and reads `SHARDS` of its shards, spread over all."""
    with tempfile.TemporaryDirectory(prefix="forge-bench-") as folder:
        path = Path(folder) / "repo"
        make_history(path, commits)
        began = time.perf_counter()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peak = pool.apply(_peak, (str(path),))
        return {"commits": commits, "peak_mib": peak, "seconds": time.perf_counter() - began}


def _peak(path: str) -> float:
    known = survey("x", Path(path), listings())
    shards = list(known.shards())
    history = GitHistory("x", Path(path), known.head)
    for shard in shards[:: max(1, len(shards) // SHARDS)]:
        sum(1 for _ in reader(known).rows(history, known, shard))
    history.close()
    # What getrusage says is the larger of this process and the one that it was forked from.
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def make_history(path: Path, commits: int) -> None:
    """A repository of small files, one changed by each commit, by `git fast-import`."""
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    feed = subprocess.Popen(["git", "-C", str(path), "fast-import", "--quiet"], stdin=subprocess.PIPE)
    assert feed.stdin
    for number in range(commits):
        source = f"def f{number % 50}(x):\n    return x + {number}\n".encode()
        message = f"fix f{number % 50} for {number}\n".encode()
        who = b"A <a@example.org> %d +0000\n" % (1_000_000_000 + number)
        feed.stdin.write(b"commit refs/heads/master\nauthor " + who + b"committer " + who + b"data %d\n" % len(message) + message)
        feed.stdin.write(b"M 100644 inline p%d/m.py\ndata %d\n" % (number % 50, len(source)) + source + b"\n")
    feed.stdin.close()
    assert feed.wait() == 0
    subprocess.run(["git", "-C", str(path), "symbolic-ref", "HEAD", "refs/heads/master"], check=True)


def show(figures: dict[str, Any]) -> None:
    """The tables."""
    for name, found in figures["repositories"].items():
        seconds = found["seconds"]
        log, mined = seconds["git log -p"], seconds["contents"]
        print(f"{name}: {found['commits']:,} commits, {found['survivors']:,} read")
        for part, took in seconds.items():
            print(f"  {part:<32} {took:9.2f} s   {took / log:7.2f} of git log -p")
        slow = seconds["PyDriller with changed_methods"]
        both = mined + seconds["functions"]
        print(f"  PyDriller beside contents: {slow / mined:.0f} times; beside contents and functions: {slow / both:.0f}")
    if "workers" in figures:
        print(f"two workers: {figures['workers']['ratio']:.2f} times one")
    for found in figures.get("memory", []):
        print(f"{found['commits']:>9,} commits: peak {found['peak_mib']:.0f} MiB, {found['seconds']:.0f} s")


if __name__ == "__main__":
    main()
