"""The whole set: what was made twice goes, and what shows something of a benchmark or of a held-out task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from forge.config import ContaminationConfig, DuplicatesConfig
from forge.errors import StageError
from forge.mining.align.seeds import as_diff
from forge.mining.align.teach import Aligned, example_of
from forge.mining.quality.contamination import Benchmarks
from forge.mining.quality.duplicates import Aged, duplicates, fingerprint_of
from forge.records import Example, Record, Task
from forge.stages.stage import PromptStyle

HELDOUT = "held-out tasks"


class Selection(Record):
    """What is kept, its rows in the same order, and counts of the rest by reason."""

    kept: tuple[Aligned, ...]
    rows: tuple[Example, ...]
    drops: dict[str, int]


def benchmarks_of(sets: Mapping[str, Iterable[str]], tasks: Iterable[Task], config: ContaminationConfig) -> Benchmarks:
    """N-grams of the benchmarks' texts and of what the tasks that are not trained on ask, and of the files that solve them."""
    hidden = [task for task in tasks if task.side != "train"]
    texts = [text for task in hidden for text in (task.statement, *(edit.content or "" for edit in task.gold))]
    # A file that several tasks share is one text: n-grams of many texts count as boilerplate.
    return Benchmarks({**sets, **({HELDOUT: dict.fromkeys(texts)} if texts else {})}, config)


def select(found: Sequence[Aligned], known: Benchmarks, config: DuplicatesConfig, style: PromptStyle = "full") -> Selection:
    """Instructions and answers that no other is nearly the same as, without benchmarks; of those alike the oldest seed's stays."""
    drops: Counter[str] = Counter()
    kept: list[Aligned] = []
    for one in sorted(found, key=lambda one: (one.age, one.id)):
        if name := known.of(f"{one.instruction}\n{one.code}"):
            drops[f"contaminated: {name}"] += 1
        else:
            kept.append(one)
    parts: dict[str, Callable[[Aligned], str]] = {"instruction": lambda one: one.instruction, "answer": lambda one: one.code}
    for part, text in parts.items():
        prints = [Aged(id=one.id, age=one.age, print=fingerprint_of(as_diff(text(one)), config)) for one in kept]
        same = duplicates(prints, config)
        drops.update(f"{part}: {reason}" for reason in same.values())
        kept = [one for one in kept if one.id not in same]
    rows: list[Example] = []
    taught: list[Aligned] = []
    for one in kept:
        try:
            rows.append(example_of(one, style))
        except StageError as error:
            drops[str(error)] += 1
        else:
            taught.append(one)
    return Selection(kept=tuple(taught), rows=tuple(rows), drops=dict(drops))
