"""Grammars of answers, in the notation that vLLM (xgrammar's EBNF) and llama.cpp (GBNF) both read.

Of the two notations only what they share is used: rules of letters and digits, quoted texts, `[^…]`, groups, `|`, `*`, `+`, `?` and
`{m,n}`. A grammar restricts what the engine may draw; what the answer means is still the parser's to say.
"""

from __future__ import annotations

from collections.abc import Iterable

LINE = "[^ \\t\\r\\n] [^\\n]*"
"""A line that is not blank, without its end."""
WHY = f'("why: " {LINE} "\\n")?'
"""What style `explained` says first; an adapter that learned from rows which nobody explained leaves it out."""

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(text: str) -> str:
    """Exactly this text."""
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _by_number(c)) for c in text) + '"'


def one_of(texts: Iterable[str]) -> str:
    """Any of these texts, each named once."""
    return " | ".join(quoted(text) for text in dict.fromkeys(texts))


def _by_number(character: str) -> str:
    return f"\\u{ord(character):04X}" if ord(character) < 0x10000 else f"\\U{ord(character):08X}"
