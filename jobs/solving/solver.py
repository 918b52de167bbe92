"""The staged agent for questions: made in whatever process answers them, from plain values."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from forge.config import ForgeConfig
from forge.endpoint.client import EndpointModel
from forge.endpoint.tokens import BaseTokenizer
from forge.errors import HistoryError
from forge.records import STAGES, Record
from forge.rollouts.solve import Question, Solver
from forge.store.cache import Cache
from jobs.solving.surroundings import surroundings_of
from jobs.wiring import ProviderFactory, context_tokens, max_answer_tokens


class SolverFactory(Record):
    """Makes the agent; travels to Ray workers. `bases` are folders by name, `urls` where each base answers."""

    config: ForgeConfig
    provider: ProviderFactory
    urls: dict[str, str]
    bases: dict[str, str]
    api_key: str = ""
    environments: bool = False
    """Questions may ask for a Python with the packages of their tree."""
    models: dict[str, str] = {}
    """Who answers for each stage, where that is not what the endpoint's names mean when a question is begun."""

    def __call__(self) -> SolvingAgent:
        return SolvingAgent(self)

    def __repr__(self) -> str:
        return f"SolverFactory({self.content_hash()})"


def cache_of(max_bytes: int) -> Cache | None:
    """Where what retrieval knows of large trees is kept, for all endpoints of this user; `None` for no room or no home."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError:
        return None
    return Cache(folder / "forge" / "outlines.db", max_bytes) if max_bytes else None


class SolvingAgent:
    """Implements `serve.questions.Agent`."""

    def __init__(self, made: SolverFactory) -> None:
        self._base_of, self._fixed = made.config.base_of_stages(), made.models
        self._model = EndpointModel(made.urls, stages=self._base_of, api_key=made.api_key)
        tokens = {name: BaseTokenizer(Path(folder)) for name, folder in made.bases.items()}
        provider = made.provider()
        run_id = f"solve-{made.config.name}"
        self._solver = Solver(
            model=self._model,
            tokenizers={stage: tokens[base] for stage, base in self._base_of.items()},
            models=self.models,
            provider=provider,
            agent=made.config.agent,
            sandbox=made.config.sandbox,
            max_answer_tokens=max_answer_tokens(made.config),
            context_tokens=context_tokens(made.config),
            run_id=run_id,
            cache=cache_of(made.config.serve.cache_bytes),
            surroundings=surroundings_of(provider, made.config.sandbox.limits, run_id) if made.environments else None,
        )

    async def models(self) -> dict[str, str]:
        """The exact model that answers for each stage now: its promoted version, or the base, unless that is fixed."""
        if self._fixed:
            return dict(self._fixed)
        meanings = await self._model.meanings()
        return {stage: meanings.get(stage, self._base_of[stage]) for stage in STAGES}

    async def solve(self, folder: Path, question: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """What came of a question, as plain values; the patch is empty when nothing did."""
        asked = Question.model_validate(question)
        solution = await self._solver.solve(folder, asked, lambda progress: tell(progress.model_dump(mode="json")))
        best = solution.answers[0] if solution.answers else None
        return {
            "status": "answered" if best else "unanswered",
            "patch": solution.patch,
            "score": best.score if best else None,
            "reason": solution.reason,
            "answers": [{"patch": answer.patch, "score": answer.score, "sample": answer.sample} for answer in solution.answers],
            "tested": solution.tested.model_dump(mode="json") if solution.tested else None,
            "seconds": solution.seconds,
            "tokens": solution.tokens,
        }

    async def close(self) -> None:
        """End connections and boxes."""
        await self._solver.close()
        await self._model.close()


def snapshot(repo: Path, into: Path) -> Path:
    """A copy of a git work tree in `into`, under its own name, as it is now and without what git ignores.

    Raises `HistoryError` when `repo` is no git repository.
    """
    listed = subprocess.run(
        ["git", "-C", str(repo), "ls-files", "-z", "--cached", "--others", "--exclude-standard"], capture_output=True, check=False
    )
    if listed.returncode:
        raise HistoryError(f"{repo} is no git repository; give --repo the top folder of one")
    tree = into / repo.resolve().name
    tree.mkdir()
    for name in listed.stdout.decode(errors="surrogateescape").split("\0"):
        source = repo / name
        if name and source.is_file() and not source.is_symlink():
            target = tree / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return tree
