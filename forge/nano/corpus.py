"""The text that the nano base is trained on: the five stages at work on base families and on random functions.

Rows are made by the very code that makes examples from mined commits (`Stage.from_change`), so the base speaks
the stages' formats; it knows the base families' ideas, what composed programs have in common, and how to copy.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from forge.nano import words
from forge.nano.base_families import BASE_FAMILIES
from forge.nano.functions import Family, Function, evaluate, make
from forge.nano.programs import compose_family
from forge.records import Example, Lineage, Symbol
from forge.stages import REGISTRY
from forge.stages.bugs.mutations import Mutation, mutations, wrong_fixes
from forge.stages.checks import summary
from forge.stages.edits import hunks_between
from forge.stages.review import STAGE as REVIEW
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import Change, Hunk, Situation, example
from forge.stages.statements import CallExample, compose

TITLES = (
    "wrong result from {name}",
    "wrong result in {name}",
    "fix {name}",
    "fix wrong result in {name}",
    "{name} is wrong for some input",
    "{name}: handle edge case",
    "correct {name} in {module}",
    "{module}: fix {words}",
    "fix the {words} result",
    "repair {words} in {module}",
)
"""How people title a bug; the practice repositories' commits say it in these and other words."""

COPY_STAGES = ("analysis", "relevance", "planning")
"""What can be learnt from a random function: finding a name. What is wrong with it nobody can know."""


SYLLABLES = tuple(start + vowel for start in (*"bcdfghklmnprstvwz", "ch", "tr", "st", "cl", "sp", "br") for vowel in "aeiou")

UNKNOWN_VERBS = 0.5
"""Share of functions whose name begins with a made-up word: names must be matched letter by letter, not known."""

SHARES = {"analysis": 0.4, "relevance": 0.6, "planning": 0.4, "generation": 0.5, "review": 0.6}
"""How often a function gives a row of each stage."""

SHELF = 96
"""Functions of late that serve as the others of a prompt."""


def rows(
    seed: int, functions: int, families: Sequence[Family] = BASE_FAMILIES, *, program_share: float = 0.0, random_share: float = 0.0
) -> Iterator[list[Example]]:
    """For each of `functions` functions the rows of all stages that it teaches, endlessly different by seed.

    `program_share` of them are composed programs, `random_share` functions without meaning, the rest of `families`.
    """
    rng = random.Random(f"corpus:{seed}")
    shelf: list[Symbol] = []
    for _ in range(functions):
        chance = rng.random()
        real = chance >= random_share or len(shelf) < 8
        family = compose_family(rng) if chance < random_share + program_share else rng.choice(families)
        function = make(family, rng, difficulty=rng.random(), calls=5) if real else random_function(rng)
        if rng.random() < UNKNOWN_VERBS:
            function = _renamed(function, rng)
        path = f"{rng.choice(words.DOMAINS)}/{rng.choice(words.NOUNS)}.py"
        change = _change(function, path, shelf, rng)
        shelf = [*symbols_of(path, function.source), *shelf][:SHELF]
        if change is not None:
            yield list(_rows(change, function, real, rng))


def _renamed(function: Function, rng: random.Random) -> Function:
    """The function under a name whose first word is made up."""
    verb = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((1, 2, 2, 3)))) + rng.choice(("", "", "n", "r", "t", "s", "ck", "ge"))
    name = "_".join([verb, *function.name.split("_")[1:]])
    calls = tuple((call.replace(function.name, name, 1), expected) for call, expected in function.calls)
    return function.model_copy(update={"name": name, "source": function.source.replace(function.name, name), "calls": calls})


def random_function(rng: random.Random) -> Function:
    """A function without meaning: valid Python whose lines can be copied but not guessed."""
    name = f"{rng.choice(words.NOUNS)}_{rng.choice(words.NOUNS)}"
    if rng.random() < 0.3:
        name += f"_{rng.choice(words.TEXTS)}"
    known = rng.sample(words.LISTS + words.SCALARS, 2)
    lines = [f"def {name}({', '.join(known)}):"]
    depth = 1
    for _ in range(rng.randint(3, 8)):
        lines.append("    " * depth + _random_line(rng, known))
        if lines[-1].endswith(":"):
            depth += 1
        elif depth > 1 and rng.random() < 0.4:
            depth -= 1
    if lines[-1].endswith(":"):
        lines.append("    " * depth + f"{rng.choice(known)} = {rng.randint(0, 12)}")
    lines.append(f"    return {rng.choice(known)}")
    return Function(family="random", name=name, source="\n".join(lines) + "\n", calls=())


def _random_line(rng: random.Random, known: list[str]) -> str:
    a, b = rng.choice(known), rng.choice(known)
    new = rng.choice(words.RESULTS + words.LOOPS)
    number = rng.randint(0, 12)
    operator = rng.choice(("+", "-", "*", "//", "%"))
    line = rng.choice((
        f"{new} = {a} {operator} {number}",
        f"{new} = {a} {operator} {b}",
        f"{new} = {rng.choice(('max', 'min'))}({a}, {b})",
        f"{new} = {a}[{number % 3}:{b}]",
        f"{new} = len({a}) {operator} {number}",
        f"{a} {rng.choice(('+', '-'))}= {b}",
        f"{a}.append({b} {operator} {number})",
        f"if {a} {rng.choice(('<', '<=', '>', '>=', '==', '!='))} {rng.choice((b, str(number)))}:",
        f"if {a} {rng.choice(('and', 'or'))} {b}:",
        f"for {new} in {a}:",
        f"for {new} in range({number}, len({a})):",
        f"{new} = [{a}, {number}, {b}]",
    ))  # fmt: skip
    if new not in known and (line.startswith((new + " ", f"for {new}"))):
        known.append(new)
    return line


