"""The cache of bytes: bounded, shared, and never worse than none."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forge.store.cache import DAY, Cache

ROOT = Path(__file__).resolve().parents[2]
WRITER = """
import sys
from pathlib import Path
from forge.store.cache import Cache

cache = Cache(Path(sys.argv[1]), 50_000_000)
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    cache.put({b"%d %d" % (number, part): b"%d" % number * 2000 for part in range(50)})
    print(number, flush=True)
"""


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def test_what_was_put_is_found_and_nothing_else(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "deep" / "cache.db", 10_000)
    assert cache.get([key(1)]) == {}
    cache.put({key(n): b"x" * n for n in range(1, 40)})
    cache.put({})
    assert cache.get([]) == {}
    assert Cache(cache.path, 10_000).get([key(n) for n in range(1500)]) == {key(n): b"x" * n for n in range(1, 40)}
    cache.put({key(3): b"new"})
    assert cache.get([key(3)]) == {key(3): b"new"}


def test_its_owner_alone_may_read_it(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "forge" / "cache.db", 1000)
    cache.put({key(1): b"x"})
    assert stat.S_IMODE(cache.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    now = [0.0]
    cache = Cache(tmp_path / "cache.db", 1000, clock=lambda: now[0])
    for number in range(10):
        now[0] = float(number)
        cache.put({key(number): b"x" * 100})
    now[0] = DAY + 5.0  # the use of entries 0 to 4 is written down again
    assert len(cache.get([key(n) for n in range(10)])) == 10
    cache.put({key(10): b"x" * 250})
    assert set(cache.get([key(n) for n in range(11)])) == {key(n) for n in (0, 1, 2, 3, 4, 8, 9, 10)}


def test_what_is_too_large_is_left_out_and_the_file_stays_bounded(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db", 1_000_000)
    cache.put({key(0): b"x" * 2_000_000, key(1): b"small"})
    assert set(cache.get([key(0), key(1)])) == {key(1)}
    for number in range(40):
        cache.put({key(number): os.urandom(200_000)})
    assert sum(len(body) for body in cache.get([key(n) for n in range(40)]).values()) <= 1_000_000
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4_000_000


def test_a_broken_file_is_begun_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "cache.db"
    path.write_bytes(b"this is no database" * 1000)
    cache = Cache(path, 1000)
    assert cache.get([key(1)]) == {}
    assert "broken" in caplog.text
    cache.put({key(1): b"x"})
    assert cache.get([key(1)]) == {key(1): b"x"}


def test_a_file_that_is_broken_in_its_midst_is_begun_anew(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db", 10_000_000)
    cache.put({key(n): os.urandom(20_000) for n in range(50)})
    body = bytearray(cache.path.read_bytes())
    body[4096:] = os.urandom(len(body) - 4096)
    cache.path.write_bytes(bytes(body))
    cache.get([key(n) for n in range(50)])
    cache.put({key(1): b"x"})
    cache.put({key(1): b"x"})
    assert cache.get([key(1)]) == {key(1): b"x"}


def test_where_nothing_can_be_written_there_is_no_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("x")
    cache = Cache(tmp_path / "file" / "cache.db", 1000)
    cache.put({key(1): b"x"})
    assert cache.get([key(1)]) == {}
    assert "not used" in caplog.text


def test_one_that_is_held_by_another_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(tmp_path / "cache.db", 1000, wait_s=0.05)
    cache.put({key(1): b"x"})
    held = cache._open()
    held.execute("BEGIN IMMEDIATE")
    cache.put({key(2): b"y"})
    assert "locked" in caplog.text
    assert cache.get([key(1)]) == {key(1): b"x"}  # readers do not wait for a writer
    held.execute("ROLLBACK")
    held.close()
    cache.put({key(2): b"y"})
    assert set(cache.get([key(1), key(2)])) == {key(1), key(2)}


def test_many_threads_write_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: Cache(tmp_path / "cache.db", 10**6, wait_s=60).put({key(n): b"%d" % n * 50}), range(60)))
    assert Cache(tmp_path / "cache.db", 10**6).get([key(n) for n in range(60)]) == {key(n): b"%d" % n * 50 for n in range(60)}


def test_processes_write_at_once_and_a_killed_one_leaves_whole_entries(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(first), str(first + 400)], stdout=subprocess.PIPE, env=environment)
        for first in (1000, 2000, 3000)
    ]
    try:
        for writer in writers:
            for _ in range(4):
                assert writer.stdout and writer.stdout.readline()
    finally:
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.communicate()
    cache = Cache(path, 50_000_000)
    found = cache.get(
        [b"%d %d" % (number, part) for first in (1000, 2000, 3000) for number in range(first, first + 400) for part in range(50)]
    )
    assert len(found) >= 3 * 4 * 50
    assert all(body == found_key.split()[0] * 2000 for found_key, body in found.items())
    # A put is there with all of its entries or none.
    assert {sum(key.split()[0] == number for key in found) for number in {key.split()[0] for key in found}} == {50}
    cache.put({key(1): b"x"})
    assert cache.get([key(1)]) == {key(1): b"x"}
