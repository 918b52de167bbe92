"""A prompt in a file: what instructs a stage in place of its own words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import model_validator

from forge.config.section import Section

WRITING = ("analysis", "planning", "generation")
"""Stages that write; the others judge and are never sampled."""


class PromptFile(Section):
    """Given as the file's path alone; the text is read when the configuration is, and kept with it, so that workers, a saved
    configuration and a run that goes on have the very words that were tried."""

    file: str
    """Its path, from the folder that forge is started in. It has to ask for answers of the form that the stage reads."""
    text: str = ""
    """What it says; read from the file where it is not given."""

    @model_validator(mode="before")
    @classmethod
    def _read(cls, given: Any) -> Any:
        entry = {"file": given} if isinstance(given, str) else given
        if not isinstance(entry, dict) or entry.get("text") or not isinstance(entry.get("file"), str):
            return entry
        try:
            text = Path(entry["file"]).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the prompt {entry['file']}: {error}; give a text file") from error
        if not text:
            raise ValueError(f"the prompt {entry['file']} is empty; write the stage's instructions into it")
        return {**entry, "text": text}
