"""Requests in OpenAI's words as llama-server is given them, and what it says as OpenAI's answers; no server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from serve.answers import RefusalError
from serve.llama import asked, told, tools
from serve.llama.asked import ChatCall, TextCall
from serve.llama.material import Facts
from serve.llama.sampled import Completion, Place, Token, aligned, ending_of

FACTS = Facts(vocabulary=1024, cached_values=768, ends=(2,), defaults={"temperature": 0.6, "top_k": 20})
MESSAGES: list[dict[str, Any]] = [{"role": "user", "content": "find the bug"}]


def chat(**fields: Any) -> asked.Plan:
    return asked.plan(ChatCall(messages=MESSAGES, **fields), FACTS, 100)


def text(**fields: Any) -> asked.Plan:
    return asked.plan(TextCall(prompt="x", **fields), FACTS, 100)


def refused(**fields: Any) -> str:
    with pytest.raises(RefusalError) as found:
        chat(**fields)
    assert found.value.status == 400
    return str(found.value)


def test_what_a_request_leaves_out_is_as_the_bases_makers_advise() -> None:
    settings = chat().settings
    assert (settings["temperature"], settings["top_k"], settings["top_p"], settings["n_predict"]) == (0.6, 20, 1.0, 100)
    assert "seed" not in settings and "n_probs" not in settings and "repeat_penalty" not in settings


def test_what_a_request_says_holds_in_vllms_order_of_samplers() -> None:
    said = {"temperature": 0.0, "top_p": 0.9, "top_k": -1, "min_p": 0.1, "seed": -1, "stop": "END", "max_completion_tokens": 7}
    settings = chat(**said, repetition_penalty=1.1, logit_bias={"5": -3.0}).settings
    assert (settings["temperature"], settings["top_p"], settings["top_k"], settings["min_p"]) == (0.0, 0.9, 0, 0.1)
    assert settings["seed"] == 2**32 - 1 and settings["stop"] == ["END"] and settings["n_predict"] == 7
    assert settings["repeat_penalty"] == 1.1 and settings["repeat_last_n"] > 10_000
    assert settings["logit_bias"] == [[5, -3.0]]
    assert settings["samplers"].index("temperature") < settings["samplers"].index("top_p")


def test_a_plain_completion_has_16_tokens_where_it_says_nothing() -> None:
    assert text().settings["n_predict"] == 16
    assert text().top is None and text(logprobs=0).top == 0 and text(logprobs=0).settings["n_probs"] == 1
    assert chat(logprobs=True).top == 0 and chat(logprobs=True, top_logprobs=5).settings["n_probs"] == 5


def test_an_answer_of_an_exact_length_does_not_end_before() -> None:
    assert chat(max_tokens=8, min_tokens=8).settings["ignore_eos"] is True
    assert "ignore_eos" not in chat(max_tokens=8).settings
    assert "min_tokens=4 is below max_tokens=8" in refused(max_tokens=8, min_tokens=4)
    assert "101 tokens are asked for; prompt and context length leave room for 100" in refused(max_tokens=101)


@pytest.mark.parametrize(
    ("fields", "settings"),
    [
        ({"structured_outputs": {"json": {"type": "object"}}}, {"json_schema": {"type": "object"}}),
        ({"structured_outputs": {"json": '{"type": "string"}', "regex": None}}, {"json_schema": {"type": "string"}}),
        ({"structured_outputs": {"choice": ["yes", 'say "no"']}}, {"grammar": 'root ::= "yes" | "say \\"no\\""'}),
        ({"structured_outputs": {"grammar": 'root ::= "x"'}}, {"grammar": 'root ::= "x"'}),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "array"}}}},
            {"json_schema": {"type": "array"}},
        ),
        ({"response_format": {"type": "text"}}, {}),
    ],
)  # fmt: skip
def test_structured_output_becomes_a_schema_or_a_grammar(fields: dict[str, Any], settings: dict[str, Any]) -> None:
    made = chat(**fields).settings
    assert {key: made[key] for key in ("json_schema", "grammar") if key in made} == settings


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"structured_outputs": {"regex": "a+"}}, "there is no regex with llama.cpp"),
        ({"structured_outputs": {"choice": []}}, "a list of texts"),
        ({"response_format": {"type": "xml"}}, "there is no response_format 'xml'"),
        ({"presence_penalty": 0.5}, "presence_penalty is not to be had"),
        ({"prompt_logprobs": 1}, "prompt_logprobs is not to be had"),
        ({"echo": True}, "echo is not to be had"),
        ({"logit_bias": {"yes": 1}}, "by token id"),
    ],
)
def test_what_cannot_be_given_is_refused_by_name(fields: dict[str, Any], why: str) -> None:
    assert why in refused(**fields)


def test_fields_that_ask_for_nothing_and_those_of_other_services_are_taken() -> None:
    assert chat(presence_penalty=0, echo=False, user="me", service_tier="auto", prompt_logprobs=None).choices == 1


def test_prompts_are_told_apart() -> None:
    cases: list[tuple[Any, list[Any]]] = [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]])]
    for given, prompts in cases:
        assert asked.prompts_of(TextCall(prompt=given)) == prompts


def test_messages_are_as_templates_take_them() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    turns = asked.turns_of([{"role": "user", "content": parts, "name": None}, {"role": "assistant", "content": None, "tool_calls": [call]}])
    assert turns[0] == {"role": "user", "content": "a\nb"}
    assert turns[1]["tool_calls"][0]["function"]["arguments"] == {"x": 1}
    with pytest.raises(RefusalError, match=r"sees no images"):
        asked.turns_of([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}])


def token(number: int, logprob: float = -1.0) -> Token:
    return Token(number, f"<{number}>", (60, 48 + number % 10), logprob)


def place(number: int) -> Place:
    return Place(token(number), (token(number), token(number + 1, -2.0)))


def test_logprobs_find_their_tokens_where_some_are_missing() -> None:
    one, two, three = place(1), place(2), place(3)
    assert aligned([1, 2, 3], [one, two, three]) == [one, two, three]
    assert aligned([1, 9, 3], [one, three]) == [one, None, three]
    assert aligned([9, 1, 2], [one, two]) == [None, one, two]
    assert aligned([1, 2, 9], [one, two]) == [one, two, None]
    assert aligned([1, 1, 2], [one, two]) == [None, None, two], "it may be either's"
    assert aligned([1], []) == [None]


def test_an_ending_is_told_in_openais_words() -> None:
    assert ending_of({"stop_type": "eos", "stopping_word": ""}) == ("stop", None)
    assert ending_of({"stop_type": "word", "stopping_word": "END"}) == ("stop", "END")
    assert ending_of({"stop_type": "limit"}) == ("length", None)


FOUND = Completion("<1><2>", (1, 2), "stop", None, (place(1), place(2)))


def test_logprobs_have_openais_shapes() -> None:
    content = told.chat_logprobs(FOUND.places, chat(logprobs=True, top_logprobs=1))["content"]  # type: ignore[index]
    assert content[0] == {
        "token": "<1>", "logprob": -1.0, "bytes": [60, 49], "top_logprobs": [{"token": "<1>", "logprob": -1.0, "bytes": [60, 49]}],
    }  # fmt: skip
    plain = told.text_logprobs(FOUND.places, text(logprobs=2))
    assert plain == {
        "text_offset": [0, 3],
        "token_logprobs": [-1.0, -1.0],
        "tokens": ["<1>", "<2>"],
        "top_logprobs": [{"<1>": -1.0, "<2>": -2.0}, {"<2>": -1.0, "<3>": -2.0}],
    }
    named = told.text_logprobs(FOUND.places, text(logprobs=0, return_tokens_as_token_ids=True))
    assert named is not None and named["tokens"] == ["token_id:1", "token_id:2"]
    assert told.chat_logprobs(FOUND.places, chat()) is None


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {"path": {"type": "string"}}}}}]


def test_calls_are_read_from_qwens_form() -> None:
    said = "I look." + "".join(
        f'\n<tool_call>\n{{"name": "look", "arguments": {arguments}}}\n</tool_call>' for arguments in ('{"path": "a.py"}', "{}")
    )
    content, calls = tools.calls_of(said, whole=False)
    assert content == "I look." and [json.loads(call["function"]["arguments"]) for call in calls] == [{"path": "a.py"}, {}]
    assert tools.calls_of("no call", whole=False) == ("no call", [])
    assert tools.calls_of("<tool_call>{broken", whole=False) == ("<tool_call>{broken", [])
    content, calls = tools.calls_of('[{"name": "look", "arguments": {"path": "b"}}]', whole=True)
    assert content is None and calls[0]["function"]["name"] == "look"


def test_a_call_that_is_wanted_becomes_a_schema() -> None:
    def schema(choice: Any) -> Any:
        return tools.forced(ChatCall(messages=MESSAGES, tools=TOOLS, tool_choice=choice))

    assert schema("auto") is None and schema(None) is None
    assert schema("required")["items"]["anyOf"][0]["properties"]["name"] == {"const": "look"}
    assert schema({"type": "function", "function": {"name": "look"}})["maxItems"] == 1
    with pytest.raises(RefusalError, match=r"'write', which is not among the tools"):
        schema({"type": "function", "function": {"name": "write"}})
    assert tools.offered(ChatCall(messages=MESSAGES, tools=TOOLS, tool_choice="none")) is None
