"""Log-probabilities of fixed completions as training computes them: what an endpoint must reproduce."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from forge.training import base
from forge.training.rows import Pair


def of_adapter(base_model: str, adapter: Path | None, pairs: Sequence[Pair]) -> list[tuple[float, ...]]:
    """Log-probabilities of each completion id, in nats, under the base with `adapter`, or under the base alone.

    float32 on CPU. Raises `TrainingError` when the base is none.
    """
    model = AutoModelForCausalLM.from_pretrained(base.locate(base_model), dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    return of_completions(model, pairs)


def of_completions(model: Any, pairs: Sequence[Pair]) -> list[tuple[float, ...]]:
    """The same under a loaded model, one pair at a time, in evaluation mode and without gradients."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return [_of_one(model, *pair) for pair in pairs]
    finally:
        model.train(training)


def _of_one(model: Any, prompt: Sequence[int], completion: Sequence[int]) -> tuple[float, ...]:
    ids = torch.tensor([[*prompt, *completion]], device=model.device)  # (1, prompt + completion)
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()  # (completion, vocabulary)
    chosen = torch.log_softmax(logits, dim=-1).gather(1, ids[0, len(prompt) :, None])
    return tuple(chosen[:, 0].tolist())
