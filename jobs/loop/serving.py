"""The endpoint of a run: started ahead of need, then given the adapters that each step wants."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import Future

from forge.records import AdapterRef
from jobs.loop.context import RunContext
from jobs.serving.catalogue import catalogue_of, loaded
from jobs.serving.llama_files import gguf_of
from serve import app
from serve.app import Endpoint


class Serving:
    """The bases of a run and their adapters, behind URLs."""

    def __init__(self, run: RunContext) -> None:
        self._run = run
        self._started: Future[Endpoint] | None = None

    def start_ahead(self) -> None:
        """Begin to start the engines while the caller does something else; an error shows at the first `serve`."""
        if self._started is None:
            self._started = Future()
            given = (self._started, tuple(self._run.adapters.promoted().values()))
            # A daemon: a run that ends before its engines are up does not wait for them.
            threading.Thread(target=self._start, args=given, name="endpoint-start", daemon=True).start()

    def serve(self, candidates: Collection[AdapterRef] = ()) -> dict[str, str]:
        """URLs by base, where the promoted adapters and `candidates` answer, and no others. Raises as `serve.app.deploy` does."""
        if self._started is not None:
            self._started.result()
        return self._deploy([*self._run.adapters.promoted().values(), *candidates]).urls

    def lend(self) -> None:
        """Give the card's memory to training where both share one; the next `serve` takes it back."""
        gpus = self._run.config.serve.gpus, self._run.config.training.gpus
        if all(gpus) and sum(gpus) <= 1:
            self._deploy(self._run.adapters.promoted().values(), asleep=True)

    def _start(self, started: Future[Endpoint], refs: Collection[AdapterRef]) -> None:
        try:
            started.set_result(self._deploy(refs))
        except BaseException as error:  # noqa: BLE001  (it is raised where the result is asked for)
            started.set_exception(error)

    def _deploy(self, refs: Collection[AdapterRef], *, asleep: bool = False) -> Endpoint:
        config, adapters = self._run.config, self._run.adapters
        catalogue = catalogue_of(config, adapters)
        return app.deploy(config, self._run.bases, loaded(config, refs), catalogue, asleep=asleep, gguf=gguf_of(config))
