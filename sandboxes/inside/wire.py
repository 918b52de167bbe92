"""Frames between host and box: a length of four bytes (big endian), then that much JSON."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

Message = dict[str, Any]
HEAD = struct.Struct(">I")


class ClosedError(Exception):
    """The other side is gone."""


def pack(message: Message) -> bytes:
    """One frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEAD.pack(len(body)) + body


class Channel:
    """Blocking frames over a pair of file descriptors (the same one twice for a socket)."""

    def __init__(self, read_fd: int, write_fd: int) -> None:
        self.read_fd = read_fd
        self.write_fd = write_fd

    def receive(self) -> Message:
        """The next message; raises `ClosedError` at the end of the stream."""
        (length,) = HEAD.unpack(self.receive_bytes(HEAD.size))
        message = json.loads(self.receive_bytes(length))
        assert isinstance(message, dict)
        return message

    def receive_bytes(self, count: int) -> bytes:
        """Exactly `count` bytes; raises `ClosedError` at the end of the stream."""
        parts = []
        while count:
            part = os.read(self.read_fd, min(count, 1 << 20))
            if not part:
                raise ClosedError
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def send(self, message: Message) -> None:
        """Write one frame; raises `ClosedError` when nobody reads."""
        view = memoryview(pack(message))
        try:
            while view:
                view = view[os.write(self.write_fd, view) :]
        except (BrokenPipeError, ConnectionError) as error:
            raise ClosedError from error

    def close(self) -> None:
        for fd in {self.read_fd, self.write_fd}:
            os.close(fd)
