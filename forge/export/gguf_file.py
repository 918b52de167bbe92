"""Base or merged weights, and adapters, as GGUF files that llama.cpp loads.

Names, layouts and keys are those of llama.cpp's own converters (`convert_hf_to_gguf.py`, `convert_lora_to_gguf.py`). Norms
and other vectors stay in float32, as there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gguf
import numpy as np

from forge.errors import ExportError
from forge.export.architecture import QWEN3, Architecture, architecture_of, check_tensors, read_config
from forge.export.chat import template_of
from forge.export.lora import Adapter, Weights
from forge.export.tensors import Floats, narrowed
from forge.export.tokenizer import Vocabulary, vocabulary_of

BLOCK = 32
"""Weights that share a scale in Q8_0; a row that is no multiple of it stays in 16 bits."""

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
"""What a file says of its weights, by how small they are."""


def write_model(file: Path, base: Path, weights: Weights, *, name: str, base_sha256: str, bits: str, ids_only: bool = False) -> None:
    """`file`, now the weights with everything that llama.cpp needs to know; `bits` is a key of `FILE_TYPES`. Holds one tensor at a time.

    `ids_only` is for a server that is given token ids: it takes bases whose way to split text llama.cpp does not know.
    """
    shape = architecture_of(read_config(base))
    check_tensors(weights.names, shape)
    vocabulary = vocabulary_of(base, shape.vocabulary, ids_only=ids_only)
    writer = gguf.GGUFWriter(file, QWEN3)
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_string("forge.base_sha256", base_sha256)
    writer.add_file_type(FILE_TYPES[bits])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    _say_shape(writer, shape)
    _say_vocabulary(writer, vocabulary, template_of(base))
    _write_tensors(writer, weights, shape, bits)


def write_adapter(file: Path, base: Path, adapter: Adapter, *, name: str, base_sha256: str) -> None:
    """`file`, now the adapter in float32. llama.cpp's scale is alpha / rank, so alpha already holds the √rank of rsLoRA.

    Pairs of another alpha than the first have theirs multiplied into B: the file has one alpha for all.
    """
    shape = architecture_of(read_config(base))
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, shape.layers)
    alpha = next(iter(adapter.pairs.values())).alpha
    writer = gguf.GGUFWriter(file, QWEN3)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_name(name)
    writer.add_string("forge.base_sha256", base_sha256)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    matrices = {}
    for module, pair in adapter.pairs.items():
        target = _name(names, module)
        matrices[f"{target}.lora_a"] = pair.a
        matrices[f"{target}.lora_b"] = pair.b if pair.alpha == alpha else pair.b * np.float32(pair.alpha / alpha)
    for tensor, matrix in matrices.items():
        writer.add_tensor_info(tensor, matrix.shape, matrix.dtype, matrix.nbytes)
    _finish(writer, matrices.values())


def _say_shape(writer: Any, shape: Architecture) -> None:
    writer.add_block_count(shape.layers)
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.key_value_heads)
    writer.add_key_length(shape.head)
    writer.add_value_length(shape.head)
    writer.add_layer_norm_rms_eps(shape.epsilon)
    writer.add_rope_freq_base(shape.theta)
    writer.add_vocab_size(shape.vocabulary)


def _say_vocabulary(writer: Any, vocabulary: Vocabulary, template: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(vocabulary.split)
    writer.add_token_list(list(vocabulary.tokens))
    writer.add_token_types(list(vocabulary.kinds))
    writer.add_token_merges(list(vocabulary.merges))
    writer.add_add_bos_token(False)
    for number, add in (
        (vocabulary.end, writer.add_eos_token_id),
        (vocabulary.padding, writer.add_pad_token_id),
        (vocabulary.start, writer.add_bos_token_id),
    ):
        if number is not None:
            add(number)
    writer.add_chat_template(template)


def _write_tensors(writer: Any, weights: Weights, shape: Architecture, bits: str) -> None:
    """All tensors in two passes: first what they will be, then what they are."""
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, shape.layers)
    # A tied output layer is the embedding: where a base stores it twice, the copy is left out.
    wanted = [name for name in weights.names if not (shape.tied and name == "lm_head.weight")]
    kinds = {name: _kind(weights.shape(name), bits) for name in wanted}
    for name in wanted:
        size, kind = weights.shape(name), kinds[name]
        bytes_ = int(np.prod(gguf.quant_shape_to_byte_shape(size, kind)))
        writer.add_tensor_info(_name(names, name.removesuffix(".weight")), size, np.dtype(np.float32), bytes_, raw_dtype=kind)
    _finish(writer, (_packed(weights.read(name), kinds[name]) for name in wanted))


def _finish(writer: Any, tensors: Iterable[Any]) -> None:
    """Write the file: all that was said, then the tensors in the order in which they were announced.

    Not by `write_tensor_data`: it writes through numpy's `tofile`, which says nothing when the disk is full.
    """
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        stream = writer.fout[0]
        writer.write_padding(stream, stream.tell())
        for tensor in tensors:
            stream.write(np.ascontiguousarray(tensor).data)
            writer.write_padding(stream, tensor.nbytes)
    finally:
        writer.close()


def _kind(shape: tuple[int, ...], bits: str) -> Any:
    if len(shape) == 1 or bits == "f32":
        return gguf.GGMLQuantizationType.F32
    return gguf.GGMLQuantizationType.Q8_0 if bits == "q8_0" and shape[-1] % BLOCK == 0 else gguf.GGMLQuantizationType.F16


def _packed(values: Floats, kind: Any) -> Any:
    if kind == gguf.GGMLQuantizationType.F16:
        return narrowed(values, "F16")
    return values if kind == gguf.GGMLQuantizationType.F32 else gguf.quantize(values, kind)


def _name(names: Any, module: str) -> str:
    found = names.get_name(module)
    if found is None:
        raise ExportError(f"{module} has no place in a GGUF file of a Qwen3")
    return f"{found}.weight"
