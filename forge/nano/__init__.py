"""A tiny base and the practice repositories for it, so that the whole loop runs on two CPU cores without a download.

In: a seed and a difficulty. Out: git repositories with a history that looks like life, and a Qwen3-architecture
base of under 5 MB that has never seen the kinds of function in them. A stand-in for running the same code small:
never presented as a model of any use outside these repositories.
"""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the base that ships with forge; `forge nano build` makes it anew."""
