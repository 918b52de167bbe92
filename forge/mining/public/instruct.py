"""`Instruct`: one exercise of a public set, whatever its columns were called."""

from __future__ import annotations

from forge.records import Record


class Instruct(Record):
    """Something asked for and its answer."""

    id: str
    """The set's name and the row's own id, or a hash of what it says: `magicoder-oss-instruct:104`."""
    source: str
    """Which set it is from, one of the names of `forge.mining.public.sets`."""
    instruction: str
    context: str = ""
    """What was shown beside it, such as the code before a change."""
    answer: str
    language: str = ""
    """Programming language in lower case, such as python; empty when the set does not say."""
    licence: str
    """SPDX identifier of the row where the set says it, else of the set; `NOASSERTION` when neither does."""
    quality: float | None = None
    """Between 0 and 1 by whatever the set measured; `None` when it measured nothing."""
