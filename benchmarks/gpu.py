"""Training on a card: Unsloth's QLoRA and LoRA beside plain TRL with PEFT, SFT and DPO, memory beside what `--plan` foretold.

Builds randomly initialised models of Qwen3-1.7B's and 0.6B's true shape, so nothing is downloaded, and trains each on full rows
of 2,048 tokens at batch 1, 2 and 4, every backend in a process of its own (Unsloth patches TRL as it is imported). Seconds are
medians over steps, the first ones left out; ratios are to plain TRL and PEFT on the same card in the same run. At the end the card
changes hands: generate, give it up, train, generate again. --small runs all of it on CPU with small shapes, for tests of this script.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

SHAPES: dict[str, dict[str, int]] = {
    "Qwen3-1.7B": {"hidden": 2048, "layers": 28, "heads": 16, "key_heads": 8, "head_size": 128, "feed_forward": 6144, "embeddings": 151936},
    "Qwen3-0.6B": {"hidden": 1024, "layers": 28, "heads": 16, "key_heads": 8, "head_size": 128, "feed_forward": 3072, "embeddings": 151936},
}
SMALL = {"small": {"hidden": 64, "layers": 2, "heads": 4, "key_heads": 2, "head_size": 16, "feed_forward": 128, "embeddings": 512}}
WARM = 3
"""Steps left out of the medians: kernels are compiled in them."""
EXAMPLES = 10_000
MARK = "figures: "


def main() -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="small shapes on CPU")
    parser.add_argument("--steps", type=int, default=12, help="optimizer steps of each measurement")
    parser.add_argument("--length", type=int, default=2048, help="tokens of each row")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--models", nargs="+", help="which shapes, all when not given")
    parser.add_argument("--minutes", type=float, default=12.0, help="no measurement starts after this long")
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        for figures in measured(json.loads(given.part)):
            print(MARK + json.dumps(figures), flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="forge-gpu-") as folder:
        result = whole(given, Path(folder))
    show(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def whole(given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Every part in a process of its own, each line of it kept as it comes."""
    began = time.monotonic()
    shapes = SMALL if given.small else {name: shape for name, shape in SHAPES.items() if not given.models or name in given.models}
    steps, length = (min(given.steps, 5), min(given.length, 96)) if given.small else (given.steps, given.length)
    backends = ["plain", "trl"] if given.small or find_spec("unsloth") is None else ["plain", "unsloth", "trl"]
    result: dict[str, Any] = {"benchmark": "gpu", "date": datetime.now(UTC).date().isoformat(), "length": length, "rows": [], "failed": []}
    for name, shape in shapes.items():
        for backend in [*backends, "turns"]:
            left = given.minutes * 60 - (time.monotonic() - began)
            part = {
                "model": name,
                "shape": shape,
                "backend": backend,
                "base": str(folder / name),
                "steps": steps,
                "length": length,
                "batches": given.batches,
                "small": given.small,
                "seconds": left,
            }
            if left < 0:
                result["failed"].append({"model": name, "backend": backend, "why": "no time was left"})
                continue
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.gpu", "--part", json.dumps(part)], capture_output=True, text=True, check=False
            )
            lines = [json.loads(line.removeprefix(MARK)) for line in done.stdout.splitlines() if line.startswith(MARK)]
            result["rows"] += [line for line in lines if "card" not in line]
            result |= next((line for line in lines if "card" in line), {})
            if done.returncode:
                result["failed"].append({"model": name, "backend": backend, "why": done.stderr.strip().splitlines()[-1:]})
    return result


