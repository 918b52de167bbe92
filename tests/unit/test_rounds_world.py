"""The state machine on a real ledger in a made-up world: does it decide right, and does a kill change anything?"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.scheduler import answers, decisions, one_run, settings, share, wrong
from forge.config import ForgeConfig, load
from forge.fakes.tracker import RecordingTracker
from forge.records import RoundReport
from forge.rounds.names import collecting
from forge.rounds.steps import Steps
from forge.rounds.world import Climate, Planted, World, live
from forge.store.adapters import FolderAdapterStore
from forge.store.ledger import Ledger

SMALL = Climate(train=12, heldout=30, effect=0.2)
TRUTHS: dict[int, Planted] = {2: "gain", 3: "storm", 4: "regression", 5: "none"}


def _config(*overrides: str) -> ForgeConfig:
    return load(
        [], ["rounds.limit=4", "rounds.samples=3", "rounds.probe=1", "rounds.bootstrap_solves=1", "rounds.regression=4", *overrides]
    )


def _told(folder: Path) -> dict[str, Any]:
    """All that a run decided and did, without clocks."""
    with Ledger(folder / "ledger.db") as ledger:
        return {
            "decisions": [decision.model_dump() for decision in ledger.decisions()],
            "rounds": [report.model_dump(exclude={"seconds"}) for report in ledger.rounds()],
            "rollouts": {step: ledger.outcomes(step) for step in ledger.steps()},
            "promotions": ledger.promotions(),
            "tokens": ledger.tokens(),
        }


def test_in_200_rounds_with_planted_truths_at_least_95_per_cent_of_the_decisions_are_right() -> None:
    found = decisions(200, Climate(heldout=200, effect=0.1, train=20))
    assert len(found) > 300
    assert share(found) >= 0.95, wrong(found)
    planted = {one.planted for one in found if one.kind == "gate"}
    assert planted == {"gain", "none", "regression", "hack", "storm"}


def test_the_measure_itself_can_fail() -> None:
    """With a handful of held-out tasks nobody could tell, and the count says so."""
    found = [one for seed in range(6) for one in one_run(Climate(seed=seed, heldout=6, effect=0.05))]
    assert share(found) < 0.9


def test_a_whole_run_probes_collects_evaluates_and_promotes_what_is_better(tmp_path: Path) -> None:
    world = live(_config(), SMALL, TRUTHS, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        reports: list[RoundReport] = ledger.rounds()
        assert [report.name for report in reports[:4]] == ["baseline", "cold-start", "rft-1", "rft-2"]
        assert [report.step.promoted for report in reports[2:5] if report.step] == [True, True, False]
        assert set(ledger.steps()) >= {*collecting(2), "evaluate-rft-1"}
        names = [decision.name for decision in ledger.decisions(2)]
        assert names == ["plan", "curriculum", "bootstrap", "gate"]
        adapters = FolderAdapterStore(tmp_path / "adapters", ledger)
        skills = [World(SMALL, TRUTHS, ledger, adapters, tmp_path).skill(report.adapters) for report in reports[1:]]
        assert skills[1] > skills[0] and skills[2] > skills[1] and skills[3] == skills[2]
    assert any("no further round" in line for line in world.said)


def test_a_stop_for_want_of_rounds_goes_on_when_the_limit_is_raised(tmp_path: Path) -> None:
    live(_config("rounds.limit=1"), SMALL, TRUTHS, tmp_path, RecordingTracker())
    live(_config("rounds.limit=2"), SMALL, TRUTHS, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert [report.round for report in ledger.rounds()] == [0, 1, 2, 3]


def test_without_enough_solves_nothing_is_trained_and_the_sentence_says_what_helps(tmp_path: Path) -> None:
    world = live(_config("rounds.bootstrap_solves=1000", "rounds.easier_tasks=0"), SMALL, TRUTHS, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        refused = ledger.rounds()[-1]
        assert refused.step is None and "learning from oneself wants 1000" in refused.decision
        assert [report.round for report in ledger.rounds()] == [0, 1, 2]
    assert any("there is no teacher" in line for line in world.said)
    live(_config("rounds.bootstrap_solves=1", "rounds.easier_tasks=0"), SMALL, TRUTHS, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        assert ledger.rounds()[-1].round > 2 and ledger.rounds()[-1].step is not None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("undisturbed")
    live(_config(), SMALL, TRUTHS, folder, RecordingTracker())
    return _told(folder)


def test_a_run_killed_fifty_times_at_random_decides_and_counts_as_an_undisturbed_one(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    rng = random.Random(7)
    kills = 0
    while kills < 50:
        folder = tmp_path / f"run-{kills}"
        ended = False
        while not ended:
            writes = rng.randint(1, 60)
            ended = _in_a_child(lambda folder=folder, writes=writes: _live_until(folder, lambda name, count: count > writes))
            kills += not ended
        assert _told(folder) == undisturbed


def test_a_kill_at_any_transition_changes_nothing(tmp_path: Path, undisturbed: dict[str, Any]) -> None:
    """Every transaction but those of single rollouts: killed in it, and run again to the end."""
    _in_a_child(lambda: _live_until(tmp_path / "count", lambda name, _: _count(tmp_path, name)))
    transitions = int((tmp_path / "transitions").read_text())
    assert transitions > 50
    for wanted in range(1, transitions + 1):
        folder = tmp_path / f"killed-{wanted}"
        assert not _in_a_child(lambda folder=folder, wanted=wanted: _live_until(folder, _nth_transition(wanted)))
        assert _in_a_child(lambda folder=folder: _live_until(folder, lambda *_: False))
        assert _told(folder) == undisturbed, f"after a kill in transition {wanted}"


def _live_until(
    folder: Path,
    dies: Callable[[str, int], bool],
    config: ForgeConfig | None = None,
    climate: Climate = SMALL,
    truths: dict[int, Planted] | None = None,
) -> None:
    """Live, and be killed in the middle of the first transaction of which `dies` says so."""
    written, count = Ledger._write, 0  # there is no seam between a transaction and its commit

    def write(ledger: Ledger) -> Any:
        nonlocal count
        count += 1
        caller = _caller()
        if dies(caller, count):
            os.kill(os.getpid(), signal.SIGKILL)
        return written(ledger)

    Ledger._write = write  # type: ignore[method-assign]
    live(config or _config(), climate, TRUTHS if truths is None else truths, folder, RecordingTracker())


def _caller() -> str:
    return sys._getframe(2).f_code.co_name


def _nth_transition(wanted: int) -> Callable[[str, int], bool]:
    seen = 0

    def dies(name: str, _: int) -> bool:
        nonlocal seen
        seen += name != "record_rollout"
        return name != "record_rollout" and seen == wanted

    return dies


def _count(folder: Path, name: str) -> bool:
    if name != "record_rollout":
        file = folder / "transitions"
        file.write_text(json.dumps(int(file.read_text()) + 1 if file.exists() else 1))
    return False


def _in_a_child(work: Callable[[], object]) -> bool:
    """Whether a forked process did the work to its end; a kill is no end, an error is raised here."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:  # noqa: BLE001  (a forked test must not go on as a second pytest)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        return False
    assert os.WEXITSTATUS(status) == 0
    return True


