"""A run as a Ray job: submit it, show its log, hand Ctrl-C on, and give its exit code back."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from forge.errors import EnvironmentLackError, ForgeError


def run_job(
    address: str,
    arguments: Iterable[str],
    show: Callable[[str], None],
    *,
    environment: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    module: str = "jobs.improve",
    upload: Path | None = None,
) -> int:
    """Exit code of `module` run as a job at `address`; each line of its log goes to `show`.

    `headers` carry the token of a Ray that this process's environment does not name. `upload` is the checkout that
    the cluster's machines get a copy of; none when they see this one's files.
    Ctrl-C stops the job and raises `KeyboardInterrupt`. Raises `EnvironmentLackError` when no Ray answers there, and
    `ForgeError` when it ends before the job does.
    """
    logging.getLogger("ray.dashboard.modules.job.sdk").setLevel(logging.WARNING)
    try:
        client = JobSubmissionClient(address, headers=dict(headers or {}))
        python = shlex.quote(sys.executable) if upload is None else "python"
        runtime: dict[str, Any] = {"env_vars": dict(environment)}
        if upload is not None:
            runtime |= {"working_dir": str(upload), "excludes": [".git", ".venv", "workspace", "dist"]}
        job = _submit(client, f"{python} -m {module} {shlex.join(arguments)}", runtime)
    except (OSError, RuntimeError) as error:
        reason = [line for line in str(error).splitlines() if len(line) > 3][-1].strip()[:300]
        given = "give the dashboard's address, such as http://127.0.0.1:8265"
        cure = given if headers is None else "the private Ray's dashboard died or is too busy to answer; run it again, or see forge doctor"
        raise EnvironmentLackError(f"no Ray takes jobs at {address}: {reason}; {cure}") from error
    try:
        follow(client, job, show)
        return _exit_code(_wait_until_over(client, job, 60.0), show)
    except LOST as error:
        raise ForgeError(f"Ray at {address} ended while the run was under way; the same command goes on from here") from error
    finally:
        _stop(client, job)


def overrides_of(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The `key=value` strings that carry a config's deviations over to another process or machine."""
    found: list[str] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            found += overrides_of(value, f"{prefix}{key}.")
        else:
            found.append(f"{prefix}{key}={json.dumps(value)}")
    return found


def _submit(client: JobSubmissionClient, command: str, runtime: dict[str, Any], within_s: float = 60.0) -> str:
    """The id of the job. A Ray that has just started answers before its agent takes jobs, and a busy one hangs up: so
    this asks again, under an id of its own, which Ray accepts only once."""
    job = f"forge-{uuid.uuid4().hex[:12]}"
    deadline = time.monotonic() + within_s
    while True:
        try:
            return str(client.submit_job(entrypoint=command, runtime_env=runtime, submission_id=job))
        except (OSError, RuntimeError) as error:
            if "already exists" in str(error):
                return job
            passing = isinstance(error, OSError) or "status code 5" in str(error)
            if not passing or time.monotonic() > deadline:
                raise
            time.sleep(0.5)


LOST = (OSError, RuntimeError, aiohttp.ClientError)
"""What Ray's client raises when the cluster is gone or hangs up."""
OF_RAY = re.compile(r"INFO job_manager\.py|^Running entrypoint for job |\(raylet\).*worker processes have been started")
"""Lines of Ray's own that tell a user of forge nothing: its actors are many and mostly wait."""


def follow(client: JobSubmissionClient, job: str, show: Callable[[str], None]) -> None:
    """Show the job's log to its end. A stream that breaks while Ray still answers is taken up again, each line shown once."""
    log = _Log(show)
    while True:
        try:
            asyncio.run(log.read(client.tail_job_logs(job)))
            return
        except LOST:
            time.sleep(1.0)
            client.get_job_status(job)


class _Log:
    """Shows the lines of a stream that may begin anew."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._shown = 0

    async def read(self, stream: AsyncIterator[str]) -> None:
        number, rest = 0, ""
        async for chunk in stream:
            *lines, rest = (rest + chunk).split("\n")
            for line in lines:
                number += 1
                self._line(number, line)
        if rest:
            self._line(number + 1, rest)

    def _line(self, number: int, line: str) -> None:
        if number > self._shown:
            self._shown = number
            if not OF_RAY.search(line):
                self._show(line)


def _exit_code(details: JobDetails, show: Callable[[str], None]) -> int:
    if details.status is JobStatus.SUCCEEDED:
        return 0
    code = details.driver_exit_code
    if code is None or code < 0:
        why = str(details.message).partition(", last available logs")[0]
        show(f"the job ended as {details.status.value}: {why}; the same command goes on from here")
    return 1 if code is None or code <= 0 else code


def _stop(client: JobSubmissionClient, job: str) -> None:
    """Stop the job if it still runs, and wait for that; a cluster that has gone away needs no stopping."""
    try:
        if client.get_job_status(job).is_terminal():
            return
        client.stop_job(job)
        _wait_until_over(client, job, 15.0)
    except (OSError, RuntimeError):
        return


def _wait_until_over(client: JobSubmissionClient, job: str, within_s: float) -> JobDetails:
    """The job's details once it is over, or after `within_s`: a log ends a moment before its job does."""
    deadline = time.monotonic() + within_s
    while not (details := client.get_job_info(job)).status.is_terminal() and time.monotonic() < deadline:
        time.sleep(0.2)
    return details