def measured(part: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The figures of one model and backend, one measurement after another."""
    if part["backend"] == "unsloth":
        import_module("unsloth")  # before anything that it patches
    torch = import_module("torch")
    card = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "CPU"
    yield {"card": card}
    base = Path(part["base"])
    if not (base / "model.safetensors").exists() and not (base / "model.safetensors.index.json").exists():
        make_base = import_module("forge.training.random_base").make_random_base
        corpus = [f"word {number} yes no" for number in range(200)]
        make_base(base, corpus=corpus, vocabulary=400, context=part["length"], dtype=torch.bfloat16, **part["shape"])
    if part["backend"] == "turns":
        yield turns(part)
        return
    began = time.monotonic()
    precisions = [False] if part["backend"] != "unsloth" else [True, False]
    for method in ("sft", "dpo"):
        for load_in_4bit in precisions:
            for batch in part["batches"]:
                if time.monotonic() - began > part["seconds"]:
                    return
                measure = plain if part["backend"] == "plain" else ours
                if part["backend"] == "plain" and method == "dpo":
                    continue
                head = {"model": part["model"], "backend": part["backend"], "method": method, "4-bit": load_in_4bit, "batch": batch}
                try:
                    yield head | measure(part, method, load_in_4bit, batch)
                except Exception as error:  # noqa: BLE001  one that does not fit must not end the others
                    yield head | {"error": f"{type(error).__name__}: {error}"[:200]}


def ours(part: dict[str, Any], method: str, load_in_4bit: bool, batch: int) -> dict[str, Any]:
    """Our trainer on full rows: seconds a step, tokens a second, memory at its peak and as foretold."""
    torch = import_module("torch")
    make_trainer = import_module("forge.training.pick").make_trainer
    plan = import_module("forge.training.plan")
    folder = Path(tempfile.mkdtemp(prefix="forge-gpu-job-"))
    job = make_job(part, folder, method, load_in_4bit, batch)
    times: list[float] = []
    trainer = make_trainer(part["backend"], listen=lambda progress: times.append(time.monotonic()) if progress.loss is not None else None)
    result = trainer.train(job)
    cuda = torch.cuda.is_available()
    foretold = plan.memory_bytes(
        job, plan.shape_of(Path(part["base"])), _sequences(job, batch), cuda=cuda, unsloth=part["backend"] == "unsloth"
    )
    found = _pace(times, job, part["length"])
    return found | {"peak_bytes": result.metrics.get("vram_peak_bytes", 0.0), "foretold_bytes": float(foretold)}


def plain(part: dict[str, Any], method: str, load_in_4bit: bool, batch: int) -> dict[str, Any]:  # noqa: ARG001
    """TRL's own trainer with PEFT, as its documentation uses it: bfloat16, gradient checkpointing, no packing."""
    torch = import_module("torch")
    transformers, trl, peft, datasets = (import_module(name) for name in ("transformers", "trl", "peft", "datasets"))
    cuda = torch.cuda.is_available()
    times: list[float] = []

    class Clock(transformers.TrainerCallback):  # type: ignore[name-defined]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            if cuda:
                torch.cuda.synchronize()
            times.append(time.monotonic())

    job = make_job(part, Path(tempfile.mkdtemp(prefix="forge-gpu-job-")), "sft", False, batch)
    model = transformers.AutoModelForCausalLM.from_pretrained(part["base"], dtype=torch.bfloat16 if cuda else torch.float32)
    rows = list(_ids(part, batch * part["steps"]))
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    trainer = trl.SFTTrainer(
        model=model.to("cuda") if cuda else model,
        args=trl.SFTConfig(
            output_dir=job.output,
            max_steps=part["steps"],
            per_device_train_batch_size=batch,
            learning_rate=2e-4,
            bf16=cuda,
            use_cpu=not cuda,
            gradient_checkpointing=cuda,
            max_length=part["length"],
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=cuda,
        ),
        train_dataset=datasets.Dataset.from_list([{"input_ids": ids, "labels": ids} for ids in rows]),
        processing_class=transformers.AutoTokenizer.from_pretrained(part["base"]),
        peft_config=peft.LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[Clock()],
    )
    trainer.train()
    return _pace(times, job, part["length"]) | {"peak_bytes": float(torch.cuda.max_memory_allocated()) if cuda else 0.0}


def turns(part: dict[str, Any]) -> dict[str, Any]:
    """One card by turns: generate, give it up, train, generate again; seconds of each hand-over."""
    torch = import_module("torch")
    transformers = import_module("transformers")
    gc = import_module("gc")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prompt = torch.tensor([next(_ids(part, 1))[:32]], device=device)
    seconds: dict[str, float] = {}

    def generate(name: str) -> None:
        began = time.monotonic()
        model = transformers.AutoModelForCausalLM.from_pretrained(part["base"], dtype=torch.bfloat16).to(device)
        seconds[f"{name}: engine up"] = time.monotonic() - began
        model.generate(prompt, max_new_tokens=32, do_sample=False)
        began = time.monotonic()
        del model
        gc.collect()
        torch.cuda.empty_cache()
        seconds[f"{name}: card given up"] = time.monotonic() - began

    generate("before")
    began = time.monotonic()
    job = make_job(part, Path(tempfile.mkdtemp(prefix="forge-gpu-job-")), "sft", False, 2)
    import_module("forge.training.pick").make_trainer("trl").train(job)
    seconds["training, its load included"] = time.monotonic() - began
    gc.collect()
    torch.cuda.empty_cache()
    generate("after")
    return {"model": part["model"], "backend": "turns", "seconds": seconds}


def make_job(part: dict[str, Any], folder: Path, method: str, load_in_4bit: bool, batch: int) -> Any:
    """A job of `steps` steps on random full rows."""
    records, parquet = import_module("forge.records"), import_module("forge.store.parquet")
    lineage = records.Lineage(repo="random")
    half = part["length"] // 2
    end = import_module("transformers").AutoTokenizer.from_pretrained(part["base"]).convert_tokens_to_ids("<|im_end|>")
    rows: list[Any] = []
    for ids in _ids(part, batch * part["steps"]):
        prompt, answer = tuple(ids[:half]), (*ids[half:-1], end)
        if method == "sft":
            common = {"stage": "generation", "messages": (), "completion": "", "lineage": lineage}
            rows.append(records.Example(**common, prompt_ids=prompt, completion_ids=answer))
        else:
            worse = (*reversed(answer[:-1]), end)
            common = {"stage": "generation", "messages": (), "chosen": "", "rejected": "", "lineage": lineage}
            rows.append(records.Preference(**common, prompt_ids=prompt, chosen_ids=answer, rejected_ids=worse))
    parquet.write_records(folder / "rows.parquet", rows)
    return import_module("forge.seams").TrainJob(
        stage="generation",
        base=part["base"],
        rows=str(folder / "rows.parquet"),
        output=str(folder / "adapter"),
        rank=16,
        alpha=32,
        learning_rate=2e-4,
        epochs=1.0,
        batch_size=batch,
        max_tokens=part["length"],
        eval_fraction=0.0,
        patience=1,
        seed=0,
        method=method,
        load_in_4bit=load_in_4bit,
    )


def _ids(part: dict[str, Any], count: int) -> Iterator[list[int]]:
    choice = random.Random(0)
    for _ in range(count):
        yield [choice.randrange(4, part["shape"]["embeddings"]) for _ in range(part["length"])]


def _sequences(job: Any, batch: int) -> int:
    return batch * (2 if job.method == "dpo" else 1)


def _pace(times: list[float], job: Any, length: int) -> dict[str, float]:
    steps = [after - before for before, after in pairwise(times)][max(0, WARM - 1) :]
    if not steps:
        return {}
    second = statistics.median(steps)
    tokens = _sequences(job, job.batch_size) * length
    return {"step_s": second, "tokens_per_s": tokens / second, "examples_10k_s": EXAMPLES * second / job.batch_size}


def show(result: dict[str, Any]) -> None:
    """Print the table: each row beside plain TRL and PEFT at the same batch where that was measured."""
    print(f"{result.get('card')}, {result['length']} tokens a row, {result['date']}")
    head = ("model", "backend", "", "batch", "tokens/s", "x plain", "10,000 rows", "peak GiB", "foretold")
    print("{:<12}{:<9}{:<12}{:>6}{:>11}{:>9}{:>13}{:>10}{:>10}".format(*head))
    rows = result["rows"]
    peers = {(row["model"], row["batch"]): row.get("tokens_per_s") for row in rows if row["backend"] == "plain" and row["method"] == "sft"}
    for row in rows:
        if row["backend"] == "turns":
            print(f"{row['model']:<12}by turns   " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in row["seconds"].items()))
            continue
        kind = f"{row['method']} {'4-bit' if row['4-bit'] else '16-bit'}"
        start = f"{row['model']:<12}{row['backend']:<9}{kind:<12}{row['batch']:>6}"
        if "tokens_per_s" not in row:
            print(f"{start}  {row.get('error', 'no figures')}")
            continue
        peer = peers.get((row["model"], row["batch"])) if row["method"] == "sft" else None
        ratio = f"{row['tokens_per_s'] / peer:>9.2f}" if peer else f"{'':>9}"
        foretold = f"{row['foretold_bytes'] / 2**30:>10.1f}" if "foretold_bytes" in row else ""
        minutes = f"{row['examples_10k_s'] / 60:>9.0f} min"
        print(f"{start}{row['tokens_per_s']:>11,.0f}{ratio}{minutes}{row['peak_bytes'] / 2**30:>10.1f}{foretold}")
    for failure in result["failed"]:
        print(f"{failure['model']:<12}{failure['backend']:<9}failed: {failure['why']}")


if __name__ == "__main__":
    main()
