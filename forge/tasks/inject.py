"""Bugs planted into functions of the head become candidates: the planted bug is undone by gold.

`inject` gives the loop's candidates, any bug of one function; `Bug` and `with_bugs` make candidates of bugs that were planned.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from forge.records import FileEdit, Record, Symbol
from forge.stages.bugs.mutations import Mutation, mutations, places, planted
from forge.stages.bugs.splices import Splice
from forge.stages.source.symbols import symbols_of
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


class Bug(Record):
    """One planned bug: in `path`, the text from `start` to `end` (character offsets in the head's file) becomes `text`."""

    path: str
    name: str
    operator: str
    start: int
    end: int
    text: str

    def touches(self, others: Collection[Bug]) -> bool:
        """Whether it shares text with one of the others, so that they cannot all be planted."""
        return any(self.path == other.path and self.start <= other.end and other.start <= self.end for other in others)


def bugs_at(
    text: str, symbol: Symbol, operators: Sequence[str], used: int, seed: int, reached: Callable[[int, int], bool] = lambda *_: True
) -> Iterator[Bug]:
    """One bug of each operator in turn, those left out that do not parse: for each, place number `used` in an order of chance.

    `reached` says whether any of the lines from the first to the last one runs: of other places none is taken.
    """
    offset = sum(map(len, text.splitlines(keepends=True)[: symbol.first_line - 1]))
    found = places(symbol.source)
    for operator in operators:
        live = [splice for splice in found.get(operator, []) if reached(*_lines(symbol, splice))]
        if used < len(live):
            splice = random.Random(f"{seed}:{symbol.key}:{operator}").sample(live, len(live))[used]
            if planted(symbol.source, splice) is not None:
                start, end = splice.start + offset, splice.end + offset
                yield Bug(path=symbol.path, name=symbol.name, operator=operator, start=start, end=end, text=splice.text)


def _lines(symbol: Symbol, splice: Splice) -> tuple[int, int]:
    first = symbol.first_line + symbol.source.count("\n", 0, splice.start)
    return first, first + symbol.source.count("\n", splice.start, splice.end)


def with_bugs(repo: str, head: str, tree: str, files: Mapping[str, bytes], bugs: Sequence[Bug], tests: Sequence[str]) -> Candidate:
    """The candidate that has all these bugs; gold undoes every one. They must not touch each other."""
    right = {path: files[path].decode() for path in dict.fromkeys(bug.path for bug in bugs)}
    broken = dict(right)
    for bug in sorted(bugs, key=lambda bug: bug.start, reverse=True):
        broken[bug.path] = broken[bug.path][: bug.start] + bug.text + broken[bug.path][bug.end :]
    wrong = tuple(FileEdit(path=path, content=content) for path, content in broken.items())
    kept = tuple(FileEdit(path=path, content=files[path].decode("utf-8", "replace")) for path in tests)
    return Candidate(
        repo=repo,
        base_commit=head,
        origin="injected",
        operator="+".join(bug.operator for bug in bugs),
        title=None,
        names=tuple(dict.fromkeys(_spoken(bug.name) for bug in bugs)),
        tree=tree,
        broken=wrong,
        gold=tuple(FileEdit(path=path, content=content) for path, content in right.items()),
        old=wrong,
        tests=kept,
        visible=kept,
    )


def _spoken(name: str) -> str:
    """A function's bare name, a class's for its methods with double underscores: that is what their users write."""
    *owner, bare = name.split(".")
    return owner[0] if owner and bare.startswith("__") else bare


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
