"""A completed statement against the one that was there: exact match, edit similarity, match of identifiers.

Source: cceval's `eval_utils.py` and `eval_metric.py`, quirks included: only comments of one line go, from the first `#` or `//`
whatever they stand in; a bracket as the very first letter ends nothing; similarity is fuzzywuzzy's ratio, in whole per cent, without
python-Levenshtein (which its requirements do not name). Java's keywords are those of the language's specification, which that
repository refers to by a file that it does not hold.
"""

from __future__ import annotations

import difflib
import functools
import keyword
import re
from collections.abc import Iterator

import tree_sitter_python
from tree_sitter import Language, Node, Parser

from forge.evals.suites.problem import Continuation

_COMMENTS = (re.compile(r"#.*"), re.compile(r"//.*"))
_STRING = re.compile(r'"([^"\\]*(\\.[^"\\]*)*)"|\'([^\'\\]*(\\.[^\'\\]*)*)\'')
_WORD, _IDENTIFIER = re.compile(r"\w+"), re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_CSHARP = """abstract as base bool break byte case catch char checked class const continue decimal default delegate do double else
enum event explicit extern finally fixed float for foreach goto if implicit in int interface internal is lock long
namespace new null object operator out override params private protected public readonly ref return sbyte sealed short
sizeof stackalloc static string struct switch this throw try typeof uint ulong unchecked unsafe ushort using virtual
void volatile while"""
_TYPESCRIPT = """break case catch class const continue debugger default delete do else export extends finally for function if import in
instanceof new return super switch this throw try typeof var void while with yield enum implements interface let package private protected
public static"""
_JAVA = """abstract assert boolean break byte case catch char class const continue default do double else enum extends final finally float
for goto if implements import instanceof int interface long native new package private protected public return short static strictfp super
switch synchronized this throw throws transient try void volatile while"""
_KEYWORDS = {
    "python": frozenset(keyword.kwlist) - {"True", "False"},
    "csharp": frozenset(_CSHARP.split()),
    "typescript": frozenset(_TYPESCRIPT.split()),
    "java": frozenset(_JAVA.split()),
}


def scores(exam: Continuation, completion: str) -> dict[str, float]:
    """`em`, `es`, `id_em`, `id_precision`, `id_recall` and `id_f1`, each from 0 to 1, of one completion."""
    written, wanted = without_comments(statement(exam, completion)), without_comments(exam.expected)
    have, want = identifiers(written, exam.language), identifiers(wanted, exam.language)
    hits, extra, missed = len({*have} & {*want}), len({*have} - {*want}), len({*want} - {*have})
    return {
        "em": float(_lines(written) == _lines(wanted)),
        "es": similarity(written, wanted),
        "id_em": float(have == want),
        "id_precision": hits / (hits + extra) if have else 0.0,
        "id_recall": hits / (hits + missed) if want else 0.0,
        "id_f1": 2 * hits / (2 * hits + extra + missed) if have or want else 0.0,
    }


def statement(exam: Continuation, completion: str) -> str:
    """The first statement of a completion: to the first bracket or semicolon, or, for Python, to the end of the line at which
    prompt and completion together parse."""
    if exam.language != "python":
        end = next((place for place, letter in enumerate(completion) if letter in ";{}"), 0)
        return completion[: end + 1] if end else completion
    for place, letter in enumerate(completion):
        if letter == "\n" and place and _parses(exam.prompt + completion[:place]):
            return completion[:place].rstrip()
    return completion


def without_comments(code: str) -> str:
    """The code without what follows `#` or `//` on a line."""
    return functools.reduce(lambda text, pattern: pattern.sub("", text), _COMMENTS, code)


def similarity(first: str, second: str) -> float:
    """fuzzywuzzy's ratio of the two texts without the space around them, from 0 to 1 in hundredths."""
    a, b = first.strip(), second.strip()
    return 1.0 if a == b else round(100 * difflib.SequenceMatcher(None, a, b).ratio()) / 100


def identifiers(code: str, language: str) -> list[str]:
    """The identifiers in code, in order, those in strings and keywords left out."""
    words = _WORD.findall(_STRING.sub("", code))
    return [word for word in words if _IDENTIFIER.match(word) and word not in _KEYWORDS[language]]


def _lines(code: str) -> list[str]:
    return [line.strip() for line in code.split("\n") if line.strip()]


@functools.cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_python.language()))


def _parses(code: str) -> bool:
    """Whether there is no error node, as upstream looks for: a missing token is none."""
    return all(node.type != "ERROR" for node in _nodes(_parser().parse(code.encode("utf-8", "surrogatepass")).root_node))


def _nodes(root: Node) -> Iterator[Node]:
    waiting = [root]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += node.children
