"""The public sets that are known, with the columns of their cards on the hub, and how a row of each is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from forge.errors import ConfigError
from forge.mining.public.columns import Columns, digest, inside, language, licence, number, text
from forge.mining.public.instruct import Instruct

_IDS = ("id", "instance_id", "commit", "seq_id", "index")
_BEST_MARK = 5.0
"""OpenCodeInstruct's judge marks each criterion from 1 to 5."""


@dataclass(frozen=True, slots=True)
class PublicSet:
    """One set: where it is, which columns it has, and what is read of them."""

    name: str
    hub: str
    """Its name on the hub."""
    licence: str
    """SPDX identifier of the set as a whole."""
    columns: frozenset[str]
    """Columns by which its rows are known."""
    fields: Callable[[Columns], dict[str, Any]]
    """Of a row: `instruction`, `answer`, and whatever else of `Instruct` it says."""
    configs: tuple[str, ...] = ()
    """Parts on the hub, loaded one after the other."""
    files: str = ""
    """Where its files are on the hub by language, for a set whose loader is a script, which `datasets` no longer runs."""

    def exercise(self, row: Columns) -> Instruct:
        """A row as an exercise; its instruction or its answer may be empty."""
        said = {"licence": self.licence, **self.fields(row)}
        own = next((text(row, name) for name in _IDS if text(row, name)), "")
        identity = own or digest(said["instruction"], said["answer"])
        return Instruct(id=f"{self.name}:{identity}", source=self.name, **said)


def open_code_instruct(row: Columns) -> dict[str, Any]:
    """Its quality is the mean of the share of unit tests that pass and of the judge's marks, as far as they are there."""
    scores = [score for score in (number(row, "average_test_score"), _marks(inside(row, "llm_judgement"))) if score is not None]
    quality = min(1.0, max(0.0, fmean(scores))) if scores else None
    return {"instruction": text(row, "input"), "answer": text(row, "output"), "language": "python", "quality": quality}


def code_feedback(row: Columns) -> dict[str, Any]:
    return {"instruction": text(row, "query"), "answer": text(row, "answer"), "language": language(text(row, "lang"))}


def oss_instruct(row: Columns) -> dict[str, Any]:
    return {"instruction": text(row, "problem"), "answer": text(row, "solution"), "language": language(text(row, "lang"))}


def plain(row: Columns) -> dict[str, Any]:
    return {"instruction": text(row, "instruction"), "answer": text(row, "output")}


def opencoder(row: Columns) -> dict[str, Any]:
    """Rows with test cases, those of `educational_instruct`, are the ones whose answers passed them."""
    tests = row.get("testcase")
    tested = isinstance(tests, Sequence) and len(tests) > 0
    return plain(row) | ({"language": "python", "quality": 1.0} if tested else {})


def swe_bench(row: Columns) -> dict[str, Any]:
    """An issue and the diff that closed it; the code that both are about is in the repository, not in the row."""
    parts = [f"{text(row, 'repo')} at {text(row, 'base_commit')}", text(row, "hints_text").strip()]
    context = "\n\n".join(part for part in parts if part)
    return {"instruction": text(row, "problem_statement"), "context": context, "answer": text(row, "patch"), "language": "python"}


def commit_pack(row: Columns) -> dict[str, Any]:
    """A commit of one file: its message, the file before and the file after."""
    asked = text(row, "message").strip() or text(row, "subject").strip()
    path = text(row, "new_file") or text(row, "old_file")
    return {
        "instruction": f"{asked}\n\nAnswer with the whole of {path}." if asked else "",
        "context": text(row, "old_contents"),
        "answer": text(row, "new_contents"),
        "language": language(text(row, "lang")),
        "licence": licence(text(row, "license")),
    }


def _marks(judgement: object) -> float | None:
    """The judge's mean over its criteria, from 0 to 1."""
    if not isinstance(judgement, dict):
        return None
    criteria = [value if isinstance(value, dict) else {"score": value} for value in judgement.values()]
    marks = [mark for criterion in criteria if (mark := number(criterion, "score")) is not None]
    return (fmean(marks) - 1.0) / (_BEST_MARK - 1.0) if marks else None


def _set(name: str, hub: str, spdx: str, columns: str, fields: Callable[[Columns], dict[str, Any]], **more: Any) -> PublicSet:
    return PublicSet(name, hub, spdx, frozenset(columns.split()), fields, **more)


OPENCODER = ("educational_instruct", "evol_instruct", "mceval_instruct", "package_instruct")
SETS: dict[str, PublicSet] = {
    known.name: known
    for known in (
        _set("opencodeinstruct", "nvidia/OpenCodeInstruct", "CC-BY-4.0", "input output average_test_score", open_code_instruct),
        _set("codefeedback", "m-a-p/CodeFeedback-Filtered-Instruction", "Apache-2.0", "query answer resource lang", code_feedback),
        _set("magicoder-oss-instruct", "ise-uiuc/Magicoder-OSS-Instruct-75K", "MIT", "lang seed problem solution", oss_instruct),
        _set("opencoder-sft-stage2", "OpenCoder-LLM/opc-sft-stage2", "MIT", "seq_id instruction output", opencoder, configs=OPENCODER),
        _set("swe-bench-train", "princeton-nlp/SWE-bench", "NOASSERTION", "instance_id problem_statement patch base_commit", swe_bench),
        _set(
            "commitpackft",
            "bigcode/commitpackft",
            "NOASSERTION",
            "old_contents new_contents message license",
            commit_pack,
            files="data/{language}/data.jsonl",
        ),
        _set("evol-instruct", "nickrosh/Evol-Instruct-Code-80k-v1", "CC-BY-NC-SA-4.0", "instruction output", plain),
    )
}
"""By name; those that more columns tell stand before those that fewer do."""


def set_named(name: str) -> PublicSet:
    """The set of this name; raises `ConfigError` when none has it."""
    if name not in SETS:
        raise ConfigError(f"there is no public set {name}; known are {', '.join(sorted(SETS))}")
    return SETS[name]


def set_of(row: Columns) -> PublicSet | None:
    """The set that a row's columns are those of, `None` when they are of none."""
    return next((known for known in SETS.values() if known.columns <= row.keys()), None)
