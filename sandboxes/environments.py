"""Environments on this machine: a Python and packages as of a day, built by uv from wheels alone and kept on a shelf.

Files that environments share are one file (uv links them from its cache), so that an era more costs megabytes. No code
of a repository runs here, and none of a package either: wheels are unpacked, source distributions refused.
"""

from __future__ import annotations

import configparser
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from forge.errors import EnvironmentLackError, TaskError
from forge.records import Environment, EnvironmentSpec

BUDGET_BYTES = 10 * 2**30
"""Disk that the shelf may take; the least recently used environments go first."""
KEPT_S = 3600.0
"""An environment used within this time is not evicted: a box may have it open."""
INSTALL_S = 600.0
_RECORD, _USED = "environment.json", "used"
_NOT_LOADED = re.compile(
    r"cov|xdist|sugar|randomly|random_order|cacheprovider|html|instafail|travis|pep8|flake|mypy|ruff|black|codspeed|forked|timeout"
)
"""Plugins that report, spread or reorder; tests need none of them to pass."""


def shelf_folder() -> Path:
    """Where this user's environments are on this machine."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "forge" / "environments"


def visible_folders() -> list[Path]:
    """What a box must see so that any environment runs in it: the shelf, and every Python that is not the system's."""
    shelf = shelf_folder()
    if not shelf.is_dir():
        return []
    prefixes = {path.resolve().parent.parent for path in interpreters().values()}
    return [shelf, *sorted(prefix for prefix in prefixes if not prefix.is_relative_to("/usr"))]


def interpreters() -> dict[str, Path]:
    """Minor version → interpreter, of those installed here: on the path, by pyenv, by uv."""
    places = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder and "shims" not in folder]
    for pattern in (".pyenv/versions/*/bin", ".local/share/uv/python/*/bin"):
        places += sorted(Path.home().glob(pattern))
    found: dict[str, Path] = {}
    for place in places:
        if not (place.parent / "pyvenv.cfg").exists():
            for path in sorted(place.glob("python3.*")):
                if re.fullmatch(r"python3\.([6-9]|[1-9]\d)", path.name):
                    found.setdefault(path.name.removeprefix("python"), path)
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return found if own in found else {**found, own: Path(sys.base_prefix) / "bin" / f"python{own}"}


