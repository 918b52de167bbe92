"""Builds the nano base from nothing: tokenizer, corpus, training, folder in Hugging Face's format.

The recipe is seeded and is stored beside the weights, so `forge nano build` can be repeated. Training starts with
copying drills (`forge.nano.drills`), then reads the corpus once. Hidden matrices are trained by Muon, embeddings and
norms by AdamW.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from forge.nano.corpus import rows
from forge.nano.drills import drills
from forge.records import Example, Record
from forge.stages.edits import DIVIDER, REPLACE, SEARCH

# A word is the same token wherever it stands, so that copying it needs no table of spaced and unspaced spellings;
# line ends take the indentation with them, operators the spaces around them.
PIECES = r"""\n[-+]? *|\d|[A-Za-z]+| [^\sA-Za-z\d()\[\]{}"']+ |, |[^\sA-Za-z\d]+|\s"""

END, START, TEXT_END = "<|im_end|>", "<|im_start|>", "<|endoftext|>"

CHAT_TEMPLATE = (
    "{%- for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{%- endif %}"
)


class Recipe(Record):
    """Everything that decides the weights, apart from library versions."""

    seed: int = 0
    functions: int = 8000
    """Generated functions, each taught in several rows."""
    program_share: float = 0.45
    """Share of programs that are composed on the spot, which teach what all functions have in common."""
    random_share: float = 0.15
    """Share of functions without meaning, which teach to find a name whatever stands around it."""
    vocabulary: int = 1024
    hidden: int = 192
    layers: int = 4
    heads: int = 6
    key_value_heads: int = 3
    head: int = 32
    feed_forward: int = 512
    positions: int = 1024
    batch_tokens: int = 2560
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    prompt_weight: float = 0.1
    """Loss weight of prompt tokens; answers weigh 1."""
    embedding_scale: float = 0.1
    """Standard deviation of the first embeddings: copying is learnt after 110 steps of drills at 0.1, 300 at 0.02."""
    warmup: int = 20
    """Steps over which rates rise."""


Progress = Callable[[str, int, int, str], None]
"""`(phase, done, total, note)`."""


def build(output: Path, recipe: Recipe, progress: Progress) -> Path:
    """The folder of the finished base; about a quarter of an hour on two calm cores with the default recipe."""
    torch.manual_seed(recipe.seed)
    # A confident model's probabilities and gradients become subnormal numbers, which a CPU computes ten times slower.
    torch.set_flush_denormal(True)
    examples: list[Example] = []
    groups = rows(recipe.seed, recipe.functions, program_share=recipe.program_share, random_share=recipe.random_share)
    for done, group in enumerate(groups, 1):
        examples += group
        if done % 200 == 0:
            progress("corpus", done, recipe.functions, f"{len(examples)} rows")
    tokenizer = train_tokenizer(examples[:12000], recipe.vocabulary)
    encoded = [_encode(tokenizer, example) for example in examples]
    model = Qwen3ForCausalLM(_config(recipe, tokenizer))
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=recipe.embedding_scale)
    loss = _train(model, encoded, recipe, progress)
    _save(output, model, tokenizer, recipe, loss)
    return output


