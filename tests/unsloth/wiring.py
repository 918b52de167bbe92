"""What a process with the real Unsloth on CPU finds out, a line of JSON a finding. `test_real_package` runs it, with a folder.

`FastLanguageModel.from_pretrained` cannot run without a card, so PEFT loads and adapts the base; what our backend passes is
bound to the real signatures first. The trainers are those that Unsloth puts in TRL's place on a card.
"""
# ruff: noqa: E402

import os
import sys
from pathlib import Path
from typing import Any

os.environ["UNSLOTH_ALLOW_CPU"] = "1"
import unsloth  # isort: skip  it patches what is imported after it
import inspect
import json

from unsloth.models.llama import FastLlamaModel
from unsloth.models.rl import patch_trl_rl_trainers
from unsloth.trainer import _patch_trl_trainer

# What importing unsloth does on a card and leaves out under UNSLOTH_ALLOW_CPU.
patch_trl_rl_trainers()
_patch_trl_trainer()

from forge.seams import TrainJob
from forge.training import dpo, sft
from forge.training import unsloth as backend
from forge.training.random_base import make_random_base
from forge.training.trl import TrlTrainer
from tests.train_jobs import CORPUS, make_job


def main(folder: Path) -> None:
    """Say which trainers are in use, then train twice."""
    say("trainers", sft=sft.SFTTrainer.__name__, dpo=dpo.DPOTrainer.__name__)
    listen_to_collators()
    base = make_random_base(folder / "base", corpus=CORPUS, vocabulary=320)
    for method in ("sft", "dpo"):
        job = make_job(base, folder, method=method, output=str(folder / method))
        say(method, **backend_on_cpu(job).train(job).metrics)


def backend_on_cpu(job: TrainJob) -> backend.UnslothTrainer:
    """Our backend with what needs the card itself replaced: loading, kernels, precision, free memory."""
    plain = TrlTrainer(threads=1)

    class OnCpu:
        """The real signatures, PEFT's work."""

        @staticmethod
        def from_pretrained(**arguments: Any) -> tuple[Any, Any]:
            bind("load", unsloth.FastLanguageModel.from_pretrained, **arguments)
            model, tokenizer = plain.load(Path(arguments["model_name"]), job)
            model.max_seq_length = arguments["max_seq_length"]
            return model, tokenizer

        @staticmethod
        def get_peft_model(model: Any, **arguments: Any) -> Any:
            bind("attach", FastLlamaModel.get_peft_model, model, **arguments)
            return plain.attach(model, job)

    backend.FastLanguageModel = OnCpu
    trainer = backend.UnslothTrainer()
    real = trainer.settings
    trainer.settings = lambda job: real(job) | plain.settings(job)
    trainer.micro_batch = plain.micro_batch
    return trainer


def listen_to_collators() -> None:
    """Say how the supervised trainer lays out its rows."""
    real = sft.SFTTrainer.train

    def train(trainer: Any, *arguments: Any, **named: Any) -> Any:
        say("layout", padding_free=trainer.data_collator.padding_free, max_length=trainer.args.max_length, loss=trainer.args.loss_type)
        return real(trainer, *arguments, **named)

    sft.SFTTrainer.train = train


def bind(name: str, function: Any, *arguments: Any, **named: Any) -> None:
    """Bind the arguments, and say which of them only a catch-all would take."""
    signature = inspect.signature(function)
    signature.bind(*arguments, **named)
    say(name, unknown=sorted(set(named) - set(signature.parameters)))


def say(finding: str, **values: Any) -> None:
    """One finding."""
    print("finding:" + json.dumps({"finding": finding} | values), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