def _change(function: Function, path: str, shelf: Sequence[Symbol], rng: random.Random) -> Change | None:
    """A fix of a bug put into the function, as mining would describe it."""
    wrong = _pick(mutations(function.source), rng, 8)
    revealing: list[CallExample] = []
    bug = None
    for bug in wrong:
        revealing = [CallExample(call=c, expected=e) for c, e in function.calls if evaluate(bug.source, c) != e]
        if revealing or not function.calls:
            break
    if bug is None or (function.calls and not revealing):
        return None
    before, after = symbols_of(path, bug.source), symbols_of(path, function.source)
    hunks = _hunks(path, bug.source, function.source, before)
    if not hunks:
        return None
    others = _others(function.name, shelf, rng)
    # Retrieval mostly finds the function first; where it does not, any place will do.
    place = 0 if rng.random() < 0.6 else rng.randint(0, len(others))
    examples = revealing[: rng.choice((0, 1, 1, 2, 2, 2))]
    spoken = " ".join(function.name.split("_")[:-1] or [function.name])
    module = path.split("/")[-1].removesuffix(".py")
    title = rng.choice(TITLES).format(name=function.name, words=spoken, module=module)
    return Change(
        statement=compose(title, examples),
        touched=tuple(before),
        after=tuple(after),
        others=tuple(others),
        offered=(*others[:place], *before, *others[place:]),
        hunks=hunks,
        wrong=tuple(filter(None, (_hunks(path, bug.source, wrong, before) for wrong in wrong_fixes(bug.source, function.source, rng, 3)))),
        lineage=Lineage(repo=f"nano/{function.family}"),
    )


def _others(name: str, shelf: Sequence[Symbol], rng: random.Random) -> list[Symbol]:
    """What retrieval would offer beside the function: mostly symbols whose names share a word with its name."""
    mixed = [symbol for symbol in rng.sample(list(shelf), len(shelf)) if symbol.name != name]
    wanted = set(name.split("_"))
    mixed.sort(key=lambda symbol: -len(wanted & set(symbol.name.split("_"))))
    alike = rng.randint(1, 4)
    return mixed[:alike] + rng.sample(mixed[alike:], min(len(mixed[alike:]), rng.randint(0, 2)))


def _rows(change: Change, function: Function, real: bool, rng: random.Random) -> Iterator[Example]:
    for name, stage in REGISTRY.items():
        if not real and name not in COPY_STAGES:
            continue
        made = list(stage.from_change(change, "brief"))
        # One row a stage: a fresh function teaches more than another row of almost the same prompt. Generation is the
        # hardest stage and has two: the first edit, and an edit after wrong attempts.
        if name == "generation":
            yield made.pop(0)
        elif name == "relevance":
            made = [made[0]] if rng.random() < 0.5 else made[1:]
        elif name == "review" and rng.random() < 0.5:
            made = list(_tested_reviews(change, function, rng))
        if made and rng.random() < SHARES[name]:
            yield rng.choice(made)


def _tested_reviews(change: Change, function: Function, rng: random.Random) -> Iterator[Example]:
    """Review rows with what the tests said: honest for the right diff, computed for a wrong one."""
    for hunks, right in ((change.hunks, True), *((attempt, False) for attempt in change.wrong[:1])):
        passed = rng.randint(0, 5)
        if right:
            said = summary(passed, 0, True)
        else:
            source = change.touched[0].source.replace("\n".join(hunks[0].old), "\n".join(hunks[0].new), 1)
            shown = [(c, e) for c, e in function.calls if c in change.statement] or list(function.calls[:1])
            said = summary(passed, rng.randint(0, 2), all(evaluate(source, c) == e for c, e in shown))
        situation = Situation(statement=change.statement, symbols=change.touched, hunks=hunks, tests=said)
        yield example("review", REVIEW.prompt(situation, "brief"), "yes" if right else "no", change.lineage)


def _pick(found: Sequence[Mutation], rng: random.Random, count: int) -> list[Mutation]:
    """Mutations spread over operators first, so that the many wrong names do not crowd out the rest."""
    by_operator: dict[str, list[Mutation]] = {}
    for mutation in found:
        by_operator.setdefault(mutation.operator, []).append(mutation)
    picked: list[Mutation] = []
    operators = sorted(by_operator)
    while operators and len(picked) < count:
        operator = rng.choice(operators)
        group = by_operator[operator]
        picked.append(group.pop(rng.randrange(len(group))))
        if not group:
            operators.remove(operator)
    return picked


def _hunks(path: str, before: str, after: str, symbols: Sequence[Symbol]) -> tuple[Hunk, ...]:
    return tuple(h for h in hunks_between(path, before, after, symbols) if h.old != h.new)
