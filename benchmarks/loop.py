"""Where the quickstart's wall time goes: model work, sandboxes, training, start-ups, and what is left over.

Runs the whole loop in fresh workspaces, seed 0, 1, 2, … (three by default; --runs), reads phases and turns from each
ledger, and prints medians. The peer is the same run's own work: ratios are shares of the wall time. With --keep the
workspaces stay, with their reports.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from forge.store.ledger import Ledger

GROUPS = {"history": "mining and tasks", "tasks": "mining and tasks", "mining": "mining and tasks"}
"""What a phase counts as; `train-*` is training, `evaluate-*` and `collect-*` are rollouts."""


def main() -> None:
    """Run, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--runs", type=int, default=3, help="fresh runs to take medians of")
    parser.add_argument("--keep", type=Path, help="folder that keeps the workspaces, named by seed")
    parser.add_argument("--config", default="configs/quickstart.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-loop-") as temporary:
        folder = (options.keep or Path(temporary)).resolve()
        runs = [_measure(folder / f"seed-{seed}", [options.config, f"seed={seed}", *options.overrides]) for seed in range(options.runs)]
    figures = {name: statistics.median(run.get(name, 0.0) for run in runs) for name in sorted({key for run in runs for key in run})}
    wall = figures["wall_s"]
    ratios = {name.removesuffix("_s"): seconds / wall for name, seconds in figures.items() if name.endswith("_s") and name != "wall_s"}
    for name, seconds in figures.items():
        share = f"{ratios[name.removesuffix('_s')]:>8.0%}" if name.endswith("_s") and name != "wall_s" else ""
        print(f"{name:<28}{seconds:>10.1f}{share}")
    if options.json:
        host = f"{platform.machine()}, {platform.python_version()}"
        result = {"benchmark": "loop", "date": datetime.now(UTC).date().isoformat(), "host": host, "figures": figures, "ratios": ratios}
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _measure(workspace: Path, arguments: list[str]) -> dict[str, float]:
    """Seconds by group of one fresh run."""
    if workspace.exists():
        sys.exit(f"{workspace} exists: a run there would not be a fresh one; remove it or keep elsewhere")
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "jobs.cli", "improve", *arguments, f"workspace={workspace}"], check=True)
    wall = time.monotonic() - began
    with Ledger(workspace / "ledger.db") as ledger:
        phases = {phase.name: phase.seconds for phase in ledger.phases()}
        trajectories = [t for step in ledger.steps() for t in ledger.trajectories(step)]
    found: dict[str, float] = {"wall_s": wall}
    for name, seconds in phases.items():
        group = GROUPS.get(name) or ("training" if name.startswith("train-") else "rollouts")
        found[f"{group}_s"] = found.get(f"{group}_s", 0.0) + seconds
    found["start-ups and waiting_s"] = wall - sum(phases.values())
    found["rollouts"] = float(len(trajectories))
    # Rollouts overlap: these two are sums over rollouts, so only their ratio to each other means something.
    found["model calls summed"] = sum(turn.seconds for t in trajectories for turn in t.turns)
    found["grading summed"] = sum(t.verdict.seconds for t in trajectories if t.verdict)
    return found


if __name__ == "__main__":
    main()
