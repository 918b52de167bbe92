"""What every teacher must do."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from forge.config import TeacherConfig
from forge.endpoint.teacher import OpenAITeacher
from forge.errors import TeacherError, TeacherRefusedError
from forge.fakes.teacher import FakeTeacher
from forge.records import Message
from forge.seams import Teacher
from tests.chat_endpoint import Endpoint, chat_endpoint


def script(question: str) -> str:
    return "" if question == "say nothing" else f"you said: {question}"


def question(text: str) -> list[Message]:
    return [Message(role="system", content="be brief"), Message(role="user", content=text)]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with chat_endpoint(script) as endpoint:
        yield endpoint


@pytest.fixture(params=["fake", "openai"])
def teacher(request: pytest.FixtureRequest, endpoint: Endpoint, tmp_path: Path) -> Teacher:
    if request.param == "fake":
        return FakeTeacher(script)
    return OpenAITeacher(TeacherConfig(model="m", url=endpoint.url), tmp_path)


async def ask(teacher: Teacher, *texts: str) -> list[object]:
    try:
        return await asyncio.gather(*(teacher.ask(question(text)) for text in texts), return_exceptions=True)
    finally:
        await teacher.close()
        await teacher.close()


def test_an_answer_has_its_text_and_tokens(teacher: Teacher) -> None:
    (answer,) = asyncio.run(ask(teacher, "hello"))
    assert (answer.text, answer.cached) == ("you said: hello", False)
    assert answer.prompt_tokens > 0 and answer.completion_tokens > 0


def test_the_same_question_is_asked_once(teacher: Teacher) -> None:
    async def twice() -> list[object]:
        first = await teacher.ask(question("hello"))
        return [first, *await ask(teacher, "hello")]

    first, second = asyncio.run(twice())
    assert second == first.model_copy(update={"cached": True})


def test_an_empty_answer_is_an_error_of_that_question_alone(teacher: Teacher) -> None:
    empty, good = asyncio.run(ask(teacher, "say nothing", "hello"))
    assert isinstance(empty, TeacherError) and not isinstance(empty, TeacherRefusedError)
    assert good.text == "you said: hello"


def openai_teacher(endpoint: Endpoint, folder: Path, **settings: object) -> OpenAITeacher:
    return OpenAITeacher(TeacherConfig(model="m", url=endpoint.url, **settings), folder)


def test_an_answer_outlives_whoever_asked(endpoint: Endpoint, tmp_path: Path) -> None:
    asyncio.run(ask(openai_teacher(endpoint, tmp_path), "hello"))
    (answer,) = asyncio.run(ask(openai_teacher(endpoint, tmp_path), "hello"))
    assert answer.cached and len(endpoint.bodies) == 1


def test_another_temperature_or_model_is_another_question(endpoint: Endpoint, tmp_path: Path) -> None:
    asyncio.run(ask(openai_teacher(endpoint, tmp_path), "hello"))
    asyncio.run(ask(openai_teacher(endpoint, tmp_path, temperature=0.9), "hello"))
    assert [body["temperature"] for body in endpoint.bodies] == [0.2, 0.9]


def test_a_busy_endpoint_is_asked_again_after_the_pause_that_it_wants(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.failing = [(429, {"Retry-After": "0.01"}), (500, {"retry-after-ms": "10"})]
    (answer,) = asyncio.run(ask(openai_teacher(endpoint, tmp_path), "hello"))
    assert answer.text == "you said: hello" and len(endpoint.bodies) == 3


def test_what_fails_each_time_is_an_error_and_is_asked_again_by_the_next_run(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.failing = [(503, {"retry-after-ms": "10"})] * 2
    (error,) = asyncio.run(ask(openai_teacher(endpoint, tmp_path, retries=1), "hello"))
    assert isinstance(error, TeacherError) and "told to fail with 503" in str(error)
    (answer,) = asyncio.run(ask(openai_teacher(endpoint, tmp_path, retries=1), "hello"))
    assert answer.text == "you said: hello"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_who_is_not_allowed_is_told_so_at_once(endpoint: Endpoint, tmp_path: Path, status: int) -> None:
    endpoint.failing = [(status, {})]
    (error,) = asyncio.run(ask(openai_teacher(endpoint, tmp_path), "hello"))
    assert isinstance(error, TeacherRefusedError) and f"told to fail with {status}" in str(error)
    assert len(endpoint.bodies) == 1


def test_no_more_questions_are_under_way_than_configured(endpoint: Endpoint, tmp_path: Path) -> None:
    asyncio.run(ask(openai_teacher(endpoint, tmp_path, concurrency=2), *(f"question {number}" for number in range(20))))
    assert len(endpoint.bodies) == 20 and endpoint.together <= 2


def test_the_key_comes_from_the_environment(endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret-1")
    asyncio.run(ask(openai_teacher(endpoint, tmp_path, key_variable="MY_KEY"), "hello"))
    assert endpoint.keys == ["Bearer secret-1"]


def test_openais_own_address_wants_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (error,) = asyncio.run(ask(OpenAITeacher(TeacherConfig(model="m"), tmp_path), "hello"))
    assert isinstance(error, TeacherRefusedError) and "OPENAI_API_KEY" in str(error)


def test_without_a_model_there_is_no_teacher(tmp_path: Path) -> None:
    with pytest.raises(TeacherRefusedError, match=r"teacher\.model"):
        OpenAITeacher(TeacherConfig(), tmp_path)
