"""Runs in a box, and only there: an answer on many inputs, each in a process forked for it, cut off on its own.

`cases.json` holds {mode, function, seconds, inputs}, `answer.py` the answer. Printed is one JSON list: {output, error, cut} a case,
up to the first that is cut or fails. Nothing here is to be trusted by the host but as the answer's own words: whatever is printed,
it is compared with outputs that are not in the box.
"""

from __future__ import annotations

import contextlib
import json
import numbers
import os
import select
import signal
import sys
import time
import traceback
from typing import Any

CASES, ANSWER, INPUT = "cases.json", "answer.py", "case_input.txt"
MOST_BYTES = 8 * 2**20
"""That one case may print."""
STARVED = 4
"""A case's wall clock may grow by its wait for a core, to at most this many times its limit more."""
STAR = (
    "string", "re", "datetime", "collections", "heapq", "bisect", "copy", "math", "random", "statistics", "itertools", "functools",
    "operator", "io", "sys", "json", "builtins", "typing",
)  # fmt: skip
"""Modules whose names an answer finds, as in LiveCodeBench's harness; all but the last two also by their own."""
RECURSION = 50_000


def main() -> None:
    """Run the cases and print what came of them."""
    with open(CASES, encoding="utf-8") as file:
        asked = json.load(file)
    with open(ANSWER, encoding="utf-8") as file:
        source = file.read()
    space = names("answer" if asked["function"] else "__main__")
    sys.setrecursionlimit(RECURSION)
    found: list[dict[str, Any]] = []
    for given in asked["inputs"]:
        found.append(one(given, source, space, asked["function"], asked["seconds"]))
        if found[-1]["cut"] or found[-1]["error"]:
            break
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()


def names(module: str) -> dict[str, Any]:
    """What an answer finds defined."""
    space: dict[str, Any] = {"__name__": module, "__builtins__": __builtins__}
    lines = [*(f"from {name} import *" for name in STAR), *(f"import {name}" for name in STAR[:-2])]
    exec("\n".join(lines), space)  # noqa: S102
    return space


def one(given: str, source: str, space: dict[str, Any], function: str, seconds: float) -> dict[str, Any]:
    """What one case printed, or returned as JSON, and how it went wrong."""
    output, error = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(child(given, source, space, function, output[1], error[1]))
    os.close(output[1])
    os.close(error[1])
    said, cut = watched(pid, {output[0]: bytearray(), error[0]: bytearray()}, seconds)
    return {
        "output": bytes(said[output[0]]).decode("utf-8", "replace"),
        "error": bytes(said[error[0]]).decode("utf-8", "replace"),
        "cut": cut,
    }


def child(given: str, source: str, space: dict[str, Any], function: str, output: int, error: int) -> int:
    """The exit status of the process of one case; what went wrong is on `error`."""
    try:
        os.setsid()
        place = os.open(INPUT, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        with open(place, "w", encoding="utf-8", closefd=False) as file:
            file.write(given)
        os.lseek(place, 0, os.SEEK_SET)
        os.dup2(place, 0)
        os.dup2(2 if function else output, 1)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        answer(given, source, space, function, output)
        sys.stdout.flush()
    except BaseException as wrong:  # noqa: BLE001
        traceback.print_exc()
        os.write(error, f"{type(wrong).__name__}: {wrong}".encode("utf-8", "replace")[:300])
        return 1
    return 0


def answer(given: str, source: str, space: dict[str, Any], function: str, output: int) -> None:
    """Run the answer: as a program, or by a call whose value goes to `output`."""
    with contextlib.suppress(SystemExit) if not function else contextlib.nullcontext():
        exec(compile(source, ANSWER, "exec", dont_inherit=True), space)  # noqa: S102
    if function:
        owner = space["Solution"]() if "class Solution" in source else None
        called = getattr(owner, function) if owner is not None else space[function]
        value = called(*(json.loads(line) for line in given.split("\n")))
        # A tuple counts as a list, inner ones do not: upstream's rule.
        text = json.dumps(plain(list(value) if isinstance(value, tuple) else value))
        with open(output, "w", encoding="utf-8", closefd=False) as file:
            file.write(text)


def plain(value: object) -> object:
    """The value as JSON has it; what JSON does not have is told apart from everything it has."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(entry) for key, entry in value.items()}
    return {"no JSON": repr(value)[:1000]}


def watched(pid: int, said: dict[int, bytearray], seconds: float) -> tuple[dict[int, bytearray], str]:
    """(what came out of the pipes, the limit that cut the case off, if any). Its processes are gone then."""
    began, cut, ended = time.monotonic(), "", os.pidfd_open(pid)
    opened = [*said, ended]
    while ended in opened and not cut:
        drain(said, opened, 0.05)
        late = time.monotonic() - began - seconds
        if late > 0 and late > min(waited(pid), STARVED * seconds):
            cut = "time"
        if sum(map(len, said.values())) > MOST_BYTES:
            cut = "output"
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    drain(said, opened, 0.0)
    for place in (*said, ended):
        os.close(place)
    errors = list(said.values())[1]
    if status and not cut and not errors:
        errors += f"exit code {status}".encode()
    return said, cut


def drain(said: dict[int, bytearray], opened: list[int], wait_s: float) -> None:
    """Read what is in the pipes, after at most `wait_s` for the first of it; what has ended leaves `opened`."""
    while ready := select.select(opened, [], [], wait_s)[0]:
        for place in ready:
            part = os.read(place, 1 << 16) if place in said else b""
            if part:
                said[place] += part
            else:
                opened.remove(place)
        wait_s = 0.0
        if sum(map(len, said.values())) > MOST_BYTES:
            return


def waited(pid: int) -> float:
    """Seconds that a process was ready to run and had no core."""
    with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9
    return 0.0


if __name__ == "__main__":
    main()
