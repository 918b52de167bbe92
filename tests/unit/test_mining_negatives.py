from __future__ import annotations

import ast

from forge.config import MiningConfig
from forge.mining.changes import change_of
from forge.mining.negatives import half_done, near
from forge.mining.teaching import examples_of
from forge.records import Commit, FileChange
from forge.stages.edits import apply_edits
from forge.stages.source.symbols import symbols_of
from forge.stages.stage import Change
from tests.small_repos import module

BEFORE = "def scale(values, factor):\n    result = []\n    for value in values:\n        result.append(value)\n    return result\n"
AFTER = (
    "def scale(values, factor):\n    if not values:\n        return []\n    result = []\n    for value in values:\n"
    "        result.append(value * factor)\n    return sorted(result)\n"
)


def scaled(**config: int) -> Change:
    source = Commit(
        repo="small",
        sha="a" * 40,
        parents=("b" * 40,),
        author_name="Ada",
        author_email="ada@example.org",
        authored_at="2024-01-01T10:00:00+00:00",
        message="fix: scale forgets its factor",
        files=(FileChange(path="pkg/apple.py", before=BEFORE + "\n\n" + module("apple"), after=AFTER + "\n\n" + module("apple")),),
    )
    pool = [s for stem in ("birch", "cedar") for s in symbols_of(f"pkg/{stem}.py", module(stem))]
    pool += symbols_of("pkg/apple.py", BEFORE + "\n\n" + module("apple"))
    change = change_of(source, lambda: pool, MiningConfig(**config))
    assert isinstance(change, Change)
    return change


def test_half_done_edits_parse_and_lack_a_part_longest_first() -> None:
    touched = symbols_of("a.py", BEFORE)
    parts = half_done({"a.py": BEFORE}, {"a.py": AFTER}, touched, 8)
    made = [apply_edits(part, {"a.py": BEFORE}, touched)[0].content or "" for part in parts]
    assert made[0] == AFTER.replace("sorted(result)", "result")
    assert len(set(made)) == len(made) > 1 and not {BEFORE, AFTER} & set(made)
    assert all(ast.parse(text) for text in made)


def test_an_edit_whose_rest_is_a_docstring_is_not_half_done() -> None:
    after = BEFORE.replace("append(value)", "append(value * factor)").replace("    return result\n", "    return result  # scaled\n")
    assert half_done({"a.py": BEFORE}, {"a.py": after}, symbols_of("a.py", BEFORE), 8) == ()


def test_near_symbols_come_by_turns_from_the_same_file_and_from_others() -> None:
    touched = symbols_of("pkg/apple.py", module("apple"))[:1]
    pool = [s for stem in ("apple", "birch", "cedar") for s in symbols_of(f"pkg/{stem}.py", module(stem))]
    found = near(touched, pool, {touched[0].key}, 4)
    assert [symbol.path == "pkg/apple.py" for symbol in found] == [True, False, True, False]
    assert found[1].name.startswith("total_") and touched[0] not in found
    assert near(touched, pool, set(), 0) == []


def test_review_and_relevance_learn_from_hard_negatives_only_when_asked() -> None:
    plain, hard = scaled(), scaled(near_negatives=2, half_done=2)
    assert plain.incomplete == () and len(hard.incomplete) == 2
    assert hard.others[: len(plain.others)] == plain.others and len(hard.others) == len(plain.others) + 2

    def answers(change: Change, stage: str) -> list[str]:
        return [example.completion for example in examples_of(change) if example.stage == stage]

    assert answers(plain, "review") == ["yes", "no"] and answers(hard, "review") == ["yes", "no", "no", "no"]
    assert answers(hard, "relevance").count("no") == len(hard.others)
