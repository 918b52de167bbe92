"""`forge serve` and `forge keys`: their options. What pulls in Ray is imported when the command is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from forge.errors import ConfigError
from forge.store.keys import SCOPES, KeyFile, Scope

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", show_default=False)]
Address = Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")]
File = Annotated[Path, typer.Option("--file", help="The file of keys; serve.keys names it for an endpoint.")]
KEYS = Path("~/.config/forge/keys.json")

keys = typer.Typer(help="API keys of an endpoint: each has a name, scopes and a rate; only hashes are kept.", no_args_is_help=True)


def serve(arguments: Arguments = None, address: Address = None) -> int:
    """Serve the base and every adapter of CONFIG's workspace as an OpenAI-compatible endpoint, until Ctrl-C.

    What is promoted there while it runs is taken over without a lost request.

    Examples:

        forge serve configs/quickstart.yaml

        forge serve configs/rtx.yaml workspace=runs/mine serve.port=8000

        forge serve configs/rtx.yaml serve.host=0.0.0.0 serve.keys=~/.config/forge/keys.json
    """
    from forge import config as configuration
    from jobs.cli import split
    from jobs.endpoint import check
    from jobs.launching.launch import launch

    paths, overrides = split(arguments or [])
    return launch("jobs.endpoint", configuration.load(paths, overrides), address, check)


@keys.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who uses it, such as ci.")],
    scope: Annotated[str, typer.Option(help=f"What it allows, of {', '.join(SCOPES)}; several with commas.")] = "infer,solve",
    per_minute: Annotated[int, typer.Option("--rate", min=0, help="Requests a minute; 0 is no limit.")] = 0,
    file: File = KEYS,
) -> int:
    """Make a key and show it, this once."""
    scopes = tuple(word.strip() for word in scope.split(",") if word.strip())
    unknown = [word for word in scopes if word not in SCOPES]
    if unknown or not scopes:
        raise ConfigError(f"there is no scope {', '.join(unknown) or 'named'}; the scopes are {', '.join(SCOPES)}")
    chosen: list[Scope] = [known for known in SCOPES if known in scopes]
    print(KeyFile(file.expanduser()).add(name, chosen, per_minute))
    return 0


@keys.command("list")
def listed(file: File = KEYS) -> int:
    """Show every key's name, scopes and rate."""
    for key in KeyFile(file.expanduser()).read():
        print(f"{key.name}  {','.join(key.scopes)}  {f'{key.per_minute} a minute' if key.per_minute else 'no limit'}")
    return 0


@keys.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="The key's name.")], file: File = KEYS) -> int:
    """Take a key away; a forge serve that is up forgets it within a second or two."""
    KeyFile(file.expanduser()).revoke(name)
    return 0
