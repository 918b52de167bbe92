"""How many replicas a base has, what a new one does before it answers, and from which weights it is served. No Ray, no vLLM."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from forge.config import ReplicasConfig, ServeConfig, load
from forge.endpoint import canary
from forge.errors import ConfigError, EndpointError, EnvironmentLackError
from forge.fakes.engine import FakeServer, StartFake
from jobs.serving.canary import tolerance_of
from serve.engine import engine_argv, engine_env
from serve.following import take_on
from serve.front import Front
from serve.names import Names, Version
from serve.quantised import method_of, require_kernel
from serve.scaling import scaling
from tests.unit.test_llama_files import ref

ID, PATH = "generation@r2-bbbb", "/store/generation/r2-bbbb"
BASE = {"model_type": "qwen3", "vocab_size": 100, "hidden_size": 8, "num_hidden_layers": 2}


def names(path: str = PATH, **changes: object) -> Names:
    versions = {ID: Version(stage="generation", base="main", path=path, round=2)}
    made = {"own": "main", "bases": {"main": "http://one"}, "versions": versions, "promoted": {"generation": ID}, "adapters": {ID: path}}
    return Names.model_validate(made | changes)


def front_of(server: FakeServer) -> Front:
    async def elsewhere(*_: object) -> None:
        raise AssertionError("there is no other base")

    return Front(
        server.app, ServeConfig(), load=server.adapters.load, ready=lambda: "", forward=elsewhere, watch=lambda **_: None
    )  # fmt: skip


async def status_of(front: Front) -> int:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(front), base_url="http://front") as client:
        return (await client.post("/v1/completions", json={"model": "generation", "prompt": "x"})).status_code


def test_a_number_of_replicas_is_fixed_and_bounds_are_scaled_between() -> None:
    assert scaling(load([]).serve.replicas) == {}, "one replica is deployed as ever"
    assert scaling(load([], ["serve.replicas=3"]).serve.replicas) == {"num_replicas": 3}
    bounds = load([], ["serve.replicas={min: 2, max: 5}", "serve.replicas.requests_each=8"]).serve.replicas
    assert scaling(bounds)["autoscaling_config"] == {
        "min_replicas": 2, "max_replicas": 5, "target_ongoing_requests": 8.0,
    }  # fmt: skip
    assert ServeConfig.model_validate(ServeConfig(replicas=bounds).model_dump(mode="json")).replicas == bounds
    assert ReplicasConfig(max=2).several and not ReplicasConfig().several


def test_a_promoted_name_holds_in_a_new_replica_only_when_its_adapter_is_loaded() -> None:
    async def use() -> None:
        server = await StartFake(load_s=0.05)()
        front = front_of(server)
        beginning = asyncio.create_task(take_on(server, front, names(), (), whole=True))
        await asyncio.sleep(0)
        assert await status_of(front) == 404 and not server.adapters.loaded
        await beginning
        assert server.adapters.serves(ID, PATH) and await status_of(front) == 200

    asyncio.run(use())


def test_one_of_several_replicas_does_not_begin_without_an_adapter_that_is_promoted_and_a_single_one_says_what_lacks() -> None:
    async def use() -> None:
        server = await StartFake()()
        front = front_of(server)
        with pytest.raises(EndpointError, match=r"would begin without generation@r2-bbbb: no adapter_config\.json"):
            await take_on(server, front, names("/store/broken"), (), whole=True)
        assert await status_of(front) == 404, "no name holds yet"
        await take_on(server, front, names("/store/broken"), ())
        assert list(server.adapters.problems) == [ID] and await status_of(front) == 503

    asyncio.run(use())


def test_a_replica_of_a_lent_card_gives_it_back_after_its_names_hold() -> None:
    async def use() -> None:
        server = await StartFake()()
        front = front_of(server)
        await take_on(server, front, names(asleep=True), ())
        assert server.asleep and not server.adapters.loaded and front.names.asleep

    asyncio.run(use())


def test_replicas_that_cannot_be_are_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigError, match="max=1 is below min=2"):
        load([], ["serve.replicas={min: 2, max: 1}"])
    with pytest.raises(ConfigError, match="take turns on one card; give serving cards of its own"):
        load([], ["serve.replicas=2", "serve.gpus=0.5", "training.gpus=0.5"])


def _folder(tmp_path: Path, name: str, **config: object) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(BASE | config))
    return folder


def test_a_base_is_served_from_its_awq_weights_with_its_own_tokenizer(tmp_path: Path) -> None:
    own, awq = _folder(tmp_path, "own"), _folder(tmp_path, "awq", quantization_config={"quant_method": "awq", "bits": 4})
    config = load([], ["serve.gpus=1", "serve.engine=vllm", f"bases.main.model={own}", f"bases.main.served_weights={awq}"])
    argv = engine_argv("main", own, config.bases["main"], config.serve)
    told = dict(pairwise(argv))
    assert (told["--model"], told["--tokenizer"], told["--served-model-name"]) == (str(awq), str(own), "main")
    assert "--enable-lora" in argv and "--quantization" not in argv, "the weights' own config.json says how they are quantised"
    assert method_of(str(awq), own) == "awq"
    plain = engine_argv("main", own, config.bases["main"].model_copy(update={"served_weights": ""}), config.serve)
    assert "--tokenizer" not in plain and plain[plain.index("--model") + 1] == str(own)


def test_weights_trained_in_4_bit_are_not_quantised_a_second_time(tmp_path: Path) -> None:
    base = load([], ["serve.gpus=1", "bases.main.load_in_4bit=true", f"bases.main.served_weights={tmp_path}"]).bases["main"]
    assert "bitsandbytes" not in engine_argv("main", tmp_path, base, ServeConfig(gpus=1))
    assert "bitsandbytes" in engine_argv("main", tmp_path, base.model_copy(update={"served_weights": ""}), ServeConfig(gpus=1))


def test_weights_from_the_hub_are_fetched_and_those_of_a_folder_are_not(tmp_path: Path) -> None:
    assert "HF_HUB_OFFLINE" in engine_env(ServeConfig(gpus=1), tmp_path)
    assert "HF_HUB_OFFLINE" not in engine_env(ServeConfig(gpus=1), "someone/base-awq")
    assert method_of("someone/base-awq", tmp_path) == ""
    assert load([], ["serve.gpus=1", "bases.main.served_weights=someone/base-awq"]).bases["main"].served_weights == "someone/base-awq"


def test_weights_that_are_not_quantised_or_of_another_base_are_refused(tmp_path: Path) -> None:
    own, other = _folder(tmp_path, "own"), _folder(tmp_path, "other", hidden_size=16, quantization_config={"quant_method": "awq"})
    with pytest.raises(ConfigError, match="is not quantised"):
        method_of(str(own), own)
    with pytest.raises(ConfigError, match=r"is another base than .*own: hidden_size is 16, not 8"):
        method_of(str(other), own)
    with pytest.raises(ConfigError, match=r"served_weights is for vLLM, not for serve.engine=llama, which has serve.gguf_weights"):
        load([], [f"bases.main.served_weights={other}", "serve.engine=llama"])


def test_weights_of_4_bits_on_a_cpu_without_their_kernel_are_refused_before_an_engine_starts(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("flags\t\t: fpu avx2 avx512f\n")
    new.write_text("model name\t: x\nflags\t\t: fpu avx512f avx512dq avx512bw avx512vl\n")
    with pytest.raises(EnvironmentLackError, match="reads awq weights on CPUs with AVX-512 alone, and this one has no avx512dq, avx512bw"):
        require_kernel("awq", old)
    for method, cpuinfo in (("awq", new), ("awq", tmp_path / "none"), ("", old)):
        require_kernel(method, cpuinfo)


def test_without_a_card_quantised_weights_are_served_in_their_own_16_bits_and_others_in_float32(tmp_path: Path) -> None:
    base = load([], [f"bases.main.served_weights={tmp_path}"]).bases["main"]
    assert dict(pairwise(engine_argv("main", tmp_path, base, ServeConfig())))["--dtype"] == "auto"
    plain = base.model_copy(update={"served_weights": ""})
    assert dict(pairwise(engine_argv("main", tmp_path, plain, ServeConfig())))["--dtype"] == "float32"


def test_the_canary_allows_for_4_bits_where_such_weights_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.serving.canary.pick", lambda _: "vllm")  # what is installed here has no seam
    served = ["serve.gpus=1", "bases.main.served_weights=someone/base-awq"]
    assert tolerance_of(load([], served), ref()) == canary.TOLERANCE_AWQ > tolerance_of(load([], served[:1]), ref())
