"""A Ray that takes no job is one sentence, with the cure that whoever started it can take."""

from __future__ import annotations

import socket

import pytest

from forge.errors import EnvironmentLackError
from jobs.launching.submit import run_job


@pytest.mark.parametrize(
    ("headers", "cure"),
    [(None, "give the dashboard's address"), ({"Authorization": "Bearer x"}, "the private Ray's dashboard died or is too busy")],
)
def test_no_dashboard_there(headers: dict[str, str] | None, cure: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(EnvironmentLackError, match=f"no Ray takes jobs at {address}: .*; {cure}"):
            run_job(address, [], print, environment={}, headers=headers)
