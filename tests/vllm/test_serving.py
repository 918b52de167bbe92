"""Real Serve, real vLLM, a random base with adapters: what the endpoint promises, end to end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.endpoint.canary import TOLERANCE_FLOAT32, Probe, check
from forge.endpoint.client import EndpointModel
from forge.errors import EndpointError
from forge.records import Message, Symbol
from forge.seams import Sample, SampleRequest
from forge.stages import analysis, planning
from forge.stages.stage import Situation
from serve import app
from tests.vllm.conftest import Served
from tests.vllm.tiny_models import make_adapter

PROMPTS = ("def add(a, b):", "find the bug in this function and repair it", "yes no " * 40)


def asked(served: Served, model_id: str, text: str, **options: Any) -> SampleRequest:
    return SampleRequest(model_id=model_id, prompt_ids=served.prompt(text), **{"max_tokens": 12, **options})


def sampled(served: Served, requests: list[SampleRequest]) -> list[Sample]:
    """All at once, so that base and adapters share engine steps."""

    async def use(model: EndpointModel) -> list[Sample]:
        answers = await asyncio.gather(*(model.sample([request]) for request in requests))
        return [answer[0] for answer in answers]

    samples: list[Sample] = served.ask(use)
    return samples


def reference(served: Served, model_id: str) -> torch.nn.Module:
    model = AutoModelForCausalLM.from_pretrained(served.base, dtype=torch.float32).eval()
    return model if model_id == "main" else PeftModel.from_pretrained(model, served.adapters[model_id]).eval()


def logprobs_after(model: torch.nn.Module, prompt: tuple[int, ...], completion: tuple[int, ...] = ()) -> torch.Tensor:
    """Log-softmax at the prompt's last token and at each token of the completion but its last: (steps, vocabulary)."""
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0]
    return torch.log_softmax(logits[len(prompt) - 1 :], dim=-1)


def test_greedy_answers_of_base_and_adapters_equal_transformers_and_peft(served: Served) -> None:
    names = ["main", *served.adapters]
    requests = [asked(served, name, text) for text in PROMPTS for name in names]
    samples = sampled(served, requests)
    for name in names:
        model = reference(served, name)
        for request, sample in zip(requests, samples, strict=True):
            if request.model_id != name:
                continue
            expected = logprobs_after(model, request.prompt_ids, sample.completion_ids)[: len(sample.completion_ids)]
            assert sample.completion_ids == tuple(expected.argmax(dim=-1).tolist())
            theirs = [float(row[token]) for row, token in zip(expected, sample.completion_ids, strict=True)]
            assert sample.logprobs == pytest.approx(theirs, abs=TOLERANCE_FLOAT32)
    answers = {name: [s.completion_ids for r, s in zip(requests, samples, strict=True) if r.model_id == name] for name in names}
    assert len({str(answer) for answer in answers.values()}) == len(names), "base and adapters answer the same"


def test_the_base_keeps_its_own_answers_while_every_slot_is_taken(served: Served) -> None:
    """vLLM's own CPU kernels give rows without an adapter the last slot's matrices in a mixed step."""
    full = {f"planning@r1-{i}": str(make_adapter(served.folder / f"full-{i}", served.base, seed=100 + i)) for i in range(8)}
    served.set_adapters({**served.adapters, **full})
    alone = sampled(served, [asked(served, "main", text) for text in PROMPTS])
    requests = [asked(served, name, text) for text in PROMPTS for name in ("main", *served.adapters, *full)]
    mixed = [s for r, s in zip(requests, sampled(served, requests), strict=True) if r.model_id == "main"]
    assert [s.completion_ids for s in mixed] == [s.completion_ids for s in alone]
    served.set_adapters(served.adapters)


def test_the_end_token_is_part_of_the_completion(served: Served) -> None:
    request = asked(served, "main", "stop", max_tokens=1, choices=(served.tokenizer.end_id,))
    (sample,) = sampled(served, [request])
    assert sample.completion_ids == (served.tokenizer.end_id,) and sample.finish == "stop"


def test_a_judgement_has_both_exact_logprobs(served: Served) -> None:
    tokenizer = served.tokenizer
    choices = (tokenizer.encode("yes")[0], tokenizer.encode("no")[0])
    model = reference(served, "review@r1-2")
    for text in PROMPTS:
        (sample,) = sampled(served, [asked(served, "review@r1-2", text, max_tokens=1, choices=choices)])
        expected = logprobs_after(model, served.prompt(text))[0]
        assert sample.choice_logprobs == pytest.approx([float(expected[c]) for c in choices], abs=TOLERANCE_FLOAT32)
        assert sample.completion_ids == (choices[0] if expected[choices[0]] > expected[choices[1]] else choices[1],)


