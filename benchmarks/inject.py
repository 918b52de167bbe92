"""Planted bugs: how many become tasks, by operator, and seconds for each valid one, beside one pytest process a run.

Tries the same number of functions of the given repositories with both: forge plans, plants and proves in boxes; the peer takes
an operator at random anywhere in the file (no weights, no knowledge of what tests reach) and starts pytest for each run, as
mutation testers do. Both prove twice. With --cosmic-ray PYTHON the peer's bugs are cosmic-ray's own (an environment that has it).
`--json` also writes `yields`, which `forge/tasks/yields.py` holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from forge.config import InjectConfig, TasksConfig
from forge.mining.history import GitHistory, open_history
from forge.records import Limits
from forge.stages.bugs.mutations import places, planted
from forge.stages.source.symbols import is_test_path, symbols_of
from forge.store.trees import TreeStore
from forge.tasks.attempt import Attempts, Place
from forge.tasks.prove import Prover
from forge.tasks.sample import sample
from forge.tasks.suite import Suite
from sandboxes.pick import pick

MUTANTS = """
import json, sys
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names
source, wanted, seed = sys.stdin.read(), int(sys.argv[1]), int(sys.argv[2])
import random
chance, found = random.Random(seed), []
names = [name for name in sorted(operator_names()) if "Variable" not in name]  # those two want arguments
for name in chance.sample(names, len(names)) * 3:
    if len(found) < wanted:
        changed = mutate_code(source, get_operator(name)(), chance.randrange(5))
        found += [changed] if changed and changed != source else []
print(json.dumps(found))
"""


def main() -> None:
    """Run both, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repos", nargs="+", type=Path, help="git repositories whose tests run here without installing anything")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--runs", type=int, default=3, help="seeds to take medians of")
    parser.add_argument("--units", type=int, default=80, help="functions that forge tries in each run")
    parser.add_argument("--peer-bugs", type=int, default=40, help="bugs that the peer tries in each run")
    parser.add_argument("--cosmic-ray", metavar="PYTHON", help="a Python that has cosmic-ray, for the peer's bugs")
    options = parser.parse_args()
    tried: Counter[str] = Counter()
    noticed: Counter[str] = Counter()
    ours, theirs = [], []
    for seed in range(options.runs):
        ours.append(asyncio.run(_forge(options.repos, options.units, seed, tried, noticed)))
        theirs.append(_peer(options.repos, options.peer_bugs, seed, options.cosmic_ray))
    figures = {f"forge {name}": statistics.median(run[name] for run in ours) for name in ours[0]}
    figures |= {f"peer {name}": statistics.median(run[name] for run in theirs) for name in theirs[0]}
    ratios = {name: figures[f"peer {name}"] / figures[f"forge {name}"] for name in ("wall_s a task", "cpu_s a task")}
    for operator, number in sorted(tried.items(), key=lambda item: -noticed[item[0]] / item[1]):
        print(f"{operator:<24}{noticed[operator]:>5} of {number:>4}{noticed[operator] / number:>8.0%}")
    for name, value in (figures | {f"ratio {key}": value for key, value in ratios.items()}).items():
        print(f"{name:<28}{value:>10.2f}")
    if options.json:
        yields = {operator: [noticed[operator], tried[operator]] for operator in sorted(tried)}
        host = f"{platform.machine()}, {platform.python_version()}"
        stamp = {"benchmark": "inject", "date": datetime.now(UTC).date().isoformat(), "host": host}
        options.json.write_text(json.dumps(stamp | {"figures": figures, "ratios": ratios, "yields": yields}, indent=1) + "\n")


