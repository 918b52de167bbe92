"""The endpoint by itself: `forge serve`, or as a Ray job `python -m jobs.endpoint CONFIG [key=value …]`.

It follows the workspace: what is promoted there, by a round or by `forge adapters promote`, is loaded, compared with what training
saw, and only then means its stage's name. A version that answers otherwise than it was trained is not promoted here, whatever
the workspace says, and the versions before go on answering.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ray
from ray import serve

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ConfigError, ForgeError
from forge.observe.progress import Progress, to_stream
from forge.records import AdapterRef, Record
from forge.store.keys import ApiKey, KeyFile
from forge.store.workspace import Workspace
from jobs.adapters.opened import reading
from jobs.launching import preflight
from jobs.launching.job import carry_out
from jobs.serving.canary import check_adapters
from jobs.serving.catalogue import catalogue_of, loaded, of_other_bases
from jobs.serving.llama_files import gguf_of
from jobs.solving.adopted import with_adopted
from jobs.solving.solver import SolverFactory
from jobs.wiring import ProviderFactory, base_folder, own_key
from sandboxes.pick import pick
from serve import app
from serve.app import Catalogue

LOOK_S = 1.0
"""Seconds between two looks at what the workspace promotes."""


SOLVES = "solves"
"""The agent's folder in the workspace."""


class Wanted(Record):
    """What a workspace says, its versions and the promoted ones, and which keys there are."""

    catalogue: Catalogue = Catalogue()
    promoted: tuple[AdapterRef, ...] = ()
    left_out: tuple[AdapterRef, ...] = ()
    """Promoted there, but of a base that the configuration does not have."""
    keys: tuple[ApiKey, ...] = ()


def run(config: ForgeConfig) -> None:
    """Serve until this process is told to end."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    bases = {name: base_folder(base) for name, base in config.bases.items()}
    sandbox = pick(config.sandbox.kind)
    follower = Follower(config, bases, progress)
    try:
        with progress.phase("serve", f"{len(bases)} base{'s' * (len(bases) > 1)} with the adapters of {config.workspace_path}") as phase:
            follower.catch_up()

            def make() -> SolverFactory:
                return SolverFactory(
                    config=with_adopted(config),
                    provider=ProviderFactory(kind=sandbox.name),
                    urls=follower.urls,
                    bases={name: str(folder) for name, folder in bases.items()},
                    api_key=own_key(config),
                    environments=config.serve.environments,
                )

            agent = app.deploy_agent(config, make(), config.workspace_path / SOLVES)
            names = ", ".join([*bases, *follower.promoted]) or "none"
            phase.result(f"{config.serve.host}:{config.serve.port} answers for {names}")
        progress.say(f"  the agent: {agent}, or the chat model forge-agent; forge solve asks it   (sandbox: {sandbox.name})")
        progress.say(f"  OpenAI clients: {follower.urls['main' if 'main' in bases else next(iter(bases))]}/v1   (Ctrl-C ends it)")
        while True:
            time.sleep(LOOK_S)
            if follower.catch_up():
                app.deploy_agent(config, make(), config.workspace_path / SOLVES)
    except KeyboardInterrupt:
        progress.say("  ending")
    finally:
        app.shutdown(bases)


class Follower:
    """Keeps the endpoint what the workspace says."""

    def __init__(self, config: ForgeConfig, bases: Mapping[str, Path], progress: Progress) -> None:
        self.config, self.bases, self._progress = config, bases, progress
        self.urls: dict[str, str] = {}
        self.promoted: dict[str, str] = {}
        """Exact ids that the stages' names mean, by stage."""
        self._serving: tuple[AdapterRef, ...] = ()
        self._seen: Wanted | None = None
        self._passed: set[str] = set()
        self._said = ""

    def catch_up(self) -> bool:
        """Whether there was something new. The endpoint then is what the workspace says, or, where that cannot be, what it was.

        Raises a `ForgeError` when there is no endpoint yet and none can be had.
        """
        try:
            wanted = wanted_of(self.config)
        except ForgeError as error:
            if self._seen is None:
                raise
            self._say_once(f"  the workspace cannot be read, the endpoint goes on as it is: {error}")
            return False
        if wanted == self._seen:
            return False
        self._say_left_out(wanted)
        first, before, self._seen = self._seen is None, self.promoted, wanted
        fresh = [ref for ref in wanted.promoted if ref.model_id not in self._passed]
        unnamed = wanted.catalogue.model_copy(update={"promoted": before})
        try:
            if fresh or first:
                held = {ref.model_id: ref for ref in (*self._serving, *wanted.promoted)}
                self.urls = self._deploy(list(held.values()), unnamed)
            worst = check_adapters(self.config, self.urls, fresh)
        except ForgeError as error:
            if not self.urls:
                raise
            self._progress.say(f"  not promoted: {error}")
            self._deploy(self._serving, unnamed)
            return True
        self._passed |= {ref.model_id for ref in fresh}
        self._serving, self.promoted = wanted.promoted, dict(wanted.catalogue.promoted)
        self._deploy(self._serving, wanted.catalogue)
        if fresh:
            names = ", ".join(ref.model_id for ref in fresh)
            self._progress.say(f"  promoted: {names} (logprobs within {worst:.1e} nats of training's)")
        elif self.promoted != before:
            self._progress.say(f"  promoted: {', '.join(self.promoted.values()) or 'nothing'}")
        return True

    def _deploy(self, refs: tuple[AdapterRef, ...] | list[AdapterRef], catalogue: Catalogue) -> dict[str, str]:
        return app.deploy(self.config, self.bases, loaded(self.config, refs), catalogue, agent=True, gguf=gguf_of(self.config)).urls

    def _say_left_out(self, wanted: Wanted) -> None:
        told = self._seen.left_out if self._seen is not None else ()
        known = ", ".join(base.model for base in self.config.bases.values())
        for ref in wanted.left_out:
            if ref not in told:
                self._progress.say(
                    f"  left out: {ref.model_id} is of base {ref.base}, here is {known}; the bare base answers for {ref.stage}"
                )

    def _say_once(self, line: str) -> None:
        if self._said != line:
            self._said = line
            self._progress.say(line)


