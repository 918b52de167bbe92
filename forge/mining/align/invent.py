"""A seed becomes concepts, and these an instruction: two questions to the base that is to learn from the answer."""

from __future__ import annotations

import builtins
import hashlib
import keyword
import re
from collections.abc import Sequence
from typing import Literal, Protocol

from forge.errors import StageError
from forge.mining.align.seeds import Seed
from forge.records import Message, Record, TeacherAnswer
from forge.teacher.prompt import ask_with, tagged

Category = Literal["function", "class"]
Difficulty = Literal["easy", "medium", "hard"]
CATEGORIES: tuple[Category, ...] = ("function", "function", "function", "class")
"""Three functions for each class: what the generation stage edits are functions and methods, so that whole programs are left out."""
DIFFICULTIES: tuple[Difficulty, ...] = ("easy", "medium", "hard")
MOST_CONCEPTS, LONGEST_CONCEPT = 10, 100
SHORTEST, LONGEST = 40, 2_000
"""Characters of an instruction."""
_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s*")
_CODE = re.compile(r"^\s*(?:def |class \w+\s*[(:]|return |import |```)", re.MULTILINE)


class Ask(Protocol):
    """A chat model that answers one question in as many ways as there are seeds."""

    async def __call__(self, messages: Sequence[Message], seed: int) -> TeacherAnswer:
        """Its answer, which may be empty; raises `EndpointError` when there is none."""


class Instruction(Record):
    """What is asked for; `name` is what the answer has to define."""

    name: str
    text: str
    category: Category
    difficulty: Difficulty
    concepts: tuple[str, ...]


def prompt(file: str, **values: object) -> tuple[Message, ...]:
    """The messages of a prompt file of this package."""
    return ask_with("forge.mining.align", f"prompts/{file}.jinja", **values)


def concepts_question(seed: Seed) -> tuple[Message, ...]:
    """What a seed shows, asked for."""
    return prompt("concepts", source=seed.source)


def concepts_of(said: str) -> tuple[str, ...]:
    """The concepts of an answer; raises `StageError`."""
    text = tagged(said, "concepts")
    if not text:
        raise StageError("no concepts between the tags")
    lines = text.splitlines() if "\n" in text else re.split(r"[;,]", text)
    found = dict.fromkeys(_BULLET.sub("", line).strip().rstrip(".;,") for line in lines)
    kept = tuple(name for name in found if name and len(name) <= LONGEST_CONCEPT)[:MOST_CONCEPTS]
    if len(kept) < 2:
        raise StageError("fewer than two concepts")
    return kept


def properties_of(seed: Seed) -> tuple[Category, Difficulty]:
    """Category and difficulty by lot, the same for the same seed."""
    lot = hashlib.sha256(seed.id.encode("utf-8", "surrogatepass")).digest()
    return CATEGORIES[lot[0] % len(CATEGORIES)], DIFFICULTIES[lot[1] % len(DIFFICULTIES)]


def instruction_question(concepts: Sequence[str], category: Category, difficulty: Difficulty) -> tuple[Message, ...]:
    """A new exercise, asked for. The seed itself is not shown, so that it is not copied."""
    return prompt("instruction", concepts=concepts, category=category, difficulty=difficulty)


def instruction_of(said: str, concepts: tuple[str, ...], category: Category, difficulty: Difficulty) -> Instruction:
    """The instruction of an answer; raises `StageError` for one that cannot be used."""
    name, text = tagged(said, "name"), tagged(said, "instruction")
    if not name or not text:
        raise StageError("no name or no instruction between the tags")
    name = name.strip("`").removesuffix("()")
    plain = name.isidentifier() and name.isascii() and not name.startswith(("_", "test"))
    if not plain or keyword.iskeyword(name) or hasattr(builtins, name):
        raise StageError("its name is none that code can be given")
    if name not in text:
        raise StageError("the instruction does not say the name")
    if not SHORTEST <= len(text) <= LONGEST:
        raise StageError("the instruction is too short or too long")
    if _CODE.search(text):
        raise StageError("the instruction gives code")
    return Instruction(name=name, text=text, category=category, difficulty=difficulty, concepts=concepts)
