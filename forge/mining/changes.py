"""A surviving commit becomes a `Change`: what was asked, what was touched, what was not, and a wrong edit beside it.

Commits teach when they modify functions that existed, and nothing else in source files: then every changed line
lies in a symbol that the prompts show, and the edits can be written as SEARCH/REPLACE from what was shown.
"""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

from forge.config import MiningConfig
from forge.errors import StageError
from forge.mining.negatives import half_done, near
from forge.records import Commit, Drop, FileChange, Lineage, Symbol
from forge.stages.bugs.mutations import wrong_fixes
from forge.stages.edits import apply_edits, hunks_between
from forge.stages.retrieval.index import Index
from forge.stages.source.symbols import foreign, is_test_path, symbols_of
from forge.stages.source.tree_symbols import parses, tokens_of
from forge.stages.stage import Change, Hunk
from forge.stages.statements import CallExample, compose, examples_in, title_of

MAX_EXAMPLES = 2
"""Calls that a statement shows, as people show them in issues."""


def change_of(
    commit: Commit, pool: Callable[[], Sequence[Symbol]], config: MiningConfig, heldout: Collection[str] = (), *, asked: str = ""
) -> Change | Drop:
    """What this commit teaches. `pool` gives symbols of its parent's tree to draw negatives from, never from `heldout` paths; it
    is asked for once the change is sure to teach something.

    `asked` is what a teacher says was asked for; without it the message and the tests say it.
    """
    sources = [file for file in commit.files if not is_test_path(file.path)]
    reason = next((found for found in map(_unfit, sources) if found), None)
    if reason:
        return Drop(sha=commit.sha, reason=reason)
    pairs = [(file, before, after) for file in sources for before, after in _touched(file)]
    if any(_outside(file, pairs) for file in sources):
        return Drop(sha=commit.sha, reason="changes outside functions")
    if all(_same_code(before, after) for _, before, after in pairs):
        return Drop(sha=commit.sha, reason="formatting only")
    if all(_same_but_for_names(before, after) for _, before, after in pairs):
        return Drop(sha=commit.sha, reason="renames only")
    touched = tuple(before for _, before, _ in pairs)
    hunks = tuple(hunk for file in sources for hunk in _hunks(file, touched, file.after or ""))
    if not hunks or not _carries_out(hunks, sources, touched):
        return Drop(sha=commit.sha, reason="not expressible as edits")
    statement = _statement(commit, touched, config, asked)
    if statement is None:
        return Drop(sha=commit.sha, reason="nothing says what was asked")
    keys = {symbol.key for symbol in touched}
    allowed = _allowed(touched, pool(), heldout)
    offered = Index(allowed).search(statement, config.offered)
    others = [symbol for symbol in offered if symbol.key not in keys][: config.negatives * len(touched)]
    taken = keys | {symbol.key for symbol in others}
    return Change(
        statement=statement,
        touched=touched,
        after=tuple(after for _, _, after in pairs),
        others=(*others, *near(touched, allowed, taken, config.near_negatives * len(touched))),
        offered=(*offered, *(symbol for symbol in touched if symbol.key not in {other.key for other in offered})),
        hunks=hunks,
        wrong=_wrong(commit.sha, pairs, touched, config.wrong_attempts),
        incomplete=_incomplete(sources, touched, config.half_done),
        lineage=Lineage(repo=commit.repo, commit=commit.sha, files=tuple(file.path for file in commit.files)),
    )


def _unfit(file: FileChange) -> str | None:
    if file.before is None or file.after is None:
        return "adds or deletes source files"
    for text in (file.before, file.after):
        # Splitting at "\n" must give the lines that the parser counts: no carriage returns, form feeds, separators.
        if text.splitlines() != text.removesuffix("\n").split("\n") and text:
            return "odd line ends"
        names = [symbol.name for symbol in _symbols(file.path, text)]
        if not _parses(file.path, text, names):
            return "does not parse"
        if len(names) != len(set(names)):
            return "functions defined twice"
    return None


def _parses(path: str, text: str, names: Collection[str]) -> bool:
    if language := foreign(path):
        return parses(language, text)
    return bool(names) or _tree(text) is not None


@lru_cache(maxsize=512)
def _symbols(path: str, source: str) -> tuple[Symbol, ...]:
    """One version of a file is looked at several times while its commit is."""
    return tuple(symbols_of(path, source))


