"""What is wrong with a Python program, by line: what keeps it from compiling, and names that nothing defines.

LintSeq (arXiv 2410.02749) asks pylint for errors. pyflakes finds undefined names as well, in milliseconds; unlike pylint it
follows no attributes, so that a method may come later than its callers. Unused names and style are no errors here.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Collection
from typing import NamedTuple

from pyflakes import messages
from pyflakes.checker import Checker

ERRORS = (
    messages.UndefinedName,
    messages.UndefinedLocal,
    messages.UndefinedExport,
    messages.ReturnOutsideFunction,
    messages.YieldOutsideFunction,
    messages.ContinueOutsideLoop,
    messages.BreakOutsideLoop,
    messages.LateFutureImport,
)
"""pyflakes' messages about programs that fail when they run."""


class Fault(NamedTuple):
    """One error; `says` tells it from others of its kind wherever it stands."""

    line: int
    says: str
    syntax: bool = False
    missing_block: bool = False
    """Something before this line lacks its body or its handlers."""


def faults(source: str, known: Collection[str] = ()) -> list[Fault]:
    """The errors of a program, but for those that `known` lists by what they say; a syntax error comes alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about odd escapes and the like, which are not ours
        try:
            tree = ast.parse(source)
        except SyntaxError as error:
            return [_syntax(error)]
        except (ValueError, RecursionError, MemoryError) as error:
            return [Fault(1, str(error), syntax=True)]
        try:
            compile(tree, "<program>", "exec", dont_inherit=True)
        except SyntaxError as error:
            return [Fault(error.lineno or 1, error.msg)]
    found = [Fault(m.lineno, m.message % m.message_args) for m in Checker(tree).messages if isinstance(m, ERRORS)]
    return sorted(fault for fault in found if fault.says not in known)


def _syntax(error: SyntaxError) -> Fault:
    lacking = isinstance(error, IndentationError) or error.msg.startswith("expected 'except'")
    return Fault(error.lineno or 1, error.msg, syntax=True, missing_block=lacking)
