"""`forge align`'s job, end to end: an endpoint that is right about some exercises, real boxes, and the same command again."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ConfigError
from forge.mining.align.aligner import PASSED
from forge.mining.align.folder import NAME, AlignedFolder
from forge.mining.align.select import HELDOUT
from forge.mining.align.teach import Aligned
from forge.mining.row import Row
from forge.records import Example, FileEdit, Task
from forge.store.parquet import read_records, write_records
from jobs import align
from jobs.train import folders_of
from sandboxes.pick import pick
from tests import aligned as made
from tests.chat_endpoint import Endpoint, chat_endpoint

SUM = made.RIGHT.replace("{name}", "total_0")
HIGHEST = '''def highest_1(words):
    """The longest word, the first of several."""
    found = ""
    for word in words:
        if len(word) > len(found):
            found = word
    return found'''
ASKED = {
    0: "Write a function total_0(values) that gives back the sum of a list of numbers, and 0 where there is none.",
    1: "Write a function highest_1(words) that gives back the longest of some words; of several the first one, of none the empty text.",
    2: "Write a function wrong_2(values) about which this model is mistaken, whatever it is asked and however often that may happen.",
    3: "Write a function vague_3(values) whose tests say nothing at all about what comes out of it in the end, sadly enough.",
}
CODE = {0: SUM, 1: HIGHEST, 2: made.WRONG.replace("{name}", "wrong_2"), 3: made.RIGHT.replace("{name}", "vague_3")}
TESTS = {
    0: made.TESTS.format(call="total_0"),
    1: 'assert highest_1(["a", "bcd", "ef"]) == "bcd"\nassert highest_1([]) == ""\nassert highest_1(["to", "be"]) == "to"',
    2: made.TESTS.format(call="wrong_2"),
    3: made.VACUOUS.format(call="vague_3"),
}
COMMITS = {0: 2, 1: 1, 2: 3, 3: 4, 4: 8}
"""Commit of each seed: categories are drawn by a seed's id, and these draw functions. The last one leads to the first one's exercise."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if (choice := pick()).trusted_only:
        pytest.skip(f"code that a model wrote needs a stronger sandbox: {choice.why}")
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


def says(asked: str) -> str:
    if found := re.search(r"of seed_(\d)", asked):
        return f"<concepts>\nexercise {int(found[1]) % 4}\nlists\n</concepts>"
    if found := re.search(r"Concepts: exercise (\d)", asked):
        name = re.search(r"function (\w+)", ASKED[int(found[1])])[1]  # type: ignore[index]
        return f"<name>{name}</name><instruction>{ASKED[int(found[1])]}</instruction>"
    if not asked[-1].isdigit():
        return "yes"
    number = int(asked[-1])
    return f"Here it is.\n<answer>\n```python\n{CODE[number]}\n```\n</answer>\n<tests>\n{TESTS[number]}\n</tests>"


def questions(bodies: list[dict]) -> set[str]:
    return {json.dumps(body, sort_keys=True) for body in bodies}


def body(number: int) -> str:
    """Different enough from the others."""
    steps = "".join(f"    values = [value {'+-*'[number % 3]} {number * 10 + step} for value in values]\n" for step in range(6))
    return f"{steps}    return values\n"


def workspace(tmp_path: Path, endpoint: Endpoint, *overrides: str, hidden: bool = False) -> ForgeConfig:
    """A workspace, and mined rows of which one is held out; `hidden`: it has a held-out task too, from whose file one more row comes."""
    root, data = tmp_path / "own", tmp_path / "data"
    rows = [made.row(commit, made.source(f"seed_{number}", body(number)), path=f"pkg/m{number}.py") for number, commit in COMMITS.items()]
    rows.append(made.row(99, made.source("seed_9", body(9)), path="pkg/m9.py", heldout=True))
    if hidden:
        rows.append(made.row(98, made.source("seed_8", body(8)), path="pkg/hidden.py"))
        gold = FileEdit(path="pkg/hidden.py", content=HIGHEST)
        task = Task(
            id="t", repo="shop", base_commit="b", origin="injected", statement="s", tree="h", gold=(gold,), tests=(),
            fail_to_pass=("x",), pass_to_pass=(), files=("pkg/hidden.py",), side="heldout",
        )  # fmt: skip
        write_records(root / "tasks/tasks.parquet", [task], Task)
        (root / "workspace.json").write_text('{"schema": 1}')
    write_records(data / "commits/rows.parquet", rows, Row)
    own = [f"workspace={root}", f"align.data={data}", f"align.url={endpoint.url}", "align.model=small"]
    return configuration.load([], [*own, "align.workers=1", "align.answers=2", "align.retries=0", *overrides])


