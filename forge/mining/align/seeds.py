"""Which functions of mined rows seed an instruction: documented, whole by themselves, on the training side, each once.

The paper also type-checks its seeds and has a model judge their docstrings; a name that nothing defines is found here by Python's own
symbol tables, and a docstring is judged by its length.
"""

from __future__ import annotations

import ast
import builtins
import hashlib
import symtable
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from forge.config import AlignConfig
from forge.mining.quality.contamination import Benchmarks
from forge.mining.quality.duplicates import Aged, duplicates, fingerprint_of
from forge.mining.row import FunctionChange, Row
from forge.mining.sketch import in_utc
from forge.records import Lineage, Record
from forge.stages.source.symbols import FunctionNode, is_test_path

_BAD = (SyntaxError, ValueError, RecursionError, MemoryError)
_ALWAYS = frozenset(vars(builtins))
"""Names that need no definition."""


class Seed(Record):
    """One function, with the imports that it needs before it."""

    id: str
    """Row and function: `boltons@3f9c…:boltons/iterutils.py::chunked`."""
    source: str
    licence: str
    age: str
    lineage: Lineage


class Sown(Record):
    """The seeds that were drawn, and where all other functions went: `functions` = seeds + `drops` + `spare`."""

    seeds: tuple[Seed, ...]
    functions: int
    spare: int
    """Those that fit but were not drawn."""
    drops: dict[str, int]


def sow(rows: Iterable[Row], config: AlignConfig, known: Benchmarks, *, heldout: Collection[tuple[str, str]] = (), seed: int = 0) -> Sown:
    """At most `config.seeds` functions, drawn by lot. Nothing of a held-out row, nor of a `heldout` (repository, path)."""
    drops: Counter[str] = Counter()
    found: dict[tuple[str, str, str], Seed] = {}
    functions = 0
    for row in rows:
        for change in row.functions:
            if change.kind == "removed" or change.language != "python":
                continue
            functions += 1
            made = "held out" if row.heldout or (row.repo, change.path) in heldout else _seed(row, change, config, known)
            if isinstance(made, str):
                drops[made] += 1
                continue
            key = row.repo, change.path, change.name
            if key in found:
                drops["another version is a seed"] += 1
                made = max(made, found[key], key=lambda one: (one.age, one.id))
            found[key] = made
    aged = [Aged(id=one.id, age=one.age, print=fingerprint_of(as_diff(one.source), config.duplicates)) for one in found.values()]
    same = duplicates(aged, config.duplicates)
    drops.update(same.values())
    fit = sorted((one for one in found.values() if one.id not in same), key=lambda one: _lot(seed, one.id))
    return Sown(seeds=tuple(fit[: config.seeds]), functions=functions, spare=len(fit[config.seeds :]), drops=dict(drops))


def as_diff(text: str) -> str:
    """A text as `fingerprint_of` reads it: all of it put in."""
    return "\n".join(f"+ {line}" for line in text.split("\n"))


def _seed(row: Row, change: FunctionChange, config: AlignConfig, known: Benchmarks) -> Seed | str:
    """The seed that a function is, or why it is none."""
    source = (change.after or "").strip("\n")
    if "." in change.name:
        return "a method"
    if is_test_path(change.path) or change.name.startswith("test"):
        return "a test"
    if source.count("\n") >= config.max_lines:
        return "too long"
    function = _function(source)
    if function is None:
        return "does not parse"
    if reason := _thin(function, config.least_doc_words):
        return reason
    whole = _with_imports(source, next((file.after or "" for file in row.files if file.path == change.path), ""))
    if whole is None:
        return "needs other code of its project"
    if benchmark := known.of(whole):
        return f"contaminated: {benchmark}"
    lineage = Lineage(repo=row.repo, commit=row.commit, files=(change.path,))
    name, age = f"{row.id}:{change.path}::{change.name}", in_utc(row.authored_at)
    return Seed(id=name, source=whole, licence=row.licence, age=age, lineage=lineage)


def _function(source: str) -> FunctionNode | None:
    try:
        body = ast.parse(source).body
    except _BAD:
        return None
    return body[0] if len(body) == 1 and isinstance(body[0], FunctionNode) else None


def _thin(function: FunctionNode, least_doc_words: int) -> str:
    """Why there is too little to learn of in a function; empty when there is enough."""
    if len((ast.get_docstring(function) or "").split()) < max(1, least_doc_words):
        return "not documented"
    if not any(isinstance(node, ast.Return | ast.Yield | ast.YieldFrom) and node.value is not None for node in _own(function)):
        return "gives nothing back"
    return "" if len(function.body) > 1 else "has no body"


def _own(function: FunctionNode) -> Iterator[ast.AST]:
    """What the function itself does, without functions inside it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, FunctionNode | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _with_imports(source: str, file: str) -> str | None:
    """The function after those imports of its file that it needs; `None` when it needs more than the standard library."""
    try:
        needed = _globals(symtable.symtable(source, "seed", "exec")) - _ALWAYS
        tree = ast.parse(file)
    except _BAD:
        return None
    needed -= {node.name for node in ast.parse(source).body if isinstance(node, FunctionNode)}
    lines: dict[str, None] = {}
    for node in tree.body:
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        for alias in node.names:
            module = node.module if isinstance(node, ast.ImportFrom) else alias.name
            bound = alias.asname or alias.name.split(".")[0]
            at_home = isinstance(node, ast.Import) or node.level == 0
            if bound in needed and at_home and (module or "").split(".")[0] in sys.stdlib_module_names:
                needed.discard(bound)
                lines[ast.unparse(type(node)(**{**vars(node), "names": [alias]}))] = None
    return None if needed else "\n".join([*lines, "", source] if lines else [source])


def _globals(table: symtable.SymbolTable) -> set[str]:
    """Names that are read from the module in any scope below it, and in it by decorators, defaults and annotations."""
    names = {one.get_name() for one in table.get_symbols() if one.is_referenced() and (one.is_global() or table.get_type() == "module")}
    return names.union(*(_globals(child) for child in table.get_children()))


def _lot(seed: int, name: str) -> str:
    return hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).hexdigest()
