"""Retrieval beside what it was, `rank_bm25` over symbols with all they say, and beside bm25s, in one run over real code.

A tree of FILES Python files and about BYTES is taken from the folders given (by default the packages of this environment). Figures are
wall and CPU seconds of fresh processes, medians of runs that take turns; on a busy machine the CPU seconds are the steadier ones.
`small` is one practice tree of ten modules: index and one search, as a rollout asks. `order` says for how many statements about
generated practice repositories the six best symbols are the same, in the same order, as rank_bm25's.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sysconfig
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bm25s
from rank_bm25 import BM25Okapi

from forge.nano.repository import FIX_MESSAGES, generate
from forge.records import FileEdit, Symbol, Task
from forge.rollouts.tree import TaskTree, source_files
from forge.stages.retrieval.index import Index
from forge.stages.retrieval.outline import outline_of
from forge.stages.retrieval.words import words
from forge.stages.source.symbols import is_test_path, symbols_in
from forge.stages.statements import CallExample, compose
from forge.store.cache import Cache

QUERY = "softmax of the attention mask is wrong when key padding is given"
CANDIDATES = 6
TASK = Task.model_validate(
    {"id": "q", "repo": "r", "base_commit": "", "origin": "commit", "statement": QUERY, "statement_by": "people", "tree": ""}
    | dict.fromkeys(("gold", "tests", "fail_to_pass", "pass_to_pass", "files"), ())
)


class Former:
    """Retrieval as it was: every symbol made whole, every document a list of words."""

    def __init__(self, symbols: list[Symbol]) -> None:
        self.symbols = symbols
        self.library = BM25Okapi([documented(symbol) for symbol in symbols])

    def search(self, query: str, k: int) -> list[Symbol]:
        scores = self.library.get_scores(words(query))
        order = sorted(range(len(self.symbols)), key=lambda i: (-scores[i], i))
        return [self.symbols[i] for i in order[:k]]


class Peer:
    """bm25s as it comes: one of its own formulas, one index for all."""

    def __init__(self, symbols: list[Symbol], method: str = "robertson") -> None:
        self.symbols = symbols
        self.library = bm25s.BM25(method=method, dtype="float64")
        self.library.index([documented(symbol) for symbol in symbols], show_progress=False)

    def search(self, query: str, k: int) -> list[Symbol]:
        known = [word for word in words(query) if word in self.library.vocab_dict]
        scores = self.library.get_scores(known) if known else [0.0] * len(self.symbols)
        order = sorted(range(len(self.symbols)), key=lambda i: (-scores[i], i))
        return [self.symbols[i] for i in order[:k]]


def documented(symbol: Symbol) -> list[str]:
    """A symbol as a list of words."""
    return words(symbol.name) * 3 + words(symbol.path) * 2 + words(symbol.source)


def main() -> None:
    """Run all, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[Path(sysconfig.get_paths()["purelib"])])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--bytes", type=int, default=60 * 2**20)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--repositories", type=int, default=100, help="practice repositories whose order is compared")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-bench-") as scratch:
        tree = Path(scratch) / "tree"
        figures: dict[str, Any] = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "tree": gather(given.folders, tree, given.files, given.bytes),
        }
        figures["large"] = large(tree, given.runs)
        practice = list(practice_trees(Path(scratch), given.repositories))
        figures["small"] = small(practice[0])
        figures["order"] = order(practice)
    show(figures)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def gather(folders: list[Path], into: Path, count: int, size: int) -> dict[str, int]:
    """Copy the `count` largest files, smaller than any whose weight would make them more than `size` bytes together."""
    found: list[tuple[int, Path, Path]] = []
    for folder in folders:
        inside = (path for path in folder.rglob("*.py") if path.is_file() and not is_test_path(path.relative_to(folder).as_posix()))
        found += [(path.stat().st_size, path, folder) for path in inside]
    found.sort(key=lambda entry: (-entry[0], str(entry[1])))
    start, held = 0, sum(entry[0] for entry in found[:count])
    while held > size and start + count < len(found):
        held += found[start + count][0] - found[start][0]
        start += 1
    for _, path, folder in found[start : start + count]:
        target = into / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return {"files": len(found[start : start + count]), "bytes": held}


def large(tree: Path, runs: int) -> dict[str, Any]:
    """Seconds of each step on the tree, each run in a process of its own."""
    ways: dict[str, Callable[[str], dict[str, Any]]] = {"rank_bm25": former_steps, "bm25s": peer_steps, "forge": forge_steps}
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in ways}
    context = multiprocessing.get_context("spawn")
    for _ in range(runs):
        for name, way in ways.items():
            with context.Pool(1) as pool:
                taken[name].append(pool.apply(way, (str(tree),)))
    return {
        name: {step: {unit: statistics.median(run[step][unit] for run in every) for unit in every[0][step]} for step in every[0]}
        for name, every in taken.items()
    }


