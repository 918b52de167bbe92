"""A randomly initialised Qwen3 base with a tokenizer, for tests, benchmarks and dry runs.

It knows nothing; what it shares with a real base is the architecture, the ChatML template with its
`enable_thinking` switch, and the file layout.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

END_OF_TEXT = "<|endoftext|>"
TURN_START = "<|im_start|>"
TURN_END = "<|im_end|>"

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{%- endif -%}"
)
"""ChatML as Qwen3 renders it, thinking switched off by an empty thought."""


def make_random_base(
    folder: Path,
    *,
    corpus: Iterable[str],
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    feed_forward: int = 128,
    vocabulary: int = 400,
    context: int = 1024,
    seed: int = 0,
    key_heads: int | None = None,
    head_size: int | None = None,
    embeddings: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Path:
    """`folder`, filled with config, weights and tokenizer; the tokenizer is a byte-level BPE over `corpus`.

    `embeddings` are the model's token embeddings, more than the tokenizer has tokens where a known shape is wanted.
    """
    tokenizer = _tokenizer(corpus, vocabulary, context)
    config = Qwen3Config(
        vocab_size=embeddings or len(tokenizer),
        hidden_size=hidden,
        intermediate_size=feed_forward,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=key_heads or max(1, heads // 2),
        head_dim=head_size or hidden // heads,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END),
        pad_token_id=tokenizer.convert_tokens_to_ids(END_OF_TEXT),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(config).to(dtype)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _tokenizer(corpus: Iterable[str], vocabulary: int, context: int) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )
