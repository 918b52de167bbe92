"""The five stages of the agent, one file each.

In: a `Situation` (what the agent knows at that moment), a mined `Change`, or a graded `Trajectory`.
Out: the stage's prompt, its parsed answer, and training examples. Never touches files, models or the network.
Adding a stage: add a file with a `STAGE`, list it here and in `forge.records.STAGES`.

Beneath them: `source/` (languages, symbols, syntax), `retrieval/` (BM25 over symbols), `bugs/` (edits that are wrong on purpose).
"""

from __future__ import annotations

from forge.stages import analysis, generation, planning, relevance, review
from forge.stages.stage import Stage

REGISTRY: dict[str, Stage] = {
    stage.name: stage for stage in (analysis.STAGE, relevance.STAGE, planning.STAGE, generation.STAGE, review.STAGE)
}
"""The stages by name, in the order in which the agent runs them."""