def train_tokenizer(examples: list[Example], size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE within `PIECES`: digits stand alone, edit markers are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(PIECES), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    markers = [SEARCH, DIVIDER, REPLACE]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(markers),
        special_tokens=[TEXT_END, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for e in examples for text in (*(m.content for m in e.messages), e.completion)), trainer)
    tokenizer.add_tokens([AddedToken(marker, normalized=False) for marker in markers])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=TEXT_END, model_max_length=1024)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _config(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Qwen3Config:
    return Qwen3Config(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        num_key_value_heads=recipe.key_value_heads,
        head_dim=recipe.head,
        max_position_embeddings=recipe.positions,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _encode(tokenizer: PreTrainedTokenizerFast, example: Example) -> tuple[list[int], int]:
    """Token ids of prompt and answer, and where the answer starts."""
    head = "".join(f"{START}{m.role}\n{m.content}{END}\n" for m in example.messages) + f"{START}assistant\n"
    prompt = tokenizer(head, add_special_tokens=False)["input_ids"]
    answer = tokenizer(example.completion + END, add_special_tokens=False)["input_ids"]
    return prompt + answer, len(prompt)


def _train(model: Qwen3ForCausalLM, encoded: list[tuple[list[int], int]], recipe: Recipe, progress: Progress) -> float:
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    optimizers = [
        Muon(matrices, lr=recipe.muon_rate, momentum=0.95),
        torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]
    peaks = [recipe.muon_rate, recipe.adam_rate]
    rng = random.Random(f"drills:{recipe.seed}")
    drilled = [_padded(rows) for rows in drills(rng, recipe.vocabulary, recipe.batch_tokens)]
    batches = [*drilled, *_batches(encoded, recipe)]
    model.train()
    average, began, seen = 0.0, time.monotonic(), 0
    for step, (ids, weights) in enumerate(batches):
        rate = _rate(step, len(batches), recipe.warmup)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * rate
        loss, answer_loss = _loss(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        average = answer_loss if step == 0 else 0.98 * average + 0.02 * answer_loss
        seen += ids.numel()
        if step % 10 == 0 or step == len(batches) - 1:
            speed = seen / (time.monotonic() - began)
            progress("training", step + 1, len(batches), f"answer loss {average:.3f}, {speed:,.0f} tokens/s")
    return average


class Muon(torch.optim.Optimizer):
    """Momentum whose update is orthogonalised by Newton-Schulz steps (Jordan et al. 2024), in float32.

    `torch.optim.Muon` does the same in bfloat16, which a CPU without bfloat16 units multiplies 200 times slower.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], lr: float, momentum: float) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # noqa: ARG002 - torch's signature
        for group in self.param_groups:
            for parameter in group["params"]:
                velocity = self.state[parameter].setdefault("velocity", torch.zeros_like(parameter))
                velocity.lerp_(parameter.grad, 1 - group["momentum"])
                update = _orthogonal(parameter.grad.lerp(velocity, group["momentum"]))
                # Scale of the update by shape: Moonshot's rule (arXiv 2502.16982) keeps it at AdamW's size.
                parameter.add_(update, alpha=-group["lr"] * max(1.0, parameter.shape[0] / parameter.shape[1]) ** 0.5)


def _orthogonal(gradient: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrix, roughly: five quintic Newton-Schulz steps with Jordan's coefficients."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = gradient.T if gradient.shape[0] > gradient.shape[1] else gradient
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if gradient.shape[0] > gradient.shape[1] else x


def _loss(model: Qwen3ForCausalLM, ids: Tensor, weights: Tensor) -> tuple[Tensor, float]:
    """Weighted next-token loss of a `(batch, seq)` batch, and the plain mean over answer tokens."""
    # Padding is on the right and attention is causal, so no mask is needed: nothing looks at it.
    logits = model(input_ids=ids, use_cache=False).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none")
    flat = weights[:, 1:].reshape(-1)
    answers = flat >= 1.0
    return (each * flat).sum() / flat.sum(), float(each.detach()[answers].mean())


def _batches(encoded: list[tuple[list[int], int]], recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """`(ids, weights)` of rows of like length, about `batch_tokens` each, in random order."""
    rng = random.Random(recipe.seed)
    order = list(range(len(encoded)))
    rng.shuffle(order)
    groups: list[list[int]] = []
    for start in range(0, len(order), 2048):
        chunk = sorted(order[start : start + 2048], key=lambda i: len(encoded[i][0]))
        made: list[list[int]] = [[]]
        for index in chunk:
            if (len(made[-1]) + 1) * len(encoded[index][0]) > recipe.batch_tokens:
                made.append([])
            made[-1].append(index)
        rng.shuffle(made)
        groups += made
    for group in groups:
        yield _padded([(encoded[i][0], _weights(encoded[i], recipe)) for i in group])


def _weights(row: tuple[list[int], int], recipe: Recipe) -> list[float]:
    tokens, answer = row
    return [recipe.prompt_weight] * answer + [1.0] * (len(tokens) - answer)


def _padded(rows: Sequence[tuple[list[int], list[float]]]) -> tuple[Tensor, Tensor]:
    """`(ids, weights)`, each `(batch, seq)`, padded on the right with weight 0."""
    width = max(len(tokens) for tokens, _ in rows)
    ids, weights = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width)
    for place, (tokens, weight) in enumerate(rows):
        ids[place, : len(tokens)] = torch.tensor(tokens)
        weights[place, : len(tokens)] = torch.tensor(weight)
    return ids, weights


def _rate(step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate: linear warm-up, then a cosine down to a fiftieth."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _save(output: Path, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, recipe: Recipe, loss: float) -> None:
    output.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.save_pretrained(output)
    # Stored as bfloat16 to be small, run in float32: many CPUs have no bfloat16 units (200 times slower here).
    config = json.loads((output / "config.json").read_text(encoding="utf-8"))
    (output / "config.json").write_text(json.dumps(config | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    tokenizer.save_pretrained(output)
    weights = (output / "model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    facts = {"recipe": recipe.model_dump(), "answer_loss": round(loss, 4), "sha256": digest, "torch": torch.__version__}
    (output / "recipe.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
