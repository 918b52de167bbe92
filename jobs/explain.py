"""The resolved configuration with the meaning of every key, as YAML that can be read back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from forge.config import ForgeConfig


def explained(config: ForgeConfig) -> str:
    """YAML of every value; above each key or group stands its docstring, above alike groups once, behind a changed key its default."""
    return "\n".join(_lines(config, type(config)(), "")) + "\n"


def _lines(section: BaseModel, defaults: BaseModel | None, indent: str, *, told: bool = True) -> Iterator[str]:
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        default = getattr(defaults, name) if defaults is not None else field.get_default(call_default_factory=True)
        meaning = field.description or _meaning(value)
        if told and meaning:
            yield f"{indent}# {' '.join(meaning.split())}"
        yield from _key(name, value, default, indent, told=told)


def _key(name: str, value: Any, default: Any, indent: str, *, told: bool) -> Iterator[str]:
    if isinstance(value, BaseModel):
        yield f"{indent}{name}:"
        yield from _lines(value, default if isinstance(default, BaseModel) else None, indent + "  ", told=told)
    elif _is_group(value):
        yield f"{indent}{name}:"
        for at, (key, item) in enumerate(value.items()):
            before = default.get(key) if isinstance(default, dict) else None
            yield from _key(key, item, before, indent + "  ", told=told and at == 0)
    else:
        changed = "" if value == default or default is PydanticUndefined else f"   # default: {_plain(default)}"
        yield f"{indent}{name}: {_plain(value)}{changed}"


def _meaning(value: Any) -> str:
    """What a group is, or what each of several alike is; nothing for a plain value."""
    one = next(iter(value.values())) if _is_group(value) else value
    return (type(one).__doc__ or "") if isinstance(one, BaseModel) else ""


def _is_group(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(item, BaseModel) for item in value.values())


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
