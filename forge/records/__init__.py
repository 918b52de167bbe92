"""The frozen records that cross forge's seams.

Each record is immutable, knows its schema version and has a content hash, so that a workspace can be
content-addressed and a run compared with another. `forge.store` derives the Parquet schemas from them.

    Commit ──► Example ──► AdapterRef        (mining, training)
      └─────► Task ──► Trajectory(Turn…) ──► Example, RoundReport   (tasks, rollouts, rounds)
"""

from forge.records.agent import AdapterRef, Outcome, Result, Trajectory, Turn, Verdict
from forge.records.base import COMBINED, STAGES, FileEdit, Keyed, Message, Record, Role
from forge.records.history import Commit, CommitSummary, Drop, FileChange, Lineage, PathChange, Symbol
from forge.records.reports import Interval, RoundReport, StepReport
from forge.records.rounds import EASIER, Allocation, Decision, Easier, RoundKind, RoundPlan, Spent
from forge.records.rows import Example, Preference, TeacherAnswer
from forge.records.sandbox import CommandResult, Environment, EnvironmentSpec, Limits, TestRun
from forge.records.tasks import Attachment, Instance, Proof, Side, Task, Twin

__all__ = [
    "COMBINED",
    "EASIER",
    "STAGES",
    "AdapterRef",
    "Allocation",
    "Attachment",
    "CommandResult",
    "Commit",
    "CommitSummary",
    "Decision",
    "Drop",
    "Easier",
    "Environment",
    "EnvironmentSpec",
    "Example",
    "FileChange",
    "FileEdit",
    "Instance",
    "Interval",
    "Keyed",
    "Limits",
    "Lineage",
    "Message",
    "Outcome",
    "PathChange",
    "Preference",
    "Proof",
    "Record",
    "Result",
    "Role",
    "RoundKind",
    "RoundPlan",
    "RoundReport",
    "Side",
    "Spent",
    "StepReport",
    "Symbol",
    "Task",
    "TeacherAnswer",
    "TestRun",
    "Trajectory",
    "Turn",
    "Twin",
    "Verdict",
]