async def _forge(repos: list[Path], units: int, seed: int, tried: Counter[str], noticed: Counter[str]) -> dict[str, float]:
    began, before = time.monotonic(), _cpu()
    histories = [GitHistory(path.name, path) for path in repos]
    config, inject = TasksConfig(), InjectConfig()
    planned = sample(histories, config, inject, seed=seed).units[:units]
    places_of = {history.repo: Place(path=str(path), head=history.head) for history, path in zip(histories, repos, strict=True)}
    provider = pick("bubblewrap").make()
    tasks = bugs = 0
    slots = asyncio.Semaphore(2)
    with tempfile.TemporaryDirectory(prefix="forge-inject-") as folder:
        trees = TreeStore(Path(folder))
        prover = Prover(provider, trees.folder, Limits(), runs=config.proof_runs, run_id="benchmark")
        attempts = Attempts(places_of, open_history, prover, trees, config, seed, inject=inject)

        async def attempt(number: int) -> None:
            nonlocal tasks, bugs
            async with slots:
                end = await attempts.attempt(planned[number])
            tried.update(end.operators)
            noticed.update(end.noticed)
            tasks += end.task is not None
            bugs += sum(end.operators.values())

        try:
            await asyncio.gather(*map(attempt, range(len(planned))))
        finally:
            attempts.close()
            await provider.close()
            for history in histories:
                history.close()
            _writable(Path(folder))
    return _figures(tasks, bugs, time.monotonic() - began, _cpu() - before)


def _peer(repos: list[Path], bugs: int, seed: int, python: str | None) -> dict[str, float]:
    began, before = time.monotonic(), _cpu()
    chance = random.Random(seed)
    tasks = done = 0
    with tempfile.TemporaryDirectory(prefix="forge-peer-") as folder:
        for repo in repos:
            tree = Path(folder) / repo.name
            shutil.copytree(repo, tree, ignore=shutil.ignore_patterns(".git"))
            with_tests = _sources(repo)
            for path in chance.choices(sorted(with_tests), k=bugs // len(repos)):
                right = (tree / path).read_text(encoding="utf-8")
                for wrong in _wrong(right, path, chance, python):
                    (tree / path).write_text(wrong, encoding="utf-8")
                    tasks += _pytest(tree, with_tests[path]) == 1 and _pytest(tree, with_tests[path]) == 1
                    done += 1
                (tree / path).write_text(right, encoding="utf-8")
    return _figures(tasks, done, time.monotonic() - began, _cpu() - before)


def _sources(repo: Path) -> dict[str, list[str]]:
    history = GitHistory(repo.name, repo)
    files: Mapping[str, bytes] = history.tree(history.head)
    history.close()
    suite = Suite(files)
    return {path: suite.tests_for(path) for path in files if path.endswith(".py") and not is_test_path(path) and suite.tests_for(path)}


def _wrong(right: str, path: str, chance: random.Random, python: str | None) -> Iterator[str]:
    """One bug of the peer somewhere in a file."""
    if python:
        command = [python, "-c", MUTANTS, "1", str(chance.randrange(10**6))]
        yield from json.loads(subprocess.run(command, input=right, capture_output=True, text=True, check=True).stdout)
        return
    symbols = symbols_of(path, right)
    symbol = chance.choice(symbols) if symbols else None
    found = places(symbol.source) if symbol else {}
    if symbol and found and (bug := planted(symbol.source, chance.choice(found[chance.choice(sorted(found))]))):
        yield right.replace(symbol.source, bug.source, 1)


def _pytest(tree: Path, tests: list[str]) -> int:
    """Pytest's exit code: 1 when tests failed; a hanging run counts as none."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", *tests]
    environment = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "HOME": "/tmp"}
    try:
        return subprocess.run(command, cwd=tree, env=environment, capture_output=True, timeout=20, check=False).returncode
    except subprocess.TimeoutExpired:
        return -1


def _figures(tasks: int, bugs: int, wall: float, cpu: float) -> dict[str, float]:
    each = max(1, tasks)
    return {"tasks": tasks, "bugs": bugs, "yield": tasks / max(1, bugs), "wall_s a task": wall / each, "cpu_s a task": cpu / each}


def _cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _writable(folder: Path) -> None:
    """Let the read-only trees of a store be deleted."""
    for inner in [folder, *(entry for entry in folder.rglob("*") if entry.is_dir())]:
        inner.chmod(0o755)


if __name__ == "__main__":
    main()
