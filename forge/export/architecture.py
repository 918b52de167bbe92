"""The numbers of a base's `config.json` that a GGUF file repeats, and why another base cannot be written as one."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from forge.errors import ExportError

QWEN3 = "qwen3"
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class Architecture(NamedTuple):
    """A dense Qwen3. Sizes are counts of numbers, `context` of tokens; `theta` is the base of the rotary frequencies."""

    layers: int
    hidden: int
    feed_forward: int
    heads: int
    key_value_heads: int
    head: int
    context: int
    theta: float
    epsilon: float
    vocabulary: int
    tied: bool
    """The output layer is the embedding, so it is stored once."""


def read_config(base: Path) -> dict[str, Any]:
    """`config.json` of a base."""
    try:
        config: dict[str, Any] = json.loads((base / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"cannot read {base / 'config.json'}: {error}; is this the folder of a base?") from error
    return config


def dtype_of(config: Mapping[str, Any]) -> str | None:
    """What the base is run in, as safetensors calls it; `None` where the config does not say."""
    return DTYPES.get(str(config.get("dtype") or config.get("torch_dtype")))


def architecture_of(config: Mapping[str, Any]) -> Architecture:
    """The numbers of a dense Qwen3. Raises `ExportError` for another architecture or a setting that GGUF files here do not carry."""
    kind = config.get("model_type")
    if kind != QWEN3:
        raise ExportError(f"the base is a {kind}; GGUF files can be written of dense Qwen3 bases (model_type qwen3) only: take --to merged")
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    scaling = rope.get("rope_type", rope.get("type", "default"))
    for wrong, what in (
        (scaling != "default", f"rotary scaling '{scaling}'"),
        (config.get("use_sliding_window"), "a sliding window"),
        (config.get("attention_bias"), "biases in its attention"),
        (config.get("hidden_act", "silu") != "silu", f"the activation {config.get('hidden_act')}"),
    ):
        if wrong:
            raise ExportError(f"the base has {what}, which these GGUF files cannot carry: take --to merged")
    # What a Qwen3 config leaves out has these values (transformers' Qwen3Config).
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        feed_forward=config["intermediate_size"],
        heads=config["num_attention_heads"],
        key_value_heads=config["num_key_value_heads"],
        head=config.get("head_dim") or 128,
        context=config["max_position_embeddings"],
        theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        epsilon=float(config.get("rms_norm_eps", 1e-6)),
        vocabulary=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def check_tensors(names: Collection[str], shape: Architecture) -> None:
    """Raise `ExportError` unless these are exactly the tensors of such a model: llama.cpp fills no gap and says little."""
    wanted = {"model.embed_tokens.weight", "model.norm.weight"} | ({"lm_head.weight"} if not shape.tied else set())
    for layer in range(shape.layers):
        parts = [f"self_attn.{part}" for part in ("q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm")]
        parts += [f"mlp.{part}" for part in ("gate_proj", "up_proj", "down_proj")]
        parts += ["input_layernorm", "post_attention_layernorm"]
        wanted |= {f"model.layers.{layer}.{part}.weight" for part in parts}
    have = set(names) - ({"lm_head.weight"} if shape.tied else set())
    if wrong := sorted(wanted ^ have):
        state = "lacks" if wrong[0] in wanted else "has, beside those of a Qwen3,"
        raise ExportError(f"the base {state} the tensor {wrong[0]}, so it cannot be written as GGUF")
