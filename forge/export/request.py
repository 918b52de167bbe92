"""What is exported: adapter versions, the base they were trained from, and how small."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from forge.records import AdapterRef

QUANTISATIONS = ("f16", "q8_0", "q4_k_m")
"""Forms of the weights in a GGUF file: 16, 8.5 and about 4.8 bits each."""


class Request(NamedTuple):
    """Versions of one base, at most one a stage. `base_name` is what a server would be given: hub id or folder."""

    adapters: tuple[AdapterRef, ...]
    base: Path
    base_name: str
    quantise: str = "f16"
    context: int | None = None
    """Longest prompt and answer in tokens that the stages were trained for; `None`: what the base can."""
