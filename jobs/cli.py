"""The `forge` command. Every failure that forge foresees is one sentence on standard error and an exit code.

Modules that pull in Ray, torch or vLLM are imported by the command that needs them, so that the others answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console

import forge
from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import ConfigError, ForgeError
from forge.observe import logs
from forge.observe.screen import Screen
from jobs.ablation.cli import ablate
from jobs.adapters.cli import app as adapters
from jobs.adapters.cli import export
from jobs.alignment.cli import align
from jobs.data.cli import app as data
from jobs.evaluation.cli import evaluate
from jobs.launching import preflight
from jobs.mining.cli import mine
from jobs.serving.cli import keys, serve
from jobs.solving.cli import mcp, solve
from jobs.status.cli import status
from jobs.tasks.cli import app as tasks
from jobs.training.cli import train

app = typer.Typer(
    name="forge",
    help="Turn a repository's git history into a staged coding agent that gets better at that repository.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
nano = typer.Typer(help="The tiny stand-in base that lets the loop run without a download.", no_args_is_help=True)
app.add_typer(nano, name="nano")
app.add_typer(tasks, name="tasks")
app.add_typer(data, name="data")
app.add_typer(adapters, name="adapters")
app.command()(mine)
app.command()(export)
app.command()(train)
app.command()(ablate)
app.command()(serve)
app.command()(solve)
app.command()(mcp)
app.command()(evaluate)
app.command()(status)
app.command()(align)
app.add_typer(keys, name="keys")

Arguments = Annotated[list[str] | None, typer.Argument(metavar="[CONFIG] [KEY=VALUE]...", show_default=False)]


INTERRUPTED = 130
"""What typer makes of Ctrl-C."""


def entry() -> None:
    """Run the command line of this process and exit with its code."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Exit code of a command line: 0, that of a `ForgeError` (2 for bad input), 130 after Ctrl-C."""
    try:
        code = int(app(list(argv), standalone_mode=False) or 0)
    except ForgeError as error:
        print(f"forge: {error}", file=sys.stderr)
        return error.exit_code
    except typer.TyperException as error:
        print(f"forge: {error.format_message().rstrip('.')}; see forge --help", file=sys.stderr)
        return 2
    if code == INTERRUPTED:
        print("forge: stopped; the same command goes on from here", file=sys.stderr)
    return code


@app.command()
def improve(
    arguments: Arguments = None,
    repo: Annotated[list[str] | None, typer.Option(help="A git repository to mine beside the practice ones; may be repeated.")] = None,
    address: Annotated[str | None, typer.Option(help="Dashboard of a running Ray, such as http://127.0.0.1:8265.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what the next round would do, and why; run nothing.")] = False,
) -> int:
    """Run the whole loop of CONFIG: mine, train, serve, roll out, grade, retrain, report.

    The same command again goes on where the last one ended.
    """
    from jobs.launching.local_ray import private_ray, sweep
    from jobs.launching.submit import overrides_of, run_job

    logs.set_up("WARNING")
    paths, overrides = split(arguments or [])
    config = configuration.load(paths, [*overrides, *_repos(paths, overrides, repo or [])])
    if plan:
        return _say_plan(config)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sweep()
    preflight.check(config, local_ray=address is None)
    carried = overrides_of(config.model_dump(mode="json", exclude_defaults=True) | {"workspace": str(config.workspace_path)})
    console = Console(highlight=False)
    environment = {"FORGE_PROGRESS_S": "0.5" if console.is_terminal else "5"}
    with Screen(console) as screen:
        if address is not None:
            return run_job(address, carried, screen.line, environment=environment, upload=preflight.checkout())
        screen.line("  … starting a private Ray")
        with private_ray(config.ray) as local:
            screen.line(f"  Ray dashboard: {local.address} (it asks for the token in {local.token_file})")
            return run_job(local.address, carried, screen.line, environment=environment, headers=local.headers)


@app.command()
def doctor(arguments: Arguments = None) -> int:
    """Say what a run of CONFIG needs, what this machine has, and how to get what it lacks."""
    from jobs.launching import doctor as examination

    paths, overrides = split(arguments or [])
    findings = examination.examine(configuration.load(paths, overrides))
    examination.show(findings, Console(highlight=False))
    return 0 if all(finding.ok for finding in findings) else 1


@app.command()
def report(workspace: Annotated[Path, typer.Argument(help="Folder of a run, such as workspace/quickstart.")]) -> int:
    """Write report.html anew from the report.json of a finished run."""
    from forge.evals.report import read_summary, write_html

    target = workspace / "report.html"
    write_html(target, read_summary(workspace / "report.json"))
    print(target)
    return 0


@app.command("config")
def show_config(
    arguments: Arguments = None,
    bare: Annotated[bool, typer.Option("--bare", help="Values only.")] = False,
) -> int:
    """Show every key of the resolved configuration with its value and meaning."""
    from jobs.explain import explained

    paths, overrides = split(arguments or [])
    config = configuration.load(paths, overrides)
    print(configuration.dump(config) if bare else explained(config), end="")
    return 0


@nano.command("build")
def build_nano(
    output: Annotated[Path, typer.Argument(help="Folder to write, made anew.")] = Path("nano-base"),
    seed: Annotated[int, typer.Option(help="Seed of corpus and weights; 0 is the shipped one.")] = 0,
) -> int:
    """Train the nano base again from its recipe."""
    from jobs.nano import build_base

    print(build_base(output, seed, Console(highlight=False)))
    return 0


@app.command()
def version() -> int:
    """Print the version."""
    print(forge.__version__)
    return 0


def split(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Config files and `key=value` strings of a command line; a shipped config may be named without its path."""
    overrides = [argument for argument in arguments if "=" in argument]
    return [_config_file(argument) for argument in arguments if "=" not in argument], overrides


def _config_file(argument: str) -> Path:
    path = Path(argument)
    if path.exists():
        return path
    shipped = [Path(__file__).resolve().parent / "configs", preflight.checkout() / "configs"]
    for folder in shipped:
        if (folder / path.name).is_file():
            return folder / path.name
    known = sorted(file.name for folder in shipped if folder.is_dir() for file in folder.glob("*.yaml"))
    raise ConfigError(f"there is no config {argument}; give a YAML file, or one that ships with forge: {', '.join(known)}")


def _say_plan(config: ForgeConfig) -> int:
    """Print the next round's plan, from the workspace's ledger if it has one."""
    from forge.rounds.plan import in_words
    from forge.store.ledger import Ledger
    from forge.store.workspace import Workspace
    from jobs.loop.outlook import outlook

    workspace = Workspace(config.workspace_path)
    if not workspace.ledger.exists():
        print(f"{workspace.root} has no run yet: repositories, tasks and mined rows are made, the bare base is evaluated, then round 1")
        print("trains every stage on mined commits")
        return 0
    with Ledger(workspace.ledger) as ledger:
        decision, plan = outlook(config, workspace, ledger)
    print(in_words(plan, decision.why))
    return 0


def _repos(paths: Sequence[Path], overrides: Sequence[str], repos: Sequence[str]) -> list[str]:
    """The override that adds `--repo` paths, made absolute, to those of the config."""
    if not repos:
        return []
    history = configuration.deviations(paths, overrides).get("history", {})
    named = history.get("repos", []) if isinstance(history, dict) else []
    together = [*named, *(os.path.abspath(os.path.expanduser(repo)) for repo in repos)]
    return [f"history.repos={yaml.safe_dump(together, default_flow_style=True, width=10**6).strip()}"]


if __name__ == "__main__":
    entry()
