"""Which backend a machine gets. Nothing heavy is imported until it is chosen: Unsloth must come before TRL."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import tempfile
from pathlib import Path
from typing import Literal

from forge.errors import TrainingError
from forge.seams import Trainer
from forge.training.progress import Listener, silent

Backend = Literal["auto", "unsloth", "trl"]
log = logging.getLogger(__name__)


def choose(backend: Backend, *, cuda: bool, unsloth: bool) -> Literal["unsloth", "trl"]:
    """The backend for this machine; `auto` is Unsloth where both CUDA and the package are there, else TRL.

    Raises `TrainingError` when Unsloth is asked for where it cannot run.
    """
    if backend == "unsloth" and not (cuda and unsloth):
        lacking = "a CUDA device" if not cuda else "the package 'unsloth'"
        raise TrainingError(f"training.backend=unsloth needs {lacking}, which this machine lacks; set training.backend=trl or auto")
    if backend == "auto":
        return "unsloth" if cuda and unsloth else "trl"
    return backend


def make_trainer(backend: Backend = "auto", *, threads: int = 2, listen: Listener = silent) -> Trainer:
    """The trainer of this machine, for the process that will train. Raises `TrainingError` for what cannot run here."""
    cuda = importlib.import_module("torch").cuda.is_available()
    chosen = choose(backend, cuda=cuda, unsloth=importlib.util.find_spec("unsloth") is not None)
    log.info("training backend: %s (%s)", chosen, "CUDA" if cuda else f"CPU, {threads} threads")
    if chosen == "unsloth":
        # By default Unsloth writes the trainers that it generates into the current folder.
        os.environ.setdefault("UNSLOTH_COMPILE_LOCATION", str(Path(tempfile.gettempdir()) / f"forge-unsloth-{os.getuid()}"))
        module = importlib.import_module("forge.training.unsloth")
        trainer: Trainer = module.UnslothTrainer(listen=listen)
        return trainer
    trl: Trainer = importlib.import_module("forge.training.trl").TrlTrainer(threads=threads, listen=listen)
    return trl
