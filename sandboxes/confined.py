"""The weak provider, for machines where namespaces are not allowed: it takes generated practice repositories only.

What holds: no sockets, writes only in the box's own folder (Landlock), limits, the whole process tree killed. What does
not: other processes and the readable system stay visible, the disk limit is looked at, not enforced. The caller must
honour `trusted_only`.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import IO

from forge.errors import SandboxError
from forge.records import Environment, Limits
from forge.seams import Sandbox
from sandboxes.inside import landlock, seccomp
from sandboxes.inside.confined import UIDS
from sandboxes.local import extra_path, unprivileged_uids
from sandboxes.owners import owned_folder, sweep_folders
from sandboxes.zygote import Launched, Zygote, spawn

_PREFIX = "forge-confined-"


class ConfinedProvider:
    """Boxes as confined processes. Implements `forge.seams.SandboxProvider`."""

    name = "confined"
    trusted_only = True

    def __init__(self, folder: Path | None = None) -> None:
        """Boxes work in a new folder below `folder` (the system's temporary folder by default)."""
        self._parent = Path(tempfile.gettempdir()) if folder is None else folder
        self._servers: dict[int, _ForkServer] = {}

    async def open(self, tree: Path, *, limits: Limits, run_id: str, environment: Environment | None = None, hash_seed: int = 0) -> Sandbox:
        """See `forge.seams.SandboxProvider.open`."""
        if environment is not None:
            raise SandboxError("a confined box runs practice repositories only, in forge's own Python; install bubblewrap or Docker")
        server = self._servers.setdefault(hash_seed, _ForkServer(self._parent, self.name, hash_seed))
        return await server.zygote.open(tree, limits, hash_seed=hash_seed)

    async def sweep(self) -> int:
        """Remove the folders of owners that died; returns how many."""
        return sweep_folders(_PREFIX, self._parent)

    async def close(self) -> None:
        for server in self._servers.values():
            await server.close()
        self._servers.clear()


class _ForkServer:
    """A fork server of one hash seed, and the folder that its boxes work in."""

    def __init__(self, parent: Path, name: str, hash_seed: int) -> None:
        self._parent = parent
        self._hash_seed = hash_seed
        self._folder: Path | None = None
        self.zygote = Zygote(self._launch, name)

    async def close(self) -> None:
        await self.zygote.close()
        self._clean()

    def _clean(self) -> None:
        """Remove the folder of a fork server that is gone; one that was killed could not do it itself."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    async def _launch(self, errors: IO[bytes]) -> Launched:
        self._clean()
        folder = owned_folder(_PREFIX, self._parent)
        (folder / "trees").mkdir()
        (folder / "boxes").mkdir()
        self._folder = folder
        variables = {
            "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *extra_path()]),
            "PYTHONHASHSEED": str(self._hash_seed),
            "PYTHONDONTWRITEBYTECODE": "1",
            "LANG": "C.UTF-8",
            "PATH": "/usr/bin:/bin",
            "TMPDIR": str(folder / "trees"),
        }
        for place in (folder, folder / "boxes"):
            place.chmod(0o711)
        first_uid = unprivileged_uids(UIDS) if os.getuid() == 0 else -1
        words = ["--first-uid", str(first_uid), "--trees", str(folder / "trees"), "--boxes", str(folder / "boxes")]
        program = [sys.executable, "-s", "-P", "-B", "-m", "inside", "confined"]
        return spawn(lambda control: [*program, *words, "--control", str(control)], errors, variables)


def layers() -> dict[str, str]:
    """Which layers of confinement this kernel gives, in words."""
    version = landlock.abi()
    return {
        "landlock": f"ABI {version}" if version else "not in this kernel: a box can write wherever its user can",
        "seccomp": "filter without sockets" if seccomp.build(sockets=False) else "no filter for this processor",
        "rlimits": "address space, file size, open files",
    }
