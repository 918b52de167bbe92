"""Which programming language a file is in, by its name."""

from __future__ import annotations

from pathlib import PurePosixPath

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
_BY_EXTENSION = {f".{extension}": language for language, extensions in _EXTENSIONS.items() for extension in extensions.split()}


def language_of(path: str) -> str | None:
    """The language of a source file, `None` for everything that is no program."""
    return _BY_EXTENSION.get(PurePosixPath(path).suffix.lower())
