"""The endpoint follows what a workspace promotes: loaded, compared with training, then named; or not, with the reason."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge.config import BaseModelConfig
from forge.observe.progress import Progress
from forge.records import AdapterRef
from forge.store.adapters import FolderAdapterStore
from forge.store.keys import KeyFile
from forge.store.ledger import Ledger
from forge.store.workspace import Workspace
from forge.training.logprobs import of_adapter
from jobs.endpoint import Follower
from serve import app
from tests.vllm.conftest import Served
from tests.vllm.test_names_and_keys import status
from tests.vllm.tiny_models import make_adapter


class Promoter:
    """A workspace whose adapters carry their canaries, right ones or those of another adapter."""

    def __init__(self, served: Served, root: Path) -> None:
        self._served, self._root = served, root
        Workspace.open(root).close()

    def promote(self, version: str, *, seed: int, canary_of: int | None = None, rank: int = 16, base: str | None = None) -> str:
        pairs = [(self._served.prompt("add"), tuple(range(20, 26))), (self._served.prompt("yes no"), tuple(range(30, 36)))]
        told = self._adapter(seed if canary_of is None else canary_of)
        logprobs = of_adapter(str(self._served.base), told, pairs)
        rows = [{"prompt_ids": p, "completion_ids": c, "logprobs": v} for (p, c), v in zip(pairs, logprobs, strict=True)]
        folder = self._root / "staged" / version
        shutil.copytree(self._adapter(seed, rank), folder)
        (folder / "canary.json").write_text(json.dumps(rows))
        ref = AdapterRef(
            stage="generation", version=version, round=1, path=str(folder), base=base or str(self._served.base), base_sha256="0",
            data_sha256="0", rank=16, examples=1,
        )  # fmt: skip
        with Ledger(Workspace(self._root).ledger) as ledger:
            store = FolderAdapterStore(Workspace(self._root).adapters, ledger)
            stored = store.add(folder, ref)
            store.promote([stored])
        return stored.model_id

    def _adapter(self, seed: int, rank: int = 16) -> Path:
        folder = self._root / "made" / f"{seed}-{rank}"
        return folder if folder.exists() else make_adapter(folder, self._served.base, seed=seed, rank=rank)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def followed(served: Served, tmp_path: Path, lines: list[str]) -> Iterator[tuple[Follower, Promoter]]:
    changes = {"workspace": str(tmp_path / "run"), "bases": {"main": BaseModelConfig(model=str(served.base))}}
    config = served.config.model_copy(update=changes)
    promoter = Promoter(served, tmp_path / "run")
    yield Follower(config, served.bases, Progress(lines.append)), promoter
    served.set_adapters(served.adapters)
    assert app.healthy(served.bases)


def test_what_is_promoted_is_named_and_what_answers_otherwise_than_it_was_trained_is_not(
    served: Served, followed: tuple[Follower, Promoter], lines: list[str]
) -> None:
    follower, promoter = followed
    follower.catch_up()
    assert "generation" not in meanings(served)
    first = promoter.promote("r1-good", seed=41)
    follower.catch_up()
    assert meanings(served)["generation"] == first == follower.promoted["generation"]
    assert f"promoted: {first} (logprobs within" in lines[-1]

    promoter.promote("r2-bad", seed=42, canary_of=43)
    follower.catch_up()
    assert meanings(served)["generation"] == first
    assert "not promoted: the endpoint answers for generation@r2-bad unlike what was trained" in lines[-1]
    said = len(lines)
    follower.catch_up()
    assert len(lines) == said, "it is said once"

    third = promoter.promote("r3-good", seed=44)
    follower.catch_up()
    assert meanings(served)["generation"] == third

    (Path(follower.config.workspace) / "adapters" / "generation" / "r3-good" / "adapter_config.json").write_text("{}")
    follower.catch_up()
    assert "the workspace cannot be read, the endpoint goes on as it is" in lines[-1]
    assert meanings(served)["generation"] == third


def test_a_revoked_key_is_forgotten_and_a_version_that_cannot_be_loaded_stops_nothing(
    served: Served, followed: tuple[Follower, Promoter], lines: list[str], tmp_path: Path
) -> None:
    _, promoter = followed
    file = KeyFile(tmp_path / "keys.json")
    secret = file.add("ci", ["infer"])
    changes = {"workspace": str(tmp_path / "run"), "bases": {"main": BaseModelConfig(model=str(served.base))}}
    keyed = served.config.serve.model_copy(update={"keys": str(file.path)})
    follower = Follower(served.config.model_copy(update=changes | {"serve": keyed}), served.bases, Progress(lines.append))
    assert follower.catch_up() and not follower.catch_up()
    assert status(f"{served.url}/v1/models", secret) == 200
    file.revoke("ci")
    assert follower.catch_up()
    assert status(f"{served.url}/v1/models", secret) == 401
    assert status(f"{served.url}/v1/models", file.own()) == 200

    promoter.promote("r1-broken", seed=51, rank=64)
    assert follower.catch_up()
    assert "not promoted: base 'main' serves all but 1 of its adapters: generation@r1-broken" in lines[-1]
    assert status(f"{served.url}/v1/models/main", file.own()) == 200
    assert status(f"{served.url}/v1/models/generation", file.own()) == 404


def test_a_promoted_version_of_a_base_that_is_not_configured_is_said_to_be_left_out(
    served: Served, followed: tuple[Follower, Promoter], lines: list[str]
) -> None:
    follower, promoter = followed
    promoter.promote("r1-other", seed=41, base="Qwen/Qwen3-1.7B")
    assert follower.catch_up()
    said = [line for line in lines if "left out" in line]
    assert said == [
        f"  left out: generation@r1-other is of base Qwen/Qwen3-1.7B, here is {served.base}; the bare base answers for generation"
    ]
    assert "generation" not in meanings(served) and follower.promoted == {}
    promoter.promote("r2-own", seed=42)
    assert follower.catch_up()
    assert meanings(served)["generation"] == "generation@r2-own" and len([line for line in lines if "left out" in line]) == 1


def meanings(served: Served) -> dict[str, str]:
    found: dict[str, str] = served.ask(lambda model: model.meanings())
    return found