class Shelf:
    """Implements `forge.seams.Environments`."""

    def __init__(self, folder: Path | None = None, *, budget_bytes: int = BUDGET_BYTES) -> None:
        """Raises `EnvironmentLackError` when there is no uv."""
        self._folder = shelf_folder() if folder is None else folder
        self._budget = budget_bytes
        self._uv = _uv()
        self._folder.mkdir(parents=True, exist_ok=True)

    def pythons(self) -> list[str]:
        """See `forge.seams.Environments.pythons`."""
        return sorted(interpreters(), key=lambda version: int(version[2:]), reverse=True)

    def build(self, spec: EnvironmentSpec, roots: Sequence[str] = ()) -> Environment:
        """See `forge.seams.Environments.build`. A requirement that has no wheel is left out and named in `lacking`."""
        name = _id(spec)
        with self._locked(name):
            kept = self._kept(name)
            found = kept or self._made(name, spec, spec.requirements)
        if kept is None:
            self._evict()
        return found.model_copy(update={"roots": tuple(roots)})

    def find(self, environment: Environment) -> Environment:
        """See `forge.seams.Environments.find`."""
        with self._locked(environment.id):
            kept = self._kept(environment.id) or self._made(environment.id, environment.spec, environment.installed)
        return kept.model_copy(update={"roots": environment.roots, "lacking": environment.lacking})

    def bytes_used(self) -> int:
        """Disk that all environments take together; a file that several share counts once."""
        seen: dict[tuple[int, int], int] = {}
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(OSError):
                    facts = os.lstat(os.path.join(folder, name))
                    seen[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
        return sum(seen.values())

    def _kept(self, name: str) -> Environment | None:
        folder = self._folder / name
        try:
            found = Environment.model_validate_json((folder / _RECORD).read_text())
        except (OSError, ValueError):
            return None
        os.utime(folder / _USED)
        return found

    def _made(self, name: str, spec: EnvironmentSpec, wanted: Sequence[str]) -> Environment:
        interpreter = interpreters().get(spec.python)
        if interpreter is None:
            raise TaskError(f"no Python {spec.python} on this machine")
        staging = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=self._folder))
        try:
            staging.chmod(0o755)
            self._run("venv", "--relocatable", "--allow-existing", "--python", str(interpreter), str(staging))
            lacking = self._install(staging, spec, list(wanted))
            # Boxes cannot write byte code: without it every run would compile pytest anew. uv's own compiler fails under 3.6.
            self._call([str(staging / "bin" / "python"), "-m", "compileall", "-q", str(staging / "lib")])
            installed = self._run("pip", "freeze", "--python", str(staging / "bin" / "python")).stdout.split()
            site = next((staging / "lib").glob("python3.*/site-packages"))
            made = Environment(
                id=name,
                spec=spec,
                interpreter=str(self._folder / name / "bin" / "python"),
                plugins=tuple(_plugins(site)),
                installed=tuple(installed),
                lacking=tuple(lacking),
            )
            (staging / _USED).touch()
            (staging / _RECORD).write_text(made.model_dump_json())
            shutil.rmtree(self._folder / name, ignore_errors=True)
            staging.rename(self._folder / name)
            return made
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _install(self, folder: Path, spec: EnvironmentSpec, wanted: list[str]) -> list[str]:
        """Install all of `wanted`, or what of it can be had; what was left out."""
        words = ["pip", "install", "--python", str(folder / "bin" / "python"), "--only-binary", ":all:"]
        words += ["--exclude-newer", spec.before]
        if self._run(*words, *wanted, check=False).returncode == 0:
            return []
        kept: list[str] = []
        for line in wanted:
            if self._run(*words, "--dry-run", *kept, line, check=False).returncode == 0:
                kept.append(line)
        if not any(line.startswith("pytest") for line in kept):
            raise TaskError(f"no pytest for Python {spec.python} as of {spec.before}")
        self._run(*words, *kept)
        return [line for line in wanted if line not in kept]

    def _run(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = self._call([self._uv, "--quiet", *words])
        if check and done.returncode:
            said = done.stderr.strip().splitlines()
            raise TaskError(f"uv {' '.join(words[:2])} failed: {said[-1] if said else done.returncode}")
        return done

    def _call(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        hidden = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
        environment = {key: value for key, value in os.environ.items() if key not in hidden}
        try:
            return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise TaskError(f"{' '.join(command[:3])} took more than {INSTALL_S:.0f} s") from error

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One builder of an environment at a time, over all processes of this machine."""
        with open(self._folder / f".{name}.lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _evict(self) -> None:
        stale = [(path.stat().st_mtime, path.parent) for path in self._folder.glob(f"*/{_USED}")]
        for used, folder in sorted(stale):
            if time.time() - used < KEPT_S or self.bytes_used() <= self._budget:
                return
            shutil.rmtree(folder, ignore_errors=True)


def _id(spec: EnvironmentSpec) -> str:
    return f"py{spec.python.replace('.', '')}-{hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:12]}"


def _plugins(site: Path) -> list[str]:
    """Modules of the pytest plugins that are installed in a site-packages folder."""
    found: list[str] = []
    for path in sorted(site.glob("*.dist-info/entry_points.txt")):
        parser = configparser.RawConfigParser(strict=False, delimiters=("=",))
        with contextlib.suppress(configparser.Error, OSError):
            parser.read_string(path.read_text(encoding="utf-8"))
            if parser.has_section("pytest11"):
                found += [
                    value.partition(":")[0].strip() for name, value in parser.items("pytest11") if not _NOT_LOADED.search(f"{name} {value}")
                ]
    return list(dict.fromkeys(found))


def _uv() -> str:
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        path = shutil.which("uv")
    if path is None:
        raise EnvironmentLackError("environments of other repositories are built by uv, which is not installed; pip install uv")
    return path