def test_an_answer_under_a_grammar_is_one_that_the_parser_takes(served: Served) -> None:
    """A random base says nothing of the kind by itself; the lines hold what grammars have to escape."""
    source = 'def say(name):\n\tquote = "\\\\d\\""\n    return "ü" if name else [1]  # 1 -> 2\n'
    symbols = tuple(Symbol(path="a.py", name=n, signature="s()", source=source, first_line=1, last_line=3) for n in "ab")
    situation = Situation(statement="s", candidates=symbols, symbols=symbols)
    options: dict[str, Any] = {"max_tokens": 200, "temperature": 1.0}
    for stage, style in ((analysis.STAGE, "full"), (planning.STAGE, "brief"), (planning.STAGE, "full")):
        grammar = stage.grammar(situation, style)
        requests = [asked(served, "review@r1-2", text, seed=seed, grammar=grammar, **options) for text in PROMPTS for seed in (1, 2)]
        for sample in sampled(served, [*requests, asked(served, "main", "free", max_tokens=4)])[:-1]:
            assert stage.parse(served.tokenizer.decode(sample.completion_ids), symbols)
            assert len(sample.logprobs) == len(sample.completion_ids)
    with pytest.raises(EndpointError, match="HTTP 400"):
        sampled(served, [asked(served, "main", "x", grammar="root ::= (")])


def test_a_seed_decides_a_sample_and_prompts_of_one_call_have_their_own(served: Served) -> None:
    requests = [asked(served, "generation@r1-1", "def total(values):", temperature=1.0, seed=seed) for seed in (1, 2, 1)]
    first, other, again = served.ask(lambda model: model.sample(requests))
    assert first.completion_ids == again.completion_ids != other.completion_ids
    assert first.logprobs == pytest.approx(again.logprobs, abs=1e-4)


def test_a_seeded_prompt_as_long_as_the_context_does_not_kill_the_engine(served: Served) -> None:
    long = tuple(served.tokenizer.encode("x" * 5000)[:1000])
    requests = [SampleRequest(model_id="main", prompt_ids=long, max_tokens=8, temperature=0.7, seed=i) for i in range(6)]
    assert len(served.ask(lambda model: model.sample(requests))) == 6


def test_the_canary_tells_an_adapter_from_another(served: Served) -> None:
    model = reference(served, "generation@r1-1")
    tokens = tuple(range(10, 26))
    prompts = [served.prompt(text) for text in PROMPTS]
    trained = [tuple(logprobs_after(model, prompt)[0][list(tokens)].tolist()) for prompt in prompts]
    probes = [Probe(prompt_ids=p, token_ids=tokens, logprobs=values) for p, values in zip(prompts, trained, strict=True)]
    right = served.ask(lambda client: check(client, "generation@r1-1", probes))
    wrong = served.ask(lambda client: check(client, "review@r1-2", probes))
    assert right.passed, right
    assert not wrong.passed and wrong.worst > 0.1


def test_an_unknown_version_is_refused_with_the_known_names(served: Served) -> None:
    with pytest.raises(EndpointError, match="there is no model 'generation@r7-none'; known are main, generation@r1-1"):
        sampled(served, [asked(served, "generation@r7-none", "x")])


@pytest.mark.parametrize("body", [b"{", b'{"model": "main"}', b'{"model": "main", "prompts": [[1, 99999]], "max_tokens": 2}'])
def test_a_bad_body_is_the_callers_fault_and_harms_nobody(served: Served, body: bytes) -> None:
    request = urllib.request.Request(f"{served.url}/forge/sample", data=body, method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=60)
    assert refused.value.code == 400 and json.loads(refused.value.read())["error"]["message"]
    assert len(sampled(served, [asked(served, "main", "x")])) == 1


def test_an_openai_client_picks_the_adapter_by_model_name(served: Served) -> None:
    import openai

    client = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0)
    assert {card.id for card in client.models.list().data} == {"main", *served.adapters}
    messages = [{"role": "user", "content": PROMPTS[1]}]
    request = asked(served, "generation@r1-1", PROMPTS[1])
    (sample,) = sampled(served, [request])
    answer = client.chat.completions.create(
        model="generation@r1-1",
        messages=messages,  # type: ignore[arg-type]
        temperature=0.0,
        max_tokens=12,
        extra_body={"return_token_ids": True, "chat_template_kwargs": {"enable_thinking": False}},
    )
    assert tuple(answer.model_dump()["prompt_token_ids"]) == request.prompt_ids
    assert tuple(answer.choices[0].model_dump()["token_ids"]) == sample.completion_ids


