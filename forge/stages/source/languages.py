"""Which programming language a file is in, by its name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import PurePosixPath

from forge.stages.source.grammars import WITH_FUNCTIONS

_EXTENSIONS = {
    "python": "py pyi pyx",
    "javascript": "js jsx mjs cjs",
    "typescript": "ts mts cts",
    "tsx": "tsx",
    "go": "go",
    "rust": "rs",
    "java": "java",
    "c": "c h",
    "cpp": "cc cpp cxx hh hpp hxx ipp",
    "ruby": "rb rake",
    "php": "php",
    "csharp": "cs",
    "kotlin": "kt kts",
    "swift": "swift",
    "scala": "scala sc",
    "objective-c": "m mm",
    "perl": "pl pm",
    "lua": "lua",
    "shell": "sh bash zsh",
    "sql": "sql",
    "r": "r",
    "julia": "jl",
    "haskell": "hs",
    "elixir": "ex exs",
    "erlang": "erl",
    "clojure": "clj cljs",
    "dart": "dart",
    "zig": "zig",
    "ocaml": "ml mli",
}
NOT_OWN = re.compile(
    r"(^|/)(\.[^/]+|vendor|_vendor|third_party|node_modules|bower_components|site-packages|dist|build|target)/|\.(min|pb)\.|\.d\.ts$"
)
"""Paths of what nobody wrote here: vendored, built, generated."""
SPOKEN = 0.1
"""Share of a tree's source files from which on the agent looks at a language beside Python."""
_BY_EXTENSION = {f".{extension}": language for language, extensions in _EXTENSIONS.items() for extension in extensions.split()}


def language_of(path: str) -> str | None:
    """The language of a source file, `None` for everything that is no program."""
    return _BY_EXTENSION.get(PurePosixPath(path).suffix.lower())


def spoken(paths: Iterable[str]) -> frozenset[str]:
    """The languages of a tree that the agent looks at: Python where there is any, and those in which a good part of it is written.

    A helper script or a page's JavaScript in a Python project would only be in the way.
    """
    found = Counter(language for path in paths if (language := language_of(path)) in WITH_FUNCTIONS and not NOT_OWN.search(path))
    return frozenset(language for language, files in found.items() if language == "python" or files >= SPOKEN * found.total())


def is_shown(path: str, languages: Collection[str]) -> bool:
    """Whether the agent looks at a file of a tree in which these languages are spoken: Python always, without stubs and Cython."""
    return path.endswith(".py") or (language_of(path) in languages and language_of(path) != "python" and not NOT_OWN.search(path))
