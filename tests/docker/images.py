"""Images for tests where no registry can be reached: a Debian with Python, git and pytest, and work trees on top of it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from forge.tasks.public.export import Base, context
from sandboxes.docker import engine_problem
from sandboxes.image_store import ImageStore

BASE = "forge-test-base:bookworm"
_PACKAGES = "python3,git,python3-pytest,ca-certificates"


def base_image() -> str:
    """The name of the base, made on the first call (about a minute); skips the test that lacks what it takes."""
    if problem := engine_problem():
        pytest.skip(f"no container engine answers: {problem}")
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True).returncode == 0:
        return BASE
    program = shutil.which("debootstrap", path="/usr/sbin:/usr/bin:/sbin")
    if program is None:
        pytest.skip(f"there is no image {BASE}, and no debootstrap to make it with")
    with tempfile.TemporaryDirectory() as folder:
        words = [program, "--variant=minbase", f"--include={_PACKAGES}", "bookworm", folder]
        made = subprocess.run(words, capture_output=True, text=True, timeout=600)
        if made.returncode:
            pytest.skip(f"there is no image {BASE}, and debootstrap cannot make it: {made.stdout.strip().splitlines()[-1:]}")
        for cache in ("var/cache/apt/archives", "var/lib/apt/lists"):
            shutil.rmtree(Path(folder) / cache, ignore_errors=True)
        with subprocess.Popen(["tar", "-C", folder, "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["docker", "import", "-", BASE], stdin=tar.stdout, check=True, capture_output=True, timeout=300)
    return BASE


def built(name: str, work: Mapping[str, bytes]) -> str:
    """The image of a work tree, under `name`."""
    store = ImageStore()
    try:
        store.build(name, context(work, Base(image=base_image())))
    finally:
        store.close()
    return name


def removed(*names: str) -> None:
    """Remove images that a test made."""
    subprocess.run(["docker", "rmi", "-f", *names], capture_output=True, timeout=60)
