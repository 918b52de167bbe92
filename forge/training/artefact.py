"""The adapter folder: it appears whole, with `result.json` and `canary.json` in it, or not at all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from forge.errors import TrainingError
from forge.records import Record
from forge.seams import TrainJob, TrainResult
from forge.store import atomic
from forge.store.adapters import file_hash

RESULT = "result.json"
CANARY = "canary.json"
SEAL = "sha256.json"
CHECKPOINT_FILES = ("trainer_state.json", "optimizer.pt", "scheduler.pt", "adapter_model.safetensors")
"""What a checkpoint must hold, beside the seal that is written last, to go on from it."""


class Canary(Record):
    """Fixed ids and their log-probabilities (nats) as training computes them, to check an endpoint against."""

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    logprobs: tuple[float, ...]


class Done(Record):
    """Content of `result.json`: the result, and the job and data that it is the result of."""

    job: TrainJob
    data_sha256: str
    result: TrainResult


def finished(job: TrainJob, data_sha256: str, base_sha256: str) -> TrainResult | None:
    """The stored result of exactly this job on exactly these rows and base, `None` if there is none."""
    try:
        done = Done.model_validate_json((Path(job.output) / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None
    same = done.job == job and done.data_sha256 == data_sha256 and done.result.base_sha256 == base_sha256
    return done.result if same else None


def read_canaries(adapter: Path) -> list[Canary]:
    """The canaries that training left in an adapter folder; none when it left none."""
    file = adapter / CANARY
    return [Canary.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))] if file.exists() else []


def publish(model: Any, done: Done, canaries: list[Canary]) -> None:
    """Write the PEFT adapter of `model` and its companions to the job's output, all at once.

    An older result of another job in the same place is replaced; a folder that no training wrote raises
    `TrainingError`.
    """
    output = Path(done.job.output)
    refuse_foreign(output)
    staged = output.with_name(f"{atomic.TEMPORARY}{output.name}")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        model.save_pretrained(staged, selected_adapters=["default"])
        _name_base(staged / "adapter_config.json", done.job.base)
        (staged / CANARY).write_text(json.dumps([canary.model_dump(mode="json") for canary in canaries]), encoding="utf-8")
        (staged / RESULT).write_text(done.model_dump_json(indent=1), encoding="utf-8")
        if output.exists():
            shutil.rmtree(output)
        atomic.move_folder(staged, output)
    except OSError as error:
        raise TrainingError(f"cannot save the adapter of {done.job.stage} to {output}: {error}; free space and run it again") from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _name_base(config: Path, name: str) -> None:
    """Unsloth and PEFT write the folder they loaded, which may be a temporary or a quantised copy."""
    content = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(content | {"base_model_name_or_path": name}, indent=2, sort_keys=True), encoding="utf-8")


def refuse_foreign(output: Path) -> None:
    """Raise `TrainingError` when `output` is a folder with content that no training wrote."""
    if output.exists() and not (output / RESULT).exists() and any(output.iterdir()):
        raise TrainingError(f"{output} exists and is no result of training; choose another output or move it away")


def work_folder(job: TrainJob) -> Path:
    """Where the job's checkpoints lie until it is done: beside the output."""
    output = Path(job.output)
    return output.with_name(f".work-{output.name}")


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that can be gone on from; incomplete ones are removed, `None` if none is left.

    Without this check `transformers` takes the highest number even if the optimizer is missing, and goes on silently.
    """
    best: Path | None = None
    for path in sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2])):
        if _complete(path):
            best = path
        else:
            shutil.rmtree(path, ignore_errors=True)
    return best


def seal(checkpoint: Path) -> None:
    """Write the hash of every file of a checkpoint beside them."""
    hashes = {path.name: file_hash(path) for path in sorted(checkpoint.iterdir()) if path.is_file() and path.name != SEAL}
    atomic.write_text(checkpoint / SEAL, json.dumps(hashes, indent=1))


def taken_over(job: TrainJob, adapter: str | None, base_sha256: str) -> Path | None:
    """The folder of an adapter whose weights go into that of `job`; raises `TrainingError` when they cannot."""
    if adapter is None:
        return None
    folder = Path(adapter)
    try:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        done = Done.model_validate_json((folder / RESULT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{folder} is no adapter of forge's to train {job.stage} with: {error}") from error
    if done.result.base_sha256 != base_sha256:
        raise TrainingError(f"the adapter {folder} belongs to another base than {job.base}; take one of the same base, or none")
    if (config.get("r"), config.get("lora_alpha")) != (job.rank, job.alpha):
        raise TrainingError(
            f"the adapter {folder} has rank {config.get('r')} and alpha {config.get('lora_alpha')}, {job.stage} asks for {job.rank} and "
            f"{job.alpha}; set both alike, or take none"
        )
    return folder


def _complete(checkpoint: Path) -> bool:
    try:
        hashes = json.loads((checkpoint / SEAL).read_text(encoding="utf-8"))
        if not set(CHECKPOINT_FILES) <= set(hashes) or any(file_hash(checkpoint / name) != known for name, known in hashes.items()):
            return False
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    chosen = state.get("best_model_checkpoint")
    return chosen is None or Path(chosen).is_dir()
