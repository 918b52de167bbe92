"""The configuration: one frozen pydantic tree, every default here and nowhere else.

`load(paths, overrides)` merges defaults < YAML files in order < `key=value` strings, checks the rules
that span fields, and raises `ConfigError` with one sentence for anything wrong. YAML holds deviations only.
"""

from forge.config.ablation import AblationConfig
from forge.config.align import AlignConfig
from forge.config.evaluation import EvaluationConfig
from forge.config.load import as_value, deviations, dump, load
from forge.config.mining import (
    ContaminationConfig,
    DuplicatesConfig,
    EnrichConfig,
    LicencesConfig,
    MechanicalConfig,
    MessagesConfig,
    MiningConfig,
    OutliersConfig,
    PrivacyConfig,
    SplitConfig,
)
from forge.config.models import BaseModelConfig, DpoConfig, ReplicasConfig, ServeConfig, StageConfig, SweepConfig, TrainingConfig
from forge.config.prompts import PromptFile
from forge.config.rounds import BudgetConfig, RoundsConfig, ScaffoldConfig
from forge.config.run import AgentConfig, ForgeConfig, RayConfig, SandboxConfig
from forge.config.section import Section
from forge.config.sources import HistoryConfig, InjectConfig, PracticeConfig, TasksConfig, TeacherConfig

__all__ = [
    "AblationConfig",
    "AgentConfig",
    "AlignConfig",
    "BaseModelConfig",
    "BudgetConfig",
    "ContaminationConfig",
    "DpoConfig",
    "DuplicatesConfig",
    "EnrichConfig",
    "EvaluationConfig",
    "ForgeConfig",
    "HistoryConfig",
    "InjectConfig",
    "LicencesConfig",
    "MechanicalConfig",
    "MessagesConfig",
    "MiningConfig",
    "OutliersConfig",
    "PracticeConfig",
    "PrivacyConfig",
    "PromptFile",
    "RayConfig",
    "ReplicasConfig",
    "RoundsConfig",
    "SandboxConfig",
    "ScaffoldConfig",
    "Section",
    "ServeConfig",
    "SplitConfig",
    "StageConfig",
    "SweepConfig",
    "TasksConfig",
    "TeacherConfig",
    "TrainingConfig",
    "as_value",
    "deviations",
    "dump",
    "load",
]
