"""The sandbox contract, run against both ways of the Docker provider."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_PATH = Path(__file__).parents[1] / "contract" / "test_sandbox_contract.py"
_SPEC = importlib.util.spec_from_file_location("sandbox_contract", _PATH)
assert _SPEC is not None and _SPEC.loader is not None
_CONTRACT: Any = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_CONTRACT)

tree = _CONTRACT.tree
benches = _CONTRACT.benches
_NOT_OF_BOXES = (
    "test_when_the_fork_server",
    "test_killing_the_owner",
    "test_a_sweep_removes",
    "test_only_the_confined",
    "test_the_engine_probe",
)
globals().update(
    {name: value for name, value in vars(_CONTRACT).items() if name.startswith("test_") and not name.startswith(_NOT_OF_BOXES)}
)


def _bench(request: pytest.FixtureRequest, benches: Callable[[str], Any]) -> Any:
    return benches(request.param)


any_bench = pytest.fixture(params=["docker-shared", "docker-single"], name="any_bench")(_bench)
bench = pytest.fixture(params=["docker-shared", "docker-single"], name="bench")(_bench)
strong = pytest.fixture(params=["docker-shared", "docker-single"], name="strong")(_bench)
