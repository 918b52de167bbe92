"""What is tried, in which order: commits first, then planted bugs, with repositories, modules and functions taking turns.

This is the loop's plan; `forge.tasks.sample` makes that of `forge tasks inject` from the same survey.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple, TypeVar

from forge.config import TasksConfig
from forge.exam.split import Split, max_group
from forge.records import CommitSummary, Record, Side
from forge.seams import History
from forge.stages.source.symbols import is_test_path
from forge.tasks.derive import files_of, refusal
from forge.tasks.inject import functions_under_test
from forge.tasks.suite import Suite

T = TypeVar("T")


class Site(Record):
    """Where one bug of a task is to lie: a function, the operators to try there in order, and how many of its places are used up."""

    path: str
    name: str
    operators: tuple[str, ...]
    used: int = 0


class Unit(Record):
    """One attempt at one task: a commit, or a turn at planting bugs."""

    repo: str
    kind: Literal["commit", "inject"]
    side: Side
    sha: str
    """The commit to derive from, or the head to plant into."""
    path: str = ""
    name: str = ""
    turn: int = 0
    sites: tuple[Site, ...] = ()
    """For bugs that were planned one by one; without them any bug of the function will do."""

    @property
    def key(self) -> str:
        return f"{self.repo}:{self.kind}:{self.sha[:16]}:{self.path}:{self.name}:{self.turn}"


class Plan(Record):
    """Units in the order in which they count, files by side, and candidates refused before anything ran."""

    units: tuple[Unit, ...]
    heldout_files: tuple[tuple[str, str], ...]
    """(repository, path) of every file that no training row may come from."""
    refused: dict[str, int]


class Survey(NamedTuple):
    """One repository before anything runs: its head's files, the test files of each source, the split, commits that may be tasks."""

    history: History
    files: Mapping[str, bytes]
    tests: Mapping[str, Sequence[str]]
    split: Split
    accepted: Sequence[CommitSummary]


def survey(history: History, config: TasksConfig, transfer: Collection[str], refused: Counter[str]) -> Survey:
    """The survey of a repository, with its final split; commits that cannot be tasks are counted in `refused`."""
    files = history.tree(history.head)
    split = Split(history.repo, config.heldout_fraction, transfer=history.repo in transfer, max_group=max_group(_python(files)))
    suite = Suite(files)
    tests = {path: suite.tests_for(path) for path in _python(files) if not is_test_path(path)}
    for path, found in tests.items():
        split.join([path, *found], always=True)
    return Survey(history, files, tests, split, _accepted(history.summaries(), split, config, refused))


def plan(histories: Sequence[History], config: TasksConfig, *, transfer: Collection[str] = (), seed: int = 0) -> Plan:
    """The plan for these repositories, the same for the same heads, config and seed; nothing is run.

    Raises `HistoryError` when a history cannot be read.
    """
    refused: Counter[str] = Counter()
    commits: list[list[Unit]] = []
    turns: list[list[Unit]] = []
    heldout: list[tuple[str, str]] = []
    for history in histories:
        ground = survey(history, config, transfer, refused)
        split = ground.split
        accepted = ground.accepted[: config.newest]
        commits.append([Unit(repo=history.repo, kind="commit", side=split.side(files_of(s)[0]), sha=s.sha) for s in accepted])
        if config.inject:
            turns.append(_injections(ground, config.max_per_symbol, seed))
        heldout += [(history.repo, path) for path in split.on_side("heldout")]
    return Plan(
        units=(*_capped(alternating(commits), config.train_commits), *alternating(turns)),
        heldout_files=tuple(heldout),
        refused=dict(refused),
    )


def modules_in_turn(by_module: Mapping[str, Sequence[str]], chance: random.Random) -> list[tuple[str, str]]:
    """(module, name) pairs: one name of every module, then the next of each, and so on; modules in an order of chance."""
    modules = chance.sample(sorted(by_module), len(by_module))
    deepest = max(map(len, by_module.values()), default=0)
    return [(path, by_module[path][depth]) for depth in range(deepest) for path in modules if depth < len(by_module[path])]


def alternating(lists: Sequence[Sequence[T]]) -> list[T]:
    """The first items of all lists, then the second ones, and so on."""
    return [item for row in zip_longest(*lists) for item in row if item is not None]


def _accepted(summaries: Iterable[CommitSummary], split: Split, config: TasksConfig, refused: Counter[str]) -> list[CommitSummary]:
    """Commits that may become tasks, newest first; those with few files join their groups first, as they bind least."""
    fitting = []
    for summary in summaries:
        reason = refusal(summary, config)
        if reason:
            refused[reason] += 1
        else:
            fitting.append(summary)
    accepted = set()
    for summary in sorted(fitting, key=lambda summary: (len(files_of(summary)), summary.sha)):
        if not config.heldout_fraction or split.join(files_of(summary)):
            accepted.add(summary.sha)
        else:
            refused["would tie too many files together"] += 1
    return [summary for summary in fitting if summary.sha in accepted]


def _injections(ground: Survey, turns: int, seed: int) -> list[Unit]:
    """First one bug for one function of every module, then for the next function, and so on; then second bugs."""
    history = ground.history
    chance = random.Random(f"{seed}:{history.repo}")
    by_module: dict[str, list[str]] = defaultdict(list)
    for path, found in ground.tests.items():
        if found:
            names = [symbol.name for symbol in functions_under_test(path, ground.files, found)]
            by_module[path] = chance.sample(names, len(names))
    in_order = modules_in_turn(by_module, chance)
    return [
        Unit(repo=history.repo, kind="inject", side=ground.split.side(path), sha=history.head, path=path, name=name, turn=turn)
        for turn in range(turns)
        for path, name in in_order
    ]


def _capped(units: Sequence[Unit], train: int | None) -> list[Unit]:
    """The units without those of the training side after the first `train`."""
    of_training = [unit for unit in units if unit.side == "train"]
    dropped = {unit.key for unit in of_training[train:]} if train is not None else set()
    return [unit for unit in units if unit.key not in dropped]


def _python(files: Iterable[str]) -> list[str]:
    return [path for path in files if path.endswith(".py")]
