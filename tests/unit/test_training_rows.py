"""Rows: ids, masks, lengths, the split by lineage; no torch."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.errors import TrainingError
from forge.records import Example, Lineage, Message
from forge.training import rows
from forge.training.batches import LengthBatches

END = 9


class Letters:
    """One id for each character, 100 upwards, and ChatML with the thinking switch; ids below 10 are special."""

    chat_template = "letters"
    eos_token_id = END
    unk_token_id = None

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        assert not add_special_tokens, "the template already holds the special tokens"
        return {"input_ids": [100 + ord(letter) for letter in text]}

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return END if token == "<|im_end|>" else None

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **how: object) -> str:
        assert how == {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        return "".join(f"[{message['role']}]{message['content']}" for message in messages) + "[assistant]"


def text_row(completion: str = "yes", task: str = "t1", content: str = "is it so?") -> Example:
    lineage = Lineage(repo="r", task_id=task)
    return Example(stage="relevance", messages=(Message(role="user", content=content),), completion=completion, lineage=lineage)


def exact_row(prompt: Sequence[int], answer: Sequence[int], task: str = "t1", commit: str | None = None) -> Example:
    lineage = Lineage(repo="r", task_id=task, commit=commit)
    return Example(
        stage="review",
        messages=(Message(role="user", content="other text than the ids"),),
        completion="x",
        prompt_ids=tuple(prompt),
        completion_ids=tuple(answer),
        lineage=lineage,
    )


def decoded(row: rows.EncodedRow) -> str:
    return "".join(chr(label - 100) for label in row.labels if label not in (rows.IGNORED, END))


def test_text_rows_go_through_the_template_and_learn_the_answer_with_its_end_token() -> None:
    row = rows.encode(text_row("no"), Letters(), END)
    prompt = "[user]is it so?[assistant]"
    assert row.ids == (*(100 + ord(letter) for letter in prompt + "no"), END)
    assert row.labels == [rows.IGNORED] * len(prompt) + [100 + ord("n"), 100 + ord("o"), END]


def test_rows_from_rollouts_train_on_the_stored_ids_and_never_touch_the_tokenizer() -> None:
    row = rows.encode(exact_row((1, 2, 3), (4, END)), None, END)
    assert row.ids == (1, 2, 3, 4, END)
    assert row.labels == [-100, -100, -100, 4, END]


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=40))
def test_decoded_labels_are_the_answer_only(answer: str) -> None:
    assert decoded(rows.encode(text_row(answer), Letters(), END)) == answer


@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.lists(st.integers(0, 8), max_size=30))
def test_every_encoded_row_passes_its_own_mask_check(prompt: list[int], answer: list[int]) -> None:
    row = rows.encode(exact_row(prompt, [*answer, 7, END]), None, END)
    rows.check_mask(row.ids, row.labels, END)


@pytest.mark.parametrize(
    "labels",
    [
        [1, 2, 3, END],  # the prompt is learned too
        [-100, -100, -100, -100],  # nothing is learned
        [-100, 2, 3, -100],  # the end is not learned
        [-100, 2, 4, END],  # something else than the ids is learned
        [-100, 2, -100, END],  # a hole in the answer
        [-100, 2, END],  # too few labels
    ],
)
def test_a_wrong_mask_is_refused(labels: list[int]) -> None:
    with pytest.raises(TrainingError, match="loss mask is wrong"):
        rows.check_mask([1, 2, 3, END], labels, END)


def test_rows_that_are_too_long_or_unfinished_are_dropped_whole_and_counted() -> None:
    examples = [exact_row((1,), (2, END), "short"), exact_row((1,) * 8, (2, END), "long"), exact_row((1,), (2, 3), "unfinished")]
    data = rows.encode_all(examples, None, Letters(), max_tokens=9, eval_fraction=0.0)
    assert [row.ids for row in data.train] == [(1, 2, END)]
    assert data.truncated == 2


def test_a_row_of_exactly_the_limit_is_kept() -> None:
    assert rows.encode_all([exact_row((1, 1), (2, END))], None, Letters(), max_tokens=4, eval_fraction=0.0).truncated == 0


def test_nothing_left_to_train_on_is_an_error_that_says_how_many_were_too_long() -> None:
    with pytest.raises(TrainingError, match="2 are longer than 3 tokens"):
        rows.encode_all([exact_row((1, 1), (2, END))] * 2, None, Letters(), max_tokens=3, eval_fraction=0.0)


@pytest.mark.parametrize("empty", [exact_row((), (2, END)), exact_row((1,), ()), exact_row((1,), (END,)), text_row("")])
def test_a_row_without_prompt_or_answer_is_refused(empty: Example) -> None:
    with pytest.raises(TrainingError, match=r"has no (prompt|answer)"):
        rows.encode(empty, Letters(), END)


def test_a_tokenizer_without_template_is_refused() -> None:
    bare = Letters()
    bare.chat_template = ""
    with pytest.raises(TrainingError, match="no chat template"):
        rows.encode(text_row(), bare, END)


@given(st.lists(st.integers(0, 40), min_size=2, max_size=120), st.floats(0.01, 0.45))
def test_rows_of_one_task_stay_on_one_side_and_none_is_lost(tasks: list[int], fraction: float) -> None:
    examples = [exact_row((1, task + 10), (position + 10, END), f"t{task}") for position, task in enumerate(tasks)]
    data = rows.encode_all(examples, None, Letters(), max_tokens=9, eval_fraction=fraction)
    train, heldout = ({row.ids[1] for row in part} for part in (data.train, data.heldout))
    assert not train & heldout
    assert len(data.train) + len(data.heldout) == len(tasks)
    assert bool(data.heldout) == (len(set(tasks)) > 1)


def test_a_commit_and_the_tasks_made_of_it_stay_together() -> None:
    examples = [exact_row((1,), (n + 10, END), f"t{n}-{c}", commit=f"c{c}") for c in range(20) for n in range(3)]
    kept_back = rows.heldout_keys([example.lineage for example in examples], 0.2)
    assert 0 < len(kept_back) < 20
    assert all(key.startswith("r:c") for key in kept_back)


def test_the_split_is_by_hash_so_new_rows_move_no_old_ones() -> None:
    few = [exact_row((1,), (2, END), f"t{n}") for n in range(200)]
    many = [*few, *(exact_row((1,), (2, END), f"u{n}") for n in range(200))]
    expected = {f"r:t{n}" for n in range(200) if int(hashlib.sha256(f"r:t{n}".encode()).hexdigest(), 16) / 2**256 < 0.1}
    few_keys, many_keys = (rows.heldout_keys([row.lineage for row in part], 0.1) for part in (few, many))
    assert few_keys == expected == {key for key in many_keys if ":t" in key}


def test_given_held_out_rows_are_used_as_they_are() -> None:
    data = rows.encode_all(
        [exact_row((1,), (2, END), "a"), exact_row((1,), (3, END), "b")],
        [exact_row((1,), (4, END), "c")],
        Letters(),
        max_tokens=9,
        eval_fraction=0.4,
    )
    assert len(data.train) == 2
    assert [row.ids for row in data.heldout] == [(1, 4, END)]


def test_the_data_hash_changes_with_an_id_a_mask_and_a_side() -> None:
    one, other = rows.EncodedRow((1, 2, 3), 1), rows.EncodedRow((1, 2, 3), 2)
    hashes = {rows.RowSet((one,), (), 0).sha256, rows.RowSet((other,), (), 0).sha256, rows.RowSet((), (one,), 0).sha256}
    assert len(hashes) == 3


@given(st.lists(st.integers(1, 400), min_size=1, max_size=200), st.integers(1, 17), st.integers(0, 3))
def test_batches_hold_every_row_once_in_each_pass(lengths: list[int], size: int, epoch: int) -> None:
    order = LengthBatches(lengths, size, seed=1)
    order.set_epoch(epoch)
    assert sorted(order) == list(range(len(lengths)))


def test_batches_are_of_nearly_equal_length_and_differ_from_pass_to_pass() -> None:
    lengths = [100 + 7 * n % 250 for n in range(320)]
    order = LengthBatches(lengths, 16, seed=3)
    passes = []
    for epoch in range(2):
        order.set_epoch(epoch)
        passes.append(list(order))
        padded = sum(16 * max(lengths[at] for at in passes[-1][start : start + 16]) for start in range(0, 320, 16))
        assert padded / sum(lengths) < 1.06
    assert passes[0] != passes[1]
    order.set_epoch(0)
    assert list(order) == passes[0]
