"""Test files: which of them belong to a source file, and single test functions in them."""

from __future__ import annotations

import ast
import configparser
import contextlib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping

from forge.errors import TaskError
from forge.exam.functions import functions_of, parse, span
from forge.stages.source.symbols import is_test_path

_ROOTS = ("src", "lib")
_BENCHMARKS = re.compile(r"(bench|benchmarks?|perf|performance|asv_bench|docs?|examples?)/")


class Suite:
    """The test files of one tree, and what they import."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._imports = {path: _imports(content.decode("utf-8", "replace")) for path, content in files.items() if is_test_file(path)}

    def tests_for(self, source: str, limit: int = 3) -> list[str]:
        """Test files of a source file: those named after it, else those that import it, nearest first; at most `limit`."""
        stem = _stem(source.removesuffix("/__init__.py"))
        module = _module(source)
        importing = [path for path, modules in self._imports.items() if module in modules]
        # `test_x_more.py` is about `x` when it imports it, and `test_x.py` about a private `_x`.
        more = [path for path in importing if _stem(path).startswith(f"{stem}_")]
        named = [path for path in self._imports if _stem(path) in (stem, stem.lstrip("_"))]
        # Two packages may have modules of one name: then the import decides.
        own = [path for path in named if path in importing]
        return ([*sorted(own), *sorted(more)] or sorted(named) or sorted(importing))[:limit]


def is_test_file(path: str) -> bool:
    """Whether pytest collects tests from it by default: `test_*.py` or `*_test.py`."""
    name = path.rsplit("/", 1)[-1]
    return is_test_path(path) and name.endswith(".py") and (name.startswith("test_") or name.endswith("_test.py"))


def whole_suite(files: Mapping[str, bytes]) -> list[str]:
    """Test files that a plain run of pytest is meant for: below its `testpaths` when a tree names some, never benchmarks."""
    named = [path.strip("/ ") for path in _testpaths(files)]
    found = [path for path in sorted(files) if is_test_file(path)]
    inside = [path for path in found if any(path == name or path.startswith(f"{name}/") for name in named)]
    return inside or [path for path in found if not _BENCHMARKS.match(path)]


def _testpaths(files: Mapping[str, bytes]) -> list[str]:
    try:
        options = tomllib.loads(files.get("pyproject.toml", b"").decode())["tool"]["pytest"]["ini_options"]["testpaths"]
        return options.split() if isinstance(options, str) else [str(path) for path in options]
    except (ValueError, KeyError, TypeError):
        pass
    for path, section in (("pytest.ini", "pytest"), ("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        parser = configparser.RawConfigParser(strict=False)
        with contextlib.suppress(configparser.Error, ValueError):
            parser.read_string(files.get(path, b"").decode())
            if parser.has_option(section, "testpaths"):
                return parser.get(section, "testpaths").split()
    return []


def functions_in(ids: Iterable[str], path: str) -> list[str]:
    """Qualified names of the test functions of one file among node ids, parameters left out, in order."""
    found = (id_.split("::")[1:] for id_ in ids if id_.split("::")[0] == path)
    return list(dict.fromkeys(".".join(part.split("[")[0] for part in parts) for parts in found if parts))


def source_of(text: str, names: Collection[str]) -> str:
    """Source of the named test functions, in order; empty when the file does not parse."""
    lines = text.splitlines(keepends=True)
    spans = [span(node) for name, node in functions_of(parse(text)) if name in names]
    return "\n".join(_dedented("".join(lines[first - 1 : last])) for first, last in spans)


def without(text: str, names: Collection[str]) -> str:
    """A test file without the named functions; a class that would be empty goes with them. Raises `TaskError`."""
    tree = parse(text)
    if tree is None:
        raise TaskError("a test file does not parse")
    spans = [span(node) for name, node in functions_of(tree) if name in names]
    for cls in (node for node in tree.body if isinstance(node, ast.ClassDef)):
        inside = [span(member) for member in cls.body]
        if all(place in spans for place in inside):
            spans.append(span(cls))
    gone = {number for first, last in spans for number in range(first, last + 1)}
    kept = [line for number, line in enumerate(text.splitlines(keepends=True), 1) if number not in gone]
    rest = "".join(kept).rstrip("\n") + "\n" if kept else ""
    if parse(rest) is None:
        raise TaskError("a test file does not parse without its hidden tests")
    return rest


def top_level_names(source: str) -> set[str]:
    """Functions, classes and variables that a module defines at its top level; none when it does not parse."""
    tree = parse(source)
    found: set[str] = set()
    for node in tree.body if tree else []:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return found


def imported_names(source: str) -> set[str]:
    """Names that `from … import` statements at a module's top level ask for."""
    tree = parse(source)
    imports = [node for node in (tree.body if tree else []) if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


def _dedented(source: str) -> str:
    margin = len(source) - len(source.lstrip(" "))
    return "".join(line[margin:] if line[:margin].isspace() else line for line in source.splitlines(keepends=True))


def _imports(text: str) -> frozenset[str]:
    tree = parse(text)
    found: set[str] = set()
    for node in ast.walk(tree) if tree else []:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def _module(path: str) -> str:
    parts = path.removesuffix(".py").removesuffix("/__init__").split("/")
    return ".".join(parts[1:] if parts[0] in _ROOTS and len(parts) > 1 else parts)


def _stem(path: str) -> str:
    return path.rsplit("/", 1)[-1].removesuffix(".py").removeprefix("test_").removesuffix("_test")
