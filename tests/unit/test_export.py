"""What exports write, read back: tensors bit by bit, logits worked out anew from the file alone, marks, templates, launch lines."""

from __future__ import annotations

import copy
import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gguf
import jinja2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge import nano
from forge.errors import BaseModelError, ExportError
from forge.export import tokenizer
from forge.export.architecture import architecture_of, check_tensors, read_config
from forge.export.chat import frames_of, rendered, template_of
from forge.export.formats import FORMATS, export
from forge.export.lora import Adapter, relative_change
from forge.export.request import Request
from forge.export.tensors import Tensors, narrowed, widened
from forge.export.tensors import write as write_tensors
from forge.records import AdapterRef
from forge.training.base import refuse_unless_base
from tests.gguf_model import GgufModel, read, stored
from tests.small_models import adapter_ref, make_adapter, make_base

ADAPTERS: dict[str, dict[str, Any]] = {
    "generation": {"rank": 8},
    "planning": {"rank": 6, "use_rslora": True},
    "review": {"rank": 8, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"down_proj": 40}},
}
"""Plain LoRA, rank-stabilised LoRA, and ranks and alphas that differ from layer to layer."""
PROMPT = "def total(values):\n    result = 0\n    for value in values:\n"


class Made:
    """A base, three adapters, and each format written once when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = make_base(root / "base")
        self.refs = {
            stage: adapter_ref(stage, make_adapter(root / stage, self.base, seed=seed, **options), self.base)
            for seed, (stage, options) in enumerate(ADAPTERS.items())
        }
        self.loaded = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        self.tokenizer = AutoTokenizer.from_pretrained(self.base)
        self.ids: list[int] = self.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]

    def write(self, name: str, bits: str = "f16") -> Path:
        out = self.root / f"{name}-{bits}"
        if not out.exists():
            export(FORMATS[name], Request(tuple(self.refs.values()), self.base, "Qwen/Qwen3-0.1B", bits, 256), out)
        return out

    def model(self, stage: str | None = None) -> Any:
        model = copy.deepcopy(self.loaded)
        return (PeftModel.from_pretrained(model, self.refs[stage].path) if stage else model).eval()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("made"))


def logits(model: Any, ids: list[int]) -> Any:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids])).logits[0].numpy()


def modules(adapter: Path) -> dict[str, Any]:
    return load_file(adapter / "adapter_model.safetensors")


# Tensors


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**126), max_value=2.0**126), min_size=1))
def test_bfloat16_is_rounded_and_read_as_torch_does(values: list[float]) -> None:
    floats = np.array(values, np.float32)
    as_torch = torch.from_numpy(floats).to(torch.bfloat16)
    assert np.array_equal(narrowed(floats, "BF16").view(np.int16), as_torch.view(torch.int16).numpy())
    assert np.array_equal(widened(narrowed(floats, "BF16"), "BF16"), as_torch.float().numpy())


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_a_written_file_is_read_by_safetensors_and_by_us(dtype: str, tmp_path: Path) -> None:
    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3) / 4, "a": np.array([1.5, -2], np.float32)}
    write_tensors(
        tmp_path / "x.safetensors", tensors, lambda name: tensors[name].shape, lambda name: tensors[name], dtype, {"format": "pt"}
    )
    ours = Tensors([tmp_path / "x.safetensors"])
    for name, other in load_file(tmp_path / "x.safetensors").items():
        assert np.array_equal(other.float().numpy(), tensors[name])
        assert np.array_equal(ours.read(name), tensors[name])


def test_a_weight_that_sixteen_bits_cannot_hold_is_refused() -> None:
    with pytest.raises(ExportError, match="1e\\+05 is no F16 number"):
        narrowed(np.array([1e5], np.float32), "F16")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "ends before its header"), (b"\xff" * 16, "ends before its header"), (b"\x02" + b"\0" * 7 + b"{x.", "no readable")],
)
def test_what_is_no_safetensors_file_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(ExportError, match=reason):
        Tensors([tmp_path / "x.safetensors"])


def test_quantised_weights_are_no_weights_to_export(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2, dtype=torch.uint8)}, tmp_path / "x.safetensors")
    with pytest.raises(ExportError, match=r"stores x as U8; exports need plain weights.*--base"):
        Tensors([tmp_path / "x.safetensors"])


def test_a_file_that_was_cut_short_is_refused(made: Made, tmp_path: Path) -> None:
    whole = (made.base / "model.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ExportError, match="ends before its tensor"):
        Tensors([tmp_path / "x.safetensors"])


# Architectures

SMALL = {
    "model_type": "qwen3",
    "num_hidden_layers": 1,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "max_position_embeddings": 16,
    "vocab_size": 4,
}


def test_the_rotary_base_is_found_where_older_and_newer_configs_have_it() -> None:
    for theta in ({"rope_theta": 1e6, "rope_scaling": None}, {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}):
        assert architecture_of(SMALL | theta).theta == 1e6
    assert architecture_of(SMALL).theta == 1e4
    assert architecture_of(SMALL).head == 128


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "llama"}, "the base is a llama; GGUF files can be written of dense Qwen3"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rotary scaling 'yarn'"),
        ({"use_sliding_window": True}, "a sliding window"),
        ({"attention_bias": True}, "biases in its attention"),
        ({"hidden_act": "gelu"}, "the activation gelu"),
    ],
)
def test_another_architecture_is_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        architecture_of(SMALL | change)


def test_missing_and_foreign_tensors_are_named(made: Made) -> None:
    shape, names = architecture_of(read_config(made.base)), set(load_file(made.base / "model.safetensors"))
    check_tensors(names | {"lm_head.weight"}, shape)
    with pytest.raises(ExportError, match=r"lacks the tensor model\.norm\.weight"):
        check_tensors(names - {"model.norm.weight"}, shape)
    with pytest.raises(ExportError, match=r"has, beside those of a Qwen3, the tensor model\.x"):
        check_tensors(names | {"model.x"}, shape)
    with pytest.raises(ExportError, match=r"lacks the tensor lm_head\.weight"):
        check_tensors(names, shape._replace(tied=False))


# GGUF


@pytest.mark.parametrize("stage", ADAPTERS)
def test_a_gguf_model_with_its_adapter_gives_the_logits_of_peft(stage: str, made: Made) -> None:
    served = made.write("llama-server")
    # The same rounding to 16 bits on both sides, so that what is left is float32 arithmetic.
    model = made.model(stage)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "lora_" not in name:
                weight.copy_(weight.half().float())
    found = GgufModel(served / "base.gguf", served / f"{stage}.adapter.gguf").logits(made.ids)
    assert np.abs(found - logits(model, made.ids)).max() < 2e-5


@pytest.mark.parametrize("stage", ADAPTERS)
def test_merged_gguf_weights_are_those_of_peft_in_sixteen_bits(stage: str, made: Made) -> None:
    merged = made.model(stage).merge_and_unload()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 3)
    found = stored(made.write("gguf") / f"{stage}.gguf")
    for name, weight in merged.state_dict().items():
        if name == "lm_head.weight":
            continue
        kind, data = found[f"{names.get_name(name.removesuffix('.weight'))}.weight"]
        assert kind == ("F32" if weight.ndim == 1 else "F16")
        # Sums of a product in another order may round one place differently.
        np.testing.assert_allclose(data.astype(np.float32), weight.numpy(), rtol=1e-3, atol=1e-6)
    assert np.abs(GgufModel(made.write("gguf") / f"{stage}.gguf").logits(made.ids) - logits(merged, made.ids)).max() < 0.02


def test_base_weights_and_adapter_matrices_are_written_bit_by_bit(made: Made) -> None:
    served, names = made.write("llama-server"), gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, 3)
    base = stored(served / "base.gguf")
    for name, weight in load_file(made.base / "model.safetensors").items():
        _, data = base.pop(f"{names.get_name(name.removesuffix('.weight'))}.weight")
        assert np.array_equal(data, weight.numpy() if weight.ndim == 1 else weight.half().numpy())
    assert base == {}
    for stage in ("generation", "planning"):
        found = stored(served / f"{stage}.adapter.gguf")
        for name, matrix in modules(Path(made.refs[stage].path)).items():
            module, _, which = name.removeprefix("base_model.model.").removesuffix(".weight").rpartition(".")
            kind, data = found.pop(f"{names.get_name(module)}.weight.{which.lower()}")
            assert kind == "F32"
            assert np.array_equal(data, matrix.numpy())
        assert found == {}


def test_an_adapter_file_says_what_it_is(made: Made) -> None:
    fields, _ = read(made.write("gguf-adapter") / "planning.adapter.gguf")
    assert (fields["general.type"], fields["adapter.type"], fields["general.architecture"]) == ("adapter", "lora", "qwen3")
    assert fields["adapter.lora.alpha"] == pytest.approx(12 * 6**0.5)
    assert fields["general.name"] == made.refs["planning"].model_id
    assert fields["forge.base_sha256"] == made.refs["planning"].base_sha256


def test_a_model_file_carries_shape_vocabulary_and_template(made: Made) -> None:
    fields, tensors = read(made.write("gguf") / "generation.gguf")
    config = json.loads((made.base / "config.json").read_text())
    shape = {
        "block_count": 3,
        "context_length": 512,
        "embedding_length": 64,
        "feed_forward_length": 160,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 32,
        "attention.value_length": 32,
        "rope.freq_base": 1e6,
        "attention.layer_norm_rms_epsilon": pytest.approx(1e-5),
        "vocab_size": config["vocab_size"],
    }
    assert {key: fields[f"qwen3.{key}"] for key in shape} == shape
    assert "output.weight" not in tensors
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "qwen2")
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.ggml.eos_token_id"] == made.tokenizer.eos_token_id
    assert fields["tokenizer.ggml.padding_token_id"] == made.tokenizer.pad_token_id
    assert fields["tokenizer.chat_template"] == made.tokenizer.chat_template
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert {token: number for number, token in enumerate(tokens[: len(made.tokenizer)])} == made.tokenizer.get_vocab()
    assert tokens[len(made.tokenizer) :] == [f"[PAD{number}]" for number in range(len(made.tokenizer), config["vocab_size"])]
    named = dict(zip(tokens, kinds, strict=True))
    assert [named[token] for token in ("<|im_end|>", "<think>", "def", tokens[-1])] == [3, 4, 1, 5]
    merges = json.loads((made.base / "tokenizer.json").read_text())["model"]["merges"]
    assert fields["tokenizer.ggml.merges"] == [" ".join(merge) for merge in merges]


def test_an_output_layer_of_its_own_is_written(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", tied=False)
    ref = adapter_ref("generation", make_adapter(tmp_path / "a", base, seed=1), base)
    export(FORMATS["gguf"], Request((ref,), base, "b"), tmp_path / "out")
    _, tensors = read(tmp_path / "out" / "generation.gguf")
    assert np.array_equal(tensors["output.weight"], load_file(base / "model.safetensors")["lm_head.weight"].half().float().numpy())


def test_eight_bits_are_within_half_a_step_of_the_weight(made: Made) -> None:
    whole, small = (read(made.write("gguf", bits) / "generation.gguf")[1] for bits in ("f16", "q8_0"))
    kinds = {name: kind for name, (kind, _) in stored(made.write("gguf", "q8_0") / "generation.gguf").items()}
    for name, weight in whole.items():
        assert kinds[name] == ("F32" if weight.ndim == 1 else "Q8_0")
        if weight.ndim == 2:
            blocks = weight.reshape(-1, 32)
            step = np.abs(blocks).max(axis=1, keepdims=True) / 127
            assert (np.abs(small[name].reshape(-1, 32) - blocks) <= 0.51 * step + 1e-3 * np.abs(blocks) + 1e-6).all()


# Tokenizers


def test_the_nano_base_cannot_be_a_gguf_and_the_reason_is_said(made: Made, tmp_path: Path) -> None:
    ref = made.refs["generation"].model_copy(update={"base": "nano"})
    for name in ("gguf", "gguf-adapter", "ollama", "llama-server"):
        with pytest.raises(ExportError, match=r"pattern of its own.*Qwen2/Qwen3 or GPT-2\. Take --to peft"):
            export(FORMATS[name], Request((ref,), nano.WEIGHTS, "nano"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def byte_level(**changes: Any) -> dict[str, Any]:
    content = {
        "model": {"type": "BPE", "vocab": {}, "merges": []},
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
    }
    return content | changes


def split(pattern: str, **changes: Any) -> dict[str, Any]:
    first = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False} | changes
    return {"type": "Sequence", "pretokenizers": [first, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}


def test_known_splitting_patterns_have_names() -> None:
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    assert tokenizer.QWEN2 == PRETOKENIZE_REGEX
    assert tokenizer.split_name(byte_level()) == "gpt-2"
    assert tokenizer.split_name(byte_level(pre_tokenizer=split(tokenizer.QWEN2), normalizer={"type": "NFC"})) == "qwen2"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pre_tokenizer": split(r"\w+")}, "pattern of its own"),
        ({"pre_tokenizer": split(tokenizer.QWEN2, behavior="Removed")}, "pattern of its own"),
        ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}}, "pattern of its own"),
        ({"pre_tokenizer": None}, "pattern of its own"),
        ({"model": {"type": "Unigram"}}, "its model is Unigram"),
        ({"model": {"type": "BPE", "ignore_merges": True}}, "sets ignore_merges"),
        ({"normalizer": {"type": "NFKC"}}, "normalises text by NFKC"),
        ({"post_processor": {"special_tokens": {"<s>": {}}}}, "puts tokens around"),
        ({"added_tokens": [{"content": "<x>", "rstrip": True}]}, "<x> takes the space"),
    ],
)
def test_a_tokenizer_that_llama_cpp_cannot_say_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        tokenizer.split_name(byte_level(**changes))


# Merged


@pytest.mark.parametrize("stage", ADAPTERS)
def test_merged_weights_load_and_are_those_of_peft(stage: str, made: Made) -> None:
    merged = made.model(stage).merge_and_unload()
    loaded = AutoModelForCausalLM.from_pretrained(made.write("merged") / stage).eval()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], weight, rtol=1e-5, atol=1e-6)
    assert np.abs(logits(loaded, made.ids) - logits(merged, made.ids)).max() < 1e-4


def test_merged_weights_are_stored_as_the_base_is_run(made: Made, tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", dtype=torch.bfloat16)
    ref = adapter_ref("generation", make_adapter(tmp_path / "a", base, seed=1), base)
    export(FORMATS["merged"], Request((ref,), base, "b"), tmp_path / "out")
    weights = load_file(tmp_path / "out" / "generation" / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    pair = Adapter(tmp_path / "a").pairs["model.layers.0.mlp.up_proj"]
    before = load_file(base / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(weights[name], (before[name].float() + torch.from_numpy(pair.delta())).to(torch.bfloat16))
    assert torch.equal(weights["model.norm.weight"], before["model.norm.weight"])


def test_a_base_in_several_files_is_merged_into_as_many(made: Made, tmp_path: Path) -> None:
    base = tmp_path / "base"
    shutil.copytree(made.base, base)
    (base / "model.safetensors").unlink()
    made.loaded.save_pretrained(base, max_shard_size="200KB")
    assert len(list(base.glob("*.safetensors"))) > 1
    ref = made.refs["generation"].model_copy(update={"base_sha256": "of several files"})
    export(FORMATS["merged"], Request((ref,), base, "b"), tmp_path / "out")
    one, other = (AutoModelForCausalLM.from_pretrained(made.write("merged") / "generation"), tmp_path / "out" / "generation")
    for name, weight in AutoModelForCausalLM.from_pretrained(other).state_dict().items():
        assert torch.equal(weight, one.state_dict()[name])


@pytest.mark.parametrize("kept", ["all", "folder", "config", "weights"])
def test_training_refuses_what_was_merged_by_each_of_its_marks(kept: str, made: Made, tmp_path: Path) -> None:
    merged, copy = made.write("merged") / "generation", tmp_path / "copy"
    copy.mkdir()
    for file in merged.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    if kept in ("config", "weights"):
        (copy / "merged.json").unlink()
    if kept in ("folder", "weights"):
        (copy / "config.json").write_bytes((made.base / "config.json").read_bytes())
    with pytest.raises(BaseModelError, match="merged export, not a base"):
        refuse_unless_base(copy)


# Chat templates and Ollama

TURNS = [("system", "You judge."), ("user", "Is it\nso?"), ("assistant", "yes"), ("user", "{{ .Sure }}?")]


def test_an_ollama_template_says_what_the_base_does(made: Made) -> None:
    file = (made.write("ollama") / "generation.Modelfile").read_text()
    text = re.search(r'TEMPLATE """(.*?)"""', file, re.S)
    assert text is not None
    as_jinja = text[1].replace("{{ if .System }}", "{% if system %}").replace("{{ range .Messages }}", "{% for m in messages %}")
    as_jinja = re.sub(r'{{ (else )?if eq \.Role "(\w+)" }}', r'{% \1if m.role == "\2" %}', as_jinja).replace("{% else if", "{% elif")
    # The four `end`s close, in order: system, the choice of role, the loop.
    for closing in ("{% endif %}", "{% endif %}", "{% endfor %}"):
        as_jinja = as_jinja.replace("{{ end }}", closing, 1)
    template = jinja2.Template(as_jinja.replace(".System", "system").replace(".Content", "m.content"), keep_trailing_newline=True)
    for turns in (TURNS, TURNS[1:], TURNS[1:2]):
        messages = [{"role": role, "content": content} for role, content in turns]
        system = next((content for role, content in turns if role == "system"), "")
        wanted = made.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, enable_thinking=False)
        assert template.render(system=system, messages=messages) == wanted == frames_of(template_of(made.base)).text(turns)


def test_a_modelfile_has_the_parameters_of_the_base(made: Made) -> None:
    lines = (made.write("ollama") / "generation.Modelfile").read_text().splitlines()
    assert "FROM ./generation.gguf" in lines
    assert [line.removeprefix("PARAMETER ") for line in lines if line.startswith("PARAMETER")] == [
        "temperature 0.7",
        "repeat_penalty 1.0",
        "top_p 0.8",
        "top_k 20",
        "num_ctx 256",
        'stop "<|im_end|>"',
        'stop "<|endoftext|>"',
    ]


def test_each_stage_becomes_an_ollama_model(made: Made, tmp_path: Path) -> None:
    assert started(made.write("ollama") / "create.sh", "ollama", tmp_path) == [
        ["create", f"forge:{stage}", "-f", f"{stage}.Modelfile"] for stage in ADAPTERS
    ]


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{% if loop.first and m.role != 'system' %}<s>help{% endif %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}",
        "{{ messages | length }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    ],
)
def test_a_template_that_does_more_than_frame_messages_has_no_ollama_form(template: str) -> None:
    with pytest.raises(ExportError, match="does more than put a text around each message"):
        frames_of(template)


def test_a_template_that_fails_is_one_sentence() -> None:
    with pytest.raises(ExportError, match="fails on a plain conversation: no system"):
        rendered("{{ raise_exception('no system') }}", [("user", "x")])


# Servers


def started(script: Path, program: str, folder: Path) -> list[list[str]]:
    """Arguments of each start of a program by a script, which is run with a stand-in for it."""
    stand_in = folder / program
    stand_in.write_text('#!/bin/sh\nfor word in "$@"; do printf "%s\\037" "$word"; done; printf "\\n"\n')
    stand_in.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    result = subprocess.run([str(script)], env=environment, cwd="/", capture_output=True, text=True, check=True)
    return [line.split("\x1f")[:-1] for line in result.stdout.splitlines()]


def asked(readme: Path) -> list[dict[str, Any]]:
    """Bodies of the requests that a README shows."""
    return [json.loads(shlex.split(line)[-1]) for line in readme.read_text().splitlines() if line.startswith("curl ")]


PROGRAMS = {
    "llama-server": "llama-server",
    "vllm": "vllm",
    "sglang": "python",
    "lorax": "lorax-launcher",
    "tgi": "text-generation-launcher",
}
NAMED = [f"{stage}=./{stage}" for stage in ADAPTERS]
OPTIONS = {
    "llama-server": ["--lora", ",".join(f"{stage}.adapter.gguf" for stage in ADAPTERS), "--lora-init-without-apply"],
    "vllm": ["--lora-modules", *NAMED],
    "sglang": ["--lora-paths", *NAMED],
    "lorax": ["--adapter-source", "local"],
    "tgi": ["--lora-adapters", ",".join(NAMED)],
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_launch_script_starts_its_server_with_every_adapter(name: str, made: Made, tmp_path: Path) -> None:
    out = made.write(name)
    (words,) = started(out / "serve.sh", PROGRAMS[name], tmp_path)
    place = words.index(OPTIONS[name][0])
    assert words[place : place + len(OPTIONS[name])] == OPTIONS[name]
    assert "127.0.0.1" in words
    assert ("base.gguf" if name == "llama-server" else "Qwen/Qwen3-0.1B") in words
    for option in (word for word in words if word.startswith("./") or word.endswith(".gguf")):
        assert all((out / part).exists() for part in option.split(","))


def test_requests_pick_an_adapter_as_each_server_wants_it(made: Made) -> None:
    bodies = {name: asked(made.write(name) / "README.md") for name in PROGRAMS}
    assert [body["lora"] for body in bodies["llama-server"]] == [[{"id": number, "scale": 1.0}] for number in range(3)]
    assert [body["model"] for body in bodies["vllm"]] == list(ADAPTERS)
    assert [body["model"] for body in bodies["sglang"]] == [f"base:{stage}" for stage in ADAPTERS]
    assert [body["parameters"]["adapter_id"] for body in bodies["tgi"]] == list(ADAPTERS)
    assert [body["parameters"]["adapter_id"] for body in bodies["lorax"]] == [f"./{stage}" for stage in ADAPTERS]
    assert all(body["inputs"].endswith("<think>\n\n</think>\n\n") for body in bodies["tgi"])


def test_a_peft_folder_names_the_base_and_not_where_it_lay(made: Made) -> None:
    folder = made.write("peft") / "review"
    assert json.loads((folder / "adapter_config.json").read_text())["base_model_name_or_path"] == "Qwen/Qwen3-0.1B"
    assert (folder / "adapter_model.safetensors").read_bytes() == Path(made.refs["review"].path, "adapter_model.safetensors").read_bytes()


def test_every_export_says_what_it_is_made_of(made: Made) -> None:
    for name in FORMATS:
        out = made.write(name)
        record = json.loads((out / "export.json").read_text())
        assert record["format"] == name
        assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {*record["files"], "export.json"}
        refs = [AdapterRef.model_validate(entry) for entry in record["adapters"]]
        assert [ref.model_id for ref in refs] == [ref.model_id for ref in made.refs.values()]
        text = (out / "README.md").read_text()
        assert all(ref.version in text for ref in refs)
        assert "`review` answers yes or no" in text


# Comparing


def test_the_change_of_weights_is_that_of_the_full_products(made: Made) -> None:
    one, other = (Adapter(Path(made.refs[stage].path)) for stage in ("generation", "review"))
    before, after = ({name: pair.delta() for name, pair in adapter.pairs.items()} for adapter in (one, other))
    difference = sum(float(np.square(after[name] - before[name], dtype=np.float64).sum()) for name in before) ** 0.5
    size = sum(float(np.square(delta, dtype=np.float64).sum()) for delta in before.values()) ** 0.5
    assert relative_change(one, other) == pytest.approx(difference / size, rel=1e-5)
    assert relative_change(one, one) == pytest.approx(0.0, abs=1e-6)