def former_steps(tree: str) -> dict[str, Any]:
    """The former way, cold, searched, and again after a change of one file with the symbols of the others remembered."""
    return library_steps(Path(tree), Former)


def peer_steps(tree: str) -> dict[str, Any]:
    """The same with bm25s."""
    return library_steps(Path(tree), Peer)


def library_steps(tree: Path, way: type[Former] | type[Peer]) -> dict[str, Any]:
    """Steps of a library that knows whole indices alone."""
    steps: dict[str, Any] = {}
    made: list[Any] = []
    with measured(steps, "cold"):
        symbols = symbols_in(dict(source_files(tree)))
        made.append(way(symbols))
    with measured(steps, "search"):
        made[0].search(QUERY, CANDIDATES)
    with measured(steps, "one file changed"):
        again = symbols_in({"changed.py": "def changed(x):\n    return x\n"})
        dict(source_files(tree))
        made.append(way([*symbols, *again]))
    steps["symbols"] = {"count": len(symbols)}
    steps["memory"] = {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    return steps


def forge_steps(tree: str) -> dict[str, Any]:
    """What the served agent does: cold, searched, again from the cache when one file changed; and from memory, as rollouts do."""
    steps: dict[str, Any] = {}
    folder = Path(tree)
    changed = folder / "changed.py"
    with tempfile.TemporaryDirectory(prefix="forge-bench-") as scratch:
        cache = Cache(Path(scratch) / "outlines.db", 2**30)
        with measured(steps, "cold"):
            TaskTree(folder, TASK, kept=False)
        with measured(steps, "cold, into the cache"):
            found = TaskTree(folder, TASK, kept=False, cache=cache)
        with measured(steps, "search"):
            found.index.search(QUERY, CANDIDATES)
        steps["symbols"] = {"count": len(found.index)}
        try:
            changed.write_text("def changed(x):\n    return x\n", encoding="utf-8")
            with measured(steps, "one file changed"):
                TaskTree(folder, TASK, kept=False, cache=cache)
        finally:
            changed.unlink()
        steps["cache"] = {"MiB": sum(path.stat().st_size for path in Path(scratch).iterdir()) / 2**20}
        steps["memory"] = {"MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        with measured(steps, "cold, one process"):
            TaskTree(folder, TASK)
        edited = TASK.model_copy(update={"setup": (FileEdit(path="changed.py", content="def changed(x):\n    return x\n"),)})
        with measured(steps, "one file changed, in memory"):
            TaskTree(folder, edited)
    return steps


class measured:  # noqa: N801 - reads as a statement
    """Writes the wall and CPU seconds of a block, children's included, into `steps`."""

    def __init__(self, steps: dict[str, Any], name: str) -> None:
        self.steps, self.name = steps, name

    def __enter__(self) -> None:
        self.began, self.used = time.perf_counter(), cpu_seconds()

    def __exit__(self, *_: object) -> None:
        self.steps[self.name] = {"wall": time.perf_counter() - self.began, "cpu": cpu_seconds() - self.used}


def cpu_seconds() -> float:
    """CPU seconds of this process and of the children it waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def practice_trees(scratch: Path, repositories: int) -> Iterator[dict[str, str]]:
    """The files of practice repositories of four to twelve modules, at their newest commit."""
    for seed in range(repositories):
        folder = scratch / f"practice-{seed}"
        modules = 10 if seed == 0 else 4 + seed % 9
        generate(folder, seed=seed, name=f"r{seed}", commits=40, modules=modules, difficulty=0.5, faulty=0.5)
        archive = subprocess.run(["git", "-C", str(folder), "archive", "HEAD"], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            streams = {member.name: tar.extractfile(member) for member in tar if member.isfile()}
            yield {name: stream.read().decode() for name, stream in streams.items() if stream}
        shutil.rmtree(folder)


def statements(symbols: list[Symbol], rng: random.Random) -> list[str]:
    """Issues as they are written about practice functions, with and without examples."""
    found = []
    for symbol in symbols:
        spoken = " ".join(symbol.name.split("_")[:-1] or [symbol.name])
        module = symbol.path.split("/")[-1].removesuffix(".py")
        title = rng.choice(FIX_MESSAGES).format(name=symbol.name, number=rng.randint(1, 99), module=module, words=spoken)
        example = CallExample(call=f"{symbol.name}([{rng.randint(-9, 9)}, {rng.randint(0, 9)}])", expected=str(rng.randint(-9, 99)))
        found += [title, f"{spoken} is wrong", compose(title, [example])]
    return found


def small(files: dict[str, str], times: int = 200) -> dict[str, float]:
    """CPU milliseconds of an index of a practice tree whose files are known, as of most rollouts, and of a search in it."""
    sources = {path: source for path, source in files.items() if path.endswith(".py") and not is_test_path(path)}
    symbols = symbols_in(sources)
    outlines = {path: outline_of(path, source) for path, source in sorted(sources.items())}
    statement = statements(symbols, random.Random(0))[2]
    remembered = [documented(symbol) for symbol in symbols]  # the former way remembered the words of a source
    former, ours = Former(symbols), Index.of_files(sources, outlines)
    parts: dict[str, Callable[[], object]] = {
        "index, rank_bm25": lambda: BM25Okapi(remembered),
        "index, forge": lambda: Index.of_files(sources, outlines),
        "index of symbols, forge": lambda: Index(symbols),
        "index of unseen files, rank_bm25": lambda: Former(symbols_in(sources)),
        "index of unseen files, forge": lambda: Index.of_files(sources, {p: outline_of(p, sources[p]) for p in sorted(sources)}),
        "index, bm25s": lambda: bm25s.BM25(method="robertson", dtype="float64").index(remembered, show_progress=False),
        "search, rank_bm25": lambda: former.search(statement, CANDIDATES),
        "search, forge": lambda: ours.search(statement, CANDIDATES),
    }
    taken: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(times):
        for name, part in parts.items():
            began = time.thread_time()
            part()
            taken[name].append(time.thread_time() - began)
    return {"symbols": len(symbols)} | {name: 1000 * statistics.median(found) for name, found in taken.items()}


def order(trees: list[dict[str, str]]) -> dict[str, Any]:
    """Of how many statements the best symbols are rank_bm25's, in its order."""
    same: dict[str, int] = {}
    asked = 0
    for number, files in enumerate(trees):
        symbols = symbols_in(files)
        sources = {path: source for path, source in files.items() if path.endswith(".py") and not is_test_path(path)}
        former = Former(symbols)
        ways: dict[str, Index | Peer] = {
            "forge": Index.of_files(sources, {path: outline_of(path, source) for path, source in sorted(sources.items())})
        }
        ways |= {f"bm25s {method}": Peer(symbols, method) for method in ("robertson", "lucene", "atire")}
        for statement in statements(symbols, random.Random(number)):
            expected = [symbol.key for symbol in former.search(statement, CANDIDATES)]
            asked += 1
            for name, way in ways.items():
                same[name] = same.get(name, 0) + ([symbol.key for symbol in way.search(statement, CANDIDATES)] == expected)
    return {"repositories": len(trees), "statements": asked, "same": same}


def show(figures: dict[str, Any]) -> None:
    """The tables."""
    tree, found = figures["tree"], figures["large"]
    print(f"{figures['machine']}; {tree['files']:,} files, {tree['bytes'] / 2**20:.0f} MiB, {found['forge']['symbols']['count']:,} symbols")
    print(f"{'':<30}{'wall s':>9}{'CPU s':>9}   rank_bm25's wall, CPU over it")
    for way, steps in found.items():
        for step in (step for step in steps if "wall" in steps[step]):
            base = found["rank_bm25"]["cold" if step.startswith("cold") else step.removesuffix(", in memory")]
            wall, cpu = steps[step]["wall"], steps[step]["cpu"]
            name = f"{way}: {step}"
            print(f"{name:<38}{wall:9.3f}{cpu:9.3f}   {base['wall'] / wall:7.1f}{base['cpu'] / max(cpu, 0.01):7.1f}")
        print(f"{way}: peak memory {steps['memory']['MiB']:.0f} MiB")
    print(f"cache on disk: {found['forge']['cache']['MiB']:.0f} MiB")
    few = figures["small"]
    print(f"practice tree of {few['symbols']:.0f} symbols, CPU time")
    for name, took in list(few.items())[1:]:
        former = few[name.split(",")[0].removesuffix(" of symbols") + ", rank_bm25"]
        print(f"  {name:<36}{took:8.3f} ms   {former / took:5.1f} times as fast as rank_bm25")
    ordered = figures["order"]
    print(f"order of the best {CANDIDATES}: {ordered['statements']:,} statements about {ordered['repositories']} practice repositories")
    for name, same in ordered["same"].items():
        print(f"  {name:<20}{100 * same / ordered['statements']:7.2f} % as rank_bm25's")


if __name__ == "__main__":
    main()
