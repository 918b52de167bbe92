"""Five stages trained by forge beside a bare TRL loop over the same rows on CPU, in one run, one after the other.

Both start a process, load the base once and train five adapters of the same rank, batch and steps on the same token ids. forge does
it through Ray Train, with checkpoints, hashes, canaries and adapter folders; the loop steps `SFTTrainer` and saves. `overhead` is what
forge's whole wall time adds to its own training steps. Rows are random ids of 100 to 350 tokens; forge batches rows of equal length
and computes the last layer on answers alone, so its steps are shorter than the loop's.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from forge.records import STAGES, Example, Lineage
from forge.seams import TrainJob
from forge.store.parquet import read_examples, write_examples

THREADS = 2


def main() -> None:
    """Run both, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=800, help="rows of each stage")
    parser.add_argument("--runs", type=int, default=1, help="runs of each, the medians of which count")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--part", choices=["forge", "bare"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        print(json.dumps({"forge": with_forge, "bare": bare}[given.part](given.folder)))
        return
    with tempfile.TemporaryDirectory(prefix="forge-training-") as temporary:
        folder = Path(temporary)
        prepare(folder, given.rows)
        taken: dict[str, list[dict[str, float]]] = {"forge": [], "bare": []}
        for number in range(given.runs):
            for name, runs in taken.items():
                runs.append(timed(name, folder, number))
    result = summary({name: sorted(runs, key=lambda run: run["wall_s"])[len(runs) // 2] for name, runs in taken.items()}, given.rows)
    for name, value in result["figures"].items():
        print(f"{name:<44}{value:>10.2f}")
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def prepare(folder: Path, rows: int) -> None:
    """A base of the quickstart's size, and rows of every stage."""
    from forge import nano

    (folder / "base").symlink_to(nano.WEIGHTS)
    vocabulary = json.loads((nano.WEIGHTS / "config.json").read_text())["vocab_size"]
    end = _end(folder / "base")
    choice = random.Random(0)
    for stage in STAGES:
        encoded = []
        for number in range(rows):
            length = choice.randint(100, 350)
            ids = [choice.randrange(8, vocabulary) for _ in range(length)]
            answer = choice.randint(8, 60)
            lineage = Lineage(repo="random", task_id=f"{stage}-{number}")
            encoded.append(
                Example(
                    stage=stage,
                    messages=(),
                    completion="",
                    prompt_ids=tuple(ids[:-answer]),
                    completion_ids=(*ids[-answer:], end),
                    lineage=lineage,
                )
            )
        write_examples(folder / f"{stage}.parquet", encoded)


def job_of(folder: Path, stage: str, output: Path) -> TrainJob:
    """One pass over a stage's rows."""
    return TrainJob(
        stage=stage,
        base=str((folder / "base").resolve()),
        rows=str(folder / f"{stage}.parquet"),
        output=str(output),
        rank=16,
        alpha=32,
        learning_rate=2e-4,
        epochs=1.0,
        batch_size=16,
        max_tokens=1024,
        eval_fraction=0.0,
        patience=1,
        seed=0,
    )


def timed(name: str, folder: Path, number: int) -> dict[str, float]:
    """Figures of one run in a process of its own, its start included in the wall time."""
    work = folder / f"{name}-{number}"
    work.mkdir()
    for source in (*folder.glob("*.parquet"), folder / "base"):
        (work / source.name).symlink_to(source.resolve())
    began = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.training", "--part", name, "--folder", str(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} failed: {done.stderr.strip()[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures | {"wall_s": time.monotonic() - began}


def with_forge(folder: Path) -> dict[str, float]:
    """forge's training service: Ray, its start and end included."""
    import ray

    from forge.config import TrainingConfig
    from forge.training.on_ray import TrainingService

    began = time.monotonic()
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False, logging_level="ERROR"
    )
    starts: list[float] = []
    with TrainingService(TrainingConfig(backend="trl", threads=THREADS), storage=folder / "ray") as service:
        jobs = [job_of(folder, stage, folder / "adapters" / stage) for stage in STAGES]
        results = service.train_all(jobs, lambda progress: starts.append(time.monotonic() - began) if progress.step == 0 else None)
    ray.shutdown()
    return {
        "train_s": sum(result.metrics["train_seconds"] for result in results),
        "first_step_s": starts[0],
        "tokens": sum(result.metrics["tokens"] for result in results),
    }


def bare(folder: Path) -> dict[str, float]:
    """The loop that one would write with TRL and PEFT alone."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(THREADS)
    torch.set_flush_denormal(True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    found: dict[str, float] = {"train_s": 0.0, "tokens": 0.0}
    for stage in STAGES:
        rows = [row.prompt_ids + row.completion_ids for row in read_examples(folder / f"{stage}.parquet")]
        masks = [[0] * len(row.prompt_ids) + [1] * len(row.completion_ids) for row in read_examples(folder / f"{stage}.parquet")]
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(folder / "base", dtype=torch.float32),
            args=SFTConfig(
                output_dir=str(folder / "bare" / stage),
                num_train_epochs=1,
                per_device_train_batch_size=16,
                learning_rate=2e-4,
                lr_scheduler_type="cosine",
                completion_only_loss=True,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                dataloader_pin_memory=False,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
            ),
            train_dataset=Dataset.from_dict({"input_ids": rows, "completion_mask": masks}),
            processing_class=tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        began = time.monotonic()
        trainer.train()
        found["train_s"] += time.monotonic() - began
        found["tokens"] += sum(map(len, rows))
        trainer.save_model(str(folder / "bare" / stage))
    return found


def summary(taken: dict[str, dict[str, float]], rows: int) -> dict[str, Any]:
    """The figures and their ratios."""
    ours, peer = taken["forge"], taken["bare"]
    figures = {
        "forge: wall, s": ours["wall_s"],
        "forge: training steps, s": ours["train_s"],
        "forge: until the first step, s": ours["first_step_s"],
        "forge: overhead (wall / steps - 1)": ours["wall_s"] / ours["train_s"] - 1,
        "forge: overhead after the first step": (ours["wall_s"] - ours["first_step_s"]) / ours["train_s"] - 1,
        "bare TRL: wall, s": peer["wall_s"],
        "bare TRL: training, s": peer["train_s"],
        "forge beside bare TRL: wall": ours["wall_s"] / peer["wall_s"],
        "forge beside bare TRL: tokens/s": (ours["tokens"] / ours["train_s"]) / (peer["tokens"] / peer["train_s"]),
    }
    host = f"{platform.machine()}, {platform.python_version()}"
    return {"benchmark": "training", "date": datetime.now(UTC).date().isoformat(), "host": host, "rows": rows, "figures": figures}


def _end(base: Path) -> int:
    from forge.endpoint.tokens import BaseTokenizer

    return BaseTokenizer(base).end_id


if __name__ == "__main__":
    main()
