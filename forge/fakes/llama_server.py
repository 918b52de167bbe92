"""A stand-in for llama.cpp's `llama-server`: the routes that forge uses, on a socket, with a model that counts.

After token t comes t + 1, and with an adapter as many more as the last letter of its file's name says, a for 1; `END` ends an answer
and is what comes after `LAST`. A logprob is the distance from that token. As the real one does, it leaves out what it knows of tokens
that end inside a character (`HALF`) and of those that spell a stop text, and refuses to start with a file that is not there. It wants
every request to say which adapters are applied, as forge's do. Half of each prompt counts as cached. `program` makes an executable of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

VOCABULARY, END, LAST, HALF = 1024, 2, 900, 700
STEPS = web.AppKey("steps", list[int])
HOLD = "hold"
"""While a file of this name lies in its working folder, no answer is begun."""


def program(folder: Path) -> Path:
    """An executable `llama-server` in the folder."""
    file = folder / "llama-server"
    root = Path(__file__).resolve().parents[2]
    lines = [
        f"#!{sys.executable}",
        "import sys",
        f"sys.path.insert(0, {str(root)!r})",
        "from forge.fakes.llama_server import main",
        "main()",
    ]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    file.chmod(0o755)
    return file


def main() -> None:
    """Serve until the process is ended."""
    parser = argparse.ArgumentParser()
    for name in ("model", "host", "lora"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--version", action="store_true")
    given, _ = parser.parse_known_args()
    if given.version:
        sys.stdout.write("version: fake (0)\n")
        return
    adapters = [name for name in given.lora.split(",") if name]
    missing = [name for name in (given.model, *adapters) if not Path(name).is_file()]
    if missing:
        sys.exit(f"0.00.001 E gguf_init_from_file: failed to open GGUF file '{missing[0]}'")
    app = web.Application()
    app[STEPS] = [ord(Path(name).stem[-1]) & 31 for name in adapters]
    app.add_routes([web.get("/health", _health), web.get("/metrics", _metrics), web.post("/completion", _complete)])
    asyncio.run(_serve(app, given.host))


async def _serve(app: web.Application, socket: str) -> None:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, socket).start()
    await asyncio.Event().wait()


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _metrics(_: web.Request) -> web.Response:
    return web.Response(text="llamacpp:requests 1\n")


async def _complete(request: web.Request) -> web.StreamResponse:
    call = await request.json()
    if any(not 0 <= one < VOCABULARY for one in call["prompt"]):
        return web.json_response({"error": {"code": 400, "message": "Prompt contains invalid tokens"}}, status=400)
    tokens = []
    places: list[dict[str, Any]] = []
    while Path(HOLD).exists():  # noqa: ASYNC110, ASYNC240  another process holds it
        await asyncio.sleep(0.01)
    step = 1 + sum(request.app[STEPS][entry["id"]] for entry in call["lora"] if entry["scale"])
    for token, place in _drawn(call, step):
        tokens.append(token)
        if token != HALF:
            places.append(place)
    stop = "eos" if tokens[-1] == END else "limit"
    text = "".join(_text(token) for token in tokens)
    for word in call.get("stop", []):
        if word in text:
            text, stop = text.partition(word)[0], "word"
            places = places[:-1]
    answer = {"content": text, "tokens": tokens, "stop": True, "stop_type": stop, "stopping_word": call.get("stop", [""])[0]}
    answer["tokens_predicted"] = len(tokens)
    answer["timings/cache_n"] = len(call["prompt"]) // 2
    if call.get("n_probs"):
        answer["completion_probabilities"] = places
    if not call.get("stream"):
        return web.json_response(answer)
    return await _streamed(request, tokens, answer)


async def _streamed(request: web.Request, tokens: list[int], answer: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    for token in tokens:
        await response.write(b"data: " + json.dumps({"content": _text(token), "tokens": [token], "stop": False}).encode() + b"\n\n")
    await response.write(b"data: " + json.dumps(answer | {"content": "", "tokens": []}).encode() + b"\n\n")
    return response


def _drawn(call: dict[str, Any], step: int) -> Iterator[tuple[int, dict[str, Any]]]:
    bias = dict(call.get("logit_bias", []))
    before, counted = call["prompt"][-1], 0
    while counted < call["n_predict"]:
        best = END if before == LAST else (before + step) % VOCABULARY
        token = max(bias, key=bias.__getitem__) if bias else best
        yield token, _place(token, best, call.get("n_probs", 0))
        before, counted = token, counted + 1
        if token == END:
            return


def _place(token: int, best: int, top: int) -> dict[str, Any]:
    nearest = sorted(range(VOCABULARY), key=lambda one: abs(one - best))[:top]
    return _told(token, best) | {"top_logprobs": [_told(one, best) for one in nearest]}


def _told(token: int, best: int) -> dict[str, Any]:
    return {"id": token, "token": _text(token), "bytes": list(_text(token).encode()), "logprob": -abs(token - best) / 8}


def _text(token: int) -> str:
    return "" if token in (END, HALF) else f"<{token}>"


if __name__ == "__main__":
    main()
