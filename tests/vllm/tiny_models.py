"""A Qwen3 base with random weights, its own tokenizer, and PEFT adapters for it, made in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"
)
LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
GROUP = 32
"""Inputs that share a scale in AWQ weights."""
TEXT = (
    "def add(a, b):\n    return a + b\n",
    "def total(values):\n    result = 0\n    for value in values:\n        result += value\n    return result\n",
    "yes no system user assistant find the bug in this function and repair it\n",
)


def make_base(folder: Path, *, layers: int = 3, vocabulary: int = 600, hidden: int = 64, seed: int = 0, text: Sequence[str] = TEXT) -> Path:
    """`folder`, now a Hugging Face model with weights far enough from zero that greedy answers are varied."""
    tokenizer = _tokenizer(vocabulary, text)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=(hidden * 8 // 3 + 31) // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=max(2, hidden // 32),
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        eos_token_id=tokenizer.convert_tokens_to_ids("<|im_end|>"),
        pad_token_id=tokenizer.convert_tokens_to_ids("<|endoftext|>"),
        initializer_range=0.12,
    )
    Qwen3ForCausalLM(config).to(torch.float32).save_pretrained(folder)
    return folder


def make_awq(folder: Path, base: Path) -> Path:
    """`folder`, now `base` as AutoAWQ writes it: its linears in 4 bits, the rest in float16."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float16)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    for name in [name for name in tensors if name.split(".")[-2] in LINEARS]:
        values, zeros, scales = _in_4_bits(tensors.pop(name))
        own = name.removesuffix(".weight")
        tensors |= {f"{own}.qweight": _awq_packed(values), f"{own}.qzeros": _awq_packed(zeros), f"{own}.scales": scales}
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    told = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm"}
    config = json.loads((base / "config.json").read_text(encoding="utf-8")) | {"dtype": "float16", "quantization_config": told}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def in_4_bits(base: Path) -> Qwen3ForCausalLM:
    """`base` with the numbers that its AWQ weights stand for."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    for name, weight in model.named_parameters():
        if name.split(".")[-2] in LINEARS:
            values, zeros, scales = _in_4_bits(weight.detach().half())
            grouped = values.unflatten(0, (-1, GROUP)) - zeros[:, None]
            weight.data = (grouped * scales[:, None].float()).flatten(0, 1).t().contiguous()
    return model


def _in_4_bits(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values (in, out) and zeros (groups, out) of 0 to 15, scales (groups, out): a weight is about `(value - zero) * scale`."""
    grouped = weight.float().t().unflatten(0, (-1, GROUP))
    low, high = grouped.amin(dim=1).clamp(max=0.0), grouped.amax(dim=1).clamp(min=0.0)
    scales = ((high - low) / 15).half()
    zeros = (-low / scales).round().clamp(0, 15)
    values = (grouped / scales[:, None] + zeros[:, None]).round().clamp(0, 15)
    return values.flatten(0, 1).int(), zeros.int(), scales


def _awq_packed(values: torch.Tensor) -> torch.Tensor:
    """Eight columns in an int32, in AutoAWQ's order."""
    eight = values.long().unflatten(1, (-1, 8))[:, :, [0, 2, 4, 6, 1, 3, 5, 7]]
    packed = (eight << (4 * torch.arange(8))).sum(dim=2)
    return torch.where(packed >= 2**31, packed - 2**32, packed).int().contiguous()


def make_adapter(folder: Path, base: Path, *, seed: int, rank: int = 16, spread: float = 0.06) -> Path:
    """`folder`, now a PEFT adapter of `base` on all seven linears with random A and B."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    adapted = get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=list(LINEARS), task_type="CAUSAL_LM"))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=spread)
    adapted.save_pretrained(folder)
    return folder


def _tokenizer(vocabulary: int, text: Sequence[str]) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(text, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = CHATML
    return tokenizer
