"""The data card of what was aligned: counts of everything, from the functions looked at to the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from forge.mining.align.aligner import Ended
from forge.mining.align.seeds import Sown
from forge.mining.align.select import Selection
from forge.mining.align.teach import Aligned
from forge.records import Record
from forge.teacher.spent import Spent


class AlignCard(Record):
    """`functions` = `seeds` + `spare` + `unfit`; `seeds` = `rows` + `failed` + `masked` + `dropped`."""

    made: str
    """ISO date and time."""
    code_version: str
    model: str
    settings: dict[str, str]
    data: str
    """Folder whose rows were read."""
    functions: int
    """Added or changed ones, each version of each."""
    spare: int
    unfit: dict[str, int]
    """Functions that are no seed, by reason."""
    seeds: int
    failed: dict[str, int]
    """Seeds of which the model made nothing, by reason."""
    masked: dict[str, int]
    """Seeds that infrastructure lost, by reason; the next run takes them up again."""
    answers: dict[str, int]
    """Answers by what came of them."""
    dropped: dict[str, int]
    """Made, and left out of the whole set, by reason."""
    rows: int
    categories: dict[str, int]
    difficulties: dict[str, int]
    repositories: dict[str, int]
    licences: dict[str, int]
    concepts: dict[str, int]
    """The twenty most frequent."""
    passed: dict[str, int]
    """Kept instructions by how many of their answers passed."""
    spent: Spent
    """What asking took, the runs before counted in where a seed had ended in them."""


def card_of(
    sown: Sown, ended: Sequence[Ended], chosen: Selection, *, made: str, code_version: str, settings: dict[str, str], data: str, model: str
) -> AlignCard:
    """The card of a run; `ended` has one end for each seed."""
    answers: Counter[str] = Counter()
    for one in ended:
        answers.update(one.answers)
    return AlignCard(
        made=made,
        code_version=code_version,
        model=model,
        settings=settings,
        data=data,
        functions=sown.functions,
        spare=sown.spare,
        unfit=_ordered(sown.drops),
        seeds=len(sown.seeds),
        failed=_ordered(Counter(one.reason for one in ended if one.reason)),
        masked=_ordered(Counter(one.masked for one in ended if one.masked)),
        answers=_ordered(answers),
        dropped=_ordered(chosen.drops),
        rows=len(chosen.rows),
        **_about(chosen.kept),
        spent=sum((one.spent for one in ended), Spent()),
    )


def _about(kept: Sequence[Aligned]) -> dict[str, dict[str, int]]:
    concepts = Counter(concept.lower() for one in kept for concept in one.concepts)
    return {
        "categories": _ordered(Counter(one.category for one in kept)),
        "difficulties": _ordered(Counter(one.difficulty for one in kept)),
        "repositories": _ordered(Counter(one.lineage.repo for one in kept)),
        "licences": _ordered(Counter(one.licence for one in kept)),
        "concepts": dict(concepts.most_common(20)),
        "passed": dict(sorted(Counter(f"{one.passed} of {one.answers}" for one in kept).items())),
    }


def _ordered(counts: dict[str, int]) -> dict[str, int]:
    """Largest first, equal ones by name."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
