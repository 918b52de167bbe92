"""A Qwen3 of random weights with Qwen's kind of tokenizer, and PEFT adapters of it, for tests of what is exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from forge.records import AdapterRef
from forge.store.adapters import version_name
from forge.training.base import weights_sha256
from forge.training.random_base import CHAT_TEMPLATE

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TEXT = (
    "def add(a, b):\n    return a + b\n",
    "def total(values):\n    result = 0\n    for value in values:\n        result += value * 1234\n    return result\n\n\n",
    "class Größe(Exception):\n\t'''It isn't naïve: 日本語, 🙂.'''\n",
    "<|im_start|>user\nfind the bug in this function, I'll repair it<|im_end|>\n",
    "yes no no yes system user assistant thinks\r\n\r\n   x = {'a': [1, 22, 333]}  # done",
)


def make_base(folder: Path, *, seed: int = 0, tied: bool = True, dtype: torch.dtype = torch.float32) -> Path:
    """`folder`, now a base whose weights are far enough from zero that greedy answers are varied; 8 embeddings have no token."""
    tokenizer = make_tokenizer()
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer) + 8,
        hidden_size=64,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0},
        rms_norm_eps=1e-5,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        initializer_range=0.12,
    )
    model = Qwen3ForCausalLM(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                torch.nn.init.normal_(weight, mean=1.0, std=0.3)
            if "embed_tokens" in name:
                # Rows without a token never win.
                weight[len(tokenizer) :] = 0.0
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = folder / "generation_config.json"
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    settings.write_text(json.dumps({"eos_token_id": ends, "do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20}))
    return folder


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with the normalisation, splitting pattern and kinds of token of Qwen3."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False) for token in ("<think>", "</think>")])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_adapter(folder: Path, base: Path, *, seed: int, rank: int = 8, spread: float = 0.1, **options: Any) -> Path:
    """`folder`, now a PEFT adapter of all seven linears with random A and B; `options` are those of `LoraConfig`."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    settings = {"r": rank, "lora_alpha": 2 * rank, "target_modules": list(LINEARS), "task_type": "CAUSAL_LM"} | options
    adapted = get_peft_model(model, LoraConfig(**settings))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=spread)
    adapted.save_pretrained(folder)
    return folder


def adapter_ref(stage: str, folder: Path, base: Path, *, rank: int = 8, number: int = 1) -> AdapterRef:
    """The record of such an adapter."""
    return AdapterRef(
        stage=stage,
        version=version_name(number, folder),
        round=number,
        path=str(folder),
        base=str(base),
        base_sha256=weights_sha256(base),
        data_sha256="d" * 64,
        rank=rank,
        examples=7,
        metrics={"eval_loss": 1.25},
    )
