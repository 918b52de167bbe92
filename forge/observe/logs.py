"""The one set-up of logging. Only jobs call it; importing forge never touches the root logger."""

from __future__ import annotations

import logging
import sys

NOISY = (
    "httpx",
    "httpcore",
    "urllib3",
    "filelock",
    "fsspec",
    "datasets",
    "transformers",
    "ray.data",
    "ray.serve",
    "ray.train",
    "asyncio",
    "git",
)


def set_up(level: str = "INFO") -> None:
    """Log forge's INFO and everybody else's warnings to standard error, one line each with time and module."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", datefmt="%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("forge").setLevel(level)
    for name in ("jobs", "serve", "sandboxes"):
        logging.getLogger(name).setLevel(level)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)
