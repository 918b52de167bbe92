"""Secrets and personal data in a row: found, and taken out in the same way everywhere, so that sources parse and diffs apply.

Secrets by detect-secrets' rules for tokens and keys, which know them by their form; a value that is assigned to something called
key, token, secret or password counts when it looks random. Not found: secrets that look like words, names of people.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache

import phonenumbers
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector

from forge.config import PrivacyConfig
from forge.mining.row import FunctionChange, Row
from forge.records import FileChange, Record

_PERSONAL_RULES = frozenset({"Public IP (ipv4)"})
_ASSIGNED = re.compile(
    r"(?i)(?:api_?key|secret|token|passw(?:or)?d|passwd|private_?key|auth)\w*[\"']?\s*(?:=|:|=>|:=)\s*[\"']([A-Za-z0-9+/=_\-.]{20,200})[\"']"
)
_KEY = r"(?:[A-Z ]+ )?PRIVATE KEY(?: BLOCK)?-----"
_PRIVATE_KEY = re.compile(rf"-----BEGIN {_KEY}.*?-----END {_KEY}|-----BEGIN {_KEY}[^\n]*", re.DOTALL)
_MAIL = re.compile(r"(?<![\w.+-])[A-Za-z0-9][\w.+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,18}(?![\w-])")
_NOBODYS = re.compile(
    r"(?:@|\.)(?:example|test|invalid|localhost|domain|email|mail|foo|bar|baz|host|server|users\.noreply\.github)(?:\.[a-z.]+)?$"
    r"|^(?:git|no-?reply)@",
    re.IGNORECASE,
)
_ADDRESS = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_CALLING = re.compile(r"\+\d[\d ().-]{7,}\d")
REMEMBERED = 500_000
"""Lines that are known to be clean."""
RANDOM_BITS = 3.7
"""Bits of entropy a character from which on a value of 20 characters looks random: English has about 4.1 over long texts, but words
of identifiers joined by underscores stay below."""
STAND_INS = {"secret": "REDACTED", "mail": "user@example.com", "telephone": "+1 202-555-0100", "address": "192.0.2.1"}
"""What takes the place of each: never found again, being nobody's."""


class Finding(Record):
    """One piece of text that should not be in a row."""

    kind: str
    text: str


class Scanner:
    """Looks rows through with one configuration."""

    def __init__(self, config: PrivacyConfig) -> None:
        self._config = config
        self._clean: set[int] = set()

    def clean(self, row: Row) -> tuple[Row, str]:
        """The row as it may be kept, and why it may not be; empty when it may."""
        found = self.findings(row)
        secret, personal = [one for one in found if one.kind == "secret"], [one for one in found if one.kind != "secret"]
        if secret and self._config.secrets == "drop":
            return row, "contains a secret"
        if personal and self._config.personal == "drop":
            return row, "contains personal data"
        gone = (secret if self._config.secrets == "redact" else []) + (personal if self._config.personal == "redact" else [])
        return (_redacted(row, {one.text: STAND_INS[one.kind] for one in gone}) if gone else row), ""

    def findings(self, row: Row) -> list[Finding]:
        """Everything found, each text once."""
        texts = [row.message, *(side for file in row.files for side in (file.before, file.after) if side)]
        return list(dict.fromkeys(found for text in texts for found in self._in(text)))

    def _in(self, text: str) -> list[Finding]:
        """What is found in lines that were not clean before: commit after commit shows the same file again, but for a few lines."""
        lines = [line for line in text.split("\n") if hash(line) not in self._clean]
        new = "\n".join(lines)
        found = [Finding(kind="secret", text=one) for one in secrets_in(new)] if self._config.secrets != "keep" else []
        found += personal_in(new) if self._config.personal != "keep" else []
        if any("PRIVATE KEY" in one.text for one in found):
            return [*found, *(Finding(kind="secret", text=one) for one in secrets_in(text))]
        if len(self._clean) > REMEMBERED:
            self._clean.clear()
        self._clean.update(hash(line) for line in lines if not any(one.text in line for one in found))
        return found


def secrets_in(text: str) -> Iterator[str]:
    """Secrets of a text."""
    yield from (match.group() for match in _PRIVATE_KEY.finditer(text))
    for detector in _detectors():
        plain = isinstance(detector, BasicAuthDetector)  # addresses in examples have passwords that are words
        found = (secret for secret in detector.analyze_string(text) if secret and secret not in STAND_INS.values())
        yield from (secret for secret in found if not plain or looks_random(secret))
    for match in _ASSIGNED.finditer(text):
        if looks_random(match.group(1)):
            yield match.group(1)


def personal_in(text: str) -> Iterator[Finding]:
    """Addresses, telephone numbers with their country, and public network addresses of a text."""
    if "@" in text:
        for match in _MAIL.finditer(text):
            if not _NOBODYS.search(match.group()):
                yield Finding(kind="mail", text=match.group())
    if _CALLING.search(text):
        for number in phonenumbers.PhoneNumberMatcher(text, None):
            if number.raw_string != STAND_INS["telephone"]:
                yield Finding(kind="telephone", text=number.raw_string)
    for match in _ADDRESS.finditer(text):
        if _is_public(match.group()):
            yield Finding(kind="address", text=match.group())


def looks_random(value: str) -> bool:
    """Whether a value has digits and letters in no order that a person would choose."""
    mixed = any(char.isdigit() for char in value) and any(char.isalpha() for char in value)
    counts = Counter(value)
    bits = -sum(number / len(value) * math.log2(number / len(value)) for number in counts.values())
    return mixed and bits >= RANDOM_BITS and not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", value)


def _is_public(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    # Versions of programs have the same form; they begin with small numbers, which few networks do.
    return address.is_global and not text.startswith(("0.", "1.", "2.", "3.", "4.", "5.", "6.", "7.", "8.8.", "9."))


@cache
def _detectors() -> tuple[RegexBasedDetector, ...]:
    """The rules that know a secret by its form; those that go by entropy or by words alone find too much in sources."""
    chosen = [
        kind
        for name, kind in get_mapping_from_secret_type_to_class().items()
        if issubclass(kind, RegexBasedDetector) and name not in _PERSONAL_RULES
    ]
    return tuple(kind() for kind in chosen if not issubclass(kind, PrivateKeyDetector))


def _redacted(row: Row, stand_ins: Mapping[str, str]) -> Row:
    """The row with the same replacements in every text of it, longest first."""
    order = sorted(stand_ins, key=len, reverse=True)

    def clean(text: str | None) -> str | None:
        for secret in order if text else ():
            text = _replaced(text or "", secret, stand_ins[secret])
        return text

    files = tuple(
        FileChange(path=file.path, old_path=file.old_path, before=clean(file.before), after=clean(file.after), diff=clean(file.diff) or "")
        for file in row.files
    )
    functions = tuple(
        FunctionChange.model_validate({**one.model_dump(), "before": clean(one.before), "after": clean(one.after)}) for one in row.functions
    )
    said = {name: clean(getattr(row, name)) or "" for name in ("message", "instruction")}
    return row.model_copy(update={"files": files, "functions": functions, **said})


def _replaced(text: str, secret: str, stand_in: str) -> str:
    """A secret of several lines stands in a diff with a sign before each of them, so it is replaced line by line everywhere."""
    if "\n" not in secret:
        return text.replace(secret, stand_in)
    for line in sorted({line for line in secret.split("\n") if len(line) >= 16}, key=len, reverse=True):
        text = text.replace(line, stand_in)
    return text
