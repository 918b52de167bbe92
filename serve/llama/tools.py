"""Tool calls in the form that Qwen was taught (Hermes'): `<tool_call>{"name": …, "arguments": {…}}</tool_call>` in the answer's text."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from serve.llama.asked import ChatCall, refusal

BEGIN, END = "<tool_call>", "</tool_call>"


def offered(call: ChatCall) -> list[dict[str, Any]] | None:
    """The tools that the prompt tells of."""
    return None if call.tool_choice == "none" or not call.tools else call.tools


def forced(call: ChatCall) -> dict[str, Any] | None:
    """The JSON schema of an answer that must be a call; `None` where the model may choose. Raises `RefusalError`."""
    choice, tools = call.tool_choice, call.tools or []
    if choice in (None, "auto", "none"):
        return None
    if not tools:
        raise refusal("tool_choice without tools", "tool_choice")
    if choice == "required":
        calls = [_schema(tool) for tool in tools]
        return {"type": "array", "minItems": 1, "items": {"anyOf": calls}}
    name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
    chosen = next((tool for tool in tools if _function(tool).get("name") == name), None)
    if chosen is None:
        raise refusal(f"tool_choice names {name!r}, which is not among the tools", "tool_choice")
    return {"type": "array", "minItems": 1, "maxItems": 1, "items": _schema(chosen)}


def calls_of(text: str, *, whole: bool) -> tuple[str | None, list[dict[str, Any]]]:
    """What an answer says before its calls, and the calls; `whole`: it was forced to be calls. Text that is no call stays text."""
    if whole:
        try:
            return None, [_call(one) for one in json.loads(text)]
        except (ValueError, KeyError, TypeError):
            return text, []
    before, begin, rest = text.partition(BEGIN)
    if not begin:
        return text, []
    calls = []
    for part in rest.split(BEGIN):
        try:
            calls.append(_call(json.loads(part.partition(END)[0])))
        except (ValueError, KeyError, TypeError):
            return text, []
    return before.strip() or None, calls


def _call(told: Mapping[str, Any]) -> dict[str, Any]:
    arguments = json.dumps(told.get("arguments", {}), ensure_ascii=False)
    return {"id": f"chatcmpl-tool-{uuid.uuid4().hex[:16]}", "type": "function", "function": {"name": told["name"], "arguments": arguments}}


def _schema(tool: Mapping[str, Any]) -> dict[str, Any]:
    function = _function(tool)
    properties = {"name": {"const": function.get("name")}, "arguments": function.get("parameters") or {"type": "object"}}
    return {"type": "object", "properties": properties, "required": ["name", "arguments"]}


def _function(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    function = tool.get("function")
    if not isinstance(function, dict):
        raise refusal("each of tools is {type: function, function: {name, parameters}}", "tools")
    return function


def deltas_of(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Calls as a stream tells them."""
    return [{"index": number, **call} for number, call in enumerate(calls)]
