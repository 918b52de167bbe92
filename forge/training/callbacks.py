"""What happens beside the steps of a run: telling, evaluating once more at the end, refusing a loss that is not a number."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from forge.errors import TrainingError
from forge.training import artefact
from forge.training.progress import Listener, TrainProgress


class Tell(TrainerCallback):
    """Passes each log entry on; raises `TrainingError` for a loss that is not a number."""

    def __init__(self, stage: str, listen: Listener) -> None:
        self.stage = stage
        self.listen = listen

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        """Tell where it starts: above 0 when it goes on from a checkpoint."""
        self.listen(TrainProgress(stage=self.stage, step=state.global_step, steps=state.max_steps))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **more: Any) -> None:  # noqa: ARG002
        """Tell the training or evaluation loss that was logged."""
        losses = {name: logs[name] for name in ("loss", "eval_loss") if logs and name in logs}
        for name, value in losses.items():
            if not math.isfinite(value):
                raise TrainingError(
                    f"{name} of {self.stage} became {value} at step {state.global_step}; lower its learning rate or look at its rows"
                )
        if losses:
            self.listen(TrainProgress(stage=self.stage, step=state.global_step, steps=state.max_steps, **losses))


class EvaluateAtEnd(TrainerCallback):
    """Evaluates and saves after the last step, so that the last weights can be the best ones."""

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:  # noqa: ARG002
        """Ask for both at the last step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
            control.should_save = True
        return control


class Seal(TrainerCallback):
    """Notes the hash of every file of a checkpoint once all are there: only such a one is gone on from."""

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:  # noqa: ARG002
        """Seal the checkpoint that was just written."""
        artefact.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")


def tensorboard(folder: Path) -> TrainerCallback:
    """Writes what is logged to `folder`, for TensorBoard."""
    from torch.utils.tensorboard import SummaryWriter

    return TensorBoardCallback(SummaryWriter(str(folder)))
