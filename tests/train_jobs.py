"""Rows that are learned in seconds, and a job that trains on them, for tests of training."""

from __future__ import annotations

import random
from pathlib import Path

from forge.records import Example, Lineage, Message, Preference
from forge.seams import TrainJob
from forge.store.parquet import write_records

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]
CORPUS = [" ".join(random.Random(number).sample(WORDS, 4)) for number in range(200)]
"""Text to make a tokenizer from."""


def example(number: int, length: int = 4) -> Example:
    """Answer a list of words with its first word twice."""
    choice = random.Random(number)
    words = [choice.choice(WORDS) for _ in range(choice.randint(2, length))]
    lineage = Lineage(repo="r", task_id=f"t{number}")
    message = Message(role="user", content=" ".join(words))
    return Example(stage="planning", messages=(message,), completion=f"{words[0]} {words[0]}", lineage=lineage)


def preference(number: int) -> Preference:
    """The first word of the prompt twice is better than the last one twice."""
    words = random.Random(number).sample(WORDS, 4)
    return Preference(
        stage="generation",
        messages=(Message(role="user", content=" ".join(words)),),
        chosen=f"{words[0]} {words[0]}",
        rejected=f"{words[-1]} {words[-1]}",
        lineage=Lineage(repo="r", task_id=f"t{number}"),
    )


def make_job(base: Path, folder: Path, **changes: object) -> TrainJob:
    """A supervised job in `folder` on 72 examples, or with `method="dpo"` on 120 preferences; `changes` are its own settings."""
    dpo = changes.get("method") == "dpo"
    data = folder / ("pairs.parquet" if dpo else "rows.parquet")
    if not data.exists():
        write_records(data, [preference(number) for number in range(120)] if dpo else [example(number) for number in range(72)])
    values = {
        "stage": "generation" if dpo else "planning",
        "base": str(base),
        "rows": str(data),
        "output": str(folder / "adapter"),
        "rank": 8,
        "alpha": 16,
        "learning_rate": 1e-2,
        "epochs": 6.0 if dpo else 4.0,
        "batch_size": 16,
        "max_tokens": 128,
        "eval_fraction": 0.15 if dpo else 0.1,
        "patience": 6 if dpo else 4,
        "seed": 0,
    }
    return TrainJob.model_validate(values | changes)
