"""`forge evaluate`'s job, end to end: a small endpoint that is right about some problems, real boxes, and the same command again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from forge import config as configuration
from forge.config import ForgeConfig
from forge.errors import EnvironmentLackError
from jobs import evaluate
from sandboxes.pick import pick
from tests import suite_rows
from tests.chat_endpoint import Endpoint, chat_endpoint

RIGHT = 3
"""Of six problems, those that the endpoint solves."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    if (choice := pick()).trusted_only:
        pytest.skip(f"code that a model wrote needs a stronger sandbox: {choice.why}")
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 2**20, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [
        suite_rows.humaneval(task_id=f"HumanEval/{n}", prompt=suite_rows.humaneval()["prompt"].replace("The sum", f"Number {n}: the sum"))
        for n in range(6)
    ]
    rows[5]["canonical_solution"] = "    return None\n"
    (folder / "humaneval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "crosscodeeval.jsonl").write_text(json.dumps(suite_rows.crosscodeeval()) + "\n")
    return folder


def says(asked: str) -> str:
    if "def price" in asked:
        return suite_rows.RIGHT["crosscodeeval"]
    return suite_rows.RIGHT["humaneval"] if any(f"Number {n}:" in asked for n in range(RIGHT)) else suite_rows.WRONG["humaneval"]


def config_of(tmp_path: Path, data: Path, endpoint: Endpoint, *overrides: str) -> ForgeConfig:
    own = [
        "evaluation.suites=[humaneval, crosscodeeval]",
        f"evaluation.data={data}",
        f"evaluation.out={tmp_path / 'out'}",
        f"evaluation.url={endpoint.url}",
        "evaluation.model=small",
        "evaluation.workers=1",
        "evaluation.retries=0",
    ]
    return configuration.load([], [*own, *overrides])


def test_right_answers_are_counted_losses_are_masked_and_the_next_run_goes_on(
    cluster: None, tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with chat_endpoint(says) as endpoint:
        config = config_of(tmp_path, data, endpoint)
        evaluate.check(config, local_ray=False)
        endpoint.bodies.clear()
        endpoint.failing.append((503, {}))
        first, text = evaluate.run(config)
        assert (first.problems, first.samples, sum(first.masked.values())) == (5, 4, 1)
        assert list(first.unproven.values()) == [1] and "does not pass here" in next(iter(first.unproven))
        assert text.measures["em"].value == text.measures["id_f1"].value == 1.0
        asked = len(endpoint.bodies)
        assert asked == 6 and {body["model"] for body in endpoint.bodies} == {"small"}
        second, _ = evaluate.run(config)
        assert len(endpoint.bodies) == asked + 1, "only what was lost is asked again"
    assert (second.measures["pass@1"].value, second.measures["pass@1"].problems, second.masked) == (RIGHT / 5, 5, {})
    result = json.loads((tmp_path / "out/humaneval/result.json").read_text())
    assert result["measures"]["pass@1"]["value"] == RIGHT / 5
    completions = [json.loads(line) for line in (tmp_path / "out/humaneval/completions.jsonl").read_text().splitlines()]
    assert [line["task_id"] for line in completions] == [f"HumanEval/{n}" for n in range(5)]
    shown = capsys.readouterr().out
    assert "pass@1" in shown and "60.0%" in shown and "left out: its own solution does not pass here" in shown and "masked:" in shown


def test_several_samples_have_seeds_of_their_own_and_more_of_them_ask_only_for_the_rest(cluster: None, tmp_path: Path, data: Path) -> None:
    with chat_endpoint(says) as endpoint:
        sampled = ("evaluation.suites=[humaneval]", "evaluation.temperature=0.8", "evaluation.limit=2")
        evaluate.run(config_of(tmp_path, data, endpoint, *sampled, "evaluation.samples=2"))
        assert len(endpoint.bodies) == 4 and len({body["seed"] for body in endpoint.bodies}) == 2
        (result,) = evaluate.run(config_of(tmp_path, data, endpoint, *sampled, "evaluation.samples=5"))
    assert len(endpoint.bodies) == 10 and result.measures["pass@5"].value == 1.0


def test_an_endpoint_that_knows_no_such_model_is_said_before_anything_starts(tmp_path: Path, data: Path) -> None:
    with chat_endpoint(says) as endpoint:
        endpoint.failing += [(404, {})] * 2
        with pytest.raises(EnvironmentLackError, match=r"small at .* gave no answer: .*--model"):
            evaluate.check(config_of(tmp_path, data, endpoint), local_ray=False)
