"""What is said when Ray Serve does not come up on a machine that has other things to do."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError

from forge.config import ForgeConfig
from forge.errors import EndpointError
from serve import app


@pytest.mark.parametrize("error", [ActorDiedError(), TimeoutError("HTTP proxies not available after 60s.")])
def test_a_proxy_that_does_not_start_is_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def start(**_: Any) -> None:
        raise error

    # Serve is a module that no seam stands before, and a proxy that is too slow cannot be asked for.
    monkeypatch.setattr(app.serve, "status", lambda: SimpleNamespace(proxies={"node": "HEALTHY"}))
    monkeypatch.setattr(app.serve, "start", start)
    with pytest.raises(EndpointError, match=r"Ray Serve's proxy did not start: \w[^\n]+; the machine may be too busy, so try again$"):
        app.deploy(ForgeConfig(), {})
