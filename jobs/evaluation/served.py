"""The endpoint that is asked: one that runs already, or the workspace's own for as long as the evaluation takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forge.config import ForgeConfig
from forge.endpoint.client import EndpointModel
from forge.errors import ConfigError
from forge.observe.progress import Progress
from forge.records import STAGES
from jobs.endpoint import Follower
from jobs.wiring import base_folder, own_key
from serve import app


@dataclass(frozen=True)
class Served:
    """URLs by base, and the key that they want."""

    config: ForgeConfig
    urls: dict[str, str]
    key: str

    def chat_url(self, model: str) -> str:
        """Where OpenAI clients ask for `model`: each base has a URL, and knows its adapters."""
        if model in self.urls:
            return self.urls[model]
        stage = model.partition("@")[0]
        return self.urls[self.config.base_of_stages().get(stage, next(iter(self.urls)))]

    async def stage_models(self) -> dict[str, str]:
        """The exact model of each stage: what is promoted, all of one base, or one stage's own version beside what is promoted.

        Raises `ConfigError` for a model that the agent cannot be made of, and `EndpointError`.
        """
        bases, wanted = self.config.base_of_stages(), self.config.evaluation.model
        if wanted in self.urls:
            return dict.fromkeys(STAGES, wanted)
        stage = (wanted or "").partition("@")[0]
        if wanted and stage not in STAGES:
            raise ConfigError(
                f"the agent cannot be made of {wanted}; give a base ({', '.join(self.urls)}) or a version such as generation@r2-…"
            )
        client = EndpointModel(self.urls, stages=bases, api_key=self.key)
        try:
            meanings = {name: meaning for base in self.urls for name, meaning in (await client.meanings(base)).items()}
        finally:
            await client.close()
        models = {name: meanings.get(name, bases[name]) for name in STAGES}
        return models | ({stage: meanings.get(wanted, wanted)} if wanted else {})


@contextmanager
def served(config: ForgeConfig, progress: Progress, url: str | None, key_variable: str) -> Iterator[Served]:
    """The endpoint at `url`, its key in the environment, or else one that is started now and ended with the block."""
    if url:
        key = os.environ.get(key_variable, "")
        plain = url.rstrip("/").removesuffix("/v1")
        yield Served(config, {name: plain if name == "main" else f"{plain}/{name}" for name in config.bases}, key)
        return
    bases: dict[str, Path] = {name: base_folder(base) for name, base in config.bases.items()}
    follower = Follower(config, bases, progress)
    try:
        with progress.phase("serve", f"{len(bases)} base{'s' * (len(bases) > 1)} with the adapters of {config.workspace_path}") as phase:
            follower.catch_up()
            phase.result(", ".join([*bases, *follower.promoted]))
        yield Served(config, dict(follower.urls), own_key(config))
    finally:
        app.shutdown(bases)
