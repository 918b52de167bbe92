"""A dense Qwen3 in numpy that knows nothing but what stands in a GGUF file: what llama.cpp would compute, in float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


class GgufModel:
    """A model file and, where given, an adapter file for it."""

    def __init__(self, model: Path, adapter: Path | None = None) -> None:
        self.fields, self.tensors = read(model)
        _, pairs = read(adapter) if adapter else ({}, {})
        alpha = read(adapter)[0]["adapter.lora.alpha"] if adapter else 0.0
        for name in [name for name in pairs if name.endswith(".lora_a")]:
            a, b = pairs[name], pairs[name.removesuffix("a") + "b"]
            target = name.removesuffix(".lora_a")
            self.tensors[target] = self.tensors[target] + (alpha / a.shape[0]) * (b @ a)

    def logits(self, ids: list[int]) -> Floats:
        """`(seq, vocabulary)`."""
        get = self.fields.get
        heads, groups, width = (self.number(key) for key in ("attention.head_count", "attention.head_count_kv", "attention.key_length"))
        turns = self.rotary(len(ids), width)
        x = self.tensors["token_embd.weight"][ids]
        mask = np.triu(np.full((len(ids), len(ids)), -np.inf, np.float32), 1)
        for layer in range(self.number("block_count")):
            h = self.norm(x, f"blk.{layer}.attn_norm")
            q, k, v = (self.linear(h, f"blk.{layer}.attn_{part}").reshape(len(ids), -1, width) for part in "qkv")
            q, k = (turned(self.norm(part, f"blk.{layer}.attn_{name}_norm"), turns) for part, name in ((q, "q"), (k, "k")))
            k, v = (np.repeat(part, heads // groups, axis=1) for part in (k, v))
            weights = softmax(np.einsum("qhd,khd->hqk", q, k) / np.sqrt(np.float32(width)) + mask)
            x = x + self.linear(np.einsum("hqk,khd->qhd", weights, v).reshape(len(ids), -1), f"blk.{layer}.attn_output")
            h = self.norm(x, f"blk.{layer}.ffn_norm")
            gate, up = (self.linear(h, f"blk.{layer}.ffn_{part}") for part in ("gate", "up"))
            x = x + self.linear(gate / (1 + np.exp(-gate)) * up, f"blk.{layer}.ffn_down")
        assert get("general.architecture") == "qwen3"
        x = self.norm(x, "output_norm")
        return x @ self.tensors.get("output.weight", self.tensors["token_embd.weight"]).T

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """The `count` likeliest next tokens, one after another."""
        seen = list(ids)
        for _ in range(count):
            seen.append(int(self.logits(seen)[-1].argmax()))
        return seen[len(ids) :]

    def number(self, key: str) -> int:
        return int(self.fields[f"qwen3.{key}"])

    def norm(self, x: Floats, name: str) -> Floats:
        epsilon = np.float32(self.fields["qwen3.attention.layer_norm_rms_epsilon"])
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * self.tensors[f"{name}.weight"]

    def linear(self, x: Floats, name: str) -> Floats:
        return x @ self.tensors[f"{name}.weight"].T

    def rotary(self, length: int, width: int) -> tuple[Floats, Floats]:
        frequencies = float(self.fields["qwen3.rope.freq_base"]) ** (-np.arange(0, width, 2) / width)
        angles = np.outer(np.arange(length), frequencies)[:, None, :]
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def turned(x: Floats, turns: tuple[Floats, Floats]) -> Floats:
    """Rotary positions, halves paired (NeoX)."""
    cosine, sine = turns
    left, right = np.split(x, 2, axis=-1)
    return np.concatenate([left * cosine - right * sine, right * cosine + left * sine], axis=-1)


def softmax(x: Floats) -> Floats:
    raised = np.exp(x - x.max(-1, keepdims=True))
    return raised / raised.sum(-1, keepdims=True)


def read(file: Path) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Fields and tensors of a GGUF file; quantised tensors as float32."""
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32) for tensor in reader.tensors}


def stored(file: Path) -> dict[str, tuple[str, npt.NDArray[Any]]]:
    """Kind and raw data of each tensor."""
    return {tensor.name: (tensor.tensor_type.name, np.array(tensor.data)) for tensor in gguf.GGUFReader(file).tensors}
