"""The fork server: has pytest imported, has never run repository code, and forks a fresh box per request.

One message a request on a SEQPACKET socket, descriptors beside it: `tree` brings a tar, `open` a box's own socket,
`kill` ends a box. End of file on that socket ends this process, and with it (PID namespace, parent death signal) all.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Collection
from typing import Any

from . import files
from .box import Order
from .testing import Runner

MESSAGE_BYTES = 1 << 16
_WARM_UP = """
import pytest

@pytest.mark.parametrize("a, b", [(1, 1), (1, 2)])
def test_equal(a, b, tmp_path, monkeypatch, capsys):
    assert [a, "x"] == [b, "x"]

def test_raises():
    with pytest.raises(ValueError, match="no"):
        raise ValueError("no")
    assert 0.1 + 0.2 == pytest.approx(0.3)

class TestThing:
    def test_error(self):
        raise KeyError("k")
"""

BoxMaker = Callable[[str, str, Order, socket.socket], int]
"""(name, path of the tree, order, socket) → pid of the new box's first process; never returns in that process."""

Forget = Callable[[str, Collection[int]], None]
"""(name of a box that ended, pids of those that live)."""


def serve(control: socket.socket, make_box: BoxMaker, *, trees: str, forget: Forget = lambda *_: None) -> None:
    """Answer until the host is gone. `trees` is a folder for unpacked trees; `forget` is called after a box."""
    boxes: dict[str, int] = {}
    poller = select.poll()
    poller.register(control, select.POLLIN)
    while True:
        if poller.poll(200 if boxes else 5000):
            data, fds, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 4)
            if not data:
                break
            _handle(json.loads(data), fds, make_box, boxes, trees)
        _reap(boxes, forget)
    for pid in boxes.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    while boxes:
        name, pid = boxes.popitem()
        os.waitpid(pid, 0)
        forget(name, boxes.values())


def _handle(message: dict[str, Any], fds: list[int], make_box: BoxMaker, boxes: dict[str, int], trees: str) -> None:
    try:
        match message["op"]:
            case "tree":
                with open(os.dup(fds[0]), "rb") as tar:
                    files.unpack(tar, os.path.join(trees, message["key"]))
            case "drop":
                shutil.rmtree(os.path.join(trees, message["key"]), ignore_errors=True)
            case "open":
                with socket.socket(fileno=os.dup(fds[0])) as box:
                    tree = os.path.join(trees, message["key"])
                    boxes[message["box"]] = make_box(message["box"], tree, Order.of(message), box)
            case "kill" if message["box"] in boxes:
                os.kill(boxes[message["box"]], signal.SIGKILL)
    except OSError:
        pass
    finally:
        for fd in fds:
            os.close(fd)


def _reap(boxes: dict[str, int], forget: Forget) -> None:
    names = {pid: name for name, pid in boxes.items()}
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            if name := names.get(pid):
                del boxes[name]
                forget(name, boxes.values())


def warm_up(scratch: str) -> None:
    """Run pytest once on a file of our own, so that what it imports late is there before any repository is."""
    folder = tempfile.mkdtemp(dir=scratch)
    with open(os.path.join(folder, "test_warm_up.py"), "w") as file:
        file.write(_WARM_UP)
    null = os.open("/dev/null", os.O_RDWR)
    saved = [os.dup(fd) for fd in (1, 2)]
    before, path, modules = os.getcwd(), list(sys.path), set(sys.modules)
    for fd in (1, 2):
        os.dup2(null, fd)
    try:
        os.chdir(folder)
        Runner(folder).run(["test_warm_up.py"], null, "")
    finally:
        sys.stdout.flush()
        os.chdir(before)
        sys.path[:] = path
        for fd, old in zip((1, 2), saved, strict=True):
            os.dup2(old, fd)
        for fd in (null, *saved):
            os.close(fd)
        for name in set(sys.modules) - modules:
            if name.startswith("test_warm_up"):
                del sys.modules[name]
        shutil.rmtree(folder)
    gc.collect()
    gc.freeze()
