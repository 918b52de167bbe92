"""The CPU worker's LoRA products against each row's own, in all of its ways: one adapter, few rows of several, many rows."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("vllm")

from vllm.lora.layers import LoRAMapping  # noqa: E402

from serve import cpu_worker  # noqa: E402

SLOTS, RANK, SIZE = 4, 8, 32
SLICES = (24, 8, 8)
Matrices = tuple[torch.Tensor, ...]
LAYOUT = [11, None, 13, 14]


def weights(chance: torch.Generator) -> tuple[Matrices, Matrices]:
    """The second slot is empty, the third has an adapter of a lower rank."""
    a = tuple(torch.randn(SLOTS, 1, RANK, SIZE, generator=chance) for _ in SLICES)
    b = tuple(torch.randn(SLOTS, 1, out, RANK, generator=chance) for out in SLICES)
    for one, other in zip(a, b, strict=True):
        one[1] = other[1] = 0.0
        one[2, 0, RANK // 2 :] = 0.0
        other[2, 0, :, RANK // 2 :] = 0.0
    return a, b


def wanted(x: torch.Tensor, ids: list[int], a: Matrices, b: Matrices) -> torch.Tensor:
    """Row by row."""
    rows = []
    for row, own in zip(x, ids, strict=True):
        slot = LAYOUT.index(own) if own else 0
        parts = [two[slot, 0] @ (one[slot, 0] @ row) for one, two in zip(a, b, strict=True)]
        rows.append(torch.cat(parts) * bool(own))
    return torch.stack(rows)


def lora() -> cpu_worker.PackedLora:
    return cpu_worker.PackedLora(4096, 128, "cpu", max_loras=SLOTS)


def add(lora: cpu_worker.PackedLora, ids: list[int], layout: list[int | None], x: torch.Tensor, a: Matrices, b: Matrices) -> torch.Tensor:
    lora.update_metadata(LoRAMapping(tuple(ids), tuple(ids), is_prefill=True), layout, SLOTS, 100)
    y = torch.zeros(len(ids), sum(SLICES))
    lora.add_lora_linear(y, x, a, b, 1.0, SLICES)
    return y


@pytest.mark.parametrize(("masked", "padded"), [(0, -1), (0, 10**9), (10**9, 0)], ids=["sorted", "padded", "masked"])
@pytest.mark.parametrize("ids", [
    [13] * 5, [11, 11, 13, 13, 14], [14, 11, 13, 11, 14], [0, 11, 0, 13, 0], [0, 0, 0], [11, 0, 0], [13], [14, 13, 14, 0, 14],
], ids=str)  # fmt: skip
def test_each_row_meets_its_own_adapter_alone(ids: list[int], masked: int, padded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_worker, "MASKED", masked)
    monkeypatch.setattr(cpu_worker, "PADDED", padded)
    chance = torch.Generator().manual_seed(0)
    a, b = weights(chance)
    x = torch.randn(len(ids), SIZE, generator=chance)
    torch.testing.assert_close(add(lora(), ids, LAYOUT, x, a, b), wanted(x, ids, a, b), rtol=1e-4, atol=1e-4)


def test_an_adapter_that_is_written_into_a_slot_is_packed_anew() -> None:
    chance = torch.Generator().manual_seed(0)
    (a, b), made = weights(chance), lora()
    x = torch.randn(2, SIZE, generator=chance)
    before = add(made, [11, 13], LAYOUT, x, a, b)

    def activate(_: object, slot: int) -> bool:
        for one in (*a, *b):
            one[slot].normal_(generator=chance)  # in place, as the engine loads
        return True

    assert cpu_worker._counted(activate)(None, 0)  # type: ignore[arg-type]
    after = add(made, [11, 13], LAYOUT, x, a, b)
    torch.testing.assert_close(after, wanted(x, [11, 13], a, b), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before[0], after[0]) and torch.allclose(before[1], after[1], atol=1e-4)


@pytest.mark.parametrize("padded", [-1, 10**12], ids=["sorted", "padded"])
def test_many_rows_in_any_order_meet_their_own_adapters_step_after_step(padded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory of large products is used again by the next."""
    monkeypatch.setattr(cpu_worker, "PADDED", padded)
    chance = torch.Generator().manual_seed(0)
    (a, b), made = weights(chance), cpu_worker.PackedLora(4096, 4096, "cpu", max_loras=SLOTS)
    for known in ([11, 13, 14], [0, 13, 14], [14, 14, 14, 11]):
        ids = [known[int(one)] for one in torch.randint(len(known), (2500,), generator=chance)]
        x = torch.randn(len(ids), SIZE, generator=chance)
        torch.testing.assert_close(add(made, ids, LAYOUT, x, a, b), wanted(x, ids, a, b), rtol=1e-4, atol=1e-4)
