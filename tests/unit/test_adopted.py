"""The agent that is served is the one that was evaluated."""

from __future__ import annotations

from pathlib import Path

from forge.config import ForgeConfig, load
from forge.records import RoundReport
from forge.store.ledger import Ledger
from jobs.solving.adopted import with_adopted


def _config(folder: Path) -> ForgeConfig:
    return load([], [f"workspace={folder}", "agent.judged=3"])


def test_settings_that_a_run_adopted_are_those_of_whoever_asks_its_agent(tmp_path: Path) -> None:
    config = _config(tmp_path)
    assert with_adopted(config) == config
    with Ledger(tmp_path / "ledger.db") as ledger:
        plain = RoundReport(round=1, name="cold-start", examples={}, step=None, decision="", adapters={})
        ledger.record_round(plain)
        assert with_adopted(config) == config
        ledger.record_round(plain.model_copy(update={"round": 2, "agent": {"repairs": 4.0, "retry_temperature": 0.8}}))
    agent = with_adopted(config).agent
    assert (agent.repairs, agent.retry_temperature, agent.judged) == (4, 0.8, 3)


def test_a_prompt_that_a_run_adopted_instructs_the_agent_that_is_served(tmp_path: Path) -> None:
    config = load([], [f"workspace={tmp_path}", "rounds.scaffold.prompts={planning: [{file: p.txt, text: Plan well.}]}"])
    with Ledger(tmp_path / "ledger.db") as ledger:
        adopted = {"temperatures.planning": 0.4, "prompts.planning": "p.txt"}
        ledger.record_round(RoundReport(round=1, name="scaffold-1", examples={}, step=None, decision="", adapters={}, agent=adopted))
    agent = with_adopted(config).agent
    assert (agent.prompts["planning"].text, agent.temperatures) == ("Plan well.", {"planning": 0.4})