def test_what_passes_becomes_rows_the_rest_is_counted_and_the_next_run_asks_nothing_twice(
    cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = AlignedFolder(tmp_path / "own" / NAME)
    with chat_endpoint(says) as endpoint:
        config = workspace(tmp_path, endpoint)
        align.check(config, local_ray=False)
        endpoint.bodies.clear()
        endpoint.failing.append((503, {}))
        first = align.run(config)
        assert sum(first.masked.values()) == 1 and "told to fail with 503" in next(iter(first.masked))
        asked = len(endpoint.bodies)
        second = align.run(config)
        lost, answered, again = questions(endpoint.bodies[:1]), questions(endpoint.bodies[1:asked]), questions(endpoint.bodies[asked:])
        assert lost <= again and not again & answered, "what was lost alone is asked again"
        assert endpoint.together <= config.align.concurrency
        everything = len(endpoint.bodies)
        # What a kill leaves: the end of a seed torn off, rows and card not written; all that was asked is there.
        lines = folder.ends.read_text().splitlines(keepends=True)
        folder.ends.write_text("".join([*lines[:-2], lines[-1][:40]]))
        for path in (folder.rows, folder.kept, folder.card):
            path.unlink()
        third = align.run(config)
        assert len(endpoint.bodies) == everything
    assert {body["model"] for body in endpoint.bodies} == {"small"}
    assert {body["seed"] for body in endpoint.bodies if "The name of" in body["messages"][-1]["content"]} == {0, 1}
    same = {"made", "spent"}
    assert second.model_dump(exclude=same) == third.model_dump(exclude=same)
    assert (second.seeds, second.rows, second.masked) == (5, 2, {})
    assert second.failed == {"no answer passed": 2} and second.unfit == {"held out": 1}
    assert second.dropped == {"instruction: exact duplicate": 1}
    assert second.answers == {PASSED: 6, "its own tests do not pass": 2, "its tests pass for code that does nothing": 2}
    assert json.loads(folder.card.read_text())["rows"] == 2
    rows, found = read_records(folder.rows, Example), read_records(folder.kept, Aligned)
    assert {row.stage for row in rows} == {"generation"} and {one.name for one in found} == {"total_0", "highest_1"}
    assert [row.lineage for row in rows] == [one.lineage for one in found] and all(line.lineage.commit for line in rows)
    assert folders_of(configuration.load([], [f"training.data={folder.root}"])) == {"generation": folder.rows.parent}
    shown = capsys.readouterr().out
    assert "its tests pass for code that does nothing" in shown and "masked: " in shown and "5 seeds" in shown


def test_nothing_of_a_held_out_task_seeds_or_is_kept(cluster: None, tmp_path: Path) -> None:
    with chat_endpoint(says) as endpoint:
        card = align.run(workspace(tmp_path, endpoint, hidden=True))
        asked = "\n".join(message["content"] for body in endpoint.bodies for message in body["messages"])
    assert card.unfit == {"held out": 2} and "seed_8" not in asked and "seed_9" not in asked
    assert card.dropped[f"contaminated: {HELDOUT}"] == 1
    (kept,) = read_records(AlignedFolder(tmp_path / "own" / NAME).kept, Aligned)
    assert kept.name == "total_0"


def test_rows_without_a_seed_are_one_sentence(cluster: None, tmp_path: Path) -> None:
    with chat_endpoint(says) as endpoint, pytest.raises(ConfigError, match=r"none of 6 functions in .* is a seed: .* not documented"):
        align.run(workspace(tmp_path, endpoint, "align.least_doc_words=40"))
