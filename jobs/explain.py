"""The resolved configuration with the meaning of every key, as YAML that can be read back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from forge.config import ForgeConfig


def explained(config: ForgeConfig) -> str:
    """YAML of every value; above a key that has a docstring stands the docstring, behind a changed one its default."""
    return "\n".join(_lines(config, type(config)(), "")) + "\n"


def _lines(section: BaseModel, defaults: BaseModel | None, indent: str) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        default = getattr(defaults, name) if defaults is not None else field.get_default(call_default_factory=True)
        if field.description:
            yield f"{indent}# {' '.join(field.description.split())}"
        yield from _key(name, value, default, indent)


def _key(name: str, value: Any, default: Any, indent: str) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:"
        yield from _lines(value, default if isinstance(default, BaseModel) else None, indent + "  ")
    elif isinstance(value, dict) and value and all(isinstance(item, BaseModel) for item in value.values()):
        yield f"{indent}{name}:"
        for key, item in value.items():
            yield from _key(key, item, default.get(key) if isinstance(default, dict) else None, indent + "  ")
    else:
        changed = "" if value == default or default is PydanticUndefined else f"   # default: {_plain(default)}"
        yield f"{indent}{name}: {_plain(value)}{changed}"


def _bare(value: Any) -> Any:
    """The value without models and tuples."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items()}
    return [_bare(item) for item in value] if isinstance(value, list | tuple) else value


def _plain(value: Any) -> str:
    plain = _bare(value)
    return yaml.safe_dump(plain, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
