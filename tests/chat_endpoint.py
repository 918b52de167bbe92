"""A small OpenAI-compatible endpoint on a port of its own, for tests of whoever asks one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Endpoint:
    """Answers with `script` (the last message → text); first with each of `failing` (a status and its headers) in turn."""

    script: Callable[[str], str]
    url: str = ""
    failing: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    bodies: list[dict] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    together: int = 0
    """Most questions that were under way at once."""
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, body: dict, key: str) -> tuple[int, dict[str, str], dict]:
        with self._lock:
            self.bodies.append(body)
            self.keys.append(key)
            self._now += 1
            self.together = max(self.together, self._now)
            failure = self.failing.pop(0) if self.failing else None
        try:
            if failure:
                return failure[0], failure[1], {"error": {"message": f"told to fail with {failure[0]}", "type": "test"}}
            text = self.script(body["messages"][-1]["content"])
        finally:
            with self._lock:
                self._now -= 1
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
        return 200, {}, {"id": "1", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice], "usage": usage}


@contextmanager
def chat_endpoint(script: Callable[[str], str]) -> Iterator[Endpoint]:
    """The endpoint, up while the block runs."""
    endpoint = Endpoint(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers, answer = endpoint.answer(body, self.headers.get("Authorization", ""))
            raw = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield endpoint
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