def wanted_of(config: ForgeConfig) -> Wanted:
    """What the workspace of a configuration says, nothing where there is none yet, and the keys of its endpoint."""
    keys = KeyFile(Path(config.serve.keys)).read() if config.serve.keys else ()
    if not Workspace(config.workspace_path).ledger.is_file():
        return Wanted(keys=keys)
    with reading(config.workspace_path) as store:
        catalogue = catalogue_of(config, store)
        promoted = tuple(store.get(model_id) for model_id in catalogue.promoted.values())
        return Wanted(catalogue=catalogue, promoted=promoted, left_out=of_other_bases(config, store), keys=keys)


def build(args: Mapping[str, Any]) -> serve.Application:
    """One base's application for `serve deploy`: `args` are `config`, a list of YAML files, `base`, and `set`, `key=value` strings."""
    files = [Path(name) for name in ([args["config"]] if isinstance(args["config"], str) else args["config"])]
    config = configuration.load(files, list(args.get("set", [])))
    bases = {name: base_folder(base) for name, base in config.bases.items()}
    wanted = wanted_of(config)
    adapters = loaded(config, wanted.promoted)
    return app.application(config, bases, args.get("base", "main"), adapters, wanted.catalogue, gguf=gguf_of(config))


def check(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when the endpoint can start; raises a `ForgeError` for the first thing that lacks."""
    if config.serve.keys and not KeyFile(Path(config.serve.keys)).read():
        raise ConfigError(f"{config.serve.keys} holds no key yet; make one with forge keys add NAME --file {config.serve.keys}")
    if local_ray:
        preflight.check_packages(config)
        preflight.check_ports(preflight.ports(config))


if __name__ == "__main__":
    sys.exit(carry_out(sys.argv[1:], run, check=check))
