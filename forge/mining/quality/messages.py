"""Commit messages: what is left without ceremony, and whether it says what was done."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from forge.config import MiningConfig
from forge.mining.quality.taggers import verbs
from forge.records import Record

Tag = tuple[str, str]
"""A word and its part of speech, in the Penn Treebank's tags."""
Tagger = Callable[[str], Sequence[Tag]]

_KIND = re.compile(r"^(?P<kind>[A-Za-z]+)(?:\([^)\n]*\))?!?:\s+")
_SCOPE = re.compile(r"^(?:\[[^\]\n]{1,30}\]\s*|[\w./*+-]{1,40}(?:\([^)\n]*\))?!?:\s+|:[a-z_]+:\s*)")
KINDS = frozenset(
    {"fix", "feat", "feature", "bug", "bugfix", "docs", "doc", "test", "tests", "refactor", "perf", "style", "chore", "build", "ci"}
)
"""What conventional commits begin with; any other word before a colon is the name of a part of the project."""
_TRAILER = re.compile(
    r"^(?:[A-Z][A-Za-z]*(?:-[A-Za-z]+)+|Fixes|Closes|Resolves|Refs?|See|Related|Bug|Issue|PR|Ticket|cc|CC)\s*(?::|#)\s*.*$"
)
_CI = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]|\*\*\*NO_CI\*\*\*", re.IGNORECASE)
_NUMBER = re.compile(r"(?:\b[Gg][Hh]-|#)(\d{1,7})\b")
_CLOSES = r"(?:[Ff]ix(?:es|ed|ing)?|[Cc]los(?:e[sd]?|ing)|[Rr]esolve[sd]?|[Rr]efs?|[Ss]ee|[Ii]ssue|PR|[Bb]ug|gh)[ :]*"
_MENTION = re.compile(rf"\s*[(\[]?\s*(?:{_CLOSES})*(?:GH-|#)\d+(?:\s*,\s*#\d+)*\s*[)\]]?", re.ASCII)
_DANGLING = re.compile(r"\s+(?:for|in|of|per|from|to|see|re|with|by|on|as|and|via|fixes|fixing|closes|issue|issues|bug|#)$")
"""What is left at the end of a subject once a number is gone."""
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]")
LANGUAGES = tuple("en de fr es it pt nl pl ru uk cs sv tr zh ja ko ar fa he hi vi id".split())  # noqa: SIM905
"""What a message may be in: of all languages there are, some fit any two words."""
_NAME = re.compile(r"\w[_.]\w|^_|\(\)$|[a-z][A-Z]")
MOST_BEFORE = 2
"""Words that may stand before the verb."""
SURE = 0.98
"""Probability from which on a subject is taken to be in another language: subjects are short and full of names."""
LEAST_LETTERS = 24
"""Letters that a message must have before its language is asked for."""


class Cleaned(Record):
    """A message without its ceremony: conventional prefix, scope, issue numbers, trailers, sign-offs, marks for machines."""

    text: str
    kind: str
    issues: tuple[int, ...]


def cleaned(message: str) -> Cleaned:
    """What a message says to a reader. Cleaning it again changes nothing."""
    issues = tuple(dict.fromkeys(int(number) for number in _NUMBER.findall(message)))
    match = _KIND.match(message.strip())
    kind = match.group("kind").lower() if match and match.group("kind").lower() in KINDS else ""
    text = message.replace("\r", "")
    while (shorter := _without_ceremony(text)) != text:
        text = shorter
    return Cleaned(text=text, kind=kind, issues=issues)


def _without_ceremony(text: str) -> str:
    lines = [_CI.sub("", line).rstrip() for line in text.strip().split("\n")]
    kept = [line for number, line in enumerate(lines) if not (number and _TRAILER.match(line.strip()))]
    subject, _, body = _MENTION.sub("", "\n".join(kept)).strip().partition("\n")
    rest = re.sub(r"\n{3,}", "\n\n", body).strip()
    short = _DANGLING.sub("", _SCOPE.sub("", subject).strip().rstrip(".…,;: "))
    return short + (f"\n\n{rest}" if rest else "")


def poor(text: str, config: MiningConfig, tagger: Tagger | None) -> str:
    """Why a cleaned message does not say what was done; empty when it does."""
    subject = text.partition("\n")[0]
    if not subject:
        return "no message"
    if "\ufffd" in text:
        return "unreadable characters"
    if len(_WORD.findall(subject)) < config.min_message_words:
        return "too few words"
    if config.messages.languages and (language := foreign(text, config.messages.languages)):
        return f"in another language ({language})"
    if any(_pattern(vague).search(subject) for vague in config.messages.vague):
        return "vague"
    if config.messages.verb_object and tagger is not None and not says_what_is_done(tagger(subject)):
        return "no verb and object"
    return ""


@lru_cache(maxsize=64)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


def says_what_is_done(tags: Sequence[Tag]) -> bool:
    """Whether a sentence begins with a verb (an adverb or two before it) that has an object, or says of a name what it does.

    `fix the broken parser` does, `parse_date accepts dashes` does; `should work now` and `more tests` do not.
    """
    words = [(word, tag) for word, tag in tags if word[:1].isalnum() or word[:1] in "_`"]
    start = next((number for number, (_, tag) in enumerate(words) if not tag.startswith(("RB", "CC", "DT", "PRP"))), len(words))
    if start == len(words) or start > MOST_BEFORE:
        return False
    if _is_name(words[start][0]) and len(words) > start + 1 and words[start + 1][1].startswith(("VBZ", "VBD", "MD")):
        return _has_object(words[start + 2 :])
    return _is_verb(*words[start]) and _has_object(words[start + 1 :])


def _is_verb(word: str, tag: str) -> bool:
    return tag.startswith("VB") or word.lower() in verbs() or word.lower().endswith(("ize", "ise", "ify"))


def _has_object(words: Sequence[Tag]) -> bool:
    """Whether something follows that can be done something to; what comes at once may even look like a verb (`test memoize`)."""
    if words and words[0][1].startswith("VB"):
        return True
    return any(tag.startswith(("NN", "CD", "FW", "JJ", "VBG", "VBN")) or _is_name(word) for word, tag in words)


def _is_name(word: str) -> bool:
    """Whether a word is a name out of a program."""
    return bool(_NAME.search(word.strip("`'\"")))


def foreign(text: str, languages: Sequence[str]) -> str:
    """The language of a text that is surely in none of `languages` (ISO 639-1); empty when it is, or cannot be told."""
    prose = " ".join(word for word in _WORD.findall(text) if not re.search(r"[a-z][A-Z]", word))
    letters = _LETTERS.findall(prose)
    strange = sum(ord(letter) > 0x24F for letter in letters)
    if len(letters) < LEAST_LETTERS and strange < 4:
        return ""
    language, sure = _identify(prose)
    return language if language not in languages and (sure >= SURE or strange > len(letters) / 2) else ""


@lru_cache(maxsize=4096)
def _identify(prose: str) -> tuple[str, float]:
    language, probability = _identifier().classify(prose)
    return str(language), float(probability)


@cache
def _identifier() -> LanguageIdentifier:
    made = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    made.set_languages(list(LANGUAGES))
    return made
