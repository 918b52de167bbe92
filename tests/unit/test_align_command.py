"""`forge align` without a Ray: what a person gets wrong, answers that are kept, and what a loop may train on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from forge.config import ContaminationConfig, load
from forge.endpoint.chat import ChatClient
from forge.endpoint.kept import KeptChat
from forge.errors import ConfigError, EndpointError, EnvironmentLackError
from forge.fakes.sandbox import FakeProvider
from forge.fakes.tracker import RecordingTracker
from forge.mining.align.folder import NAME, AlignedFolder
from forge.mining.align.teach import Aligned
from forge.mining.row import Row
from forge.records import Example, FileEdit, Lineage, Message, Task
from forge.rounds.world import Climate, World, live
from forge.store.ledger import Ledger
from forge.store.parquet import write_records
from jobs import cli
from jobs.align import fit
from jobs.alignment.rows import aligned_in, mined_folder, trainable
from sandboxes.pick import Choice
from tests import aligned as made
from tests.chat_endpoint import chat_endpoint

QUESTION = (Message(role="user", content="What?"),)


def kept(id_: str, *, repo: str = "shop", commit: str = "c", path: str = "pkg/lists.py") -> Aligned:
    return Aligned(
        id=id_,
        name="total_1",
        instruction=f"Write total_1 for {id_}.",
        category="function",
        difficulty="easy",
        concepts=("sums",),
        code=made.RIGHT.format(name="total_1") + "\n",
        tests="",
        passed=1,
        answers=1,
        model="main",
        licence="MIT",
        age="2020",
        lineage=Lineage(repo=repo, commit=commit, files=(path,)),
    )


def task(name: str, side: str, path: str, text: str = "", commit: str | None = None) -> Task:
    return Task(
        id=name, repo="shop", base_commit="b", origin="commit", statement="s", tree="h", gold=(FileEdit(path=path, content=text),),
        tests=(), fail_to_pass=("x",), pass_to_pass=(), files=(path,), side=side, commit=commit,
    )  # fmt: skip


# What a person gets wrong


def test_help_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["align", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "rounds.aligned_share" in shown and "--data" in shown and "align.seeds" not in shown


def test_what_is_wrong_on_the_command_line_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "mined"
    write_records(data / "commits/rows.parquet", [made.row(1, made.source("double"))], Row)
    for argv, said in (
        ([], "holds no mined rows, which seeds are taken from; run forge mine"),
        (["--data", tmp_path / "nowhere"], "nowhere holds no mined rows"),
        (["--data", data, "align.sedes=3"], "did you mean 'align.seeds'?"),
        (["--data", data, "--url", "http://127.0.0.1:9", "align.retries=0"], "main at http://127.0.0.1:9/v1 gave no answer"),
    ):
        code = cli.main(["align", *map(str, argv), f"workspace={tmp_path / 'own'}"])
        shown = capsys.readouterr().err
        assert (code, shown.count("\n")) == (2, 1) and said in shown, shown


def test_a_sandbox_for_trusted_code_is_too_weak() -> None:
    weak = Choice(name="confined", why="namespaces are not allowed", trusted_only=True, make=FakeProvider)
    with pytest.raises(EnvironmentLackError, match="runs code that a model wrote, and namespaces are not allowed"):
        fit(weak)


def test_seeds_come_of_the_runs_own_mined_rows_or_of_a_mined_set_in_the_workspace(tmp_path: Path) -> None:
    config = load([], [f"workspace={tmp_path}"])
    write_records(tmp_path / "commits/rows.parquet", [made.row(1, made.source("double"))], Row)
    assert mined_folder(config).root == tmp_path
    write_records(tmp_path / "mined/commits/rows.parquet", [made.row(1, made.source("double"))], Row)
    assert mined_folder(config).root == tmp_path / "mined"


# Answers are kept


def test_what_was_asked_is_not_asked_again_and_another_seed_is_another_question(tmp_path: Path) -> None:
    with chat_endpoint(lambda asked: f"said {asked}") as endpoint:

        async def asked(temperature: float, *seeds: int) -> list[tuple[str, bool]]:
            client = ChatClient(endpoint.url, "m", temperature=temperature, max_tokens=9, request_s=9, retries=0)
            chat = KeptChat(client, tmp_path, concurrency=2)
            try:
                found = await asyncio.gather(*(chat.ask(QUESTION, seed) for seed in seeds))
            finally:
                await chat.close()
            return [(one.text, one.cached) for one in found]

        assert asyncio.run(asked(0.5, 1, 2, 3, 4)) == [("said What?", False)] * 4
        assert endpoint.together <= 2 and {body["seed"] for body in endpoint.bodies} == {1, 2, 3, 4}
        assert asyncio.run(asked(0.5, 4, 1, 5)) == [("said What?", True), ("said What?", True), ("said What?", False)]
        assert asyncio.run(asked(0.6, 1)) == [("said What?", False)]
        endpoint.failing.append((500, {}))
        with pytest.raises(EndpointError):
            asyncio.run(asked(0.5, 6))
        assert asyncio.run(asked(0.5, 6)) == [("said What?", False)], "a failure is not kept"


# What a loop may train on


def rows_of(found: Sequence[Aligned], tasks: Sequence[Task], *heldout: tuple[str, str]) -> tuple[set[str], dict[str, int]]:
    rows, drops = trainable(found, tasks, heldout=heldout, transfer=["far"], config=ContaminationConfig(), style="full")
    return {row.messages[1].content.split(" for ")[1].split(".")[0] for row in rows}, dict(drops)


def test_nothing_held_out_is_behind_a_row_that_is_trained_on() -> None:
    found = [
        kept("plain"),
        kept("file of a held-out task", path="pkg/hidden.py"),
        kept("held-out file without a task", path="pkg/quiet.py"),
        kept("held-out commit", commit="gold"),
        kept("transfer repository", repo="far"),
        kept("same path elsewhere", repo="other", path="pkg/hidden.py"),
    ]
    tasks = [task("t", "heldout", "pkg/hidden.py"), task("u", "heldout", "pkg/third.py", commit="gold"), task("v", "train", "pkg/lists.py")]
    names, drops = rows_of(found, tasks, ("shop", "pkg/quiet.py"))
    assert names == {"plain", "same path elsewhere"} and drops == {"its seed is held out": 4}
    assert rows_of(found[:1], [task("v", "heldout", "pkg/lists.py")]) == (set(), {"its seed is held out": 1})


def test_an_answer_that_repeats_a_held_out_file_is_not_trained_on() -> None:
    text = made.RIGHT.format(name="total_1")
    assert rows_of([kept("plain")], [task("t", "heldout", "pkg/hidden.py", text)]) == (set(), {"like a held-out task": 1})
    assert rows_of([kept("plain")], [task("t", "train", "pkg/hidden.py", text)]) == ({"plain"}, {})


def test_rows_that_are_wanted_and_not_there_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run forge align"):
        aligned_in(tmp_path)
    write_records(AlignedFolder(tmp_path / NAME).kept, [kept("plain")], Aligned)
    assert aligned_in(tmp_path) == [kept("plain")]


@pytest.mark.parametrize(("share", "added"), [(0.0, 0), (1.0, 1), (3.0, 3)])
def test_the_cold_start_learns_generation_from_its_share_of_aligned_rows_and_nothing_else_does(
    share: float, added: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, dict[str, Sequence[Example]]]] = []
    asked: list[str] = []
    train = World.train

    def watched(self: World, plan: object, rows: dict[str, Sequence[Example]]) -> object:
        trained.append((plan.kind, rows))  # type: ignore[attr-defined]
        return train(self, plan, rows)  # type: ignore[arg-type]

    def aligned(self: World) -> list[Example]:
        asked.append("asked")
        rows, _ = trainable(
            [kept(f"row{n}", commit=str(n)) for n in range(5)], [], heldout=(), transfer=(), config=ContaminationConfig(), style="full"
        )
        return rows

    # The world makes its hands itself, so that there is no seam for what they are asked and given.
    monkeypatch.setattr(World, "train", watched)
    monkeypatch.setattr(World, "aligned", aligned)
    config = load(
        [], ["rounds.limit=1", "rounds.samples=2", "rounds.probe=1", "rounds.bootstrap_solves=1", f"rounds.aligned_share={share}"]
    )
    live(config, Climate(train=8, heldout=10), {2: "gain"}, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.rounds()[1].examples["generation"] == 1 + added
    kinds = dict(trained)
    assert len(kinds["cold-start"]["generation"]) == 1 + added and len(kinds["cold-start"]["planning"]) == 1
    assert len(asked) == (1 if share else 0)
    assert not any("total_1" in message.content for row in kinds["rft"]["generation"] for message in row.messages)