def test_settings_of_made_up_runs_are_a_valid_configuration() -> None:
    assert settings(SMALL).rounds.samples == 2


WITH_A_CLUMSY_STAGE = Climate(
    train=40, heldout=30, effect=0.2, sharpness=20.0, baseline=1.0, stages=("analysis", "planning", "generation"), clumsy={"analysis": 0.95}
)


def test_a_stage_that_hardly_answers_learns_from_the_teacher_and_the_others_from_themselves_until_it_answers_enough(tmp_path: Path) -> None:
    config = _config("rounds.bootstrap_solves=12", "teacher.model=large", "rounds.limit=3")
    live(config, WITH_A_CLUMSY_STAGE, {2: "gain", 3: "gain"}, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        reports = {report.name: report for report in ledger.rounds()}
        assert list(reports) == ["baseline", "cold-start", "rft-1", "teacher-2", "rft-3"]
        choices = {d.round: d.choice for d in ledger.decisions() if d.name in ("bootstrap", "stages")}
        assert choices == {2: "allowed but for analysis", 3: "the teacher's answers alone for analysis", 4: "allowed"}
        assert set(reports["rft-1"].examples) == {"relevance", "planning", "generation", "review"}
        assert reports["teacher-2"].plan is not None and reports["teacher-2"].plan.taught == ("analysis",)
        assert 0 < reports["teacher-2"].examples["analysis"] < reports["teacher-2"].examples["planning"]
        models = {turn.stage: turn.model_id for trajectory in ledger.trajectories("teach-2") for turn in trajectory.turns}
        assert models["analysis"] == "teacher@analysis" and "teacher" not in models["generation"]


def test_without_a_teacher_a_stage_that_hardly_answers_keeps_its_adapter_and_without_need_none_does(tmp_path: Path) -> None:
    deft = WITH_A_CLUMSY_STAGE.model_copy(update={"clumsy": {}})
    for name, climate, teacher in (("alone", WITH_A_CLUMSY_STAGE, ()), ("deft", deft, ("teacher.model=large",))):
        config = _config("rounds.bootstrap_solves=12", "rounds.limit=2", *teacher)
        live(config, climate, {}, tmp_path / name, RecordingTracker())
        with Ledger(tmp_path / name / "ledger.db") as ledger:
            rounds = ledger.rounds()[2:]
            assert [report.name for report in rounds] == ["rft-1", "rft-2"]
            assert ["analysis" in report.examples for report in rounds] == [name == "deft"] * 2


HARD = Climate(train=40, heldout=30, effect=0.2, baseline=-4.0)


def test_where_tasks_are_too_hard_to_learn_from_easier_ones_open_the_gate(tmp_path: Path) -> None:
    config = _config("rounds.bootstrap_solves=12", "rounds.easier_tasks=20", "rounds.limit=3")
    live(config, HARD, {4: "gain"}, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        reports = ledger.rounds()
        chosen = [d.choice for d in ledger.decisions() if d.name in ("plan", "bootstrap")]
        assert chosen[:5] == ["cold-start", "rft", "refused", "rft on easier tasks", "allowed"]
        assert reports[2].step is None and reports[3].step is not None and sum(reports[3].examples.values()) > 12
        sampled = {result.task_id for result in ledger.results("probe-2")}
        assert len([task for task in sampled if task.startswith("easier-")]) == 20


def test_a_run_of_teachers_and_easier_tasks_that_is_killed_decides_as_an_undisturbed_one(tmp_path: Path) -> None:
    teacher = _config("rounds.bootstrap_solves=12", "teacher.model=large", "rounds.limit=3")
    eased = _config("rounds.bootstrap_solves=12", "rounds.easier_tasks=20", "rounds.limit=3")
    rng = random.Random(5)
    for name, config, climate in (("taught", teacher, WITH_A_CLUMSY_STAGE), ("eased", eased, HARD)):
        live(config, climate, {4: "gain"}, tmp_path / name, RecordingTracker())
        ended, folder = False, tmp_path / f"{name}-killed"
        while not ended:
            writes = rng.randint(15, 90)
            ended = _in_a_child(
                lambda w=writes, f=folder, c=config, k=climate: _live_until(f, lambda _, count: count > w, c, k, {4: "gain"})
            )
        assert _told(folder) == _told(tmp_path / name)


def test_easier_tasks_are_asked_for_when_they_should_be_and_not_otherwise() -> None:
    found = answers(40)
    assert share(found) >= 0.95, wrong(found)
    assert {one.planted for one in found} == {"needed", "not needed"}


SEARCHING = ("rounds.scaffold.trials=5", "rounds.scaffold.tasks=40", "rounds.scaffold.every=1", "rounds.limit=3")


def test_settings_of_the_agent_that_help_are_found_adopted_and_kept_for_later_rounds(tmp_path: Path) -> None:
    climate = Climate(train=60, heldout=60, boldness=4.0)
    live(_config(*SEARCHING), climate, {4: "gain"}, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        reports = {report.name: report for report in ledger.rounds()}
        found = reports["scaffold-2"]
        assert found.step is not None and found.step.promoted and found.agent["retry_temperature"] >= 0.4
        assert reports["rft-3"].agent == found.agent
        names = [decision.name for decision in ledger.decisions(3)]
        assert names == ["plan", *(f"trial {n}" for n in range(1, 6)), "scaffold", "gate"]
        assert not [model for promoted in ledger.promotions() for model in promoted.values() if "@r3-" in model], (
            "a search promotes no adapters"
        )


def test_settings_that_do_not_help_change_nothing(tmp_path: Path) -> None:
    climate = Climate(train=60, heldout=60, boldness=-4.0)
    live(_config(*SEARCHING), climate, {}, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        found = next(report for report in ledger.rounds() if report.name == "scaffold-2")
        assert found.agent.get("retry_temperature", 0.0) == 0.0


WORDS = "rounds.scaffold.prompts={planning: [{file: good, text: Plan well.}], generation: [{file: bad, text: Hurry.}]}"


def test_a_prompt_that_helps_is_adopted_and_taught_and_one_that_harms_is_not(tmp_path: Path) -> None:
    climate = Climate(train=60, heldout=60, words={"good": 4.0, "bad": -4.0})
    live(_config(*SEARCHING, "rounds.scaffold.trials=9", "rounds.scaffold.search=[]", WORDS), climate, {}, tmp_path, RecordingTracker())
    with Ledger(tmp_path / "ledger.db") as ledger:
        found = next(report for report in ledger.rounds() if report.name == "scaffold-2")
        assert found.agent["prompts.planning"] == "good" and found.agent.get("prompts.generation", "") == ""
        assert "prompts.planning=good" in next(d.choice for d in ledger.decisions(3) if d.name == "scaffold")
        adapters = FolderAdapterStore(tmp_path / "adapters", ledger)
        steps = Steps(_config(WORDS), ledger, adapters, World(climate, {}, ledger, adapters, tmp_path))
        world = World(climate, {}, ledger, adapters, tmp_path)
        (row,) = steps.in_use(world.mined("planning"))
        assert row.messages[0].content == "Plan well.\n\nStage: planning."
        assert steps.in_use(world.mined("generation")) == list(world.mined("generation"))


def test_a_search_that_is_killed_proposes_what_it_would_have_proposed(tmp_path: Path) -> None:
    climate = Climate(train=30, heldout=30, boldness=2.0)
    live(_config(*SEARCHING), climate, {}, tmp_path / "whole", RecordingTracker())
    rng, ended = random.Random(3), False
    while not ended:
        writes = rng.randint(20, 120)
        ended = _in_a_child(
            lambda writes=writes: _live_until(tmp_path / "killed", lambda _, count: count > writes, _config(*SEARCHING), climate, {})
        )
    assert _told(tmp_path / "killed") == _told(tmp_path / "whole")
