"""What is told of the tokens of answers, by a stand-in for vLLM's engine."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Sequence
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from forge.observe import metrics
from serve.token_counts import counted, tags_of

SERVE = Path(__file__).parents[2] / "serve"


class Kind(Enum):
    DELTA = 1
    FINAL_ONLY = 2


class Engine:
    """Yields prepared outputs, each a list of token counts by choice, and knows whether it was closed."""

    def __init__(self, *outputs: Sequence[int], adapter: str = "") -> None:
        self.outputs, self.adapter, self.closed = outputs, adapter, False

    async def generate(self, prompt: list[int], sampling_params: Any, request_id: str, **_: Any) -> AsyncGenerator[Any, None]:
        try:
            for counts in self.outputs:
                choices = [SimpleNamespace(index=i, token_ids=[7] * count) for i, count in enumerate(counts)]
                lora = SimpleNamespace(lora_name=self.adapter) if self.adapter else None
                yield SimpleNamespace(outputs=choices, prompt_token_ids=prompt, num_cached_tokens=32, lora_request=lora)
        finally:
            self.closed = True


def told(engine: Engine, kind: Kind, take: int = 99) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    def note(model: str, **counts: int) -> None:
        found.append({"model": model, **counts})

    async def run() -> None:
        outputs = counted(engine.generate, "main", note)([1] * 40, SimpleNamespace(output_kind=kind), "id")
        for _ in range(take):
            if await anext(outputs, None) is None:
                break
        await outputs.aclose()

    asyncio.run(run())
    return found


@pytest.mark.parametrize(
    ("outputs", "kind", "written"),
    [
        (([5],), Kind.FINAL_ONLY, 5),
        (([2], [1], [3]), Kind.DELTA, 6),
        (([2], [3], [6]), Kind.FINAL_ONLY, 6),
        (([5, 4],), Kind.FINAL_ONLY, 9),
    ],
)
def test_an_answer_is_told_once_with_all_that_was_written(outputs: tuple[list[int], ...], kind: Kind, written: int) -> None:
    assert told(Engine(*outputs), kind) == [{"model": "main", "prompt": 40, "cached": 32, "written": written}]


def test_an_answer_that_nobody_waits_for_is_told_as_far_as_it_came_and_ended_in_the_engine() -> None:
    engine = Engine([2], [2], [2], adapter="review@r1-aa")
    assert told(engine, Kind.DELTA, take=2) == [{"model": "review@r1-aa", "prompt": 40, "cached": 32, "written": 4}]
    assert engine.closed


def test_an_answer_that_never_began_is_not_told() -> None:
    assert told(Engine(), Kind.DELTA) == []


def test_a_model_is_shown_as_stage_and_adapter() -> None:
    assert tags_of("review@r2-3f9c") == {"stage": "review", "adapter": "r2-3f9c"}
    assert tags_of("main") == {"stage": "main", "adapter": "none"}


def test_the_dashboard_asks_for_metrics_that_there_are_and_by_their_own_tags() -> None:
    """Ray puts `ray_` before a name, and its exporter `_total` behind a counter's."""
    made = re.findall(r'(Counter|Gauge|Histogram)\(\s*"(\w+)",.*?\(("base"[^)]*)\)', (SERVE / "counted.py").read_text(), re.DOTALL)
    ends = {"Counter": ["_total"], "Gauge": [""], "Histogram": ["_bucket"]}
    tags = {f"ray_{name}{end}": set(re.findall(r"\w+", keys)) for kind, name, keys in made for end in ends[kind]}
    tags |= {f"ray_forge_{metrics.HELDOUT}": {"step"}, f"ray_forge_{metrics.LOSS}": {"stage"}}
    panels = json.loads((SERVE / "grafana.json").read_text())["panels"]
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(made) == 5 and len(expressions) > 10
    for expression in expressions:
        for name in re.findall(r"ray_forge_\w+", expression):
            asked = set(re.findall(r"(\w+)!?=~?\"", expression)) | {
                w for by in re.findall(r"by \(([^)]*)\)", expression) for w in by.split(", ")
            }
            assert asked <= tags[name] | {"le"}, expression
