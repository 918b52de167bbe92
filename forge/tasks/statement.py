"""What the agent is told: a title and calls with what they should give, from the hidden tests; never the fix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from forge.records import FileEdit
from forge.stages.statements import CallExample, compose, examples_in
from forge.tasks.candidate import Candidate
from forge.tasks.suite import functions_in, source_of

MAX_EXAMPLES = 2
"""As many calls as people put into an issue; the other hidden tests stay unknown."""
_SHORT = 12


def statement_of(candidate: Candidate, fail_to_pass: Sequence[str], messages: Mapping[str, str]) -> str:
    """The candidate's title, or a plain one, with examples from the tests that fail; what quotes gold is left out."""
    lines = gold_lines(candidate.old, candidate.gold)
    title = candidate.title
    if title is None or _quotes(title, lines):
        title = f"wrong result in {', '.join(candidate.names[:3]) or 'this package'}"
    examples = [e for e in _examples(candidate, fail_to_pass) if not _quotes(f"{e.call}\n{e.expected}", lines)]
    statement = compose(title, examples[:MAX_EXAMPLES])
    if not examples:
        said = next((messages[name].strip().splitlines()[0] for name in fail_to_pass if messages.get(name, "").strip()), "")
        statement += f"\n{said}" if said and not _quotes(said, lines) else ""
    return statement


def gold_lines(old: Sequence[FileEdit], gold: Sequence[FileEdit]) -> set[str]:
    """Lines that gold brings in, without margins; very short ones give nothing away and are left out."""
    before = {line.strip() for edit in old for line in (edit.content or "").splitlines()}
    after = {line.strip() for edit in gold for line in (edit.content or "").splitlines()}
    return {line for line in after - before if len(line) >= _SHORT}


def _quotes(text: str, lines: set[str]) -> bool:
    return any(line in text for line in lines)


def _examples(candidate: Candidate, fail_to_pass: Sequence[str]) -> list[CallExample]:
    found: list[CallExample] = []
    for edit in candidate.tests:
        found += examples_in(source_of(edit.content or "", functions_in(fail_to_pass, edit.path)), candidate.names)
    return list(dict.fromkeys(found))
