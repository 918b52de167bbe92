"""What a GGUF file says of a tokenizer: tokens, their kinds, merges, and the name of the pattern that splits text first.

llama.cpp has the splitting patterns compiled in and a file can only name one of them. So a tokenizer can be exported
when its own pattern is one of those below, character for character. Unicode normalisation (NFC, which Qwen3 asks for) is
not done by llama.cpp: text that is not in that form, decomposed accents say, becomes other tokens there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from forge.errors import ExportError

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5
"""Kinds of token in GGUF. Control tokens are not printed, user-defined ones are found in text before it is split."""

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
"""The pattern of Qwen2, 2.5 and 3 (`transformers.models.qwen2.tokenization_qwen2.PRETOKENIZE_REGEX`)."""

UNSPLIT = "gpt-2"
"""What a file names whose users give token ids: llama.cpp wants a pattern that it knows, and uses it on text alone."""


class Vocabulary(NamedTuple):
    """The tokenizer of a base as GGUF has it. `split` is llama.cpp's name of the splitting pattern."""

    split: str
    tokens: tuple[str, ...]
    kinds: tuple[int, ...]
    merges: tuple[str, ...]
    end: int | None
    padding: int | None
    start: int | None


def vocabulary_of(base: Path, size: int, *, ids_only: bool = False) -> Vocabulary:
    """The tokenizer in the folder of a base, filled up to the `size` of its embedding.

    `ids_only`: whoever uses the file gives it token ids and never text, so how text is split need not be known to llama.cpp.
    Raises `ExportError` with the reason for a tokenizer that GGUF cannot carry.
    """
    content, settings = _json(base / "tokenizer.json"), _json(base / "tokenizer_config.json")
    split = split_name(content, ids_only=ids_only)
    model, added = content["model"], {entry["id"]: entry for entry in content.get("added_tokens", [])}
    by_id = {number: token for token, number in model["vocab"].items()} | {number: entry["content"] for number, entry in added.items()}
    if max(by_id) >= size:
        raise ExportError(f"the tokenizer has token {max(by_id)}, the base's embedding only {size} rows")
    ids = {token: number for number, token in by_id.items()}

    def special(key: str) -> int | None:
        token = settings.get(key)
        return ids.get(str(token["content"] if isinstance(token, dict) else token))

    return Vocabulary(
        split=split,
        tokens=tuple(by_id.get(number, f"[PAD{number}]") for number in range(size)),
        kinds=tuple(_kind(number, by_id, added) for number in range(size)),
        merges=tuple(merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]),
        end=special("eos_token"),
        padding=special("pad_token"),
        start=special("bos_token"),
    )


def split_name(content: Mapping[str, Any], *, ids_only: bool = False) -> str:
    """llama.cpp's name for how `tokenizer.json` splits text. Raises `ExportError` for one it has no name for, unless `ids_only`."""
    reason = next(_reasons(content), None)
    splitter = content.get("pre_tokenizer") or {}
    name = _pattern_name(splitter) if reason is None else None
    if name is None and reason is None and ids_only and _ends_in_bytes(splitter):
        return UNSPLIT
    if name is None:
        raise ExportError(
            f"llama.cpp cannot represent this base's tokenizer ({reason or 'it splits text by a pattern of its own'}); GGUF can be "
            "written for byte-level BPE with the splitting pattern of Qwen2/Qwen3 or GPT-2. Take --to peft, merged or vllm"
        )
    return name


def stops_of(base: Path, vocabulary: Vocabulary) -> list[str]:
    """The tokens that end an answer: those of `generation_config.json` and the tokenizer's own."""
    file = base / "generation_config.json"
    named = _json(file).get("eos_token_id") if file.is_file() else None
    numbers = [*(named if isinstance(named, list) else [named]), vocabulary.end]
    return list(dict.fromkeys(vocabulary.tokens[number] for number in numbers if number is not None))


def _reasons(content: Mapping[str, Any]) -> Iterator[str]:
    model = content.get("model", {})
    if model.get("type") != "BPE":
        yield f"its model is {model.get('type')}, not BPE"
    for key in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        if model.get(key):
            yield f"it sets {key}"
    if (content.get("normalizer") or {"type": "NFC"})["type"] != "NFC":
        yield f"it normalises text by {content['normalizer']['type']}"
    if (content.get("post_processor") or {}).get("special_tokens"):
        yield "it puts tokens around each text"
    for entry in content.get("added_tokens", []):
        if entry.get("lstrip") or entry.get("rstrip") or entry.get("single_word"):
            yield f"its token {entry['content']} takes the space beside it"


def _pattern_name(splitter: Mapping[str, Any]) -> str | None:
    steps = splitter.get("pretokenizers", [splitter])
    if any(step.get("add_prefix_space") for step in steps) or not steps or steps[-1].get("type") != "ByteLevel":
        return None
    if len(steps) == 1:
        return "gpt-2" if steps[0].get("use_regex", True) else None
    first = steps[0]
    same = first.get("type") == "Split" and first.get("pattern") == {"Regex": QWEN2} and first.get("behavior") == "Isolated"
    return "qwen2" if len(steps) == 2 and same and not first.get("invert") and not steps[1].get("use_regex", True) else None


def _ends_in_bytes(splitter: Mapping[str, Any]) -> bool:
    """Whether tokens are bytes in GPT-2's letters, which is how llama.cpp makes text of them."""
    steps = splitter.get("pretokenizers", [splitter])
    return bool(steps) and steps[-1].get("type") == "ByteLevel"


def _kind(number: int, by_id: Mapping[int, str], added: Mapping[int, Mapping[str, Any]]) -> int:
    if number not in by_id:
        return UNUSED
    if number not in added:
        return NORMAL
    return CONTROL if added[number].get("special") else USER_DEFINED


def _json(file: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {file}: {error}; the base needs a fast tokenizer") from error
    return content
