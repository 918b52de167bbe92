"""What is searched of the agent's own settings, and how what was found becomes an agent again."""

from __future__ import annotations

from pathlib import Path

import pytest

from forge.config import AgentConfig, PromptFile, ScaffoldConfig
from forge.config.rounds import SEARCHABLE
from forge.errors import ConfigError
from forge.rounds.scaffold import OWN_WORDS, SPACE, Trial, agent_with, best, in_words, propose, space_of
from forge.stages import REGISTRY
from forge.stages.edits import DIVIDER, REPLACE, SEARCH, WHOLE
from forge.stages.planning import KINDS

AGENT = AgentConfig()
CAREFUL = {"file": "careful.txt", "text": "Be careful."}
SEARCHING = ScaffoldConfig.model_validate(
    {"trials": 3, "search": ("repairs", "temperatures.planning"), "prompts": {"planning": [CAREFUL], "review": [CAREFUL]}}
)


def test_what_is_searched_is_what_is_listed_and_by_default_what_always_was() -> None:
    assert set(SPACE) == set(SEARCHABLE)
    usual = ["judged", "planned", "visible_test_files", "repairs", "samples", "accept_score", "retry_temperature"]
    assert list(space_of(AGENT, ScaffoldConfig())) == usual
    assert list(space_of(AGENT, SEARCHING)) == ["repairs", "temperatures.planning", "prompts.planning", "prompts.review"]
    writing = [name for name, stage in REGISTRY.items() if not stage.judgement]
    assert [name.partition(".")[2] for name in SPACE if name.startswith("temperatures.")] == writing


def test_every_proposal_is_an_agent_and_the_first_is_what_is_in_use() -> None:
    trials: list[Trial] = []
    tried = set()
    for number in range(8):
        settings = propose(AGENT, {"judged": 2.0}, trials, 0, SEARCHING)
        agent = agent_with(AGENT, settings, SEARCHING)
        assert agent.judged == 2 and agent.repairs <= 6
        tried.add(agent.prompts["planning"].text if "planning" in agent.prompts else OWN_WORDS)
        assert (settings == {"judged": 2.0}) is (number == 0)
        trials.append(Trial(settings=settings, solved=0.5, tokens=100.0))
    assert tried == {OWN_WORDS, "Be careful."}


def test_settings_of_stages_and_prompts_become_parts_of_the_agent() -> None:
    agent = agent_with(AGENT, {"temperatures.planning": 0.4, "prompts.planning": "careful.txt", "repairs": 3.0}, SEARCHING)
    assert (agent.temperatures, agent.prompts["planning"].text, agent.repairs) == ({"planning": 0.4}, "Be careful.", 3)
    again = agent_with(agent, {"prompts.planning": OWN_WORDS}, ScaffoldConfig())
    assert again.prompts == {} and again.temperatures == {"planning": 0.4}
    with pytest.raises(ConfigError, match=r"adopted the prompt lost.txt for review, which is not configured; add it to rounds.scaffold"):
        agent_with(AGENT, {"prompts.review": "lost.txt"}, SEARCHING)


def test_prompts_that_ship_ask_for_the_answers_that_their_stages_read() -> None:
    folder = Path(__file__).resolve().parents[2] / "configs" / "prompts"
    marks = {"planning": ("edit ", "line: ", "change: ", *KINDS), "generation": (SEARCH, DIVIDER, REPLACE, WHOLE)}
    files = sorted(folder.glob("*.txt"))
    assert files
    for file in files:
        text = PromptFile.model_validate(str(file)).text
        assert all(mark in text for mark in marks[file.name.partition("-")[0]]), file


def test_what_was_chosen_is_told_in_words() -> None:
    first = Trial(settings={}, solved=0.4, tokens=100.0)
    better = Trial(settings={"prompts.planning": "careful.txt", "repairs": 3.0, "prompts.review": OWN_WORDS}, solved=0.6, tokens=100.0)
    decision, chosen = best([first, better], 4, 0.02)
    assert chosen is better and decision.choice == "prompts.planning=careful.txt, repairs=3, prompts.review=its own words"
    assert in_words({"accept_score": 0.5}) == "accept_score=0.5"


def test_what_every_trial_came_to_is_told_also_of_one_that_solves_more_at_too_many_tokens() -> None:
    trials = [
        Trial(settings={"repairs": float(at)}, solved=solved, tokens=tokens)
        for at, solved, tokens in ((2, 0.4, 100), (3, 0.6, 110), (6, 0.62, 300))
    ]
    decision, chosen = best(trials, 4, 0.02)
    assert chosen is trials[1]
    assert decision.why == (
        "of 3 settings these solved 60% of the same training tasks, what is in use 40%, at 1.1 times its tokens "
        "(trial 3 62% at 3.0 times; twice the tokens must bring 2 points)"
    )
    decision, chosen = best([trials[0], trials[0].model_copy(update={"tokens": 200.0})], 4, 0.02)
    assert chosen is trials[0] and decision.choice == "as it is"
    assert (
        decision.why.startswith("what is in use solved 40%, and none of 1 other settings was worth more")
        and "trial 2 40% at 2.0 times" in decision.why
    )
    decision, chosen = best(trials, 4, 0.0)
    assert chosen is trials[2] and decision.why.endswith("at 3.0 times its tokens (trial 2 60% at 1.1 times)")
