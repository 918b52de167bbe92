"""Chat messages → prompt token ids with the base's own template, and token ids → text.

Reads `tokenizer.json` and the chat template directly: the same ids as `AutoTokenizer.apply_chat_template` (a test
holds them equal) without importing transformers, which costs each rollout worker seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from forge.errors import EndpointError
from forge.records import Message


class BaseTokenizer:
    """The `ChatTokenizer` in the folder of a base. Raises `EndpointError` when the folder lacks what it needs."""

    def __init__(self, folder: Path) -> None:
        settings = _read_json(folder / "tokenizer_config.json")
        self._tokenizer = _read_tokenizer(folder / "tokenizer.json")
        self._template = _environment().from_string(_template_text(folder, settings))
        self._special = {key: _token_text(settings[key]) for key in ("bos_token", "eos_token", "pad_token") if settings.get(key)}

        self.yes_id, self.no_id = (self._single(answer) for answer in ("yes", "no"))
        self.end_id = self._end(folder)

    def render(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Token ids of the messages, up to where the answer begins; thinking is off."""
        return self.encode(self.text(messages))

    def text(self, messages: Sequence[Message]) -> str:
        """The rendered prompt whose tokens `render` gives."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        return self.rendered(turns, add_generation_prompt=True, enable_thinking=False)

    def rendered(self, turns: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """What the template makes of messages and variables as they are; raises `EndpointError` when it refuses them."""
        try:
            return self._template.render(**{**self._special, **variables, "messages": turns})
        except (jinja2.exceptions.TemplateError, TypeError) as error:
            raise EndpointError(f"the base's chat template does not take these messages: {error}") from error

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, nothing added."""
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def split(self, text: str, at: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Token ids of `text` before and from the character `at`; a token that holds the border belongs to what follows."""
        encoded = self._tokenizer.encode(text, add_special_tokens=False)
        before = sum(end <= at for _, end in encoded.offsets)
        return tuple(encoded.ids[:before]), tuple(encoded.ids[before:])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens left out."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def plain(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens included."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary has them; empty for an id that only fills the embedding up."""
        return [self._tokenizer.id_to_token(one) or "" for one in ids]

    def _single(self, answer: str) -> int:
        ids = self.encode(answer)
        if len(ids) != 1:
            raise EndpointError(f"the base splits '{answer}' into {len(ids)} tokens; judgement stages need one token each for yes and no")
        return ids[0]

    def _end(self, folder: Path) -> int:
        end = self._tokenizer.token_to_id(self._special.get("eos_token", ""))
        if end is None:
            raise EndpointError(f"the tokenizer in {folder} names no eos_token; without one no answer ends")
        return int(end)


def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up for chat templates (`utils/chat_template_utils.py`)."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    return environment


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _raise(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _template_text(folder: Path, settings: Mapping[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    text = settings.get("chat_template")
    if not isinstance(text, str):
        raise EndpointError(f"the base in {folder} has no chat template; it needs chat_template.jinja or one in tokenizer_config.json")
    return text


def _token_text(token: Any) -> str:
    """A token in `tokenizer_config.json` is a string or an object that holds one."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EndpointError(f"cannot read {path}: {error}; is this the folder of a base?") from error
    return content


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise EndpointError(f"there is no {path}; is this the folder of a base with a fast tokenizer?")
    return Tokenizer.from_file(str(path))
