from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from forge.endpoint.tokens import BaseTokenizer
from forge.errors import EndpointError
from forge.records import Message

TEMPLATE = (
    "{%- for message in messages %}\n{{- '<|im_start|>' + message.role + '\\n' + message.content + eos_token + '\\n' }}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}\n"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}\n{%- endif %}"
)


def write_base(folder: Path, words: str = "yes no user system assistant ") -> Path:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts = [word for word in words.split() for _ in range(3)]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    bpe.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": {"content": "<|im_end|>"}, "pad_token": "<|endoftext|>", "chat_template": TEMPLATE})
    )
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base(tmp_path_factory.mktemp("base"))


def test_the_prompt_ends_where_the_answer_begins_and_thinking_is_off(base: Path) -> None:
    text = BaseTokenizer(base).text([Message(role="user", content="hi")])
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def test_special_tokens_are_one_id_each_and_decode_to_nothing(base: Path) -> None:
    tokens = BaseTokenizer(base)
    ids = tokens.render([Message(role="user", content="hi")])
    assert ids.count(tokens.end_id) == 1
    assert tokens.decode((*tokens.encode("repair it"), tokens.end_id)) == "repair it"


@given(text=st.text(max_size=60))
def test_any_text_survives_encoding_and_decoding(text: str) -> None:
    tokens = _cached()
    assert tokens.decode(tokens.encode(text)) == text


def test_yes_and_no_are_single_tokens(base: Path) -> None:
    tokens = BaseTokenizer(base)
    assert tokens.encode("yes") == (tokens.yes_id,) and tokens.encode("no") == (tokens.no_id,)


def test_a_base_without_a_token_for_yes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="splits 'yes' into 3 tokens"):
        BaseTokenizer(write_base(tmp_path, words="user"))


def test_a_folder_that_is_no_base_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EndpointError, match="is this the folder of a base"):
        BaseTokenizer(tmp_path)


def test_a_template_cannot_reach_outside_its_sandbox(tmp_path: Path) -> None:
    write_base(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("{{ messages.__class__.__mro__ }}")
    with pytest.raises(Exception, match="unsafe"):
        BaseTokenizer(tmp_path).render([Message(role="user", content="hi")])


def test_importing_the_client_side_brings_no_ray_torch_or_transformers() -> None:
    code = "import sys, forge.endpoint.client, forge.endpoint.tokens, forge.endpoint.canary; print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in ("'ray'", "'torch'", "'transformers'", "'vllm'", "'peft'") if name in loaded]


_CACHE: list[BaseTokenizer] = []


def _cached() -> BaseTokenizer:
    """Hypothesis wants no function-scoped fixtures; the tokenizer is made once."""
    if not _CACHE:
        import tempfile

        _CACHE.append(BaseTokenizer(write_base(Path(tempfile.mkdtemp()))))
    return _CACHE[0]
