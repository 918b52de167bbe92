"""Under which licence code is, by repository and by file, in SPDX's words, and whether that allows learning from it."""

from __future__ import annotations

import configparser
import contextlib
import re
import tomllib
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import spdx_matcher
from license_expression import ExpressionError, Licensing, get_spdx_licensing

from forge.config import LicencesConfig

UNKNOWN = "NOASSERTION"
"""SPDX's word for a licence that nobody can tell."""
NAMES = re.compile(r"^(?:licen[cs]e|copying|unlicense|mit-licen[cs]e)(?:[-.](?:md|txt|rst|mit|apache|bsd|apache-2\.0))*$", re.IGNORECASE)
"""Files at the top of a repository that hold its licence."""
MAX_TEXT = 60_000
LEAST_SCORE = 0.9
"""Share of a text that must be the licence's own, but for those whose own text is long and whose notice is short."""
_LONG = ("Apache-2.0", "GPL-2.0-only", "GPL-3.0-only", "LGPL-2.1-only", "LGPL-3.0-only", "MPL-2.0", "AGPL-3.0-only")
_TAG = re.compile(r"SPDX-License-Identifier:\s*\(?([A-Za-z0-9.+\-() ]+?)\)?\s*(?:\*/|-->|$)", re.MULTILINE)
_CLASSIFIER = re.compile(r"License :: OSI Approved :: ([\w .()+-]+)")
_CLASSIFIERS = {
    "MIT License": "MIT",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "The Unlicense (Unlicense)": "Unlicense",
}


def repository_licence(files: Mapping[str, str]) -> str:
    """The licence of a repository from the files at its top, by path; `UNKNOWN` when they do not tell.

    Several licence files allow a choice, as `LICENSE-MIT` beside `LICENSE-APACHE` do.
    """
    texts = [text for path, text in sorted(files.items()) if "/" not in path and NAMES.match(path)]
    found = list(dict.fromkeys(name for text in texts if (name := _of_text(text[:MAX_TEXT]))))
    return " OR ".join(found) if found else _declared(files)


def file_licence(text: str | None) -> str:
    """What a file's own `SPDX-License-Identifier` says; empty when it has none that can be read."""
    match = _TAG.search((text or "")[:4000])
    return _normal(match.group(1)) if match else ""


def row_licence(repository: str, files: Mapping[str, str | None]) -> str:
    """The licence of a row: of every file its own, or else the repository's, all of which hold."""
    found = dict.fromkeys(file_licence(text) or repository or UNKNOWN for text in files.values())
    return " AND ".join(f"({one})" if " OR " in one and len(found) > 1 else one for one in found) or repository or UNKNOWN


def refused(expression: str, config: LicencesConfig) -> str:
    """Why rows under this licence are dropped; empty when they are kept. Of a choice one allowed licence is enough."""
    if "*" in config.allow:
        return ""
    if UNKNOWN in expression:
        return "" if config.unknown == "keep" else "licence unknown"
    return "" if _allowed(expression, tuple(config.allow)) else f"licence not allowed: {expression}"


@lru_cache(maxsize=1024)
def _allowed(expression: str, allow: tuple[str, ...]) -> bool:
    try:
        parsed = _licensing().parse(expression)
    except ExpressionError:
        return False
    return bool(parsed is not None and _holds(parsed, frozenset(allow)))


def _holds(node: Any, allow: frozenset[str]) -> bool:
    parts = getattr(node, "args", ())
    if not parts:
        return str(getattr(node, "key", node)) in allow
    return any(_holds(part, allow) for part in parts) if node.operator.strip() == "OR" else all(_holds(part, allow) for part in parts)


def _of_text(text: str) -> str:
    found, score = spdx_matcher.analyse_license_text(text)
    names = list(found["licenses"])
    sure = [name for name in names if score >= LEAST_SCORE or name in _LONG]
    return " AND ".join(sorted(_normal(name) or name for name in sure))


def _declared(files: Mapping[str, str]) -> str:
    """What packaging metadata says."""
    for said in (_from_pyproject(files.get("pyproject.toml", "")), _from_setup_cfg(files.get("setup.cfg", ""))):
        if said and (name := _normal(said)):
            return name
    everything = "\n".join(files.get(name, "") for name in ("pyproject.toml", "setup.cfg", "setup.py"))
    names = dict.fromkeys(_CLASSIFIERS[match] for match in _CLASSIFIER.findall(everything) if match in _CLASSIFIERS)
    return " OR ".join(names) or UNKNOWN


def _from_pyproject(text: str) -> str:
    with contextlib.suppress(tomllib.TOMLDecodeError):
        said = tomllib.loads(text).get("project", {}).get("license", "")
        return str(said.get("text", "")) if isinstance(said, dict) else str(said)
    return ""


def _from_setup_cfg(text: str) -> str:
    parser = configparser.RawConfigParser(strict=False)
    with contextlib.suppress(configparser.Error):
        parser.read_string(text)
        return parser.get("metadata", "license", fallback="")
    return ""


def _normal(said: str) -> str:
    """An SPDX expression as SPDX writes it; empty when it is none."""
    try:
        parsed = _licensing().parse(said.strip(), validate=True)
    except (ExpressionError, AttributeError, TypeError):
        return ""
    return str(parsed) if parsed is not None else ""


@cache
def _licensing() -> Licensing:
    return get_spdx_licensing()
