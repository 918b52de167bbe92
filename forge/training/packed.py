"""Several adapters trained side by side on one frozen base (PLoRA's idea, arXiv 2508.02932): one forward pass, each row for all of them.

The base's matrix products are shared, which fills a card that one small batch leaves idle; each adapter has its own rank, scale and
learning rate, and its gradient comes from its own rows alone. For comparing settings, not for the adapters that are kept: these are
trained by `run.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from forge.training.batches import taken
from forge.training.rows import IGNORED, EncodedRow, RowSet
from forge.training.run import LINEARS, WARMUP

Losses = list[float]
"""Mean loss of each adapter, in nats an answer token."""


@dataclass(frozen=True)
class Setting:
    """What one of the adapters is trained with."""

    rank: int
    alpha: int
    learning_rate: float


@dataclass(frozen=True)
class Schedule:
    """What all of them share."""

    steps: int
    batch_size: int
    seed: int
    rslora: bool = False


def train_side_by_side(
    model: Any,
    data: RowSet,
    settings: Sequence[Setting],
    schedule: Schedule,
    tell: Callable[[int, Losses], None] = lambda *_: None,
    *,
    judges: Sequence[Sequence[EncodedRow]] = (),
) -> Losses:
    """The held-out loss of each setting after the last step, or the training loss of the last steps where nothing is held back.

    Where the rows held back are given in groups, as `judges`, it is the mean of the groups' losses, however many rows each has.
    `model` is a bare causal LM with frozen weights, and is one again afterwards. `tell` gets step and training losses.
    """
    with _packed(model, settings, schedule) as groups:
        optimizer = torch.optim.AdamW(
            [{"params": group, "lr": one.learning_rate} for group, one in zip(groups, settings, strict=True)], weight_decay=0.0
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schedule.steps))
        recent: list[Losses] = []
        for step, batch in enumerate(_batches(data, schedule), 1):
            losses = _losses(model, batch, len(settings))
            optimizer.zero_grad(set_to_none=True)
            torch.stack(losses).sum().backward()
            nn.utils.clip_grad_norm_([weight for group in groups for weight in group], float("inf"))
            for group in groups:
                nn.utils.clip_grad_norm_(group, 1.0)
            optimizer.step()
            scheduler.step()
            recent = [*recent[-9:], [float(loss.detach()) for loss in losses]]
            tell(step, recent[-1])
        if not data.heldout:
            return [sum(column) / len(column) for column in zip(*recent, strict=True)]
        found = [_heldout(model, group, len(settings), schedule.batch_size) for group in judges or [data.heldout]]
        return [sum(column) / len(column) for column in zip(*found, strict=True)]


class _Packed(nn.Module):
    """A frozen linear and one adapter each for equal shares of a batch's rows."""

    def __init__(self, linear: nn.Linear, settings: Sequence[Setting], rslora: bool) -> None:
        super().__init__()
        self.linear = linear
        place = {"device": linear.weight.device, "dtype": torch.float32}
        self.down = nn.ParameterList(nn.Parameter(torch.empty(one.rank, linear.in_features, **place)) for one in settings)
        self.up = nn.ParameterList(nn.Parameter(torch.zeros(linear.out_features, one.rank, **place)) for one in settings)
        self.scales = [one.alpha / (math.sqrt(one.rank) if rslora else one.rank) for one in settings]
        for weight in self.down:
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """(adapters · rows, positions, in) → (adapters · rows, positions, out)."""
        parts = states.chunk(len(self.scales))
        added = [
            scale * (part.to(down.dtype) @ down.T) @ up.T
            for part, down, up, scale in zip(parts, self.down, self.up, self.scales, strict=True)
        ]
        whole: torch.Tensor = self.linear(states)
        return whole + torch.cat(added).to(whole.dtype)


@contextmanager
def _packed(model: Any, settings: Sequence[Setting], schedule: Schedule) -> Iterator[list[list[nn.Parameter]]]:
    """Put the adapters into all linears of `model`; yields each adapter's weights, and takes them out again."""
    torch.manual_seed(schedule.seed)
    places = [
        (parent, name)
        for parent in list(model.modules())
        for name, child in parent.named_children()
        if name in LINEARS and isinstance(child, nn.Linear)
    ]
    packed = [_Packed(getattr(parent, name), settings, schedule.rslora) for parent, name in places]
    for (parent, name), module in zip(places, packed, strict=True):
        setattr(parent, name, module)
    try:
        yield [[weight for module in packed for weight in (module.down[at], module.up[at])] for at in range(len(settings))]
    finally:
        for (parent, name), module in zip(places, packed, strict=True):
            setattr(parent, name, module.linear)


def _losses(model: Any, batch: Sequence[EncodedRow], adapters: int) -> list[torch.Tensor]:
    """The mean loss of each adapter on the same rows; only answer positions go through the output layer."""
    longest = max(len(row) for row in batch)
    ids = torch.tensor([[*row.ids, *[0] * (longest - len(row))] for row in batch], device=model.device)
    labels = torch.tensor([[*row.labels, *[IGNORED] * (longest - len(row))] for row in batch], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in batch], device=model.device)
    hidden = model.base_model(input_ids=ids.repeat(adapters, 1), attention_mask=mask.repeat(adapters, 1), use_cache=False).last_hidden_state
    asked = labels[:, 1:] != IGNORED
    wanted = labels[:, 1:][asked]
    return [
        nn.functional.cross_entropy(model.get_output_embeddings()(part[:, :-1][asked]).float(), wanted) for part in hidden.chunk(adapters)
    ]


def _heldout(model: Any, rows: Sequence[EncodedRow], adapters: int, batch_size: int) -> Losses:
    ordered = sorted(rows, key=len)
    batches = [ordered[at : at + batch_size] for at in range(0, len(ordered), batch_size)]
    with torch.no_grad():
        found = [[float(loss) for loss in _losses(model, batch, adapters)] for batch in batches]
    return [sum(column) / len(column) for column in zip(*found, strict=True)]


def _batches(data: RowSet, schedule: Schedule) -> Iterator[list[EncodedRow]]:
    """As many batches as there are steps: the given ones, or pass after pass."""
    batch_size = min(schedule.batch_size, len(data.train))
    for batch in data.batches or taken(data.lengths(), batch_size, schedule.seed, schedule.steps):
        yield [data.train[index] for index in batch]


def _rate(step: int, steps: int) -> float:
    """Share of the learning rate: a linear rise, then a half cosine."""
    warm = max(1, math.ceil(WARMUP * steps))
    if step < warm:
        return step / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
