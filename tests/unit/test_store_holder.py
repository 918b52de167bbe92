"""Who holds a workspace is found out without taking its lock."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from forge.store.holder import LOCKS, holder_of
from forge.store.workspace import Workspace


def test_nobody_ever_held_a_folder_without_a_lock(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    (tmp_path / "lock").write_text("")
    assert holder_of(tmp_path) is None


def test_the_holder_is_alive_until_it_lets_go_and_a_look_does_not_disturb_it(tmp_path: Path) -> None:
    with Workspace.open(tmp_path / "w"):
        found = holder_of(tmp_path / "w")
        assert found is not None and (found.process, found.host, found.alive) == (os.getpid(), socket.gethostname(), True)
    found = holder_of(tmp_path / "w")
    assert found is not None and (found.process, found.alive) == (os.getpid(), not LOCKS.exists())
    with Workspace.open(tmp_path / "w"):
        pass


def test_a_holder_that_was_killed_is_dead(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from forge.store.workspace import Workspace\n"
        "held = Workspace.open(Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "w")], check=False)
    found = holder_of(tmp_path / "w")
    assert found is not None and found.process != os.getpid() and found.alive is False


@pytest.mark.parametrize(("process", "alive"), [(os.getpid(), True), (2**22 - 1, False)])
def test_without_a_list_of_locks_the_process_number_has_to_do(tmp_path: Path, process: int, alive: bool) -> None:
    (tmp_path / "lock").write_text(f"process {process} on box\n")
    found = holder_of(tmp_path, locks=tmp_path / "none", host="box")
    assert found is not None and found.alive is alive


def test_another_machine_cannot_be_seen(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("process 5 on far-away\n")
    found = holder_of(tmp_path, host="here")
    assert found is not None and (found.host, found.alive) == ("far-away", None)
