"""Random programs: families composed on the spot from loops, conditions and expressions.

The hand-written families are soon known by heart, and then a model repairs by memory. What carries over to
functions of other families (a loop uses its variable, a result is begun, changed and returned) is learnt from
programs that differ every time. None has the shape of a practice family: those are left out here.
"""

from __future__ import annotations

import random
from functools import cache

from forge.nano.functions import Family, make, shape
from forge.nano.practice_families import PRACTICE_FAMILIES

VERBS = ("derive", "reduce", "gauge", "collect", "combine", "estimate", "weigh", "blend", "refine", "probe", "merge", "grade")

LOOPS = (
    ("for {x} in {a}:", ("{x}",), ("ints",)),
    ("for {x} in {a}:", ("{x}",), ("positives",)),
    ("for {x} in {a}[1:]:", ("{x}",), ("ints",)),
    ("for {x} in sorted({a}):", ("{x}",), ("ints",)),
    ("for {x}, {y} in zip({a}, {b}):", ("{x}", "{y}"), ("positives", "positives")),
    ("for {x}, {y} in {a}:", ("{x}", "{y}"), ("pairs",)),
    ("for {x}, {y} in enumerate({a}):", ("{y}", "{x}"), ("ints",)),
    ("for {x} in range(len({a})):", ("{a}[{x}]", "{x}"), ("ints",)),
    ("for {x} in range(1, len({a})):", ("{a}[{x}]", "{a}[{x} - 1]"), ("ints",)),
    ("for {x} in {s}:", ("int({x})",), ("digits",)),
)
"""Header, what an element is called inside, kinds of the arguments."""


def compose_family(rng: random.Random) -> Family:
    """A family of one template, unlike every practice family."""
    while True:
        family = _Composer(rng).family()
        if shape(family.template) not in practice_shapes():
            return family


@cache
def practice_shapes() -> frozenset[str]:
    """Shapes of many functions of the practice families."""
    rng = random.Random(0)
    return frozenset(shape(make(family, rng, difficulty=1.0, calls=0).source) for family in PRACTICE_FAMILIES for _ in range(60))


