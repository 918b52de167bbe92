"""Which bugs to plant where: repositories, modules, functions and operators take turns before any gets a second one.

Diversity of repositories and kinds teaches more than volume (Hybrid-Gym). Operators take turns in proportion to their
measured yield, so that few tries are in vain; the plan is made ahead, so that it does not depend on which worker is faster.
"""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import cycle
from typing import Literal, NamedTuple

from forge.config import InjectConfig, TasksConfig
from forge.records import Easier, Symbol
from forge.seams import History
from forge.stages.bugs.mutations import places
from forge.stages.source.symbols import symbols_of
from forge.tasks.plan import Plan, Site, Survey, Unit, alternating, modules_in_turn, survey
from forge.tasks.yields import LEFT_OUT, weight

Distance = Literal["function", "module", "repository"]
DISTANCES: tuple[Distance, ...] = ("function", "module", "repository")


def sample(
    histories: Sequence[History], config: TasksConfig, inject: InjectConfig, *, transfer: Collection[str] = (), seed: int = 0
) -> Plan:
    """The plan of planted bugs, the same for the same heads, configs and seed; nothing is run.

    Raises `HistoryError` when a history cannot be read. Files get the sides that the loop's plan gives them.
    """
    refused: Counter[str] = Counter()
    grounds = {history.repo: survey(history, config, transfer, Counter()) for history in histories}
    by_repo = [_functions(ground, seed, refused) for ground in grounds.values()]
    units = _Turns(alternating(by_repo), grounds, inject, seed).units(refused)
    heldout = [(repo, path) for repo, ground in grounds.items() for path in ground.split.on_side("heldout")]
    return Plan(units=tuple(units), heldout_files=tuple(heldout), refused=dict(refused))


def easier(
    histories: Sequence[History], config: TasksConfig, batch: Easier, *, transfer: Collection[str] = (), seed: int = 0, attempts: int = 6
) -> Plan:
    """The plan of a batch of easier training tasks: one bug each, of the kinds that it names, in its modules first.

    The same for the same heads, config, batch and seed; nothing is run. Raises `HistoryError` when a history cannot be read.
    """
    refused: Counter[str] = Counter()
    grounds = {history.repo: survey(history, config, transfer, Counter()) for history in histories}
    functions = alternating([_functions(ground, seed, refused) for ground in grounds.values()])
    mine = [function for function in functions if grounds[function.repo].split.side(function.path) == "train"]
    places = {name: place for place, name in enumerate(batch.near)}
    # Of one module a function after the other, then the next turn: near ones first, in the batch's order.
    mine.sort(key=lambda function: places.get(f"{function.repo}:{function.path}", len(places)))
    units = []
    for turn in range(config.max_per_symbol):
        for function in mine:
            wanted = batch.operators or sorted(function.places, key=lambda operator: (-weight(operator), operator))
            operators = [operator for operator in wanted if function.places.get(operator, 0) > turn]
            if operators:
                site = Site(path=function.path, name=function.name, operators=tuple(operators[:attempts]), used=turn)
                shared = {"repo": function.repo, "sha": grounds[function.repo].history.head, "path": function.path, "name": function.name}
                units.append(Unit(kind="inject", side="train", turn=turn, sites=(site,), **shared))
            else:
                refused["inject: no place for a bug that is solved often"] += 1
    heldout = [(repo, path) for repo, ground in grounds.items() for path in ground.split.on_side("heldout")]
    return Plan(units=tuple(units), heldout_files=tuple(heldout), refused=dict(refused))


def functions_in_reach(path: str, source: str, tests: str) -> list[Symbol]:
    """Functions that the tests name, or that those call by name, and so on; methods with double underscores belong to their class.

    Names stand for calls here: a function found this way may still never run, which costs a try.
    """
    symbols = symbols_of(path, source)
    said = set(re.findall(r"\w+", tests))
    waiting, found = list(symbols), dict[str, Symbol]()
    while reached := [symbol for symbol in waiting if _named(symbol, said)]:
        found |= {symbol.name: symbol for symbol in reached}
        waiting = [symbol for symbol in waiting if symbol.name not in found]
        said |= {word for symbol in reached for word in re.findall(r"\w+", symbol.source)}
    return [symbol for symbol in symbols if symbol.name in found]


class _Function(NamedTuple):
    """A function that bugs may go into, and how many places each operator has in it."""

    repo: str
    path: str
    name: str
    places: Mapping[str, int]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.repo, self.path, self.name


