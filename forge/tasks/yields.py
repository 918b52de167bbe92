"""How often a planted bug becomes a task, by operator: measured, and what the sampler weighs operators by.

Source: `benchmarks/inject.py`.
"""

from __future__ import annotations

from collections.abc import Mapping

YIELDS: Mapping[str, tuple[int, int]] = {}
"""Operator → (valid, tried)."""
LEFT_OUT = frozenset(("statement-lost",))
"""Not planted here: `line-lost` does the same without a `pass` that shows the place."""

_PRIOR = (1, 2)
"""Added to every count, so that an operator seen ten times is not trusted like one seen a hundred times."""


def weight(operator: str) -> float:
    """Expected share of valid tasks among bugs of this operator, between 0 and 1; one half for those never measured."""
    valid, tried = YIELDS.get(operator, (0, 0))
    return (valid + _PRIOR[0]) / (tried + _PRIOR[1])
