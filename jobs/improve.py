"""The whole loop as a Ray job: `python -m jobs.improve CONFIG [key=value …] [--repo PATH]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import ray

from forge.config import ForgeConfig
from forge.evals.report import write_report
from forge.observe.progress import Progress, to_stream
from forge.store.workspace import Workspace
from jobs.launching import job, preflight
from jobs.loop.phases import Loop
from jobs.loop.summary import summarise, table


def run(config: ForgeConfig) -> None:
    """Run the loop on the Ray that this process belongs to, and write the report."""
    ray.init(logging_level="ERROR", log_to_driver=False, ignore_reinit_error=True)
    progress = Progress(to_stream(sys.stdout), every_s=float(os.environ.get("FORGE_PROGRESS_S", "5")))
    with Workspace.open(config.workspace_path) as workspace:
        again = workspace.bind(config.model_dump(mode="json"), defaults=ForgeConfig().model_dump(mode="json"))
        progress.say(f"  workspace {workspace.root}{' (goes on from what is there)' if again else ''}")
        loop = Loop(config, workspace, progress)
        try:
            loop.carry_out()
            found = summarise(loop)
            write_report(workspace.root, found)
            progress.say(table(found))
            progress.say(f"  report: {workspace.report_html}")
        finally:
            loop.close()


def read(argv: Sequence[str]) -> ForgeConfig:
    """The config of the command line, with the repositories that it names."""
    parser = argparse.ArgumentParser(prog="jobs.improve", description=__doc__)
    parser.add_argument("arguments", nargs="*", metavar="CONFIG or key=value", help="YAML files, then deviations such as rounds.limit=1")
    parser.add_argument("--repo", action="append", default=[], help="a git repository to mine beside the practice ones")
    given = parser.parse_args(list(argv))
    repos = [f"history.repos={[str(Path(r).expanduser().resolve()) for r in given.repo]}"] if given.repo else []
    return job.read([*given.arguments, *repos])


if __name__ == "__main__":
    sys.exit(job.carry_out(sys.argv[1:], run, check=preflight.check, read=read))
