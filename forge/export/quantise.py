"""A 16-bit GGUF file at about 4.8 bits a weight (Q4_K_M), by llama.cpp's own quantiser where there is one."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from forge.errors import EnvironmentLackError, ExportError

PROGRAM, PACKAGE = "llama-quantize", "llama_cpp"
BY_PACKAGE = """
import ctypes, sys, llama_cpp
settings = llama_cpp.llama_model_quantize_default_params()
settings.ftype, settings.nthread = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M, int(sys.argv[3])
sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(settings)))
"""
"""What `llama-quantize` does, by llama-cpp-python; in a process of its own, as C++ that gives up takes its process with it."""


def require() -> None:
    """Raise `EnvironmentLackError` where Q4_K_M cannot be made, before anything long starts."""
    if not shutil.which(PROGRAM) and not importlib.util.find_spec(PACKAGE):
        raise EnvironmentLackError(
            f"Q4_K_M needs llama.cpp's quantiser: put {PROGRAM} on the PATH, or pip install llama-cpp-python; q8_0 and f16 need neither"
        )


def to_q4_k_m(source: Path, target: Path, threads: int = 2) -> None:
    """`target`, now the weights of `source` as Q4_K_M. Raises `ExportError` when the quantiser fails, on a full disk for one."""
    require()
    files = [str(source), str(target)]
    if shutil.which(PROGRAM):
        command = [PROGRAM, *files, "Q4_K_M", str(threads)]
    else:
        command = [sys.executable, "-c", BY_PACKAGE, *files, str(threads)]
    result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if result.returncode != 0:
        why = (result.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise ExportError(f"llama.cpp cannot quantise {source.name}: {why}; take --quantise q8_0")
