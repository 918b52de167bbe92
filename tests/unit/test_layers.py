"""The layers of the design, enforced on the source: what each part may import, and where each heavy package may appear.

L4  jobs ─► everything                          nobody imports jobs
L3  serve, sandboxes ─► L0, L1                  never each other
L2  mining, tasks, training, endpoint, rollouts, evals, rounds, export, nano ─► L0, L1
L1  config, store, observe, stages, exam, teacher, fakes ─► L0
L0  records, seams, errors                      standard library and pydantic only
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = {
    "forge": 0,
    "forge.records": 0,
    "forge.seams": 0,
    "forge.errors": 0,
    "forge.config": 1,
    "forge.store": 1,
    "forge.observe": 1,
    "forge.stages": 1,
    "forge.exam": 1,
    "forge.teacher": 1,
    "forge.fakes": 1,
    "forge.mining": 2,
    "forge.tasks": 2,
    "forge.training": 2,
    "forge.endpoint": 2,
    "forge.rollouts": 2,
    "forge.evals": 2,
    "forge.rounds": 2,
    "forge.export": 2,
    "forge.nano": 2,
    "serve": 3,
    "sandboxes": 3,
    "jobs": 4,
}
HOMES = {
    "ray": ("serve/", "jobs/", "/on_ray.py"),
    # The two modules of serve that extend vLLM inside its own engine process handle its tensors: decision 0002.
    "torch": ("forge/training/", "forge/nano/", "serve/cpu_worker.py", "serve/lora_rows.py", "serve/inline_engine.py"),
    "trl": ("forge/training/", "forge/nano/"),
    "peft": ("forge/training/", "forge/nano/"),
    "unsloth": ("forge/training/", "forge/nano/"),
    "docker": ("sandboxes/",),
    "openai": ("forge/endpoint/",),
    "vllm": ("serve/",),
}
"""Parts of a path that a heavy package may be imported in."""


class Import(NamedTuple):
    """One imported module, where, and whether inside a function."""

    path: str
    line: int
    module: str
    local: bool


def sources() -> list[Path]:
    return sorted(path for top in ("forge", "jobs", "serve", "sandboxes") for path in (ROOT / top).rglob("*.py"))


def imports_of(path: Path) -> Iterator[Import]:
    name = path.relative_to(ROOT).as_posix()
    waiting: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text(encoding="utf-8")), False)]
    while waiting:
        node, local = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (Import(name, node.lineno, alias.name, local) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = path.relative_to(ROOT).parts[: -node.level] if node.level else ()
            module = ".".join([*above, *(node.module or "").split(".")]).strip(".")
            # `from forge import nano` imports a room, `from forge.nano import x` may too.
            yield from (Import(name, node.lineno, f"{module}.{alias.name}", local) for alias in node.names)
        local = local or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        waiting += [(child, local) for child in ast.iter_child_nodes(node)]


def room_of(module: str) -> str | None:
    """The key of `LAYERS` that a module of ours belongs to, `None` for a foreign one."""
    if module.split(".")[0] not in ("forge", "serve", "sandboxes", "jobs"):
        return None
    parts = module.split(".")
    return next((".".join(parts[:size]) for size in (2, 1) if ".".join(parts[:size]) in LAYERS), "unknown")


def room_of_path(path: str) -> str:
    found = room_of(path.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    assert found not in (None, "unknown"), f"{path} is in no layer of the design"
    return str(found)


@cache
def all_imports() -> list[Import]:
    return [found for path in sources() for found in imports_of(path)]


def allowed(room: str, other: str) -> bool:
    """Whether code in `room` may import from `other`."""
    if room == other or room == "jobs" or LAYERS[room] == LAYERS[other] == 0:
        return True
    if room == "forge.rounds" and LAYERS[other] == 2:
        return True
    return LAYERS[other] < min(LAYERS[room], 2)


def test_imports_follow_the_layers() -> None:
    wrong = [
        f"{found.path}:{found.line} {room_of_path(found.path)} imports {found.module}"
        for found in all_imports()
        if (other := room_of(found.module)) is not None and (other == "unknown" or not allowed(room_of_path(found.path), other))
    ]
    assert wrong == []


def test_rounds_takes_only_pure_functions_from_its_siblings() -> None:
    wrong = [found for found in all_imports() if found.path.startswith("forge/rounds/") and ".on_ray" in found.module]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(HOMES))
def test_a_heavy_package_is_imported_only_at_home(package: str) -> None:
    wrong = [
        f"{found.path}:{found.line}"
        for found in all_imports()
        if found.module.split(".")[0] == package
        and not any(home in f"/{found.path}" for home in (f"/{home}".replace("//", "/") for home in HOMES[package]))
    ]
    assert wrong == []


def test_the_lowest_layer_needs_only_the_standard_library_and_pydantic() -> None:
    known = set(sys.stdlib_module_names) | {"pydantic", "forge", "__future__"}
    wrong = [
        found
        for found in all_imports()
        if found.path.startswith(("forge/records/", "forge/seams.py", "forge/errors.py")) and found.module.split(".")[0] not in known
    ]
    assert wrong == []


def test_what_runs_inside_a_box_needs_only_the_standard_library_and_pytest() -> None:
    known = set(sys.stdlib_module_names) | {"pytest", "_pytest", "sandboxes", "__future__"}
    wrong = [found for found in all_imports() if found.path.startswith("sandboxes/inside/") and found.module.split(".")[0] not in known]
    assert wrong == []


def test_our_own_code_is_imported_at_the_top() -> None:
    # The command line alone imports what a command needs when it is called, so that --help does not load Ray.
    commands = (
        "jobs/cli.py",
        "jobs/ablation/cli.py",
        "jobs/adapters/cli.py",
        "jobs/alignment/cli.py",
        "jobs/data/",
        "jobs/evaluation/cli.py",
        "jobs/evaluation/rows.py",
        "jobs/mining/cli.py",
        "jobs/serving/cli.py",
        "jobs/solving/cli.py",
        "jobs/status/cli.py",
        "jobs/tasks/",
        "jobs/training/cli.py",
    )
    ours = [found for found in all_imports() if found.local and room_of(found.module) is not None]
    assert [f"{found.path}:{found.line} {found.module}" for found in ours if not found.path.startswith(commands)] == []


def test_every_package_says_what_it_is_for() -> None:
    packages = [path for path in sources() if path.name == "__init__.py"]
    assert [str(path) for path in packages if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_beside_the_rooms_of_jobs_there_are_only_the_command_the_jobs_and_what_all_of_them_need() -> None:
    jobs = {"improve", "mine", "train", "align", "evaluate", "ablate", "endpoint"}
    assert {path.stem for path in (ROOT / "jobs").glob("*.py")} == jobs | {"__init__", "cli", "wiring", "explain", "nano"}
    rooms = {path.parent.name for path in (ROOT / "jobs").glob("*/__init__.py")}
    told = ast.get_docstring(ast.parse((ROOT / "jobs/__init__.py").read_text(encoding="utf-8"))) or ""
    assert {room for room in rooms if f"{room}/ " not in told} == set()


def test_modules_and_functions_stay_readable() -> None:
    assert [found for path in sources() for found in too_long(path)] == []


def too_long(path: Path) -> Iterator[str]:
    text, name = path.read_text(encoding="utf-8"), path.relative_to(ROOT)
    if text.count("\n") > 450:
        yield f"{name}: {text.count(chr(10))} lines"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := (node.end_lineno or 0) - node.lineno + 1) > 60:
            yield f"{name}:{node.lineno} {node.name}: {lines} lines"
