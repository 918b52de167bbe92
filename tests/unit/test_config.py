"""Configuration: defaults < files < overrides, one sentence for everything wrong, shipped files that load."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml

from forge.config import ForgeConfig, deviations, dump, load
from forge.errors import ConfigError
from jobs.explain import explained
from jobs.tasks.defaults import REAL_REPOSITORIES

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))


def test_later_files_and_then_overrides_win(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("seed: 1\nrounds: {limit: 1, samples: 3, probe: 3}\n")
    (tmp_path / "b.yaml").write_text("rounds: {samples: 5}\n")
    config = load([tmp_path / "a.yaml", tmp_path / "b.yaml"], ["seed=7", "stages.review.rank=8"])
    assert (config.seed, config.rounds.limit, config.rounds.samples, config.stage("review").rank) == (7, 1, 5, 8)
    assert config.stage("planning").rank is None


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_shipped_configs_load_and_hold_deviations_only(path: Path) -> None:
    config = load([path])
    given = deviations([path])
    assert given, "a config without a deviation has no reason to exist"
    # A config may give its name even where that is the default.
    assert set(_leaves(given)) - {"name"} <= _leaves(config.model_dump(mode="json", exclude_defaults=True)).keys()


def test_a_resolved_config_reads_back_as_itself(tmp_path: Path) -> None:
    config = load(
        [], ["rounds.limit=1", "history.repos=[/tmp/x]", "bases.small.model=other", "stages.review.base=small", "bases.main.model=nano"]
    )
    (tmp_path / "resolved.yaml").write_text(dump(config))
    (tmp_path / "explained.yaml").write_text(explained(config))
    assert load([tmp_path / "resolved.yaml"]) == config
    assert load([tmp_path / "explained.yaml"]) == config


def test_a_prompt_is_read_from_its_file_and_kept_with_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("Plan well.\n")
    file = str(tmp_path / "p.txt")
    listed = {"agent": {"prompts": {"planning": file}}, "rounds": {"scaffold": {"prompts": {"review": [file]}}}}
    (tmp_path / "given.yaml").write_text(yaml.safe_dump(listed))
    config = load([tmp_path / "given.yaml"])
    assert config.agent.prompts["planning"].text == "Plan well." and config.rounds.scaffold.prompts["review"][0].text == "Plan well."
    (tmp_path / "resolved.yaml").write_text(dump(config))
    (tmp_path / "explained.yaml").write_text(explained(config))
    (tmp_path / "p.txt").unlink()
    assert load([tmp_path / "resolved.yaml"]) == config == load([tmp_path / "explained.yaml"])


def test_the_explained_config_says_what_a_key_means_and_what_its_default_was() -> None:
    text = explained(load([], ["rounds.limit=1"]))
    assert "  limit: 1   # default: 2\n" in text


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["sed=1"], "unknown config key 'sed'; did you mean 'seed'?"),
        (["rounds.limit=-1"], r"rounds\.limit: .*greater than or equal to 0 \(got -1\)"),
        (["seed"], "'seed' is no override; write key=value"),
        (["seed=[1"], "the value of 'seed=\\[1' is not valid YAML"),
        (["stages.analysi.rank=4"], "stages.analysi: there is no such stage"),
        (["stages.review.base=small"], "stages.review.base is 'small', which is not one of bases"),
        (["stages.review.rank=64", "serve.max_rank=16"], "serve.max_rank=16 is below a stage's rank 64"),
        (["agent.judged=9", "agent.candidates=4"], "agent.judged=9 exceeds agent.candidates=4"),
        (["agent.candidates=9"], "mining.offered=6 is not agent.candidates=9.*set both alike"),
        (["agent.prompt_style=explained", "teacher.model=m"], "nobody explains: set mining.enrich.explain=true and teacher.model"),
        (["agent.prompt_style=explained", "mining.enrich.explain=true"], "nobody explains: set mining.enrich.explain=true and teacher"),
        (["rounds.fresh_tasks=50", "tasks.train=101"], "fresh_tasks=50 in each of 2 rounds leaves some of tasks.train=101 unused"),
        (["history.practice.repositories=0"], "nothing to mine: give --repo PATH"),
        (["agent.prompts.planning=/no/such", "agent.prompt_style=full"], "cannot read the prompt /no/such"),
        (["agent.prompts.planning={file: x, text: y}", "agent.prompt_style=brief"], "in prompt_style brief a stage's name alone instructs"),
        (["agent.prompts.tasting={file: x, text: y}"], "there is no such stage"),
        (["agent.temperatures.review=1.0"], "temperatures.review: no stage of that name is sampled"),
        (["rounds.scaffold.search=[candidates]"], "'candidates' cannot be searched; what can be is judged, planned"),
        (["serve.port=8265"], "serve.port=8265 is also a port of Ray"),
        (["name=Not Good"], "name: "),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence_with_exit_code_2(overrides: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        load([], overrides)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config .*missing\.yaml"):
        load([tmp_path / "missing.yaml"])
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load([tmp_path / "broken.yaml"])
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(ConfigError, match="holds a list"):
        load([tmp_path / "list.yaml"])


def test_every_key_and_group_says_what_it_means() -> None:
    assert [key for key, described in _fields(ForgeConfig) if not described] == []


def _fields(section: type, prefix: str = "") -> list[tuple[str, bool]]:
    found: list[tuple[str, bool]] = []
    for name, field in section.model_fields.items():  # type: ignore[attr-defined]
        kind = field.annotation
        of_each = [one for one in get_args(kind) if hasattr(one, "model_fields")]
        if of_each or hasattr(kind, "model_fields"):
            group = of_each[0] if of_each else kind
            found += [(prefix + name, bool(field.description or group.__doc__)), *_fields(group, f"{prefix}{name}.")]
        else:
            found.append((prefix + name, bool(field.description)))
    return found


def _leaves(tree: dict[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in tree.items():
        found |= _leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def test_one_cards_configuration_has_the_limits_of_derived_tasks_and_explains_alike_bases_once() -> None:
    rtx = load([next(path for path in CONFIGS if path.name == "rtx.yaml")])
    derived = load([], REAL_REPOSITORIES)
    assert rtx.sandbox.limits == derived.sandbox.limits
    assert (rtx.tasks.new_names, rtx.tasks.max_files) == (derived.tasks.new_names, derived.tasks.max_files)
    assert len(rtx.bases) == 2 and explained(rtx).count("# Context length") == 1
