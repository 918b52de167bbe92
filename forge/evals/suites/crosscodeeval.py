"""CrossCodeEval: the statement that comes next, where other files of the repository say what it must be.

Format: the `line_completion*.jsonl` of the release (arXiv 2310.11248), whose context from other files, where it is there, comes
before the code, as in cceval's scripts. The prompt's instruction is that of its script for chat models.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from forge.evals.suites.extract import without_thoughts
from forge.evals.suites.problem import Continuation, Problem
from forge.evals.suites.row import Row, RowError, mapping, text
from forge.records import Message

_SYSTEM = "You are Codex, a code completion language model. Continue the code presented to you."
_LANGUAGES: dict[str, Literal["python", "java", "csharp", "typescript"]] = {
    ".py": "python",
    ".java": "java",
    ".cs": "csharp",
    ".ts": "typescript",
    ".tsx": "typescript",
}


def parse(row: Row) -> Problem:
    """The problem of a row; raises `RowError`."""
    about, prompt = mapping(row, "metadata"), text(row, "prompt")
    file = PurePosixPath(text(about, "file"))
    language = _LANGUAGES.get(file.suffix)
    if language is None:
        raise RowError(f"its file {file} is of none of the suite's languages")
    context = text(mapping(row, "crossfile_context"), "text", empty=True) if row.get("crossfile_context") else ""
    return Problem(
        id=text(about, "task_id"),
        suite="crosscodeeval",
        messages=(Message(role="system", content=_SYSTEM), Message(role="user", content=f"{context}\n{prompt}")),
        exam=Continuation(prompt=prompt, expected=text(row, "groundtruth"), language=language),
    )


def answer(_: Problem, said: str) -> str:
    """What the model wrote; of a code block that it begins with, what is in it."""
    text = without_thoughts(said)
    if not text.lstrip().startswith("```"):
        return text
    lines = text.lstrip().split("\n")[1:]
    end = next((place for place, line in enumerate(lines) if line.strip() == "```"), len(lines))
    return "\n".join(lines[:end])
