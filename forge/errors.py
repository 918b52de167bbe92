"""Every error that forge raises on purpose, one child per boundary.

    ForgeError                 the root; str() is one sentence a person can act on
    ├── ConfigError            a config, a key or a command line is wrong (exit code 2)
    ├── EnvironmentLackError   this machine lacks something a run needs (exit code 2)
    ├── HistoryError           a repository cannot be read or has nothing to mine (exit code 2)
    ├── StageError             a stage's answer cannot be parsed: the model's failure, so data
    ├── TaskError              a task cannot be built or proven
    ├── SandboxError           a box died or could not be made: never the model's failure
    ├── EndpointError          the model server failed or does not know a model
    ├── TeacherError           the teacher gave no usable answer to one question
    │   └── TeacherRefusedError    it will answer none: no model, no key, not allowed (exit code 2)
    ├── TrainingError          a trainer refused its input or failed
    ├── ExportError            an adapter or base cannot be put into the format asked for (exit code 2)
    └── StoreError             the workspace is corrupt, locked or from another version

A failing command of the agent is a result, not an error: see `forge.records.CommandResult`.
"""

from __future__ import annotations


class ForgeError(Exception):
    """Root of forge's errors. The message says what happened, with values, and what to do next."""

    exit_code = 1


class ConfigError(ForgeError):
    """A config file, key or command line is wrong; nothing expensive has started."""

    exit_code = 2


class EnvironmentLackError(ForgeError):
    """This machine lacks something that the run needs (disk, memory, port, engine, package)."""

    exit_code = 2


class HistoryError(ForgeError):
    """A path is no git repository, its history is empty, or git cannot read it."""

    exit_code = 2


class StageError(ForgeError):
    """A stage's answer could not be parsed. The model's failure: recorded, never retried as infra."""


class TaskError(ForgeError):
    """A task could not be built or proven; the message is the reason that is counted."""


class SandboxError(ForgeError):
    """A box died or could not be made. Infrastructure: retried, masked, never scored."""


class EndpointError(ForgeError):
    """The model server failed, timed out, or does not know the model asked for."""


class TeacherError(ForgeError):
    """The teacher gave no usable answer to one question. Kept with the row that asked; the others go on."""


class TeacherRefusedError(TeacherError):
    """The teacher answers no question at all: none is configured, or its key, model or address is wrong."""

    exit_code = 2


class TrainingError(ForgeError):
    """A trainer refused its input (a merged base, an empty mask) or did not finish."""


class BaseModelError(TrainingError):
    """What was named as a base is none (an adapter, a merged export, no weights) or cannot be fetched. Nothing has started."""

    exit_code = 2


class ExportError(ForgeError):
    """A format cannot carry an adapter or its base, or their files are not what they should be."""

    exit_code = 2


class StoreError(ForgeError):
    """The workspace is corrupt, held by another run, or written by another schema version."""


class WorkspaceError(StoreError):
    """The workspace that was asked for cannot be used: another run holds it, or it is not of this schema. Nothing has started."""

    exit_code = 2
