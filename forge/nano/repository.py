"""Practice repositories: small packages with pytest suites and a history that looks like life.

Functions arrive one feature at a time, some of them wrong; refactorings break a few; bugs are fixed by commits that
add the missing test, with good, poor and empty messages; between them docs, merges, a bot. At HEAD everything passes.
The same seed gives the same repository, commit by commit.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from forge.nano import words
from forge.nano.fast_import import NewCommit, write_repository
from forge.nano.functions import Family, Function, evaluate, make
from forge.nano.practice_families import PRACTICE_FAMILIES
from forge.stages.bugs.mutations import Mutation, mutations

PEOPLE = tuple((name, f"{name.split()[0].lower()}@example.org") for name in ("Ada Berg", "Tom Okoro", "Mei Lin", "Jon Vega"))
BOT = ("deps-update[bot]", "bot@example.org")
START = 1_700_000_000
FUNCTIONS_PER_MODULE = (2, 3, 3)

FIX_MESSAGES = (
    "fix wrong result in {name}",
    "fix: {name} returned the wrong value (#{number})",
    "{module}: fix the {words} result",
    "{name} is wrong for some input",
    "correct {name} in {module}\n\nReported by a user; the new test shows it.",
    "fix {name} for edge cases",
    "[{module}] repair {words}",
)
POOR_MESSAGES = ("fix", "bugfix", "oops", "wip", "fix test", "")


@dataclass
class _Live:
    """A function as it stands in the work tree: `source` may be wrong, `function` is right."""

    function: Function
    source: str
    shown: list[tuple[str, str]]

    @property
    def hidden(self) -> list[tuple[str, str]]:
        return [call for call in self.function.calls if call not in self.shown]

    @property
    def wrong(self) -> bool:
        return self.source != self.function.source


@dataclass
class _Module:
    package: str
    name: str
    functions: list[_Live] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{self.package}/{self.name}.py"

    def files(self) -> dict[str, str | None]:
        """Source and test file as they stand."""
        body = "\n\n".join(live.source for live in self.functions)
        names = ", ".join(live.function.name for live in self.functions)
        tests = [f"from {self.package}.{self.name} import {names}\n"]
        for live in self.functions:
            for number, (call, expected) in enumerate(live.shown, 1):
                tests.append(f"def test_{live.function.name}_{number}():\n    assert {call} == {expected}\n")
        return {
            self.path: f'"""{self.name.capitalize()} of the {self.package} package."""\n\n\n{body}',
            f"tests/test_{self.package}_{self.name}.py": "\n\n".join(tests),
        }


def draw_families(seed: int, count: int) -> tuple[Family, ...]:
    """The practice families that all repositories of one run are made of."""
    return tuple(random.Random(f"families:{seed}").sample(PRACTICE_FAMILIES, count))


def generate(
    folder: Path,
    *,
    seed: int,
    name: str,
    commits: int,
    modules: int,
    difficulty: float,
    faulty: float,
    families: Sequence[Family] = PRACTICE_FAMILIES,
) -> Path:
    """The folder of a new git repository with at least `commits` commits; a share `faulty` of its features arrives wrong."""
    history = _History(random.Random(f"repository:{seed}:{name}"), name, difficulty, faulty, families)
    history.begin(modules)
    history.live(commits)
    write_repository(folder, history.commits)
    return folder


class _History:
    """The simulation: each event changes the modules and appends commits."""

    def __init__(self, rng: random.Random, name: str, difficulty: float, faulty: float, families: Sequence[Family]) -> None:
        self.rng, self.name, self.difficulty, self.faulty, self.families = rng, name, difficulty, faulty, families
        self.commits: list[NewCommit] = []
        self.modules: list[_Module] = []
        self.waiting: list[_Module] = []
        self.version = 1
        self.notes: list[str] = []
        self._names: set[str] = set()

    def begin(self, modules: int) -> None:
        """The first commit, and the plan of which functions come."""
        packages = self.rng.sample(words.DOMAINS, max(2, modules // 10))
        places = [(package, noun) for package in packages for noun in words.NOUNS]
        for package, noun in self.rng.sample(places, modules):
            module = _Module(package, noun)
            self.modules.append(module)
            self.waiting += [module] * self.rng.choice(FUNCTIONS_PER_MODULE)
        self.rng.shuffle(self.waiting)
        files: dict[str, str | None] = {"pyproject.toml": self._pyproject(), "README.md": self._readme(), ".gitignore": "__pycache__/\n"}
        files |= {f"{package}/__init__.py": "" for package in packages}
        self._commit("start the project", files)

    def live(self, commits: int) -> None:
        """Events until everything has arrived, works, and the history is long enough."""
        while self.waiting or any(live.wrong for _, live in self._all()) or len(self.commits) < commits:
            event = self.rng.choices(
                (self._feature, self._fix, self._behaviour, self._refactor, self._tests, self._docs, self._bot, self._merge),
                (8 if self.waiting else 0, 5, 1.5, 3, 2, 2, 1.5, 1.2),
            )[0]
            event()

    def _all(self) -> list[tuple[_Module, _Live]]:
        return [(module, live) for module in self.modules for live in module.functions]

    def _right(self) -> list[tuple[_Module, _Live]]:
        return [(module, live) for module, live in self._all() if not live.wrong]

    def _feature(self) -> None:
        module = self.waiting.pop()
        function = make(self.rng.choice(self.families), self.rng, difficulty=self.difficulty, taken=frozenset(self._names))
        self._names.add(function.name)
        live = _Live(function, function.source, list(function.calls[:3]))
        if self.rng.random() < self.faulty:
            self._break(live)
        module.functions.append(live)
        name = function.name
        messages = (f"add {name}", f"{module.name}: add {name}", f"feat({module.package}): {name} for {module.name}")
        self._commit(self.rng.choice(messages), module.files())

    def _fix(self) -> None:
        broken = [(module, live) for module, live in self._all() if live.wrong]
        if not broken:
            return
        module, live = self.rng.choice(broken)
        failing = [call for call in live.hidden if evaluate(live.source, call[0]) != call[1]]
        live.shown += failing[:2]
        live.source = live.function.source
        template = self.rng.choice(POOR_MESSAGES if self.rng.random() < 0.3 else FIX_MESSAGES)
        spoken = " ".join(live.function.name.split("_")[:2])
        message = template.format(name=live.function.name, module=module.name, words=spoken, number=self.rng.randint(2, 400))
        self._commit(message, module.files())

    def _behaviour(self) -> None:
        """A number changes on purpose: source and tests follow, and the message says so."""
        ready = self._right()
        module, live = self.rng.choice(ready) if ready else (None, None)
        numbers = [m for m in re.finditer(r"(?<![\w.])\d+(?!\w)", live.source) if int(m.group()) > 1] if live else []
        if module is None or live is None or not numbers:
            return
        place = self.rng.choice(numbers)
        new = str(int(place.group()) + self.rng.randint(1, 5))
        source = live.source[: place.start()] + new + live.source[place.end() :]
        calls = tuple((call, evaluate(source, call)) for call, _ in live.function.calls)
        shown = {call for call, _ in live.shown}
        if any(result.startswith("!") for _, result in calls) or all(c in live.function.calls for c in calls if c[0] in shown):
            return
        live.function = live.function.model_copy(update={"source": source, "calls": calls})
        live.source, live.shown = source, [call for call in calls if call[0] in shown]
        self._commit(f"{live.function.name}: use {new} instead of {place.group()}", module.files())

    def _refactor(self) -> None:
        """A local name changes; now and then the function breaks on the way."""
        ready = self._right()
        if not ready:
            return
        module, live = self.rng.choice(ready)
        used = set(re.findall(r"\w+", live.source))
        locals_ = sorted(used & {*words.RESULTS, *words.LOOPS})
        if not locals_:
            return
        old, new = self.rng.choice(locals_), self.rng.choice([w for w in words.RESULTS + words.LOOPS if w not in used])
        source = re.sub(rf"\b{old}\b", new, live.source)
        live.function = live.function.model_copy(update={"source": source})
        live.source = source
        if self.rng.random() < 0.25:
            self._break(live)
        messages = (f"clean up {live.function.name}", f"rename {old} to {new} in {module.name}", "refactor")
        self._commit(self.rng.choice(messages), module.files())

    def _tests(self) -> None:
        ready = [(module, live) for module, live in self._right() if live.hidden]
        if ready:
            module, live = self.rng.choice(ready)
            live.shown += live.hidden[:2]
            self._commit(f"more tests for {live.function.name}", module.files())

    def _docs(self) -> None:
        self.notes.append(f"- {self.rng.choice(words.DOMAINS)}: about the {self.rng.choice(words.NOUNS)}")
        self._commit(self.rng.choice(("docs: readme", "update the readme notes", "docs")), {"README.md": self._readme()})

    def _bot(self) -> None:
        self.version += 1
        self._commit(f"chore: release 0.{self.version}.0", {"pyproject.toml": self._pyproject()}, BOT)

    def _merge(self) -> None:
        """Two lines of work that touch different files, joined by a merge commit."""
        ready = [(module, live) for module, live in self._right() if live.hidden]
        if not ready:
            return
        base = len(self.commits) - 1
        module, live = self.rng.choice(ready)
        live.shown += live.hidden[:1]
        side = module.files()
        self._commit(f"cover {live.function.name} better", side, parents=(base,))
        self.notes.append(f"- {module.package}: see {module.name}")
        self._commit("note in the readme", {"README.md": self._readme()}, parents=(base,))
        self._commit(f"Merge branch '{module.name}'", side, parents=(base + 2, base + 1))

    def _break(self, live: _Live) -> None:
        """Make the source wrong in a way that the shown tests do not see and a hidden one does, if there is one."""
        found = mutations(live.function.source)
        self.rng.shuffle(found)
        for bug in _spread(found)[:12]:
            results = {call: evaluate(bug.source, call) for call, _ in live.function.calls}
            right = [(c, e) for c, e in live.function.calls if results[c] == e]
            if right and len(right) < len(results) and "!hang" not in results.values():
                live.source, live.shown = bug.source, [c for c in live.shown if c in right] or right[:2]
                return

    def _commit(
        self, message: str, files: dict[str, str | None], who: tuple[str, str] | None = None, parents: tuple[int, ...] | None = None
    ) -> None:
        author, email = who or self.rng.choice(PEOPLE)
        before = (len(self.commits) - 1,) if self.commits else ()
        at = START + len(self.commits) * 40_000 + self.rng.randint(0, 30_000)
        kept = before if parents is None else parents
        self.commits.append(NewCommit(message=message, author=author, email=email, at=at, parents=kept, files=dict(files)))

    def _pyproject(self) -> str:
        # No pytest section: `python -m pytest` needs none, and a sandbox then keeps one warm pytest for every run.
        return f'[project]\nname = "{self.name}"\nversion = "0.{self.version}.0"\nlicense = "MIT"\nrequires-python = ">=3.9"\n'

    def _readme(self) -> str:
        return "\n".join([f"# {self.name}", "", "A practice repository made by forge.", "", *self.notes[-20:], ""])


def _spread(found: Sequence[Mutation]) -> list[Mutation]:
    """The same mutations, one of each operator before the second of any."""
    seen: dict[str, int] = {}
    ranked = []
    for mutation in found:
        seen[mutation.operator] = seen.get(mutation.operator, 0) + 1
        ranked.append((seen[mutation.operator], mutation))
    return [mutation for _, mutation in sorted(ranked, key=lambda pair: pair[0])]
