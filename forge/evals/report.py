"""A run's summary on disk: `report.json`, the record itself, and `report.html`, the page made of it."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from forge.errors import StoreError
from forge.evals.pages.page import page
from forge.evals.summary import RunSummary
from forge.store import atomic


def write_report(folder: Path, summary: RunSummary) -> Path:
    """Write `report.json` and `report.html` into `folder`; returns the path of the page."""
    atomic.write_text(folder / "report.json", summary.model_dump_json(indent=1) + "\n")
    return write_html(folder / "report.html", summary)


def write_html(path: Path, summary: RunSummary) -> Path:
    """Write the page alone."""
    atomic.write_text(path, page(summary))
    return path


def read_summary(path: Path) -> RunSummary:
    """The summary in a `report.json`; raises `StoreError` when there is none or it is of another version."""
    try:
        return RunSummary.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StoreError(f"there is no report at {path}; run forge improve first, or give a run's workspace") from error
    except ValidationError as error:
        raise StoreError(f"{path} is no report of this version of forge: {error.errors()[0]['msg']}; run forge improve again") from error