class _Turns:
    """Hands out functions and operators, those that had the fewest turns first."""

    def __init__(self, functions: Sequence[_Function], grounds: Mapping[str, Survey], inject: InjectConfig, seed: int) -> None:
        self._functions = functions
        self._grounds = grounds
        self._inject = inject
        self._seed = seed
        self._uses: Counter[tuple[str, str, str]] = Counter()
        self._planned: Counter[str] = Counter()
        self._beside: dict[tuple[str, ...], list[_Function]] = defaultdict(list)
        for function in functions:
            self._beside[function.repo, function.path].append(function)
            self._beside[function.repo,].append(function)

    def units(self, refused: Counter[str]) -> Iterator[Unit]:
        """Units in the order in which they count; what cannot be planned is counted in `refused`."""
        numbers = cycle(range(self._inject.min_bugs, self._inject.max_bugs + 1))
        distances = cycle(DISTANCES if self._inject.distance == "mixed" else (self._inject.distance,))
        for turn in range(self._inject.per_function):
            for function in self._functions:
                if self._uses[function.key] > turn:
                    continue
                number = next(numbers)
                chosen = [function] if number == 1 else self._together(function, number, next(distances))
                sites = [site for site in map(self._site, chosen) if site]
                if len(sites) == number:
                    yield self._unit(function, turn, sites)
                elif number > 1:
                    refused["inject: too few places for that many bugs"] += 1

    def _unit(self, function: _Function, turn: int, sites: Sequence[Site]) -> Unit:
        ground = self._grounds[function.repo]
        return Unit(
            repo=function.repo,
            kind="inject",
            side=ground.split.side(function.path),
            sha=ground.history.head,
            path=function.path,
            name=function.name,
            turn=turn,
            sites=tuple(sites),
        )

    def _together(self, function: _Function, number: int, distance: Distance) -> list[_Function]:
        """Functions for the bugs of one task, all on one side of the split; those that were used least come first."""
        if distance == "function":
            return [function] * number
        split = self._grounds[function.repo].split
        beside = self._beside[(function.repo, function.path) if distance == "module" else (function.repo,)]
        taken, paths = [function], {function.path}
        for other in sorted(beside, key=lambda other: self._uses[other.key]):
            elsewhere = other.key != function.key if distance == "module" else other.path not in paths
            spare = self._uses[other.key] < self._inject.per_function and split.side(other.path) == split.side(function.path)
            if elsewhere and spare and len(taken) < number:
                taken.append(other)
                paths.add(other.path)
        return taken

    def _site(self, function: _Function) -> Site | None:
        used = self._uses[function.key]
        left = [operator for operator, number in function.places.items() if number > used]
        if not left:
            return None
        chance = random.Random(f"{self._seed}:{function.key}:{used}")
        chance.shuffle(left)
        ranked = sorted(left, key=lambda operator: (self._planned[operator] + 1) / weight(operator))
        self._uses[function.key] += 1
        self._planned[ranked[0]] += 1
        return Site(path=function.path, name=function.name, operators=tuple(ranked[: self._inject.attempts]), used=used)


def _functions(ground: Survey, seed: int, refused: Counter[str]) -> list[_Function]:
    """Functions of one repository that bugs may go into, modules taking turns."""
    repo = ground.history.repo
    chance = random.Random(f"{seed}:{repo}")
    offered: dict[tuple[str, str], Mapping[str, int]] = {}
    by_module: dict[str, list[str]] = {}
    for path, tests in ground.tests.items():
        source = _plain(ground.files[path])
        if source is None or not tests:
            refused["inject: module without tests" if source is not None else "inject: module is no plain text"] += 1
            continue
        said = b"\n".join(ground.files[test] for test in tests).decode("utf-8", "replace")
        for symbol in functions_in_reach(path, source, said):
            found = {operator: len(some) for operator, some in places(symbol.source).items() if operator not in LEFT_OUT}
            if found:
                offered.setdefault((path, symbol.name), found)
        names = [name for module, name in offered if module == path]
        by_module[path] = chance.sample(names, len(names))
    return [_Function(repo, path, name, offered[path, name]) for path, name in modules_in_turn(by_module, chance)]


def _named(symbol: Symbol, said: Collection[str]) -> bool:
    *owner, name = symbol.name.split(".")
    return name in said or (name.startswith("__") and bool(owner) and owner[0] in said)


def _plain(content: bytes) -> str | None:
    """Text whose lines are what every reader counts as lines; `None` for other encodings and odd line ends."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    return text if not text or text.splitlines() == text.removesuffix("\n").split("\n") else None
