"""Prompt files: a `[system]` and a `[user]` part, each a Jinja template, beside the code that asks with them."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

import jinja2

from forge.errors import TeacherError
from forge.records import Message

_PART = re.compile(r"^\[(system|user)\]\n", re.MULTILINE)


def ask_with(package: str, name: str, **values: object) -> tuple[Message, ...]:
    """The messages of the prompt file `name` in `package`, filled in; raises `TeacherError` when a value is not given."""
    system, user = _templates(package, name)
    try:
        return (
            Message(role="system", content=system.render(**values).strip()),
            Message(role="user", content=user.render(**values).strip()),
        )
    except jinja2.UndefinedError as error:
        raise TeacherError(f"the prompt {name} of {package} wants a value that it was not given: {error}") from error


def tagged(text: str, tag: str) -> str | None:
    """What an answer says between `<tag>` and `</tag>`, the last time if there are several; `None` when it does not."""
    found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
    return found[-1].strip() if found else None


@cache
def _templates(package: str, name: str) -> tuple[jinja2.Template, jinja2.Template]:
    parts = _PART.split((resources.files(package) / name).read_text(encoding="utf-8"))
    if parts[1::2] != ["system", "user"]:
        raise TeacherError(f"the prompt {name} of {package} must have a [system] part and then a [user] part, each once")
    # Plain text for a model: escaping for HTML would spoil the code in it.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # noqa: S701
    return environment.from_string(parts[2]), environment.from_string(parts[4])
