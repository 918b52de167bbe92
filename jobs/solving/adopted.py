"""The agent's settings that the rounds of a workspace came to: whoever asks the agent gets it as it was evaluated."""

from __future__ import annotations

from forge.config import ForgeConfig
from forge.rounds.scaffold import agent_with
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace


def with_adopted(config: ForgeConfig) -> ForgeConfig:
    """The configuration with the agent that is in use in its workspace; as it is where there is no run yet."""
    ledger_path = Workspace(config.workspace_path).ledger
    if not ledger_path.exists():
        return config
    with Ledger(ledger_path) as ledger:
        rounds = ledger.rounds()
    adopted = rounds[-1].agent if rounds else {}
    return config.model_copy(update={"agent": agent_with(config.agent, adopted, config.rounds.scaffold)}) if adopted else config
