"""The staged agent and the rollout around it, against a scripted model and boxes in memory."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from forge.config import AgentConfig, SandboxConfig, load
from forge.errors import EndpointError
from forge.fakes.chat_model import FakeChatModel
from forge.fakes.sandbox import FakeProvider
from forge.fakes.tokenizer import FakeTokenizer
from forge.records import STAGES, FileEdit, Limits, Outcome, Task, Trajectory
from forge.rollouts.rollout import Assignment, Runner
from forge.seams import Sample, SampleRequest
from forge.stages import REGISTRY
from forge.stages.stage import PromptStyle, handed_in
from jobs.wiring import max_answer_tokens
from sandboxes.grading import BoxGrader

BROKEN = "def total(values):\n    out = 1\n    for v in values:\n        out += v\n    return out\n"
RIGHT = BROKEN.replace("out = 1", "out = 0")
OTHER = "def other(x):\n    return x\n"
TEST = "from shop.cart import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
PLAN = "edit 1\nline: out = 1\nchange: 1 -> 0"
TOKENS = FakeTokenizer()


def _edit(new: str) -> str:
    return f"1\n<<<<<<< SEARCH\n    out = 1\n=======\n    out = {new}\n>>>>>>> REPLACE"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    for path, text in {"shop/__init__.py": "", "shop/cart.py": BROKEN, "shop/other.py": OTHER}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def _task(side: str = "train") -> Task:
    return Task(
        id="t1", repo="r", base_commit="b", origin="injected", statement="wrong result from total\n>>> total([1, 2])\n3", tree="h",
        gold=(FileEdit(path="shop/cart.py", content=RIGHT),), tests=(FileEdit(path="tests/test_cart.py", content=TEST),),
        fail_to_pass=("tests/test_cart.py::test_total",), pass_to_pass=(), files=("shop/cart.py", "tests/test_cart.py"), side=side,
    )  # fmt: skip


def _answers(script: Mapping[str, list[str]]) -> FakeChatModel:
    """A model that gives each stage its answers in order, the last one again and again; relevance is yes for `total`."""
    given = {stage: list(texts) for stage, texts in script.items()}

    def answer(request: SampleRequest) -> tuple[int, ...]:
        stage = request.model_id
        if stage == "relevance":
            return (TOKENS.yes_id if "def total" in TOKENS.decode(request.prompt_ids) else TOKENS.no_id,)
        texts = given[stage]
        text = texts.pop(0) if len(texts) > 1 else texts[0]
        return (TOKENS.yes_id if text == "yes" else TOKENS.no_id,) if stage == "review" else TOKENS.encode(text)

    return FakeChatModel(answer)


def _run(
    tree: Path,
    model: FakeChatModel,
    provider: FakeProvider | None = None,
    hidden: Mapping[str, tuple[str, ...]] | None = None,
    temperature: float = 0.7,
    style: PromptStyle = "brief",
    context_tokens: Mapping[str, int] | None = None,
    **settings: Any,
) -> Trajectory:
    provider = provider or FakeProvider()
    runner = Runner(
        model=model, tokenizers=dict.fromkeys(STAGES, TOKENS), provider=provider,
        grader=BoxGrader(provider, lambda _: tree, Limits(), "run"),
        tree_folder=lambda _: tree, agent=AgentConfig(prompt_style=style, repairs=1, **settings), sandbox=SandboxConfig(infra_retries=1),
        max_answer_tokens=dict.fromkeys(STAGES, 500), hidden=hidden or {}, run_id="run",
        context_tokens=context_tokens or {},
    )  # fmt: skip
    assignment = Assignment(
        task=_task(), step="collect-1", round=2, sample=0, seed=5, temperature=temperature, models={stage: stage for stage in STAGES}
    )
    return asyncio.run(runner.roll_out(assignment))


GOOD = {"analysis": ["1"], "planning": [PLAN], "generation": [_edit("0")], "review": ["yes"]}


def test_a_right_edit_is_solved_and_every_turn_is_kept_token_exact(tree: Path) -> None:
    found = _run(tree, _answers(GOOD))
    assert found.outcome is Outcome.SOLVED and found.verdict is not None and found.verdict.passed
    assert {turn.stage for turn in found.turns} == set(STAGES)
    assert all(len(turn.logprobs) == len(turn.completion_ids) > 0 and turn.prompt_ids for turn in found.turns)
    assert "-    out = 1" in found.patch and "+    out = 0" in found.patch
    review = next(turn for turn in found.turns if turn.stage == "review")
    assert "example right" in review.messages[1].content


def test_an_agent_that_says_why_acts_on_what_follows(tree: Path) -> None:
    script = {"analysis": ["why: total is named\n1"], "planning": [f"why: it starts at one\n{PLAN}"]}
    found = _run(tree, _answers(GOOD | script), style="explained")
    assert found.outcome is Outcome.SOLVED
    prompts = {turn.stage: turn.messages for turn in found.turns}
    assert {stage for stage, (system, _) in prompts.items() if "'why: '" in system.content} == {"analysis", "planning"}
    assert "starts at one" not in prompts["generation"][1].content


def test_an_agent_that_says_why_has_room_for_it() -> None:
    explained = ["agent.prompt_style=explained", "mining.enrich.explain=true", "teacher.model=m", "stages.analysis.max_answer_tokens=7"]
    more, plain = max_answer_tokens(load([], explained)), max_answer_tokens(load([]))
    assert {stage for stage in STAGES if more[stage] > plain[stage]} == {"planning"} and more["analysis"] == 7
    assert max_answer_tokens(load([], explained[:-1]))["analysis"] > plain["analysis"]


def test_a_rejected_attempt_is_repaired_with_the_rejected_edit_in_the_prompt(tree: Path) -> None:
    found = _run(tree, _answers(GOOD | {"generation": [_edit("2"), _edit("0")], "review": ["no", "yes"]}))
    assert found.outcome is Outcome.SOLVED and found.repairs == 1
    second = [turn for turn in found.turns if turn.stage == "planning"][1]
    assert "# rejected\nedit 1\nline: out = 1\nchange: 1 -> 2" in second.messages[1].content
    assert "example wrong" in next(turn for turn in found.turns if turn.stage == "review").messages[1].content


def test_of_several_samples_the_one_that_review_likes_best_is_handed_in(tree: Path) -> None:
    script = GOOD | {"generation": [_edit("2"), _edit("0"), "nonsense"], "review": ["no", "yes"]}
    found = _run(tree, _answers(script), samples=3)
    assert (found.outcome, found.repairs) == (Outcome.SOLVED, 0)
    assert [turn.attempt for turn in found.turns] == sorted(turn.attempt for turn in found.turns)
    plans = [turn for turn in found.turns if turn.stage == "planning"]
    assert [turn.attempt for turn in plans] == [0, 1, 2] and len({turn.prompt_ids for turn in plans}) == 1
    assert handed_in(found) == 1


def test_rejected_samples_are_all_shown_to_the_next_ones(tree: Path) -> None:
    script = GOOD | {"generation": [_edit("2"), _edit("3"), _edit("0")], "review": ["no", "no", "yes"]}
    found = _run(tree, _answers(script), samples=2)
    assert (found.outcome, found.repairs) == (Outcome.SOLVED, 1)
    later = next(turn for turn in found.turns if turn.stage == "planning" and turn.attempt == 2)
    assert "change: 1 -> 2" in later.messages[1].content and "change: 1 -> 3" in later.messages[1].content


def test_greedy_rollouts_sample_only_where_retries_are_not_greedy(tree: Path) -> None:
    model = _answers(GOOD)
    assert _run(tree, model, samples=4, temperature=0.0).outcome is Outcome.SOLVED
    assert sum(request.model_id == "generation" for request in model.asked) == 1, "four times the same"
    model = _answers(GOOD)
    assert _run(tree, model, samples=4, temperature=0.0, retry_temperature=0.9).outcome is Outcome.SOLVED
    heats = [request.temperature for request in model.asked if request.model_id == "generation"]
    assert sorted(heats) == [0.0, 0.9, 0.9, 0.9]


def test_when_the_box_is_lost_no_sample_goes_on(tree: Path) -> None:
    model = _answers(GOOD)

    class Lost(FakeChatModel):
        async def sample(self, requests: Sequence[SampleRequest]) -> list[Sample]:
            if requests[0].model_id == "generation" and not lost:
                lost.append(True)
                raise EndpointError("gone")
            return await model.sample(requests)

    lost: list[bool] = []
    found = _run(tree, Lost(lambda _: ()), samples=4)
    assert found.outcome is Outcome.SOLVED and found.infra_retries == 1
    assert [turn.attempt for turn in found.turns if turn.stage == "review"] == [0, 1, 2, 3], "turns of the lost start are not kept"


def test_a_wrong_edit_that_review_accepts_is_failed_by_the_grade(tree: Path) -> None:
    found = _run(tree, _answers(GOOD | {"generation": [_edit("2")]}))
    assert found.outcome is Outcome.FAILED and found.verdict is not None and not found.verdict.passed


@pytest.mark.parametrize("stage", ["planning", "generation"])
def test_nonsense_is_an_agent_error_whose_turn_is_kept_unparsed(tree: Path, stage: str) -> None:
    found = _run(tree, _answers(GOOD | {stage: ["what?"]}))
    assert found.outcome is Outcome.AGENT_ERROR and found.reason
    assert not next(turn for turn in found.turns if turn.stage == stage).parsed


def test_an_unusable_answer_is_sampled_anew_but_not_asked_for_again_when_greedy(tree: Path) -> None:
    script = GOOD | {"generation": ["what?", _edit("0")]}
    assert _run(tree, _answers(script)).outcome is Outcome.SOLVED
    assert _run(tree, _answers(script), temperature=0.0).outcome is Outcome.AGENT_ERROR


def _temperatures(model: FakeChatModel, stage: str) -> list[float]:
    return [request.temperature for request in model.asked if request.model_id == stage]


def test_a_stage_has_its_own_temperature_where_the_rollout_is_not_greedy_and_not_where_it_is(tree: Path) -> None:
    _run(tree, sampled := _answers(GOOD), temperatures={"planning": 0.2})
    assert [_temperatures(sampled, stage) for stage in ("planning", "generation", "review")] == [[0.2], [0.7], [0.0]]
    greedy = _answers(GOOD | {"review": ["no", "yes"]})
    _run(tree, greedy, temperature=0.0, temperatures={"planning": 0.2}, retry_temperature=1.0)
    assert [_temperatures(greedy, stage) for stage in ("planning", "generation")] == [[0.0, 0.2], [0.0, 1.0]]


def test_a_plan_that_cannot_be_used_is_not_asked_for_again_where_planning_alone_is_greedy(tree: Path) -> None:
    model = _answers(GOOD | {"planning": ["what?", PLAN]})
    assert _run(tree, model, temperatures={"planning": 0.0}).outcome is Outcome.AGENT_ERROR
    assert len(_temperatures(model, "planning")) == 1
    assert _run(tree, _answers(GOOD | {"generation": ["what?", _edit("0")]}), temperatures={"planning": 0.0}).outcome is Outcome.SOLVED


def test_a_prompt_in_a_file_instructs_its_stage_in_place_of_its_own_words(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "careful.txt").write_text("Think twice.\n")
    plain = _run(tree, _answers(GOOD), style="full")
    found = _run(tree, _answers(GOOD), style="full", prompts=dict.fromkeys(("planning", "relevance"), str(tmp_path / "careful.txt")))
    said = {turn.stage: [message.content for message in turn.messages] for turn in found.turns}
    own = {turn.stage: [message.content for message in turn.messages] for turn in plain.turns}
    assert said["planning"] == ["Think twice.\n\nStage: planning.", own["planning"][1]]
    assert said["relevance"][0] == "Think twice.\n\nStage: relevance." and said["generation"] == own["generation"]


def test_nonsense_from_analysis_falls_back_to_retrieval(tree: Path) -> None:
    found = _run(tree, _answers(GOOD | {"analysis": ["what?"]}))
    assert found.outcome is Outcome.SOLVED and not found.turns[0].parsed


def test_infrastructure_errors_are_retried_and_then_typed_never_scored(tree: Path) -> None:
    assert _run(tree, _answers(GOOD), FakeProvider(broken=1)).infra_retries == 1
    masked = _run(tree, _answers(GOOD), FakeProvider(broken=50))
    assert masked.outcome is Outcome.INFRA_ERROR and masked.verdict is None and masked.reason


def test_heldout_files_are_not_shown_to_rollouts_that_may_teach(tree: Path) -> None:
    model = _answers(GOOD)
    _run(tree, model, hidden={"r": ("shop/other.py",)})
    assert not any("shop/other.py" in TOKENS.decode(request.prompt_ids) for request in model.asked)
    model = _answers(GOOD)
    _run(tree, model)
    assert any("shop/other.py" in TOKENS.decode(request.prompt_ids) for request in model.asked)


def test_boxes_are_closed_and_work_and_grade_use_different_ones(tree: Path) -> None:
    provider = FakeProvider()
    found = _run(tree, _answers(GOOD), provider)
    assert len(provider.opened) == 2
    assert 0 < found.box_s <= found.seconds, "how long they were open is part of what a solve costs"


@pytest.mark.parametrize("stage", ["analysis", "planning", "generation"])
def test_a_refused_answer_is_asked_for_once_more_with_the_parsers_sentence(tree: Path, stage: str) -> None:
    model = _answers(GOOD | {stage: ["what?", GOOD[stage][0]]})
    found = _run(tree, model, temperature=0.0, mend=True)
    assert found.outcome is Outcome.SOLVED and found.repairs == 0
    refused, mended = (turn for turn in found.turns if turn.stage == stage)
    assert (refused.parsed, mended.parsed, mended.attempt) == (False, True, 0)
    assert mended.messages[:2] == refused.messages and mended.messages[2].content == "what?"
    sentence = {"analysis": "names none of the candidates", "planning": "no 'edit' step", "generation": "no SEARCH/REPLACE block"}
    assert sentence[stage] in mended.messages[3].content
    for turn in (refused, mended):
        assert turn.prompt_ids == TOKENS.render(turn.messages) and turn.completion_ids == TOKENS.encode(turn.text)


def test_an_edit_that_breaks_the_syntax_is_mended_where_answers_are(tree: Path) -> None:
    script = GOOD | {"generation": [_edit("("), _edit("0")]}
    found = _run(tree, _answers(script), temperature=0.0, mend=True)
    assert found.outcome is Outcome.SOLVED and found.repairs == 0
    assert any("shop/cart.py does not parse after the edit" in m.content for turn in found.turns for m in turn.messages)
    assert _run(tree, _answers(script), temperature=0.0).outcome is Outcome.FAILED, "without, running it says so and review decides"


@pytest.mark.parametrize("stage", ["planning", "generation"])
def test_an_answer_that_is_refused_twice_ends_as_it_does_without_mending(tree: Path, stage: str) -> None:
    model = _answers(GOOD | {stage: ["what?"]})
    found = _run(tree, model, temperature=0.0, mend=True)
    assert found.outcome is Outcome.AGENT_ERROR and found.reason == _run(tree, model, temperature=0.0).reason
    assert [turn.parsed for turn in found.turns if turn.stage == stage] == [False, False]


def test_a_refused_answer_never_teaches_and_the_mended_one_does_so_under_both_prompts(tree: Path) -> None:
    found = _run(tree, _answers(GOOD | {"generation": ["what?", _edit("0")]}), temperature=0.0, mend=True)
    rows = list(REGISTRY["generation"].from_trajectory(found, _task()))
    refused, mended = (turn for turn in found.turns if turn.stage == "generation")
    assert {row.completion_ids for row in rows} == {mended.completion_ids}
    assert [row.prompt_ids for row in rows] == [mended.prompt_ids, refused.prompt_ids]


def test_nothing_is_mended_where_the_model_has_no_room_for_the_longer_prompt(tree: Path) -> None:
    script = GOOD | {"generation": ["what?", _edit("0")]}
    found = _run(tree, _answers(script), temperature=0.0, mend=True, context_tokens={"generation": 600})
    assert found.outcome is Outcome.AGENT_ERROR and [t.parsed for t in found.turns if t.stage == "generation"] == [False]


def test_only_analysis_and_planning_are_asked_with_a_grammar_and_only_where_that_is_wanted(tree: Path) -> None:
    model = _answers(GOOD)
    _run(tree, model)
    assert not any(request.grammar for request in model.asked)
    model = _answers(GOOD)
    _run(tree, model, structured=True)
    assert {request.model_id for request in model.asked if request.grammar} == {"analysis", "planning"}


def test_what_was_rejected_first_is_left_out_where_the_base_has_no_room_for_it(tree: Path) -> None:
    script = GOOD | {"generation": [_edit("2"), _edit("0")], "review": ["no", "yes"]}
    first = next(turn for turn in _run(tree, _answers(script)).turns if turn.stage == "planning")
    found = _run(tree, _answers(script), context_tokens={"planning": len(first.prompt_ids) + 500})
    assert found.outcome is Outcome.SOLVED
    assert [turn.prompt_ids for turn in found.turns if turn.stage == "planning"] == [first.prompt_ids] * 2


@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_a_prompt_that_no_base_has_room_for_is_the_agents_failure_and_is_asked_of_nobody(tree: Path, temperature: float) -> None:
    model = _answers(GOOD)
    found = _run(tree, model, temperature=temperature, context_tokens=dict.fromkeys(STAGES, 20))
    assert found.outcome is Outcome.AGENT_ERROR and found.infra_retries == 0 and found.turns == () and model.asked == []
    assert re.fullmatch(r"the prompt of planning takes \d+ tokens, and its base has room for 20", found.reason)


def test_a_function_too_long_to_be_judged_is_not_planned_for(tree: Path) -> None:
    (tree / "shop/long.py").write_text("def total_of_all(values):\n" + "    values = values + [1]\n" * 400 + "    return values\n")
    judged = {}
    for room in (100_000, 2000):
        found = _run(tree, _answers(GOOD), context_tokens={"relevance": room})
        judged[room] = {turn.subject for turn in found.turns if turn.stage == "relevance"}
    assert judged[100_000] - judged[2000] == {"shop/long.py::total_of_all"}
    assert found.outcome is Outcome.SOLVED and "shop/cart.py::total" in judged[2000]
