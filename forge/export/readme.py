"""What the README of an export says: what it is made of, how to use it, what to mind."""

from __future__ import annotations

from forge.export.request import Request
from forge.records import AdapterRef
from forge.stages import REGISTRY


def text(form: str, request: Request, usage: str) -> str:
    """Markdown."""
    rows = [_row(ref) for ref in request.adapters]
    base = request.adapters[0]
    judges = [ref.stage for ref in request.adapters if ref.stage in REGISTRY and REGISTRY[ref.stage].judgement]
    return "\n".join(
        [
            f"# forge export --to {form}",
            "",
            f"Base: `{base.base}`, weights sha256 `{base.base_sha256}`.",
            "",
            "| stage | version | rank | rows | trained on (sha256) | metrics |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            usage,
            "",
            "Prompts must be rendered with the base's chat template, thinking off, as at training.",
            *(f"`{stage}` answers yes or no: its score is the probability of yes against no as first token." for stage in judges),
            "`export.json` holds the hash of each file and the whole lineage.",
            "",
        ]
    )


def _row(ref: AdapterRef) -> str:
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in sorted(ref.metrics.items()))
    return f"| {ref.stage} | {ref.version} | {ref.rank} | {ref.examples} | `{ref.data_sha256[:16]}` | {metrics} |"
