"""A whole history mined in this process, unit by unit as the workers do it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forge.config import MiningConfig
from forge.mining.compare import compare
from forge.mining.counts import MiningCounts
from forge.mining.row import Row
from forge.mining.units import Plan, finish_shard, read_shard, survey_repository
from forge.records import STAGES, Example
from forge.store.parquet import read_records

EVERY_LICENCE = MiningConfig.model_validate({"licences": {"allow": ["*"], "unknown": "keep"}})
"""Generated repositories have none."""
EVERY_MESSAGE = EVERY_LICENCE.model_copy(
    update={"min_message_words": 0, "messages": EVERY_LICENCE.messages.model_copy(update={"verb_object": False, "languages": ()})}
)
"""Whatever people wrote."""


class Mined:
    """Counts, rows and stage rows of one repository; its files are below `folder`."""

    def __init__(
        self, path: Path, folder: Path, config: MiningConfig = EVERY_LICENCE, *, heldout: tuple[str, ...] = (), **more: Any
    ) -> None:
        make_teacher = more.pop("make_teacher", None)
        held = tuple(("small", path) for path in sorted(heldout))
        self.plan = Plan(root=str(folder), examples=str(folder / "examples"), config=config, heldout=held, **more)
        survey = survey_repository("small", str(path), self.plan)
        assert not survey.failure, survey.failure
        shards = list(survey.shards(config.newest))
        self.counts = MiningCounts(repositories=1)
        for shard in shards:
            self.counts += read_shard(shard, survey, self.plan)
        for key, verdict in compare(shards, self.plan).items():
            shard = next(one for one in shards if one.key == key)
            self.counts += finish_shard(shard, verdict, self.plan, make_teacher)

    @property
    def rows(self) -> list[Row]:
        return read_records(self.plan.folder.commits, Row)

    @property
    def examples(self) -> list[Example]:
        folders = [self.plan.folder.examples / stage for stage in STAGES]
        return [example for folder in folders if folder.is_dir() for example in read_records(folder, Example)]
