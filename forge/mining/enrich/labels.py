"""What a person thinks of rows: one JSON object a line, `{"id": "boltons@3f9c…", "good": true}`."""

from __future__ import annotations

import json
from pathlib import Path

from forge.errors import ConfigError


def read_labels(path: Path) -> dict[str, bool]:
    """Verdicts by row id. Raises `ConfigError` naming the line that is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"mining.enrich.labels: cannot read {path}: {error}") from error
    labels: dict[str, bool] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            id_, good = entry["id"], entry["good"]
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f'{path}, line {number}: write {{"id": …, "good": true or false}}, not {line[:60]}') from error
        if not isinstance(id_, str) or not isinstance(good, bool):
            raise ConfigError(f"{path}, line {number}: id must be text and good true or false")
        labels[id_] = good
    return labels
