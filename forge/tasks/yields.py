"""How often a planted bug becomes a task, by operator: measured, and what the sampler weighs operators by.

Source: `benchmarks/inject.py` on boltons and toolz, seeds 0 to 2, 2026-11-25, 353 bugs, before any weights.
"""

from __future__ import annotations

from collections.abc import Mapping

YIELDS: Mapping[str, tuple[int, int]] = {
    "accumulate-lost": (2, 4),
    "and-or": (2, 13),
    "argument-lost": (6, 17),
    "arguments-swapped": (7, 11),
    "arithmetic": (4, 8),
    "augmented": (3, 5),
    "boolean": (2, 6),
    "branches-swapped": (3, 10),
    "call-lost": (5, 13),
    "comparison-boundary": (4, 12),
    "comparison-direction": (4, 7),
    "condition-lost": (3, 13),
    "decorator-lost": (3, 4),
    "default-changed": (4, 16),
    "dict-key": (0, 4),
    "else-lost": (4, 9),
    "exception-type": (6, 7),
    "guard-lost": (8, 15),
    "line-lost": (6, 19),
    "lines-swapped": (2, 17),
    "loop-control": (0, 1),
    "loop-lost": (3, 6),
    "membership": (6, 11),
    "negation": (7, 9),
    "off-by-one": (4, 8),
    "operands-swapped": (3, 5),
    "return-in-loop": (5, 6),
    "return-none": (12, 13),
    "sign-lost": (5, 9),
    "similar-call": (5, 13),
    "slice-swap": (3, 5),
    "string": (4, 15),
    "wrong-attribute": (6, 11),
    "wrong-binary": (1, 1),
    "wrong-call": (3, 5),
    "wrong-end": (1, 8),
    "wrong-name": (8, 17),
}
"""Operator → (valid, tried)."""
LEFT_OUT = frozenset(("statement-lost",))
"""Not planted here: `line-lost` does the same without a `pass` that shows the place."""

_PRIOR = (1, 2)
"""Added to every count, so that an operator seen ten times is not trusted like one seen a hundred times."""


def weight(operator: str) -> float:
    """Expected share of valid tasks among bugs of this operator, between 0 and 1; one half for those never measured."""
    valid, tried = YIELDS.get(operator, (0, 0))
    return (valid + _PRIOR[0]) / (tried + _PRIOR[1])
