"""A model that aligns in a known way, and rows whose functions seed it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from forge.mining.row import FunctionChange, Row
from forge.records import FileChange, Message, TeacherAnswer

CONCEPTS = "<concepts>\n- running totals\n- lists of numbers\n</concepts>"
INSTRUCTION = "Write {what} that gives back the sum of its argument values, a list of numbers; an empty list gives 0. Exercise {number}."
TESTS = "assert {call}([1, 2]) == 3\nassert {call}([]) == 0\nassert {call}([5, -7, 1]) == -1"
LOOP = "    for value in values:\n        result += value\n    return result"
RIGHT = f'def {{name}}(values):\n    """The sum of {{name}}."""\n    result = 0\n{LOOP}'
WRONG = RIGHT.replace("result = 0", "result = 1")
VACUOUS = "assert {call}([1]) != 5\nassert {call}([2]) != 7"
CLASS = '''class {name}:
    """Sums."""

    def __init__(self):
        self.calls = 0

    def of(self, values):
        """The sum of {name}."""
        self.calls += 1
        result = 0
        for value in values:
            result += value
        return result'''


def source(name: str, body: str = "    return [value * 2 for value in values]\n") -> str:
    return f'def {name}(values):\n    """Twice each of the values of {name}, in their order."""\n{body}'


def row(number: int, *functions: str, path: str = "pkg/lists.py", imports: str = "", **fields: object) -> Row:
    """A row that adds these functions to one file."""
    after = imports + "\n\n".join(functions)
    names = [re.search(r"def (\w+)", text).group(1) for text in functions]  # type: ignore[union-attr]
    return Row(
        **{
            "id": f"shop@{number}",
            "repo": "shop",
            "commit": f"{number:040}",
            "parent": "0" * 40,
            "authored_at": f"2020-01-01T00:{number % 60:02}:00+00:00",
            "message": "add functions",
            "licence": "MIT",
            "languages": ("python",),
            "files": (FileChange(path=path, before=None, after=after),),
            "functions": tuple(
                FunctionChange(path=path, name=name, language="python", kind="added", before=None, after=text)
                for name, text in zip(names, functions, strict=True)
            ),
            **fields,
        }
    )


def answered(name: str, code: str = RIGHT, tests: str = TESTS) -> str:
    """An answer to `exercise(name)`."""
    call = f"{name}().of" if code.startswith("class") else name
    return f"<answer>\n```python\n{code.format(name=name)}\n```\n</answer>\n<tests>\n{tests.format(call=call)}\n</tests>"


class Base:
    """Concepts, then an instruction of its own for each seed, then answers; every question is kept in `asked`.

    `code` and `tests` may differ by seed of sampling: a list is used in turn.
    """

    def __init__(self, code: str | Sequence[str] = RIGHT, tests: str = TESTS) -> None:
        self._codes = [code] if isinstance(code, str) else list(code)
        self._tests = tests
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, messages: Sequence[Message], seed: int) -> TeacherAnswer:
        question = messages[-1].content
        self.asked.append((question, seed))
        return TeacherAnswer(text=self.says(question, seed), prompt_tokens=10, completion_tokens=5)

    def says(self, question: str, seed: int = 0) -> str:
        if "Invent a new exercise" in question:
            return exercise("a class" in question)
        if "The name of the" in question:
            name = question.rsplit(" ", 1)[1]
            code = self._codes[seed % len(self._codes)]
            return answered(name, CLASS if "of the class" in question and code is RIGHT else code, self._tests)
        return CONCEPTS


def exercise(is_class: bool = False, number: int = 1) -> str:
    name = f"Summing{number}" if is_class else f"total_{number}"
    what = f"a class {name} with a method of(values)" if is_class else f"a function {name}(values)"
    return f"<name>{name}</name>\n<instruction>\n{INSTRUCTION.format(what=what, number=number)}\n</instruction>"
