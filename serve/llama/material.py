"""What llama.cpp is given of a base: files and tokenizer, which are made elsewhere, and numbers that are read from the base's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from forge.errors import EndpointError


class Tokenizer(Protocol):
    """The base's own tokenizer and chat template."""

    def rendered(self, turns: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """The prompt of chat messages; raises a `ForgeError` when the template refuses them."""

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of `text`, nothing added."""

    def plain(self, ids: Sequence[int]) -> str:
        """Text of the ids, special tokens included."""

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The tokens as the vocabulary has them."""


class Material(Protocol):
    """What one base is served from; travels to the replica as a plain value."""

    def weights(self) -> Path:
        """The base as a GGUF file. Raises a `ForgeError` for a base that llama.cpp cannot be given."""

    def adapter(self, folder: Path) -> Path:
        """An adapter of the store as a GGUF file, in the folder of `weights`. Raises a `ForgeError` likewise."""

    def tokenizer(self) -> Tokenizer: ...


class Facts(NamedTuple):
    """Numbers of a base. `defaults` are sampling settings that its makers advise, by the names of OpenAI's API."""

    vocabulary: int
    cached_values: int
    """Numbers that the KV cache holds for each token."""
    ends: tuple[int, ...]
    """Tokens that end an answer."""
    defaults: Mapping[str, float]


ADVISED = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""Settings of `generation_config.json` that hold where a request says nothing, as in vLLM."""


def facts_of(folder: Path) -> Facts:
    """The facts of the base in a folder. Raises `EndpointError` when it is none."""
    config, generation = _read(folder / "config.json"), _read(folder / "generation_config.json", {})
    heads = config.get("num_key_value_heads", config.get("num_attention_heads", 1))
    size = config.get("head_dim") or config.get("hidden_size", 0) // max(1, config.get("num_attention_heads", 1))
    told = [generation.get("eos_token_id"), config.get("eos_token_id")]
    ends = [end for one in told for end in (one if isinstance(one, list) else [one]) if end is not None]
    return Facts(
        vocabulary=config["vocab_size"],
        cached_values=2 * config["num_hidden_layers"] * heads * size,
        ends=tuple(dict.fromkeys(ends)),
        defaults={name: generation[name] for name in ADVISED if generation.get(name) is not None},
    )


def _read(file: Path, without: dict[str, Any] | None = None) -> dict[str, Any]:
    if without is not None and not file.is_file():
        return without
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EndpointError(f"cannot read {file}: {error}; is this the folder of a base?") from error
    return content