def test_prompts_are_tokenized_as_transformers_does(served: Served) -> None:
    theirs = AutoTokenizer.from_pretrained(served.base)
    for text in (*PROMPTS, "übergröße 日本 <|im_end|> \n\t x"):
        messages = [Message(role="system", content="brief"), Message(role="user", content=text)]
        expected = theirs.apply_chat_template(
            [m.model_dump() for m in messages], add_generation_prompt=True, enable_thinking=False, tokenize=True, return_dict=False
        )
        assert served.tokenizer.render(messages) == tuple(expected)


def test_adapters_load_and_unload_under_traffic_without_a_failed_request(served: Served, tmp_path: Path) -> None:
    third = {"planning@r2-3": str(make_adapter(tmp_path / "third", served.base, seed=3))}
    before = replica_pid()

    async def traffic(model: EndpointModel) -> list[Sample]:
        stop = asyncio.Event()
        done: list[Sample] = []

        async def stream(name: str) -> None:
            seed = 0
            while not stop.is_set():
                seed += 1
                done.extend(await model.sample([asked(served, name, PROMPTS[seed % 3], temperature=0.8, seed=seed)]))

        async def change() -> None:
            await asyncio.to_thread(served.set_adapters, {**served.adapters, **third})
            done.extend(await model.sample([asked(served, "planning@r2-3", PROMPTS[0])]))
            await asyncio.to_thread(served.set_adapters, served.adapters)
            stop.set()

        await asyncio.gather(change(), *(stream(name) for name in ("main", *served.adapters) for _ in range(2)))
        return done

    assert len(served.ask(traffic)) > 20
    assert replica_pid() == before, "a change of adapters restarted the replica"
    with pytest.raises(EndpointError, match="there is no model 'planning@r2-3'"):
        sampled(served, [asked(served, "planning@r2-3", "x")])


def test_an_adapter_that_cannot_be_loaded_is_named_and_the_rest_is_served(served: Served, tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="planning@r9-bad"):
        served.set_adapters({**served.adapters, "planning@r9-bad": str(tmp_path / "nowhere")})
    assert len(sampled(served, [asked(served, name, "x") for name in served.adapters])) == len(served.adapters)
    served.set_adapters(served.adapters)


def test_a_name_is_never_served_from_another_folder(served: Served) -> None:
    swapped = dict(zip(served.adapters, reversed(served.adapters.values()), strict=True))
    with pytest.raises(EndpointError, match="names are immutable"):
        served.set_adapters(swapped)
    served.set_adapters(served.adapters)


def test_deploying_what_already_runs_keeps_the_replica(served: Served) -> None:
    before = replica_pid()
    app.deploy(served.config, served.bases, {"main": served.adapters})
    assert app.healthy(served.bases) and replica_pid() == before


def test_a_killed_replica_comes_back_with_its_adapters_and_leaves_no_orphan(served: Served) -> None:
    replica = replica_pid()
    family = [replica, *(child.pid for child in psutil.Process(replica).children(recursive=True))]
    request = asked(served, "generation@r1-1", PROMPTS[0])
    (before,) = sampled(served, [request])
    os.kill(replica, signal.SIGKILL)
    (after,) = sampled(served, [request])
    assert after.completion_ids == before.completion_ids
    assert replica_pid() != replica
    assert gone_within(30.0, family) == []


def test_a_replica_exits_when_its_engine_is_dead() -> None:
    code = (
        "import asyncio, types; from serve.replica import Replica\n"
        "replica = types.SimpleNamespace(_server=types.SimpleNamespace(engine=types.SimpleNamespace(errored=True)))\n"
        "asyncio.run(Replica.func_or_class._exit_when_the_engine_dies(replica))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 1


def gone_within(seconds: float, pids: list[int]) -> list[int]:
    """Those of `pids` that still run after that long."""
    deadline = time.monotonic() + seconds
    while (left := [p for p in pids if psutil.pid_exists(p) and psutil.Process(p).status() != psutil.STATUS_ZOMBIE]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.5)
    return left


def replica_pid() -> int:
    from ray import serve

    pid: int = serve.get_app_handle(app.application_name("main")).pid.remote().result(timeout_s=120)
    return pid
