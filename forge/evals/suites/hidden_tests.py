"""LiveCodeBench's private tests: JSON, or base64 of zlib of a pickled string of JSON. Nothing is ever unpickled here.

A pickle is a program. The published loader runs it; this one reads its operations and takes a pickle that does nothing but
hold one string. Whatever else a pickle would do is a reason to refuse the row.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from typing import Any

from forge.evals.suites.row import RowError

LARGEST_BYTES = 512 * 2**20
"""Of one problem's private tests, unpacked."""
_STRINGS = frozenset(["UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"])
_HARMLESS = frozenset(["PROTO", "FRAME", "MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT", "STOP"])


def read_tests(field: str) -> Any:
    """The value of a field of tests in either form; raises `RowError` for anything else."""
    try:
        return json.loads(field)
    except ValueError:
        pass
    try:
        return json.loads(pickled_text(_unpacked(base64.b64decode(field, validate=True))))
    except (ValueError, binascii.Error, zlib.error) as error:
        raise RowError(f"its private tests are neither JSON nor packed JSON ({error})") from None


def pickled_text(pickled: bytes) -> str:
    """The string that a pickle holds; raises `RowError` when it would do anything but hold one."""
    found: list[str] = []
    try:
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name in _STRINGS and not found:
                found.append(str(argument))
            elif operation.name not in _HARMLESS:
                raise RowError(f"its private tests are a pickle that does more than hold a text ({operation.name}); it is not run")
    except RowError:
        raise
    except Exception as error:  # noqa: BLE001  (pickletools raises what its readers do)
        raise RowError(f"its private tests are a broken pickle ({error})") from None
    if not found:
        raise RowError("its private tests are a pickle without a text")
    return found[0]


def _unpacked(packed: bytes) -> bytes:
    opened = zlib.decompressobj()
    unpacked = opened.decompress(packed, LARGEST_BYTES)
    if opened.unconsumed_tail:
        raise RowError(f"its private tests are larger than {LARGEST_BYTES >> 20} MiB")
    if not opened.eof:
        raise ValueError("cut short")
    return unpacked
