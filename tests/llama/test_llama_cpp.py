"""What is exported, loaded by llama.cpp itself: the same tokens of a text, the same greedy answers as transformers with PEFT.

Needs llama-cpp-python, which takes minutes to build and is in no pinned set: `pip install llama-cpp-python`, then run
`pytest tests/llama`. `tests/unit/test_export_gguf.py` checks the same files without it.
"""

from __future__ import annotations

import ctypes
import random
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from forge.export.formats import FORMATS, export
from forge.export.request import Request
from forge.records import AdapterRef
from tests.small_models import TEXT, adapter_ref, make_adapter, make_base

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")

ADAPTERS: dict[str, dict[str, Any]] = {
    "generation": {"rank": 8},
    "planning": {"rank": 6, "use_rslora": True},
    "review": {"rank": 8, "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"down_proj": 40}},
}
"""Plain LoRA, rank-stabilised LoRA, and ranks and alphas that differ from layer to layer."""
TOKENS = 24
PROMPTS = [text[:size] for text in TEXT for size in (8, 20, 45)]


NOISE = 0.02
"""Difference of two logits that llama.cpp may turn round: it multiplies 16-bit weights by 16-bit activations, and its logits
are up to 0.008 off those in float32, whose standard deviation is about 1."""


class Answer(NamedTuple):
    """Greedy tokens, and by how much each one's logit was above the second best."""

    tokens: list[int]
    margins: list[float]

    def agrees(self, found: list[int]) -> bool:
        """Equal, up to a place where the two best are as good as each other."""
        place = next((i for i, (one, other) in enumerate(zip(self.tokens, found, strict=True)) if one != other), None)
        return place is None or self.margins[place] < NOISE


class Exports:
    """Everything exported once, and the answers of transformers to compare with."""

    def __init__(self, root: Path) -> None:
        self.root = root
        # Weights that 16 bits hold exactly: what is compared is the export, not the rounding.
        self.base = make_base(root / "base", dtype=torch.float16)
        self.refs = [self.adapter(stage, seed, dict(options)) for seed, (stage, options) in enumerate(ADAPTERS.items())]
        self.tokenizer = AutoTokenizer.from_pretrained(self.base)
        for name in ("gguf", "llama-server"):
            self.write(name, "f16")

    def adapter(self, stage: str, seed: int, options: dict[str, Any]) -> AdapterRef:
        return adapter_ref(stage, make_adapter(self.root / stage, self.base, seed=seed, **options), self.base)

    def write(self, name: str, bits: str) -> Path:
        out = self.root / f"{name}-{bits}"
        if not out.exists():
            export(FORMATS[name], Request(tuple(self.refs), self.base, "base", quantise=bits), out)
        return out

    def ids(self, text: str) -> list[int]:
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def expected(self, ref: AdapterRef | None) -> list[Answer]:
        """What transformers with PEFT answers, in float32."""
        model = AutoModelForCausalLM.from_pretrained(self.base, dtype=torch.float32)
        if ref:
            model = PeftModel.from_pretrained(model, ref.path)
        model.eval()
        return [self.answer(model, self.ids(prompt)) for prompt in PROMPTS]

    def answer(self, model: Any, ids: list[int]) -> Answer:
        tokens, margins = [], []
        for _ in range(TOKENS):
            with torch.no_grad():
                best = model(input_ids=torch.tensor([ids + tokens])).logits[0, -1].topk(2)
            tokens.append(int(best.indices[0]))
            margins.append(float(best.values[0] - best.values[1]))
        return Answer(tokens, margins)


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    return Exports(tmp_path_factory.mktemp("exports"))


def opened(file: Path, adapter: Path | None = None, **options: Any) -> Any:
    return llama_cpp.Llama(str(file), lora_path=str(adapter) if adapter else None, n_ctx=256, n_threads=2, verbose=False, **options)


def answers(model: Any, exports: Exports) -> list[list[int]]:
    found = []
    for prompt in PROMPTS:
        model.reset()
        model.eval(exports.ids(prompt))
        tokens: list[int] = []
        while len(tokens) < TOKENS:
            tokens.append(int(np.argmax(logits(model))))
            model.eval(tokens[-1:])
        found.append(tokens)
    return found


def logits(model: Any) -> Any:
    raw = llama_cpp.llama_get_logits_ith(model.ctx, -1)
    return np.ctypeslib.as_array(raw, shape=(model.n_vocab(),)).copy()


def test_texts_become_the_same_tokens(exports: Exports) -> None:
    model = opened(exports.root / "gguf-f16" / "generation.gguf", vocab_only=True)
    chance = random.Random(0)
    pieces = [*TEXT, *"".join(TEXT), "  ", "\n\n", "\t", "'S", "'ll", "1234567", "é", "<|im_end|>", "<think>", "</think>", "🙂", "़", "\r\n"]
    texts = [*TEXT, *("".join(chance.choices(pieces, k=12)) for _ in range(2000))]
    different = [text for text in texts if model.tokenize(text.encode(), add_bos=False, special=True) != exports.ids(text)]
    assert different == []


@pytest.mark.parametrize("stage", ADAPTERS)
def test_an_adapter_answers_as_with_peft_beside_the_base_and_in_its_weights(stage: str, exports: Exports) -> None:
    expected = exports.expected(next(ref for ref in exports.refs if ref.stage == stage))
    served = exports.root / "llama-server-f16"
    beside = answers(opened(served / "base.gguf", served / f"{stage}.adapter.gguf"), exports)
    merged = answers(opened(exports.root / "gguf-f16" / f"{stage}.gguf"), exports)
    for found in (beside, merged):
        assert all(answer.agrees(tokens) for answer, tokens in zip(expected, found, strict=True))
        assert sum(answer.tokens == tokens for answer, tokens in zip(expected, found, strict=True)) > len(PROMPTS) / 2


def test_one_loaded_model_changes_adapters_between_requests(exports: Exports) -> None:
    served = exports.root / "llama-server-f16"
    model = opened(served / "base.gguf")
    loaded = {stage: llama_cpp.llama_adapter_lora_init(model.model, str(served / f"{stage}.adapter.gguf").encode()) for stage in ADAPTERS}
    seen = []
    for ref in [None, *exports.refs, None]:
        adapters = [loaded[ref.stage]] if ref else []
        array, scales = (llama_cpp.llama_adapter_lora_p_ctypes * len(adapters))(*adapters), (ctypes.c_float * len(adapters))()
        scales[:] = [1.0] * len(adapters)
        assert llama_cpp.llama_set_adapters_lora(model.ctx, array, len(adapters), scales) == 0
        seen.append(answers(model, exports))
        assert all(answer.agrees(tokens) for answer, tokens in zip(exports.expected(ref), seen[-1], strict=True))
    assert seen[0] == seen[-1]
    assert all(seen[0] != other for other in seen[1:-1])


@pytest.mark.parametrize(("bits", "most"), [("q8_0", 0.06), ("q4_k_m", 0.35)])
def test_fewer_bits_stay_near(bits: str, most: float, exports: Exports) -> None:
    whole, small = (opened(exports.write("gguf", kind) / "generation.gguf") for kind in ("f16", bits))
    errors = []
    for prompt in PROMPTS:
        found = []
        for model in (whole, small):
            model.reset()
            model.eval(exports.ids(prompt))
            found.append(logits(model)[: len(exports.tokenizer)])
        errors.append(np.linalg.norm(found[1] - found[0]) / np.linalg.norm(found[0]))
    assert np.mean(errors) < most


def test_the_file_names_itself_and_carries_the_template(exports: Exports) -> None:
    model = opened(exports.root / "gguf-f16" / "generation.gguf", vocab_only=True)
    assert model.metadata["general.name"] == exports.refs[0].model_id
    assert model.metadata["tokenizer.chat_template"] == exports.tokenizer.chat_template
    assert model.token_eos() == exports.tokenizer.eos_token_id
