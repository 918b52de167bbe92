"""The repositories that `forge mine` is to read, and what must hold before it starts."""

from __future__ import annotations

from pathlib import Path

from forge.config import ForgeConfig
from forge.errors import ConfigError
from forge.mining.clones import is_address, name_of
from forge.mining.public.bigquery import repositories_of
from jobs.launching import preflight


def check_mining(config: ForgeConfig, *, local_ray: bool) -> None:
    """Return when `forge mine` can start; raises as `preflight.check` does. Addresses are not looked up: one that fails is counted."""
    repos = repositories(config)
    preflight.check_git([address for address in repos.values() if not is_address(address)], "REPO")
    preflight.check_disk(config.workspace_path)
    preflight.check_teacher(config.teacher)
    if local_ray:
        preflight.check_memory(preflight.TASKS_MEMORY_BYTES)
        preflight.check_ports({key: port for key, port in preflight.ports(config).items() if key.startswith("ray.")})


def repositories(config: ForgeConfig) -> dict[str, str]:
    """Folder or address by name, of those that are named and those that are listed. Raises `ConfigError` when two share a name."""
    found: dict[str, str] = {}
    for address in [*config.history.repos, *_listed(config.history.listed)]:
        name = name_of(address)
        if found.get(name, address) != address:
            raise ConfigError(f"{found[name]} and {address} are both called {name}; rename the folder of one of them, or mine it by itself")
        found[name] = address
    return found


def _listed(file: str | None) -> list[str]:
    if file is None:
        return []
    if Path(file).suffix in (".jsonl", ".json", ".csv", ".parquet"):
        return [found.address for found in repositories_of(Path(file).expanduser())]
    try:
        lines = [line.strip() for line in Path(file).expanduser().read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the list {file}: {error}; give a text file with a repository a line") from error
    return [line for line in lines if line and not line.startswith("#")]