class _Composer:
    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.numbers = 0

    def family(self) -> Family:
        """One program: a loop that folds, builds or searches, or branches over scalars."""
        arguments, lines = self.rng.choice((self._fold, self._fold, self._build, self._build, self._search, self._branches))()
        names = {"ints": "{a}", "positives": "{a}", "pairs": "{a}", "digits": "{s}", "int": "{k}", "small": "{m}"}
        places: list[str] = []
        for kind in arguments:
            places.append("{b}" if names[kind] in places else names[kind])
        body = "\n".join(f"    {line}" for line in lines)
        return Family(name="program", verbs=VERBS, doc="", args=arguments, template=f"def {{f}}({', '.join(places)}):\n{body}\n")

    def _loop(self) -> tuple[str, tuple[str, ...], tuple[str, ...], list[str]]:
        """Header, elements, arguments, and all atoms that expressions may use."""
        header, elements, arguments = self.rng.choice(LOOPS)
        if self.rng.random() < 0.5:
            return header, elements, (*arguments, "int"), [*elements, "{k}"]
        return header, elements, arguments, list(elements)

    def _fold(self) -> tuple[tuple[str, ...], list[str]]:
        header, elements, arguments, atoms = self._loop()
        begin = "{r} = " + self.rng.choice(("0", "0", "1", self._number()))
        body, target = self._step(elements, atoms)
        update = self.rng.choice((
            f"{{r}} += {self._mixed(target, atoms)}",
            f"{{r}} += {target}",
            f"{{r}} -= {target}",
            f"{{r}} = {self.rng.choice(('max', 'min'))}({{r}}, {self._mixed(target, atoms)})",
            "{r} += 1",
            f"{{r}} = {target} - {{r}}",
        ))  # fmt: skip
        if update == "{r} += 1" or self.rng.random() < 0.5:
            body += [f"if {self._condition(target, atoms)}:", f"    {update}"]
            if self.rng.random() < 0.25:
                body += ["else:", f"    {{r}} {self.rng.choice(('+=', '-='))} {self.rng.choice((self._number(), *elements))}"]
        else:
            body.append(update)
        after = self.rng.choice(
            ("{r}", "{r}", "{r}", f"{{r}} {self._operator()} {self._number()}", f"max({{r}}, {self._number()})", "abs({r})")
        )
        return arguments, [begin, header, *self._indented(body), f"return {after}"]

    def _build(self) -> tuple[tuple[str, ...], list[str]]:
        header, elements, arguments, atoms = self._loop()
        body, target = self._step(elements, atoms)
        append = f"{{r}}.append({self.rng.choice((target, self._mixed(target, atoms)))})"
        if self.rng.random() < 0.6:
            body += [f"if {self._condition(target, atoms)}:", f"    {append}"]
        else:
            body.append(append)
        after = self.rng.choice(("{r}", "{r}", "{r}", "{r}[::-1]", "sorted({r})", "sum({r})", "len({r})", "{r}[1:]"))
        return arguments, ["{r} = []", header, *self._indented(body), f"return {after}"]

    def _search(self) -> tuple[tuple[str, ...], list[str]]:
        header, elements, arguments, atoms = self._loop()
        body, target = self._step(elements, atoms)
        found = self.rng.choice((target, self._mixed(target, atoms), "True", self._number()))
        missing = "False" if found == "True" else self.rng.choice(("0", "-1", self._number()))
        return arguments, [
            header,
            *self._indented([*body, f"if {self._condition(target, atoms)}:", f"    return {found}"]),
            f"return {missing}",
        ]

    def _branches(self) -> tuple[tuple[str, ...], list[str]]:
        arguments = ("int", "small") if self.rng.random() < 0.6 else ("int",)
        atoms = ["{k}", "{m}"][: len(arguments)]
        lines: list[str] = []
        if self.rng.random() < 0.6:
            lines.append(f"{{q}} = {self._mixed(self.rng.choice(atoms), atoms)}")
            atoms = [*atoms, "{q}"]
        for _ in range(self.rng.randint(1, 2)):
            told = self.rng.choice((self._number(), self._mixed(self.rng.choice(atoms), atoms)))
            lines += [f"if {self._condition(atoms[-1], atoms)}:", f"    return {told}"]
        return arguments, [*lines, f"return {self._mixed(atoms[-1], atoms)}"]

    def _step(self, elements: tuple[str, ...], atoms: list[str]) -> tuple[list[str], str]:
        """What a loop does first (nothing, a guard, or a name for an expression), and what it works on from there."""
        chance = self.rng.random()
        if chance < 0.2:
            return [f"if {self._condition(elements[0], atoms)}:", f"    {self.rng.choice(('continue', 'break'))}"], elements[0]
        return ([f"{{q}} = {self._mixed(elements[0], atoms)}"], "{q}") if chance < 0.5 else ([], elements[0])

    def _mixed(self, target: str, atoms: list[str]) -> str:
        """An expression over `target`."""
        others = [atom for atom in atoms if atom != target] or [self._number()]
        return self.rng.choice((
            f"{target} {self._operator()} {self._number()}",
            f"{target} {self.rng.choice(('+', '-', '*'))} {self.rng.choice(others)}",
            f"{self.rng.choice(others)} {self.rng.choice(('+', '-', '*'))} {target}",
            f"{target} * {self._number()} + {self.rng.choice(others)}",
            f"{self.rng.choice(('max', 'min'))}({target}, {self.rng.choice((*others, self._number()))})",
            f"({target} {self.rng.choice(('+', '-'))} {self._number()}) {self._operator()} {self._number()}",
        ))  # fmt: skip

    def _condition(self, target: str, atoms: list[str]) -> str:
        others = [atom for atom in atoms if atom != target]
        order = self.rng.choice(("<", "<=", ">", ">="))
        bound = self.rng.choice((self._number(), *others))
        return self.rng.choice((
            f"{target} {order} {bound}",
            f"{target} {order} {bound}",
            f"{target} % {self._number()} {self.rng.choice(('==', '!='))} 0",
            f"{bound} {order} {target}",
            f"{target} {self.rng.choice(('==', '!='))} {bound}",
            f"{target} {order} {bound} {self.rng.choice(('and', 'or'))} {target} {self.rng.choice(('<', '>', '!='))} {self._number()}",
        ))  # fmt: skip

    def _operator(self) -> str:
        return self.rng.choice(("+", "-", "*", "//", "%"))

    def _number(self) -> str:
        self.numbers = self.numbers % 9 + 1
        return f"{{c{self.numbers}}}"

    def _indented(self, lines: list[str]) -> list[str]:
        return [f"    {line}" for line in lines]
