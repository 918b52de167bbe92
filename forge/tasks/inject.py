"""Bugs planted into functions of the head become candidates: the planted bug is undone by gold."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from forge.records import FileEdit, Symbol
from forge.stages.mutations import Mutation, mutations
from forge.stages.symbols import symbols_of
from forge.tasks.candidate import Candidate


def inject(
    repo: str, head: str, tree: str, files: Mapping[str, bytes], symbol: Symbol, tests: Sequence[str], seed: int, turn: int, turns: int
) -> Iterator[Candidate]:
    """Candidates of one function: every `turns`-th of its bugs from `turn` on, so that turns never plant the same one.

    `files` are the head's, `tree` their content hash, `tests` the paths of the test files that may notice.
    """
    text = files[symbol.path].decode()
    lines = text.splitlines(keepends=True)
    kept = [FileEdit(path=path, content=files[path].decode("utf-8", "replace")) for path in tests]
    for bug in in_turn(mutations(symbol.source), random.Random(f"{seed}:{symbol.key}"))[turn::turns]:
        broken = "".join([*lines[: symbol.first_line - 1], bug.source, *lines[symbol.last_line :]])
        yield Candidate(
            repo=repo,
            base_commit=head,
            origin="injected",
            operator=bug.operator,
            title=None,
            names=(symbol.name.split(".")[-1],),
            tree=tree,
            broken=(FileEdit(path=symbol.path, content=broken),),
            gold=(FileEdit(path=symbol.path, content=text),),
            old=(FileEdit(path=symbol.path, content=broken),),
            tests=tuple(kept),
            visible=tuple(kept),
        )


def in_turn(bugs: Sequence[Mutation], chance: random.Random) -> list[Mutation]:
    """Bugs in an order in which operators take turns, so that the many wrong names do not crowd out the rest."""
    by_operator: dict[str, list[Mutation]] = defaultdict(list)
    for bug in bugs:
        by_operator[bug.operator].append(bug)
    piles = [chance.sample(pile, len(pile)) for _, pile in sorted(by_operator.items())]
    chance.shuffle(piles)
    return [pile[depth] for depth in range(max(map(len, piles), default=0)) for pile in piles if depth < len(pile)]


def functions_under_test(path: str, files: Mapping[str, bytes], tests: Sequence[str]) -> list[Symbol]:
    """Functions of a source file whose bare name its tests mention: planting bugs into others proves nothing."""
    try:
        source = files[path].decode()
    except UnicodeDecodeError:
        return []
    if source.splitlines() != source.removesuffix("\n").split("\n"):
        return []
    said = b"\n".join(files[test] for test in tests).decode("utf-8", "replace")
    return [symbol for symbol in symbols_of(path, source) if symbol.name.split(".")[-1] in said]
