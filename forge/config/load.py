"""From YAML files and `key=value` strings to a configuration, and back."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from forge.config.run import ForgeConfig
from forge.errors import ConfigError


def load(paths: Sequence[Path], overrides: Sequence[str] = ()) -> ForgeConfig:
    """The configuration of `paths` and `overrides`; raises `ConfigError` with one sentence."""
    try:
        return ForgeConfig.model_validate(deviations(paths, overrides))
    except ValidationError as error:
        raise ConfigError(_sentence(error)) from error


def deviations(paths: Sequence[Path], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """What `paths` and `overrides` set, merged in order and not yet checked; raises `ConfigError` for unreadable ones."""
    merged: dict[str, Any] = {}
    for path in paths:
        merged = _merge(merged, _read(path))
    for override in overrides:
        merged = _merge(merged, _override(override))
    return merged


def as_value(value: Any) -> str:
    """A value as it is written after `key=` in an override."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).strip().removesuffix("...").strip()


def dump(config: ForgeConfig) -> str:
    """The resolved configuration as YAML, every default written out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config {path}: {error}; give a YAML file such as configs/quickstart.yaml") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds a {type(content).__name__}, not a mapping of config keys")
    return content


def _override(text: str) -> dict[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise ConfigError(f"'{text}' is no override; write key=value, such as rounds.limit=1")
    try:
        nested: Any = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"the value of '{text}' is not valid YAML: {' '.join(str(error).split())}") from error
    for part in reversed(key.split(".")):
        nested = {part: nested}
    assert isinstance(nested, dict)
    return nested


def _merge(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(where, list(_keys(ForgeConfig)), n=1)
        return f"unknown config key '{where}'" + (f"; did you mean '{near[0]}'?" if near else "; forge config shows all keys")
    message = first["msg"].removeprefix("Value error, ")
    return f"{where}: {message} (got {first['input']!r})" if where else message


def _keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        yield prefix + name
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _keys(field.annotation, f"{prefix}{name}.")
