"""The base's chat template, and the fixed texts that it puts around a message where it does no more than that."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from forge.errors import ExportError

Turns = Sequence[tuple[str, str]]
"""Pairs of role and content."""


class Frames(NamedTuple):
    """Texts before and after a message of each role, and what stands before the answer (thinking is off)."""

    around: Mapping[str, tuple[str, str]]
    answer: str

    def text(self, turns: Turns) -> str:
        """The prompt of these turns."""
        return "".join(f"{self.around[role][0]}{content}{self.around[role][1]}" for role, content in turns) + self.answer


def template_of(base: Path) -> str:
    """The chat template of a base, in Jinja. Raises `ExportError` when it has none."""
    file = base / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    try:
        text = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError) as error:
        raise ExportError(f"the base in {base} has no readable chat template: {error}") from error
    if not isinstance(text, str):
        raise ExportError(f"the base in {base} has no chat template; it needs chat_template.jinja or one in tokenizer_config.json")
    return text


def rendered(template: str, turns: Turns) -> str:
    """The prompt of these turns as the base's own template has it, thinking off, as at training and serving."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _refuse
    messages = [{"role": role, "content": content} for role, content in turns]
    try:
        return environment.from_string(template).render(messages=messages, add_generation_prompt=True, enable_thinking=False)
    except jinja2.exceptions.TemplateError as error:
        raise ExportError(f"the base's chat template fails on a plain conversation: {error}") from error


def frames_of(template: str) -> Frames:
    """The texts that a chat template puts around messages, found by rendering it and proven on longer conversations.

    Raises `ExportError` for a template that depends on more than each message's role.
    """
    one = rendered(template, [("user", "\0")]).split("\0")
    two = rendered(template, [("user", "\0"), ("assistant", "\1"), ("user", "\0")])
    begin = one[0]
    # The second user message shows where the text around the first ends: its beginning is known.
    middle, _, tail = two.partition("\0")[2].partition("\1")
    after_answer = tail[: tail.rfind(begin)] if begin else ""
    answer_begin = _common_end(middle, begin)
    user_end = middle[: len(middle) - len(answer_begin)]
    system = rendered(template, [("system", "\0"), ("user", "\1")]).partition("\1")[0].split("\0")
    if len(one) != 2 or len(system) != 2 or not one[1].startswith(user_end) or not system[1].endswith(begin):
        raise _unframed()
    around = {
        "system": (system[0], system[1][: len(system[1]) - len(begin)]),
        "user": (begin, user_end),
        "assistant": (answer_begin, after_answer),
    }
    found = Frames(around, one[1][len(user_end) :])
    for turns in _conversations():
        if found.text(turns) != rendered(template, turns):
            raise _unframed()
    return found


def _common_end(middle: str, begin: str) -> str:
    """Where the frame of an answer begins in the text between a question and its answer: at the mark that questions begin with."""
    mark = begin[: begin.find("user")] if "user" in begin else begin
    place = middle.rfind(mark) if mark else -1
    return middle[place:] if place >= 0 else ""


def _conversations() -> list[Turns]:
    answered = [("user", "one"), ("assistant", "two"), ("user", "three\nfour")]
    return [[("user", "one")], [("system", "be brief"), ("user", "one")], answered, [("system", "s"), *answered]]


def _unframed() -> ExportError:
    return ExportError(
        "the base's chat template does more than put a text around each message, so no Ollama template says the same; "
        "take --to llama-server, which reads the template itself"
    )


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)
