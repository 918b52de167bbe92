"""Ollama: one model a stage, as it cannot change adapters between requests. A Modelfile, and the commands that make the tags."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from forge.errors import ExportError
from forge.export.architecture import Architecture
from forge.export.chat import Frames

SAMPLING = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "repetition_penalty": "repeat_penalty"}
"""Keys of `generation_config.json` and what Ollama calls them."""


def template(frames: Frames) -> str:
    """The chat template in Go's template language: the texts of the base's own, thinking off.

    No `{{-`: it would take the line ends before it away.
    """
    system, user, assistant = (frames.around[role] for role in ("system", "user", "assistant"))
    text = (
        f"{{{{ if .System }}}}{system[0]}{{{{ .System }}}}{system[1]}{{{{ end }}}}"
        f'{{{{ range .Messages }}}}{{{{ if eq .Role "user" }}}}{user[0]}{{{{ .Content }}}}{user[1]}'
        f'{{{{ else if eq .Role "assistant" }}}}{assistant[0]}{{{{ .Content }}}}{assistant[1]}{{{{ end }}}}{{{{ end }}}}'
        f"{frames.answer}"
    )
    fixed = "".join((*system, *user, *assistant, frames.answer))
    if '"""' in fixed or "{{" in fixed:
        raise ExportError("the base's chat template holds quotes or braces that a Modelfile cannot; take --to llama-server")
    return text


def modelfile(weights: str, name: str, base: Path, shape: Architecture, frames: Frames, stops: list[str], context: int | None) -> str:
    """The Modelfile of one stage. Sampling is the base's own (`generation_config.json`), greedy where it has none, as forge evaluates."""
    lines = [f"# {name}, written by forge export", f"FROM ./{weights}", f'TEMPLATE """{template(frames)}"""']
    lines += [f"PARAMETER {key} {value}" for key, value in _sampling(base)]
    lines += [f"PARAMETER num_ctx {min(context or shape.context, shape.context)}"]
    lines += [f"PARAMETER stop {json.dumps(stop)}" for stop in stops]
    return "\n".join(lines) + "\n"


def create_script(tags: dict[str, str]) -> str:
    """A script that makes one Ollama model of each Modelfile, given by tag."""
    lines = [f'ollama create "{tag}" -f "{file}"' for tag, file in tags.items()]
    return "\n".join(["#!/bin/sh", "# One Ollama model a stage.", "set -e", 'cd "$(dirname "$0")"', *lines]) + "\n"


def _sampling(base: Path) -> Iterator[tuple[str, object]]:
    file = base / "generation_config.json"
    given = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    found = {name: given[key] for key, name in SAMPLING.items() if given.get(key) is not None}
    yield from ({"temperature": 0} | {"repeat_penalty": 1.0} | found).items()
