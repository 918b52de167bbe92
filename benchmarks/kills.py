"""A whole run whose parts are killed again and again, beside the same run left alone.

`forge improve` is started in two fresh workspaces. In the second one SIGKILL meets, in turn, everything at once (command, Ray and all),
the job's driver, a task prover, a serving replica, a training worker, a rollout worker, a box and the raylet, each at a random moment.
Whenever the command ends it is started again, until it says that the run is over. Then the two are compared: the same tasks and mined
rows, each held-out task answered once for each evaluation, no rollout that the boxes lost; and nothing may be left behind. What the
kills cost is the ratio of the wall times.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from forge.records import Outcome, Task
from forge.store.ledger import Ledger
from forge.store.parquet import read_examples, read_records

EVERYTHING = "everything"
VICTIMS: Mapping[str, str] = {
    EVERYTHING: "",
    "driver": "-m jobs.improve",
    "task prover": "ray::TaskProver",
    "replica": "ray::ServeReplica",
    "training worker": "ray::RayTrainWorker",
    "rollout worker": "ray::RolloutWorker",
    "box": "inside namespaced",
    "raylet": "/raylet/raylet ",
}
"""What is killed, and what its command line holds."""
MOST_STARTS = 60


def main() -> None:
    """Run both, print what was found, write the JSON; the exit code is 1 when anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=14, help="kills in all")
    parser.add_argument("--every", type=float, default=40.0, help="seconds between two of them, on average")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--alone", type=Path, help="finished workspace of the same settings, in place of the undisturbed run")
    parser.add_argument("--keep", type=Path, help="folder that keeps the workspaces")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("arguments", nargs="*", default=["configs/quickstart.yaml"], metavar="CONFIG|key=value")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="forge-kills-") as temporary:
        folder = (given.keep or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        alone, disturbed = (given.alone or folder / "alone").resolve(), folder / "disturbed"
        if not given.alone:
            subprocess.run(command(given.arguments, alone), check=True)
        found = Kills(command(given.arguments, disturbed), random.Random(given.seed), given.every).until(given.kills)
        result = {"benchmark": "kills", "date": datetime.now(UTC).date().isoformat(), **found, **compared(alone, disturbed)}
    for name, value in result.items():
        print(f"{name:<24}{value}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if result["problems"] else 0)


def command(arguments: list[str], workspace: Path) -> list[str]:
    """The run, as a person starts it."""
    return [sys.executable, "-m", "jobs.cli", "improve", *arguments, f"workspace={workspace}"]


class Kills:
    """Starts of one command, and what is killed meanwhile."""

    def __init__(self, run: list[str], chance: random.Random, every_s: float) -> None:
        self._run, self._chance, self._every_s = run, chance, every_s
        self._turns = itertools.cycle(VICTIMS)
        self._killed: Counter[str] = Counter()
        self._ends: list[str] = []

    def until(self, kills: int) -> dict[str, Any]:
        """Kill so many, start again whenever the command ends, and return what happened when it ends well."""
        while len(self._ends) < MOST_STARTS:
            process = subprocess.Popen(self._run, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
            code, last = self._watch(process, kills)
            if code == 0:
                return {"killed": dict(self._killed), "starts": len(self._ends) + 1, "ends": self._ends}
            self._ends.append(f"{code}: {last}")
        sys.exit(f"{MOST_STARTS} starts did not come to an end; the last said: {self._ends[-1]}")

    def _watch(self, process: subprocess.Popen[str], kills: int) -> tuple[int, str]:
        """The exit code of one start, and its last line."""
        told: deque[str] = deque(maxlen=1)
        copier = threading.Thread(target=_copy, args=(process.stdout or (), told))
        copier.start()
        due = time.monotonic() + self._chance.uniform(0.5, 1.5) * self._every_s
        while process.poll() is None:
            if time.monotonic() > due and sum(self._killed.values()) < kills and self._kill(process.pid):
                due = time.monotonic() + self._chance.uniform(0.5, 1.5) * self._every_s
            time.sleep(0.2)
        copier.join(60)
        return process.returncode, told[0] if told else ""

    def _kill(self, pid: int) -> bool:
        """Kill one of those whose turn it is; false where there is none at this moment: then it is the next ones' turn."""
        name = next(self._turns)
        try:
            own = psutil.Process(pid)
            below = own.children(recursive=True)
        except psutil.NoSuchProcess:
            return False
        if name == EVERYTHING:
            victims = [own, *below]
        else:
            alike = [process for process in below if VICTIMS[name] in " ".join(_cmdline(process))]
            victims = [self._chance.choice(alike)] if alike else []
        for victim in victims:
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self._killed[name] += bool(victims)
        if victims:
            sys.stderr.write(f"  killed: {name}\n")
        return bool(victims)


def _copy(stream: Iterable[str], told: deque[str]) -> None:
    """Show what the command says, and keep its last line."""
    for line in stream:
        sys.stderr.write(line)
        if line.strip():
            told.append(line.strip())


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def compared(alone: Path, disturbed: Path) -> dict[str, Any]:
    """What the two workspaces hold, and each way in which the disturbed one is wrong."""
    one, other = _facts(alone), _facts(disturbed)
    problems = [f"{name} differ" for name in ("tasks", "mined rows") if one[name] != other[name]]
    problems += [f"{disturbed.name}: {problem}" for problem in other["problems"]]
    left = [p.pid for p in psutil.process_iter() if str(disturbed) in " ".join(_cmdline(p)) and p.pid not in (os.getpid(), os.getppid())]
    problems += [f"{len(left)} processes are left"] if left else []
    return {
        "wall_ratio": round(other["seconds"] / one["seconds"], 2),
        "wall_s": round(other["seconds"]),
        "cold starts equal": sorted(stage for stage in one["cold start"] if one["cold start"][stage] == other["cold start"].get(stage)),
        "rates alone": one["rates"],
        "rates disturbed": other["rates"],
        "problems": problems,
    }


def _facts(workspace: Path) -> dict[str, Any]:
    tasks = read_records(workspace / "tasks" / "tasks.parquet", Task)
    rows = sorted(workspace.glob("examples/*"))
    asked = {task.id for task in tasks if task.side in ("heldout", "transfer")}
    with Ledger(workspace / "ledger.db", read_only=True) as ledger:
        steps = {step: ledger.trajectories(step) for step in ledger.steps()}
        seconds = sum(phase.seconds for phase in ledger.phases())
        unfinished = [phase.name for phase in ledger.phases() if phase.state != "done"]
    problems = [f"phase {name} is not over" for name in unfinished]
    rates = {}
    for step, trajectories in steps.items():
        if lost := sum(t.outcome is Outcome.INFRA_ERROR for t in trajectories):
            problems.append(f"{lost} rollouts of {step} were lost")
        if step.startswith("evaluate-"):
            answered = Counter(t.task_id for t in trajectories if t.task_id in asked)
            if set(answered) != asked or set(answered.values()) != {1}:
                problems.append(f"{step} answered {sum(answered.values())} times for {len(asked)} tasks")
            rates[step.removeprefix("evaluate-")] = round(sum(t.outcome is Outcome.SOLVED for t in trajectories) / len(trajectories), 3)
    return {
        "tasks": sorted((task.id, task.side) for task in tasks),
        "mined rows": {folder.name: sorted(row.content_hash() for row in read_examples(folder)) for folder in rows},
        "cold start": _weights(workspace),
        "rates": rates,
        "seconds": seconds,
        "problems": problems,
    }


def _weights(workspace: Path) -> dict[str, str]:
    """SHA-256 of the cold start's weights, by stage."""
    files = workspace.glob("adapters/*/r1-*/adapter_model.safetensors")
    return {path.parents[1].name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    main()
