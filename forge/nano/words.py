"""The words that generated code is named with: shared by every family, so that a name gives nothing away."""

from __future__ import annotations

DOMAINS = (
    "billing", "catalog", "dispatch", "energy", "fitness", "garden", "harbor", "invoice", "kitchen", "library",
    "market", "network", "orchard", "parking", "quarry", "railway", "studio", "transit", "voyage", "weather",
)  # fmt: skip

NOUNS = (
    "order", "price", "score", "weight", "amount", "rate", "count", "reading", "ticket", "token", "sample", "signal",
    "level", "point", "batch", "stock", "parcel", "meter", "route", "shift", "seat", "badge", "crate", "bonus",
    "credit", "fare", "grade", "hour", "label", "metric", "panel", "quota", "refund", "slot", "tariff", "unit",
)  # fmt: skip

LISTS = (
    "values", "items", "amounts", "prices", "scores", "weights", "counts", "rates", "readings", "orders", "points",
    "samples", "levels", "units", "numbers", "entries", "records", "marks",
)  # fmt: skip

LOOPS = ("value", "item", "x", "v", "entry", "n", "each", "cur", "elem", "part")

SCALARS = ("limit", "bound", "base", "step", "width", "size", "factor", "offset", "floor", "span", "depth", "target", "quota", "rank")

RESULTS = ("total", "result", "acc", "out", "answer", "found", "res", "final", "made", "tally")

TEXTS = ("text", "word", "label", "name", "line", "code", "key", "tag", "title", "raw")

LETTERS = "abcdeghikmnoprstuxyz"
