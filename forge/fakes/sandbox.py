"""A sandbox in memory: files in a dict, tests executed for real in this very process. For tests of what uses boxes.

It runs plain test functions (no fixtures, no classes) and no programs, and confines nothing: give it code you wrote.
"""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from forge.errors import SandboxError
from forge.records import CommandResult, Environment, FileEdit, Limits, TestRun
from forge.seams import Sandbox

Programs = Callable[[Sequence[str], Mapping[str, str]], CommandResult]
"""(argv, files) → result."""


class FakeProvider:
    """Implements `forge.seams.SandboxProvider`. `broken` opens raise `SandboxError` before the first one works."""

    name = "fake"

    def __init__(self, *, programs: Programs | None = None, broken: int = 0, trusted_only: bool = True) -> None:
        self.trusted_only = trusted_only
        self.opened: list[FakeSandbox] = []
        self.environments: list[Environment | None] = []
        """What each of them was opened with; code runs in this process all the same."""
        self._programs = programs or _no_program
        self._broken = broken

    async def open(
        self,
        tree: Path,
        *,
        limits: Limits,  # noqa: ARG002
        run_id: str,  # noqa: ARG002
        environment: Environment | None = None,
        hash_seed: int = 0,
    ) -> Sandbox:
        """See `forge.seams.SandboxProvider.open`."""
        if self._broken > 0:
            self._broken -= 1
            raise SandboxError("the fake provider was told to fail; open a fresh box")
        self.environments.append(environment)
        box = FakeSandbox(_files_of(tree), self._programs, hash_seed)
        self.opened.append(box)
        return box

    async def sweep(self) -> int:
        return 0

    async def close(self) -> None:
        for box in self.opened:
            await box.close()


class FakeSandbox:
    """Implements `forge.seams.Sandbox`. `die()` makes it behave like a box whose container was killed."""

    def __init__(self, files: Mapping[str, str], programs: Programs | None = None, hash_seed: int = 0) -> None:
        self.files = dict(files)
        self.hash_seed = hash_seed
        self._programs = programs or _no_program
        self._over = ""

    def die(self) -> None:
        self._over = "it died"

    async def run(self, argv: Sequence[str], *, timeout_s: float | None = None) -> CommandResult:  # noqa: ARG002
        self._check()
        return self._programs(argv, self.files)

    async def write(self, files: Sequence[FileEdit]) -> None:
        self._check()
        for edit in files:
            if not edit.path or "\0" in edit.path or any(part in ("", ".", "..") for part in edit.path.split("/")):
                raise SandboxError(f"the path {edit.path!r} leaves the work tree; give a path relative to the repository")
        for edit in files:
            if edit.content is None:
                self.files.pop(edit.path, None)
            else:
                self.files[edit.path] = edit.content

    async def read(self, path: str) -> str | None:
        self._check()
        return self.files.get(path)

    async def run_tests(self, ids: Sequence[str], *, timeout_s: float | None = None) -> TestRun:  # noqa: ARG002
        self._check()
        began = time.monotonic()
        outcomes: dict[str, str] = {}
        messages: dict[str, str] = {}
        with _importable(self.files):
            for name in ids:
                outcomes |= _run_id(name, self.files, messages)
        return TestRun.model_validate({"outcomes": outcomes, "complete": True, "messages": messages, "seconds": time.monotonic() - began})

    async def close(self) -> None:
        self._over = self._over or "it was closed"

    def _check(self) -> None:
        if self._over:
            raise SandboxError(f"the fake box is gone: {self._over}; open a fresh one")


def _files_of(tree: Path) -> dict[str, str]:
    if not tree.is_dir():
        raise SandboxError(f"the tree {tree} cannot be read: it is no folder")
    return {str(path.relative_to(tree)): path.read_text() for path in sorted(tree.rglob("*")) if path.is_file()}


def _no_program(argv: Sequence[str], _: Mapping[str, str]) -> CommandResult:
    return CommandResult(exit_code=127, stdout="", stderr=f"{argv[0]}: a fake box has no programs\n", seconds=0.0)


def _run_id(name: str, files: Mapping[str, str], messages: dict[str, str]) -> dict[str, str]:
    path, _, function = name.partition("::")
    if path not in files:
        return {name: "missing"}
    module = ModuleType("test_module_of_fake")
    try:
        exec(compile(files[path], path, "exec"), module.__dict__)  # noqa: S102
    except Exception as error:  # noqa: BLE001
        messages[name] = _message(error)
        return {name: "error"}
    found = [key for key, value in vars(module).items() if key.startswith("test") and callable(value)]
    wanted = [key for key in found if not function or key == function]
    return {f"{path}::{key}": _call(f"{path}::{key}", vars(module)[key], messages) for key in wanted} or {name: "missing"}


def _call(name: str, test: Callable[[], object], messages: dict[str, str]) -> str:
    try:
        test()
    except Exception as error:  # noqa: BLE001
        messages[name] = _message(error)
        return "failed"
    return "passed"


def _message(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:400]


@contextlib.contextmanager
def _importable(files: Mapping[str, str]) -> Iterator[None]:
    """Make the Python files importable from their root, and forget them afterwards."""
    finder = _Finder(files)
    before = set(sys.modules)
    shadowed = {name: sys.modules.pop(name) for name in list(sys.modules) if finder.has(name.partition(".")[0])}
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before | {name for name in sys.modules if finder.has(name.partition(".")[0])}:
            if finder.has(name.partition(".")[0]):
                del sys.modules[name]
        sys.modules.update(shadowed)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def __init__(self, files: Mapping[str, str]) -> None:
        self._files = files

    def has(self, name: str) -> bool:
        return self._path(name) is not None

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self, is_package=self.is_package(name)) if self.has(name) else None

    def is_package(self, name: str) -> bool:
        return (self._path(name) or "/").endswith("/")

    def get_source(self, name: str) -> str:
        place = self._path(name) or ""
        return self._files.get(f"{place}__init__.py", "") if place.endswith("/") else self._files[place]

    def get_code(self, name: str) -> CodeType | None:
        return self.source_to_code(self.get_source(name), name)

    def _path(self, name: str) -> str | None:
        """The file of a module, or the folder (with its slash) of a package."""
        plain = name.replace(".", "/")
        if f"{plain}.py" in self._files:
            return f"{plain}.py"
        return f"{plain}/" if any(path.startswith(f"{plain}/") and path.endswith(".py") for path in self._files) else None
