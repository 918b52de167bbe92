"""Examples to token ids with the answer marked, and the split that holds rows back for early stopping.

Rows from rollouts are trained on the very ids that were sampled; text rows go through the base's own chat
template with thinking switched off. The answer, its end token included, is all that the loss sees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forge.errors import TrainingError
from forge.records import Example, Lineage, Message
from forge.seams import TrainJob
from forge.training.batches import steps_of, taken

IGNORED = -100
"""Label of a position that the loss leaves out (PyTorch's `ignore_index`)."""
TURN_END = "<|im_end|>"
Pair = tuple[Sequence[int], Sequence[int]]
"""Prompt ids and completion ids."""


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """Token ids of prompt and answer; the answer starts at `answer_start` and ends with the end token."""

    ids: tuple[int, ...]
    answer_start: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def labels(self) -> list[int]:
        """One label a position: the id itself in the answer, `IGNORED` in the prompt."""
        return [IGNORED] * self.answer_start + list(self.ids[self.answer_start :])


@dataclass(frozen=True, slots=True)
class RowSet:
    """What one job trains and evaluates on, and how many rows were left out for their length."""

    train: tuple[EncodedRow, ...]
    heldout: tuple[EncodedRow, ...]
    truncated: int
    batches: tuple[tuple[int, ...], ...] | None = None
    """Numbers of the training rows in each batch, where these are given and not drawn."""

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of all ids and masks, in order, and of the batches where they are given."""
        body: list[Any] = [[(row.answer_start, row.ids) for row in part] for part in (self.train, self.heldout)]
        body += [self.batches] if self.batches is not None else []
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()

    def lengths(self) -> list[int]:
        """Tokens of each training row."""
        return [len(row) for row in self.train]

    def answer_lengths(self) -> list[int]:
        """Tokens of each training row that the loss sees."""
        return [len(row) - row.answer_start for row in self.train]

    def schedule(self, job: TrainJob) -> Sequence[Sequence[int]]:
        """Numbers of the training rows in every batch of the job, in order."""
        if self.batches is not None:
            return self.batches
        return taken(self.lengths(), job.batch_size, job.seed, steps_of(job, len(self.train)))

    def canaries(self, count: int) -> list[Pair]:
        """Prompts and answers of the first rows, held-back ones where there are such."""
        return [(row.ids[: row.answer_start], row.ids[row.answer_start :]) for row in (self.heldout or self.train)[:count]]


def encode_all(
    examples: Sequence[Example], eval_examples: Sequence[Example] | None, tokenizer: Any, *, max_tokens: int, eval_fraction: float
) -> RowSet:
    """The rows of a job. Rows of one commit or task are all trained on or all held back.

    `truncated` counts rows longer than `max_tokens` and sampled answers that were cut before their end token.
    Raises `TrainingError` when nothing is left to train on.
    """
    end = end_token_id(tokenizer)
    if eval_examples is None:
        kept_back = heldout_keys([example.lineage for example in examples], eval_fraction)
        eval_examples = [example for example in examples if key_of(example.lineage) in kept_back]
        examples = [example for example in examples if key_of(example.lineage) not in kept_back]
    train = _fitting(examples, tokenizer, end, max_tokens)
    heldout = _fitting(eval_examples, tokenizer, end, max_tokens)
    truncated = len(examples) + len(eval_examples) - len(train) - len(heldout)
    if not train:
        raise TrainingError(f"no row is left to train on: {truncated} are longer than {max_tokens} tokens or have an unfinished answer")
    return RowSet(tuple(train), tuple(heldout), truncated)


def encode(example: Example, tokenizer: Any, end: int) -> EncodedRow:
    """One row, mask checked; raises `TrainingError` for a row that has no prompt or no answer."""
    if example.prompt_ids or example.completion_ids:
        prompt, answer = tuple(example.prompt_ids), tuple(example.completion_ids)
    else:
        prompt = tuple(prompt_ids(example.messages, tokenizer))
        answer = (*tokenizer(example.completion, add_special_tokens=False)["input_ids"], end)
    if not prompt or not answer or answer == (end,):
        lacking = "answer" if prompt else "prompt"
        raise TrainingError(
            f"a row of {example.stage} from {key_of(example.lineage)} has no {lacking}, so it teaches nothing; leave it out"
        )
    return EncodedRow(prompt + answer, len(prompt))


def prompt_ids(messages: Sequence[Message], tokenizer: Any) -> list[int]:
    """Ids of a text row's prompt through the base's own chat template, thinking switched off."""
    if not getattr(tokenizer, "chat_template", None):
        raise TrainingError("the base's tokenizer has no chat template; use a base that has one, or add chat_template.jinja to its folder")
    told = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_token_id(tokenizer: Any) -> int:
    """Id of the token that ends a turn: `<|im_end|>` where the vocabulary has it, else the end of sequence."""
    found = tokenizer.convert_tokens_to_ids(TURN_END)
    if found is None or found == getattr(tokenizer, "unk_token_id", None):
        found = tokenizer.eos_token_id
    if found is None:
        raise TrainingError(f"the base's tokenizer has neither {TURN_END} nor an end-of-sequence token, so no answer could ever end")
    return int(found)


def check_mask(ids: Sequence[int], labels: Sequence[int], end: int) -> None:
    """Raise `TrainingError` unless the labels are the answer and nothing else, up to and with the end token."""
    start = next((at for at, label in enumerate(labels) if label != IGNORED), len(labels))
    if not 0 < start < len(ids) or len(labels) != len(ids) or list(labels[start:]) != list(ids[start:]) or labels[-1] != end:
        raise TrainingError(f"a row's loss mask is wrong: {len(ids)} ids, {len(labels)} labels, answer from {start}, end token {end}")


def heldout_keys(lineages: Sequence[Lineage], fraction: float) -> frozenset[str]:
    """Lineage keys held back: those whose hash falls below `fraction`; at least one of several, never all."""
    if fraction <= 0:
        return frozenset()
    by_hash = sorted((int(hashlib.sha256(key.encode()).hexdigest(), 16) / 2**256, key) for key in {key_of(lineage) for lineage in lineages})
    if len(by_hash) < 2:
        return frozenset()
    below = sum(value < fraction for value, _ in by_hash)
    return frozenset(key for _, key in by_hash[: min(max(below, 1), len(by_hash) - 1)])


def key_of(lineage: Lineage) -> str:
    """The commit or task that a row comes from."""
    return f"{lineage.repo}:{lineage.commit or lineage.task_id or '+'.join(lineage.files)}"


def _fitting(examples: Sequence[Example], tokenizer: Any, end: int, max_tokens: int) -> list[EncodedRow]:
    rows = [encode(example, tokenizer, end) for example in examples]
    kept = [row for row in rows if row.ids[-1] == end and len(row.ids) <= max_tokens]
    for row in kept:
        check_mask(row.ids, row.labels, end)
    return kept
