"""Preferences to token ids: one prompt, the better answer and the worse one, both with the token that ends them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from forge.errors import TrainingError
from forge.records import Preference
from forge.seams import TrainJob
from forge.training import rows
from forge.training.batches import steps_of, taken


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Token ids of a prompt and its two answers; its length is that of the prompt with the longer one."""

    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


@dataclass(frozen=True, slots=True)
class PairSet:
    """What one job trains and evaluates on, and how many pairs were left out for their length."""

    train: tuple[EncodedPair, ...]
    heldout: tuple[EncodedPair, ...]
    truncated: int

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of all ids, in order."""
        body = [[(pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) for pair in part] for part in (self.train, self.heldout)]
        return hashlib.sha256(json.dumps(body).encode()).hexdigest()

    def lengths(self) -> list[int]:
        """Tokens that each training pair puts through the model: the prompt twice, and both answers."""
        return [2 * len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in self.train]

    def answer_lengths(self) -> list[int]:
        """Tokens of each training pair that the loss sees: both answers."""
        return [len(pair.chosen_ids) + len(pair.rejected_ids) for pair in self.train]

    def schedule(self, job: TrainJob) -> Sequence[Sequence[int]]:
        """Numbers of the training pairs in every batch of the job, in order."""
        return taken([len(pair) for pair in self.train], job.batch_size, job.seed, steps_of(job, len(self.train)))

    def canaries(self, count: int) -> list[rows.Pair]:
        """Prompts and better answers of the first pairs, held-back ones where there are such."""
        return [(pair.prompt_ids, pair.chosen_ids) for pair in (self.heldout or self.train)[:count]]


def encode_all(
    preferences: Sequence[Preference], held_back: Sequence[Preference] | None, tokenizer: Any, *, max_tokens: int, eval_fraction: float
) -> PairSet:
    """The pairs of a job. Pairs of one commit or task are all trained on or all held back.

    `truncated` counts pairs longer than `max_tokens` and answers that were cut before their end token. Raises `TrainingError` when
    nothing is left to train on, or a pair's answers are the same.
    """
    end = rows.end_token_id(tokenizer)
    if held_back is None:
        kept_back = rows.heldout_keys([row.lineage for row in preferences], eval_fraction)
        held_back = [row for row in preferences if rows.key_of(row.lineage) in kept_back]
        preferences = [row for row in preferences if rows.key_of(row.lineage) not in kept_back]
    train, heldout = (_fitting(part, tokenizer, end, max_tokens) for part in (preferences, held_back))
    truncated = len(preferences) + len(held_back) - len(train) - len(heldout)
    if not train:
        raise TrainingError(f"no pair is left to train on: {truncated} are longer than {max_tokens} tokens or have an unfinished answer")
    return PairSet(tuple(train), tuple(heldout), truncated)


def encode(row: Preference, tokenizer: Any, end: int) -> EncodedPair:
    """One pair; raises `TrainingError` for one that prefers nothing."""
    answers = (row.chosen, row.chosen_ids), (row.rejected, row.rejected_ids)
    if row.prompt_ids:
        prompt = row.prompt_ids
        better, worse = (ids for _, ids in answers)
    else:
        prompt = tuple(rows.prompt_ids(row.messages, tokenizer))
        better, worse = ((*tokenizer(text, add_special_tokens=False)["input_ids"], end) for text, _ in answers)
    if not prompt or not better or not worse or better == worse:
        raise TrainingError(
            f"a pair of {row.stage} from {rows.key_of(row.lineage)} has no prompt, no answer or two equal ones, so it teaches nothing; "
            "leave it out"
        )
    return EncodedPair(prompt, better, worse)


def _fitting(preferences: Sequence[Preference], tokenizer: Any, end: int, max_tokens: int) -> list[EncodedPair]:
    encoded = [encode(row, tokenizer, end) for row in preferences]
    return [pair for pair in encoded if pair.chosen_ids[-1] == pair.rejected_ids[-1] == end and len(pair) <= max_tokens]
