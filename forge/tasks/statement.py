"""What the agent is told, from the hidden tests that fail; never the fix.

Tests that are one assert of a call become a title and doctests. Others become a report: a title, the lines of a failing
test that lead to the failure, what was expected and what came.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence

from forge.records import FileEdit
from forge.stages.statements import CallExample, compose, examples_in
from forge.tasks.candidate import Candidate
from forge.tasks.suite import functions_in, source_of
from forge.tasks.symptoms import Symptom, symptom_of

MAX_EXAMPLES = 2
"""As many calls as people put into an issue; the other hidden tests stay unknown."""
_SHORT = 12


def statement_of(
    candidate: Candidate, fail_to_pass: Sequence[str], messages: Mapping[str, str], lines: Mapping[str, int] | None = None
) -> str:
    """The candidate's title, or a plain one, with what the failing tests show; what quotes gold is left out.

    `messages` and `lines` say, by id, how and where a test failed without gold.
    """
    quotable = gold_lines(candidate.old, candidate.gold)
    title = None if candidate.title is None or _quotes(candidate.title, quotable) else candidate.title
    examples = [e for e in _examples(candidate, fail_to_pass) if not _quotes(f"{e.call}\n{e.expected}", quotable)]
    shown = [] if _examples_say_all(candidate, fail_to_pass) else _symptoms(candidate, fail_to_pass, messages, lines or {})
    shown = [s for s in shown if not _quotes(f"{s.title}\n{s.code}\n{s.outcome}", quotable)]
    if shown:
        return _report(title, shown[: max(MAX_EXAMPLES, len(candidate.names))])
    statement = compose(title or _plain_title(candidate), examples[:MAX_EXAMPLES])
    if missing := [f"{name} in {path}" for name, path in candidate.wanted if name not in statement]:
        statement += f"\nNot there yet: {', '.join(missing)}."
    if not examples:
        said = next((messages[name].strip().splitlines()[0] for name in fail_to_pass if messages.get(name, "").strip()), "")
        statement += f"\n{said}" if said and not _quotes(said, quotable) else ""
    return statement


def _plain_title(candidate: Candidate) -> str:
    if candidate.wanted:
        return f"add {', '.join(name for name, _ in candidate.wanted[:3])} to {candidate.wanted[0][1]}"
    return f"wrong result in {', '.join(candidate.names[:3]) or 'this package'}"


def gold_lines(old: Sequence[FileEdit], gold: Sequence[FileEdit]) -> set[str]:
    """Lines that gold brings in, without margins; very short ones give nothing away and are left out."""
    before = {line.strip() for edit in old for line in (edit.content or "").splitlines()}
    after = {line.strip() for edit in gold for line in (edit.content or "").splitlines()}
    return {line for line in after - before if len(line) >= _SHORT}


def _report(title: str | None, symptoms: Sequence[Symptom]) -> str:
    """The text of an issue."""
    titles = {symptom.subject: symptom.title for symptom in reversed(symptoms)}
    parts = [title or "; ".join([*reversed(titles.values())][:3])]
    for number, symptom in enumerate(symptoms):
        parts.append("To reproduce:" if not number else "Also:")
        parts.append(f"```python\n{symptom.code}\n```")
        parts.append(f"```\n{symptom.outcome}\n```")
    return "\n\n".join(parts)


def _symptoms(candidate: Candidate, ids: Sequence[str], messages: Mapping[str, str], lines: Mapping[str, int]) -> list[Symptom]:
    """Symptoms of the failing tests: first one of each subject, and of those with one subject the shortest."""
    texts = {edit.path: edit.content or "" for edit in candidate.tests}
    found: dict[str, Symptom] = {}
    for name in ids:
        path, _, rest = name.partition("::")
        if name in lines and path in texts:
            case = rest.partition("[")[2].removesuffix("]")
            symptom = symptom_of(texts[path], lines[name], messages.get(name, ""), candidate.names, case)
            if symptom is not None:
                found.setdefault(symptom.code, symptom)
    # A test that leans on its class cannot be pasted into a session.
    ranked = sorted(found.values(), key=lambda s: ("self." in s.code, len(s.code) + len(s.outcome)))
    first = {symptom.subject: symptom for symptom in reversed(ranked)}
    return [*sorted(first.values(), key=ranked.index), *(symptom for symptom in ranked if symptom is not first[symptom.subject])]


def _quotes(text: str, lines: set[str]) -> bool:
    return any(line in text for line in lines)


def _examples(candidate: Candidate, fail_to_pass: Sequence[str]) -> list[CallExample]:
    found: list[CallExample] = []
    for edit in candidate.tests:
        names = (*(name for name, _ in candidate.wanted), *candidate.names)
        found += examples_in(source_of(edit.content or "", functions_in(fail_to_pass, edit.path)), names)
    new = {name for name, _ in candidate.wanted}
    # What is asked for first: tests of everything else in the file fail along with it.
    return sorted(dict.fromkeys(found), key=lambda example: bool(new) and not any(f"{name}(" in example.call for name in new))


def _examples_say_all(candidate: Candidate, fail_to_pass: Sequence[str]) -> bool:
    """Whether every failing test is nothing but one assert that compares a call of a broken function with a literal."""
    tests = list(_failing(candidate, fail_to_pass))
    return bool(tests) and all(len(test.body) == 1 and examples_in(ast.unparse(test), candidate.names) for test in tests)


def _failing(candidate: Candidate, fail_to_pass: Sequence[str]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for edit in candidate.tests:
        source = source_of(edit.content or "", functions_in(fail_to_pass, edit.path))
        yield from (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
