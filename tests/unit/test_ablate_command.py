"""Which rows an ablation takes, and what it refuses before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge.config import load
from forge.errors import ConfigError, StoreError
from forge.records import COMBINED, STAGES, AdapterRef, Interval, RoundKind, RoundPlan, RoundReport, StepReport
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace
from jobs import ablate, cli
from jobs.serving.catalogue import base_of


def report(number: int, kind: RoundKind, *, promoted: bool = True, evaluated: bool = True) -> RoundReport:
    plan = RoundPlan(round=number, kind=kind)
    step = StepReport(
        name=plan.name, round=number, pass_at_1=0.5, ci95=Interval(low=0, high=1), solved=5, tasks=10, promoted=promoted
    ) if evaluated else None  # fmt: skip
    return RoundReport(round=number, name=plan.name, examples={}, step=step, decision="", adapters={}, plan=plan if number else None)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Cold start, two rounds of which the second was refused, a DPO round; review had no rows in the second."""
    found = Workspace(tmp_path / "run")
    with Ledger(found.ledger) as ledger:
        for one in (
            report(0, "cold-start"), report(1, "cold-start"), report(2, "rft"), report(3, "rft", promoted=False), report(4, "dpo"),
            report(5, "rft", evaluated=False),
        ):  # fmt: skip
            ledger.record_round(one)
    for number in range(1, 5):
        folder = found.round(number) / "rows"
        folder.mkdir(parents=True)
        for stage in STAGES:
            if (number, stage) != (2, "review"):
                (folder / f"{stage}.parquet").touch()
    return found


def rounds_of(rows: ablate.Rows) -> dict[str, str]:
    return {stage: Path(file).parts[-3] for stage, file in rows.files.items()}


def test_the_rows_are_those_behind_what_was_promoted_last_by_examples(workspace: Workspace) -> None:
    rows = ablate.rows_of(load([]), workspace)
    assert rows.name == "rft-1"
    assert rounds_of(rows) == {stage: "1" if stage == "review" else "2" for stage in STAGES}
    assert len(rows.rounds) == 6


def test_another_round_can_be_asked_for_but_not_one_of_pairs_or_none(workspace: Workspace) -> None:
    chosen = ablate.rows_of(load([], ["ablation.round=3"]), workspace)
    assert (chosen.name, set(rounds_of(chosen).values())) == ("rft-2", {"3"})
    for number in (4, 5, 9):
        with pytest.raises(
            StoreError, match=rf"has no round {number} that was trained on examples; there are 1 \(cold-start\), 2 \(rft-1\)"
        ):
            ablate.rows_of(load([], [f"ablation.round={number}"]), workspace)


def test_without_a_finished_run_it_is_the_cold_start_unless_one_was_asked_for(tmp_path: Path) -> None:
    empty = Workspace(tmp_path / "none")
    assert ablate.rows_of(load([]), empty) == ablate.Rows(name="cold-start", files={}, rounds=())
    assert ablate.rows_of(load([], ["ablation.round=1"]), empty).name == "cold-start"
    for asked in ("ablation.finished=true", "ablation.round=2"):
        with pytest.raises(StoreError, match="holds no finished run; run forge improve there first"):
            ablate.rows_of(load([], [asked]), empty)
    assert not empty.root.exists(), "looking writes nothing"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--match", "parameters"], "together need rank 96, but serve.max_rank=32; set serve.max_rank=128, or leave --match out"),
        (
            ["bases.main.model=nano", "bases.small.model=nano", "stages.review.base=small"],
            "these stages have main, small; set stages.*.base alike",
        ),
        (["--from", "/nowhere"], "/nowhere holds no finished run of forge improve; give another folder, or leave --from out"),
        (["ablation.seed=3"], "unknown config key 'ablation.seed'; did you mean 'ablation.seeds'?"),
        (["--match", "size"], "'size' is not one of 'rank', 'parameters'"),
    ],
)
def test_bad_input_is_one_sentence(argv: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["ablate", "quickstart.yaml", f"workspace={tmp_path / 'w'}", *argv])
    err = capsys.readouterr().err
    assert code != 0
    assert err.startswith("forge: ") and said in err and err.count("\n") == 1


def test_an_adapter_for_all_stages_is_on_the_base_that_they_share() -> None:
    two = ["bases.big.model=/models/big", *(f"stages.{stage}.base=big" for stage in STAGES)]
    ref = AdapterRef(
        stage=COMBINED, version="r0-aa", round=0, path="", base="/models/big", base_sha256="", data_sha256="", rank=8, examples=1
    )
    assert base_of(load([], two), ref) == "big"
    assert load([], two).base_of_adapters() == {**dict.fromkeys(STAGES, "big"), COMBINED: "big"}
    mixed = load([], ["bases.main.model=nano", "bases.big.model=/models/big", "stages.review.base=big"])
    assert COMBINED not in mixed.base_of_adapters()
    assert base_of(mixed, ref) == "big"
    with pytest.raises(ConfigError, match="one adapter for all stages needs one base"):
        ablate.check(mixed, local_ray=False)
