"""`forge ablate`: an adapter for each stage, one for all, and the base alone, from the same rows."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from forge.config.section import Section


class AblationConfig(Section):
    """What is compared, and how often."""

    seeds: int = Field(3, ge=1, le=20)
    """Times that each arm is trained, with `seed`, `seed` + 1, …; the tasks are the same."""
    match: Literal["rank", "parameters"] = "rank"
    """`rank`: one adapter of the highest rank that a stage has. `parameters`: beside it a further one of as many parameters as the
    stages' adapters have together, which serve.max_rank has to allow."""
    tune: bool = False
    """Beside the stages' adapters as the loop trains them, others whose learning rates are looked for as that of one adapter is."""
    round: int | None = Field(None, ge=1)
    """Round of a finished run whose rows are trained on, 1 being the cold start; the last promoted one when not given."""
    finished: bool = False
    """The workspace has to hold a finished run (`--from`); without one the cold start's rows are made."""
    rates: tuple[float, ...] = Field((0.5, 1.0, 2.0, 4.0), min_length=1)
    """Learning rates tried for one adapter over all stages, as multiples of the geometric mean of the stages' own; a few further
    ones are while the best is outermost."""
