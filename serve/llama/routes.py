"""The app behind the front: vLLM's routes and forge's own, answered by llama-server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from forge.errors import ForgeError
from serve.answers import RefusalError
from serve.llama import asked, told, tools
from serve.llama.asked import CACHED, ChatCall, Plan, TextCall, refusal
from serve.llama.material import Facts, Tokenizer
from serve.llama.pool import Pool
from serve.llama.sampled import Completion, Prompt, complete, ending_of, judged
from serve.llama.told import Head

T = TypeVar("T")
Ids = tuple[int, ...]
Id = Annotated[int, Field(ge=0)]


class SampleCall(BaseModel):
    """`POST /forge/sample`; see `serve.sample_route`."""

    model_config = ConfigDict(extra="forbid")

    model: str
    prompts: list[list[Id]]
    max_tokens: int = Field(ge=1)
    temperature: float = Field(0.0, ge=0.0)
    seeds: list[int] = []
    choices: list[Id] = []
    grammar: str = ""


class TokenizeCall(BaseModel):
    """`POST /tokenize`: a text, or chat messages."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    tools: list[dict[str, Any]] | None = None
    add_generation_prompt: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    return_token_strs: bool | None = False


class DetokenizeCall(BaseModel):
    """`POST /detokenize`."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    tokens: list[Id]


class Base(NamedTuple):
    """What the routes know of their base. `longest`: tokens of prompt and answer together."""

    name: str
    facts: Facts
    tokenizer: Tokenizer
    longest: int


class Work(NamedTuple):
    """A request that has been understood: prompts in token ids, each answered `plan.choices` times; `forced`: by calls of tools."""

    head: Head
    prompts: Sequence[Ids]
    plan: Plan
    calls: bool = False
    forced: bool = False

    @property
    def places(self) -> list[tuple[int, Ids]]:
        """Index and prompt of each choice."""
        many = self.plan.choices
        return [(number * many + choice, ids) for number, ids in enumerate(self.prompts) for choice in range(many)]

    def settings(self, index: int) -> dict[str, Any]:
        """Those of one choice: a seed is for the first, and the others have those that follow."""
        settings = self.plan.settings
        return settings | {"seed": (settings["seed"] + index) % 2**32} if "seed" in settings else settings


class Spent(NamedTuple):
    """Tokens of one answer that a stream is told of: written ones, and those of the prompt that were cached."""

    written: int
    cached: int


def app_of(pool: Pool, base: Base, version: Callable[[], str]) -> FastAPI:
    """The app; `version` is what `/version` tells."""
    app = FastAPI(title="forge", docs_url=None, redoc_url=None)
    routes = _Routes(pool, base)
    app.post("/v1/chat/completions")(routes.chat)
    app.post("/v1/completions")(routes.completions)
    app.post("/forge/sample")(routes.sample)
    app.post("/tokenize")(routes.tokenize)
    app.post("/detokenize")(routes.detokenize)
    app.get("/health")(routes.health)
    app.get("/metrics")(routes.metrics)

    @app.get("/version")
    async def told_version() -> dict[str, str]:
        return {"version": version()}

    @app.exception_handler(RefusalError)
    async def refused(_: Request, error: RefusalError) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return JSONResponse(refusal(f"{place or 'the body'}: {first['msg']}", place or None).body, HTTPStatus.BAD_REQUEST)

    return app


class _Routes:
    def __init__(self, pool: Pool, base: Base) -> None:
        self._pool, self._base = pool, base

    async def chat(self, call: ChatCall, request: Request) -> Response:
        schema = tools.forced(call)
        offered = tools.offered(call)
        ids = self._rendered(call.messages, offered, call.add_generation_prompt, call.chat_template_kwargs)
        plan = asked.plan(call, self._base.facts, self._room(ids), schema)
        work = Work(self._head(call.model, request, chat=True), [ids], plan, calls=bool(offered), forced=schema is not None)
        return await self._answered(work, request)

    async def completions(self, call: TextCall, request: Request) -> Response:
        given = asked.prompts_of(call)
        prompts = [self._base.tokenizer.encode(one) if isinstance(one, str) else tuple(one) for one in given]
        if not prompts or not all(prompts):
            raise refusal("a prompt has at least one token", "prompt")
        plan = asked.plan(call, self._base.facts, min(self._room(ids) for ids in prompts))
        return await self._answered(Work(self._head(call.model, request, chat=False), prompts, plan), request)

    async def sample(self, call: SampleCall, request: Request) -> Response:
        if call.seeds and len(call.seeds) != len(call.prompts):
            raise refusal(f"{len(call.prompts)} prompts with {len(call.seeds)} seeds; give one for each or none", "seeds")
        if call.choices and call.max_tokens != 1:
            raise refusal("choices are judged at one token; max_tokens must be 1", "max_tokens")
        seeds: Sequence[int | None] = call.seeds or [None] * len(call.prompts)
        one = self._judged if call.choices else self._sampled
        works = [one(call, tuple(ids), seed) for ids, seed in zip(call.prompts, seeds, strict=True)]
        return JSONResponse({"samples": await unless_gone(request, _all(works))})

    async def tokenize(self, call: TokenizeCall) -> dict[str, Any]:
        if (call.prompt is None) == (call.messages is None):
            raise refusal("give either prompt or messages")
        if call.messages is not None:
            ids = self._rendered(call.messages, call.tools, call.add_generation_prompt, call.chat_template_kwargs)
        else:
            ids = self._base.tokenizer.encode(call.prompt or "")
        strings = self._base.tokenizer.pieces(ids) if call.return_token_strs else None
        return {"count": len(ids), "max_model_len": self._base.longest, "tokens": list(ids), "token_strs": strings}

    async def detokenize(self, call: DetokenizeCall) -> dict[str, str]:
        if any(one >= self._base.facts.vocabulary for one in call.tokens):
            raise refusal(f"this base has {self._base.facts.vocabulary} tokens", "tokens")
        return {"prompt": self._base.tokenizer.plain(call.tokens)}

    async def health(self) -> Response:
        return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE if self._pool.errored else HTTPStatus.OK)

    async def metrics(self) -> Response:
        async with self._pool.asking() as child:
            status, body, kind = await child.get("/metrics")
        return Response(body, status, media_type=kind)

    def _head(self, model: str | None, request: Request, *, chat: bool) -> Head:
        return Head(("chatcmpl-" if chat else "cmpl-") + request.headers.get("x-request-id", "forge"), model or self._base.name, chat)

    def _rendered(
        self, messages: Sequence[dict[str, Any]], offered: list[dict[str, Any]] | None, prompted: bool, more: dict[str, Any] | None
    ) -> Ids:
        variables = {"add_generation_prompt": prompted, **({"tools": offered} if offered else {}), **(more or {})}
        try:
            return self._base.tokenizer.encode(self._base.tokenizer.rendered(asked.turns_of(messages), **variables))
        except ForgeError as error:
            raise refusal(str(error), "messages") from error

    def _room(self, ids: Ids) -> int:
        """Tokens that an answer to a prompt may have."""
        room = self._base.longest - len(ids)
        if room < 1:
            raise refusal(f"the prompt has {len(ids)} tokens; prompt and answer together may have {self._base.longest}", "prompt")
        return room

    # Samples

    async def _sampled(self, call: SampleCall, ids: Ids, seed: int | None) -> dict[str, Any]:
        longest = min(call.max_tokens, self._room(self._checked(ids)))
        settings = asked.drawn(call.temperature, seed) | {"n_predict": longest, "n_probs": 1}
        settings |= {"grammar": call.grammar} if call.grammar else {}
        found = await self._completed(call.model, ids, settings)
        logprobs = [place.token.logprob for place in found.places]
        return {"ids": list(found.ids), "logprobs": logprobs, "choices": [], "finish": found.finish}

    async def _judged(self, call: SampleCall, ids: Ids, seed: int | None) -> dict[str, Any]:
        self._room(self._checked(ids))
        async with self._pool.answering(call.model) as child:
            prompt = Prompt(child, call.model, ids)
            token, logprobs, cached = await judged(prompt, call.choices, call.temperature, seed, self._base.facts)
        self._told(call.model, prompt=len(ids), cached=cached, written=1)
        finish = "stop" if token in self._base.facts.ends else "length"
        return {"ids": [token], "logprobs": [logprobs[call.choices.index(token)]], "choices": logprobs, "finish": finish}

    def _told(self, model: str, *, prompt: int, cached: int, written: int) -> None:
        if self._pool.tokens is not None:
            self._pool.tokens(model, prompt=prompt, cached=cached, written=written)

    def _checked(self, ids: Ids) -> Ids:
        if not ids:
            raise refusal("a prompt has at least one token", "prompts")
        return ids

    # Completions

    async def _completed(self, model: str, ids: Ids, settings: dict[str, Any]) -> Completion:
        async with self._pool.answering(model) as child:
            found = await complete(Prompt(child, model, ids), settings, self._base.facts)
        self._told(model, prompt=len(ids), cached=found.cached, written=len(found.ids))
        return found

    async def _answered(self, work: Work, request: Request) -> Response:
        plan = work.plan
        if plan.stream and plan.top is None and not plan.ids and not work.calls:
            return await _streaming(self._live(work))
        found = await unless_gone(request, _all([self._completed(work.head.model, ids, work.settings(n)) for n, ids in work.places]))
        if plan.stream:
            # llama-server's own stream leaves out tokens that end inside a character, so this one is told when it is whole.
            return await _streaming(_at_once(work, found))
        body = work.head.whole([_choice(work, n, one) for n, one in enumerate(found)], _usage(work, found))
        if work.head.chat:
            body |= {"prompt_logprobs": None, "prompt_token_ids": list(work.prompts[0]) if plan.ids else None}
        return JSONResponse(body)

    async def _live(self, work: Work) -> AsyncIterator[bytes]:
        """The answer as it comes, all choices mixed."""
        head, events = work.head, asyncio.Queue[dict[str, Any] | RefusalError | Spent]()

        async def follow(index: int, ids: Ids) -> None:
            try:
                async with self._pool.answering(head.model) as child:
                    body = Prompt(child, head.model, ids).body(work.settings(index))
                    async for event in child.stream("/completion", body):
                        if event.get("content"):
                            text = event["content"]
                            part = told.chat_part(index, {"content": text}) if head.chat else told.text_part(index, text)
                            events.put_nowait(part)
                        if event["stop"]:
                            finish, stop = ending_of(event)
                            last = told.chat_part(index, {}, finish, stop) if head.chat else told.text_part(index, "", finish, stop)
                            events.put_nowait(last)
                            spent = Spent(int(event.get("tokens_predicted", 0)), event.get(CACHED, 0))
                            self._told(head.model, prompt=len(ids), cached=spent.cached, written=spent.written)
                            events.put_nowait(spent if index % work.plan.choices == 0 else spent._replace(cached=0))
            except RefusalError as error:
                events.put_nowait(error)

        tasks = [asyncio.create_task(follow(index, ids)) for index, ids in work.places]
        try:
            left, counted, cached, begun = len(tasks), 0, 0, False
            while left:
                event = await events.get()
                if isinstance(event, Spent):
                    left, counted, cached = left - 1, counted + event.written, cached + event.cached
                    continue
                if isinstance(event, RefusalError):
                    if not begun:
                        raise event
                    yield told.event(event.body)
                    break
                if not begun and head.chat:
                    for index, _ in work.places:
                        yield told.event(head.chunk([told.chat_part(index, {"role": "assistant", "content": ""})]))
                begun = True
                yield told.event(head.chunk([event]))
            if work.plan.usage and not left:
                yield told.event(head.chunk([], told.usage(sum(len(ids) for ids in work.prompts), counted, cached)))
            yield told.DONE
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _choice(work: Work, index: int, found: Completion) -> dict[str, Any]:
    prompt = work.prompts[index // work.plan.choices]
    if not work.head.chat:
        return told.text_choice(index, found, work.plan, prompt)
    content, calls = tools.calls_of(found.text, whole=work.forced) if work.calls else (found.text, [])
    return told.chat_choice(index, found, work.plan, content, calls)


async def _at_once(work: Work, found: Sequence[Completion]) -> AsyncIterator[bytes]:
    """A stream of an answer that is there: one part a choice."""
    head, plan = work.head, work.plan
    for index, one in enumerate(found):
        choice = _choice(work, index, one)
        if head.chat:
            message = choice.pop("message")
            delta = {"role": "assistant", "content": message["content"] or ""}
            if message.get("tool_calls"):
                delta["tool_calls"] = tools.deltas_of(message["tool_calls"])
            choice["delta"] = delta
        body = head.chunk([choice])
        if plan.ids and head.chat and index == 0:
            body["prompt_token_ids"] = list(work.prompts[0])
        yield told.event(body)
    if plan.usage:
        yield told.event(head.chunk([], _usage(work, found)))
    yield told.DONE


def _usage(work: Work, found: Sequence[Completion]) -> dict[str, Any]:
    prompts, cached = sum(len(ids) for ids in work.prompts), sum(one.cached for one in found[:: work.plan.choices])
    return told.usage(prompts, sum(len(one.ids) for one in found), cached)


async def _streaming(events: AsyncIterator[bytes]) -> Response:
    """The stream, begun only when there is something to tell, so that a refusal is an answer of its own."""
    first = await anext(events)

    async def all_of_it() -> AsyncIterator[bytes]:
        async with contextlib.aclosing(events):  # type: ignore[type-var]
            yield first
            async for event in events:
                yield event

    return StreamingResponse(all_of_it(), media_type="text/event-stream")


async def _all(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; the first failure ends the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    return [task.result() for task in tasks]


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which ends when the client goes away."""
    task, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise RefusalError(HTTPStatus.BAD_REQUEST, "the client went away")
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