def _tree(source: str) -> ast.Module | None:
    """The syntax tree of a file or of an indented function, `None` when it does not parse."""
    try:
        return ast.parse(textwrap.dedent(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _same_code(before: Symbol, after: Symbol) -> bool:
    if language := foreign(after.path):
        return tokens_of(language, before.source) == tokens_of(language, after.source)
    old, new = _tree(before.source), _tree(after.source)
    return old is not None and new is not None and ast.dump(old) == ast.dump(new)


def _same_but_for_names(before: Symbol, after: Symbol) -> bool:
    """Whether renaming local names makes one of the other: that teaches no repair, and the new names cannot be guessed.

    Not looked for in other languages than Python.
    """
    old, new = (None, None) if foreign(after.path) else (_tree(before.source), _tree(after.source))
    return old is not None and new is not None and _canonical(old) == _canonical(new)


def _canonical(tree: ast.Module) -> str:
    """The tree's dump with names that it binds numbered in order of appearance; changes `tree`."""
    nodes = list(ast.walk(tree))
    bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    numbers: dict[str, str] = {}
    for node in nodes:
        if isinstance(node, ast.arg):
            node.arg = numbers.setdefault(node.arg, f"v{len(numbers)}")
        elif isinstance(node, ast.Name) and node.id in bound:
            node.id = numbers.setdefault(node.id, f"v{len(numbers)}")
    return ast.dump(tree)


def _touched(file: FileChange) -> list[tuple[Symbol, Symbol]]:
    """Functions that both versions have with different sources; named by the path that they had before."""
    after = {symbol.name: symbol for symbol in _symbols(file.path, file.after or "")}
    befores = _symbols(file.old_path or file.path, file.before or "")
    return [(old, after[old.name]) for old in befores if old.name in after and after[old.name].source != old.source]


def _outside(file: FileChange, pairs: Sequence[tuple[FileChange, Symbol, Symbol]]) -> bool:
    """Whether anything but blank lines differs outside the touched functions."""
    mine = [(before, after) for of, before, after in pairs if of is file]
    old = _rest(file.before or "", [before for before, _ in mine])
    new = _rest(file.after or "", [after for _, after in mine])
    return old != new


def _rest(text: str, symbols: Sequence[Symbol]) -> list[str]:
    inside = {number for symbol in symbols for number in range(symbol.first_line, symbol.last_line + 1)}
    return [line for number, line in enumerate(text.split("\n"), 1) if number not in inside and line.strip()]


def _hunks(file: FileChange, touched: Sequence[Symbol], after: str) -> list[Hunk]:
    path = file.old_path or file.path
    return hunks_between(path, file.before or "", after, [symbol for symbol in touched if symbol.path == path])


def _carries_out(hunks: Sequence[Hunk], sources: Sequence[FileChange], touched: Sequence[Symbol]) -> bool:
    """Whether the hunks, applied as an agent's edits are, give exactly the commit's sources, all inside shown symbols."""
    files = {file.old_path or file.path: file.before or "" for file in sources}
    wanted = {file.old_path or file.path: file.after for file in sources}
    try:
        made = {edit.path: edit.content for edit in apply_edits(hunks, files, touched)}
    except StageError:
        return False
    return all(hunk.symbol for hunk in hunks) and files | made == wanted


def _statement(commit: Commit, touched: Sequence[Symbol], config: MiningConfig, asked: str) -> str | None:
    """The message's title and examples from added tests; `None` for a poor message without examples, which asks for nothing."""
    names = list(dict.fromkeys(symbol.name.split(".")[-1] for symbol in touched))
    examples = _added_examples(commit, names)[:MAX_EXAMPLES]
    title = asked or title_of(commit.message, config.min_message_words)
    if title is not None and "\ufffd" not in title:
        return compose(title, examples)
    return compose(f"wrong result in {', '.join(names[:3])}", examples) if examples else None


def _added_examples(commit: Commit, names: Collection[str]) -> list[CallExample]:
    found: list[CallExample] = []
    for file in commit.files:
        if is_test_path(file.path) and file.after:
            known = examples_in(file.before or "", names)
            found += [example for example in examples_in(file.after, names) if example not in known]
    return found


def _allowed(touched: Sequence[Symbol], pool: Sequence[Symbol], heldout: Collection[str]) -> list[Symbol]:
    """The parent's symbols that may be shown, none of held-out files; touched symbols are those of the change."""
    mine = {symbol.key: symbol for symbol in touched}
    return [mine.get(symbol.key, symbol) for symbol in pool if symbol.path not in heldout]


def _incomplete(sources: Sequence[FileChange], touched: Sequence[Symbol], count: int) -> tuple[tuple[Hunk, ...], ...]:
    before = {file.old_path or file.path: file.before or "" for file in sources}
    after = {file.old_path or file.path: file.after or "" for file in sources}
    return half_done(before, after, touched, count)


def _wrong(
    sha: str, pairs: Sequence[tuple[FileChange, Symbol, Symbol]], touched: Sequence[Symbol], count: int
) -> tuple[tuple[Hunk, ...], ...]:
    """Edits of one touched function that an attempt might have made instead."""
    chance = random.Random(sha)
    file, before, after = chance.choice(pairs)
    path, text = file.old_path or file.path, file.before or ""
    attempts = []
    for source in wrong_fixes(before.source, after.source, chance, count, foreign(path)):
        lines = text.splitlines(keepends=True)
        lines[before.first_line - 1 : before.last_line] = [source]
        hunks = tuple(hunks_between(path, text, "".join(lines), [symbol for symbol in touched if symbol.path == path]))
        if hunks and all(hunk.symbol and hunk.old for hunk in hunks):
            attempts.append(hunks)
    return tuple(attempts)
