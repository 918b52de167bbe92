"""`forge align`: whose functions seed it, which model invents and answers, how much of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from forge.config.mining import DuplicatesConfig
from forge.config.section import Section


class AlignConfig(Section):
    """Examples that a base makes for itself, kept where their tests pass (SelfCodeAlign, arXiv 2410.24198); no teacher is asked."""

    data: str | None = None
    """Folder that `forge mine` wrote, whose functions are the seeds; the workspace's own mined rows when not given."""
    url: str | None = None
    """Address of an OpenAI-compatible endpoint; when not given, the workspace's own is started for as long as it takes."""
    model: str = "main"
    """Its name there: the base that is to learn from what it makes, `main` on the workspace's own endpoint."""
    key_variable: str = "FORGE_API_KEY"
    """Environment variable that holds the endpoint's key; the key itself is never in a configuration."""
    seeds: int = Field(200, ge=1)
    """Functions at most that seed an instruction each, drawn by the run's seed from all that fit."""
    answers: int = Field(10, ge=1, le=100)
    """Answers to each instruction, each with tests of its own; one that passes is kept at random. The paper takes 10."""
    temperature: float = Field(0.7, ge=0.0, le=2.0)
    """Of everything that is asked."""
    max_answer_tokens: int = Field(1024, ge=16)
    """Of one answer."""
    extra: dict[str, Any] = {}
    """Further fields of the request's body, such as `{chat_template_kwargs: {enable_thinking: false}}`."""
    least_doc_words: int = Field(4, ge=0)
    """Words that a seed's docstring has at least."""
    max_lines: int = Field(60, ge=2)
    """Lines that a seed has at most."""
    duplicates: DuplicatesConfig = DuplicatesConfig()
    """When two seeds, two instructions or two answers are the same one."""
    workers: int = Field(2, ge=1)
    """Ray actors that ask and run answers."""
    concurrency: int = Field(8, ge=1)
    """Seeds under way in one worker, and questions under way from it."""
    request_s: float = Field(300.0, gt=0)
    """Wall clock of one question."""
    retries: int = Field(4, ge=0, le=100)
    """Times that a question is asked again, with growing pauses, when the endpoint is busy or fails."""
    test_s: float = Field(20.0, gt=0)
    """Wall clock of an answer's tests, Python's start counted in."""
    memory_bytes: int = Field(512 * 2**20, ge=2**26)
    """Memory of one box in which an answer runs."""
