"""What every sandbox must do, run against each provider that this machine can have."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from forge.errors import SandboxError
from forge.fakes.sandbox import FakeProvider
from forge.records import FileEdit, Limits
from forge.seams import Sandbox, SandboxProvider
from sandboxes import zygote
from sandboxes.confined import ConfinedProvider
from sandboxes.docker import DockerProvider, engine_problem
from sandboxes.local import LocalProvider
from sandboxes.pick import probe

REAL = ("bubblewrap", "confined")
STRONG = ("bubblewrap",)
LIMITS = Limits(memory_bytes=160 * 2**20, pids=24, disk_bytes=8 * 2**20, output_bytes=64 * 1024, command_s=20.0)


class Bench:
    """One provider, one event loop, one tree."""

    def __init__(self, provider: SandboxProvider, tree: Path, runner: asyncio.Runner) -> None:
        self.provider = provider
        self.tree = tree
        self._runner = runner

    def do(self, body: Callable[[Sandbox], Coroutine[Any, Any, Any]], limits: Limits = LIMITS) -> Any:
        """Result of `body` with a fresh box."""

        async def whole() -> Any:
            async with self.box(limits) as box:
                return await body(box)

        return self._runner.run(whole())

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(coroutine)

    @contextlib.asynccontextmanager
    async def box(self, limits: Limits = LIMITS, hash_seed: int = 0) -> AsyncIterator[Sandbox]:
        box = await self.provider.open(self.tree, limits=limits, run_id="contract", hash_seed=hash_seed)
        try:
            yield box
        finally:
            await box.close()

    def python(self, code: str, *, timeout_s: float | None = None, limits: Limits = LIMITS) -> Any:
        """Result of a Python program in a fresh box."""
        return self.do(lambda box: box.run(["python", "-c", textwrap.dedent(code)], timeout_s=timeout_s), limits)


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "pkg").mkdir()
    (folder / "pkg" / "__init__.py").write_text("")
    (folder / "pkg" / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_calc.py").write_text(
        "from pkg.calc import add\n\n\ndef test_small():\n    assert add(1, 2) == 3\n\n\ndef test_wrong():\n    assert add(1, 2) == 4\n"
    )
    (folder / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def benches(tree: Path) -> Iterator[Callable[[str], Bench]]:
    makers: dict[str, Callable[[], SandboxProvider]] = {
        "fake": FakeProvider,
        "bubblewrap": LocalProvider,
        "confined": ConfinedProvider,
        "docker-shared": lambda: DockerProvider("shared"),
        "docker-single": lambda: DockerProvider("single"),
    }
    found = {finding.kind: finding for finding in probe()}
    made: dict[str, Bench] = {}
    with asyncio.Runner() as runner:

        def bench(name: str) -> Bench:
            finding = found.get(name.partition("-")[0])
            if finding is not None and not finding.found:
                pytest.skip(f"{finding.detail}; {finding.cure}")
            if name not in made:
                made[name] = Bench(makers[name](), tree, runner)
            return made[name]

        yield bench
        for one in made.values():
            runner.run(one.provider.close())


@pytest.fixture(params=["fake", *REAL])
def any_bench(request: pytest.FixtureRequest, benches: Callable[[str], Bench]) -> Bench:
    return benches(request.param)


@pytest.fixture(params=REAL)
def bench(request: pytest.FixtureRequest, benches: Callable[[str], Bench]) -> Bench:
    return benches(request.param)


@pytest.fixture(params=STRONG)
def strong(request: pytest.FixtureRequest, benches: Callable[[str], Bench]) -> Bench:
    return benches(request.param)


def test_a_box_has_a_copy_of_the_tree(any_bench: Bench) -> None:
    assert any_bench.do(lambda box: box.read("pkg/calc.py")).startswith("def add")
    assert any_bench.do(lambda box: box.read("pkg/nothing.py")) is None


def test_what_is_written_is_read_and_deleted(any_bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.write([FileEdit(path="new/deep/a.py", content="x = 'é'\r\n"), FileEdit(path="pkg/calc.py", content=None)])
        assert await box.read("new/deep/a.py") == "x = 'é'\r\n"
        assert await box.read("pkg/calc.py") is None
        await box.write([FileEdit(path="pkg/calc.py", content=None)])

    any_bench.do(body)


def test_a_box_never_changes_the_tree_or_another_box(any_bench: Bench) -> None:
    any_bench.do(lambda box: box.write([FileEdit(path="pkg/calc.py", content="broken")]))
    assert any_bench.do(lambda box: box.read("pkg/calc.py")).startswith("def add")
    assert (any_bench.tree / "pkg" / "calc.py").read_text().startswith("def add")


@pytest.mark.parametrize("path", ["../out.py", "/etc/passwd", "a/../../b", "", ".", "a//b", "a/./b", "nul\0byte"])
def test_a_path_that_leaves_the_tree_is_refused_and_the_box_lives_on(any_bench: Bench, path: str) -> None:
    async def body(box: Sandbox) -> None:
        with pytest.raises(SandboxError):
            await box.write([FileEdit(path=path, content="x")])
        assert (await box.read("pkg/calc.py") or "").startswith("def add")

    any_bench.do(body)


def test_each_test_id_gets_its_own_outcome(any_bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        ids = ["tests/test_calc.py::test_small", "tests/test_calc.py::test_wrong", "tests/test_calc.py::test_none", "tests/none.py::test_x"]
        run = await box.run_tests(ids)
        assert run.outcomes == dict(zip(ids, ["passed", "failed", "missing", "missing"], strict=True))
        assert run.complete
        assert "AssertionError" in run.messages[ids[1]]

    any_bench.do(body)


def test_a_bare_file_means_all_of_its_tests(any_bench: Bench) -> None:
    run = any_bench.do(lambda box: box.run_tests(["tests/test_calc.py"]))
    assert run.outcomes == {"tests/test_calc.py::test_small": "passed", "tests/test_calc.py::test_wrong": "failed"}


def test_a_box_has_the_hash_seed_that_it_was_opened_with(bench: Bench) -> None:
    test = FileEdit(path="tests/test_hash.py", content="def test_hash():\n    assert hash('forge') == 0\n")

    async def said(seed: int) -> tuple[str, str]:
        async with bench.box(hash_seed=seed) as box:
            await box.write([test])
            run = await box.run_tests(["tests/test_hash.py::test_hash"])
            command = await box.run(["python", "-c", "print(hash('forge'))"])
            return run.messages["tests/test_hash.py::test_hash"], command.stdout

    zero, one, again = (bench.run(said(seed)) for seed in (0, 1, 1))
    assert one == again
    assert len({zero[0], one[0]}) == len({zero[1], one[1]}) == 2
    assert one[1].strip() in one[0]


def test_tests_see_what_was_written_between_two_runs(any_bench: Bench) -> None:
    async def body(box: Sandbox) -> list[str]:
        first = await box.run_tests(["tests/test_calc.py::test_wrong"])
        await box.write([FileEdit(path="pkg/calc.py", content="def add(a, b):\n    return a + b + 1\n")])
        second = await box.run_tests(["tests/test_calc.py::test_wrong"])
        return [*first.outcomes.values(), *second.outcomes.values()]

    assert any_bench.do(body) == ["failed", "passed"]


def test_a_file_that_cannot_be_imported_is_an_error_of_its_ids(any_bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.write([FileEdit(path="tests/test_bad.py", content="import nothing_like_this\n\ndef test_a():\n    pass\n")])
        run = await box.run_tests(["tests/test_bad.py::test_a", "tests/test_calc.py::test_small"])
        assert run.outcomes == {"tests/test_bad.py::test_a": "error", "tests/test_calc.py::test_small": "passed"}
        assert run.complete

    any_bench.do(body)


def test_every_call_after_close_raises_and_close_may_be_repeated(any_bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.close()
        await box.close()
        calls: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: box.run(["true"]),
            lambda: box.write([]),
            lambda: box.read("a"),
            lambda: box.run_tests(["a.py"]),
        ]
        for call in calls:
            with pytest.raises(SandboxError):
                await call()

    any_bench.do(body)


def test_a_tree_that_does_not_exist_is_a_sandbox_error(any_bench: Bench) -> None:
    with pytest.raises(SandboxError):
        any_bench.run(any_bench.provider.open(any_bench.tree / "nowhere", limits=LIMITS, run_id="contract"))


def test_a_changed_tree_is_seen_by_the_next_box(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "link").symlink_to("a.txt")
    other = Bench(bench.provider, tmp_path, bench._runner)
    assert other.do(lambda box: box.read("a.txt")) == "one"
    (tmp_path / "a.txt").write_text("two!")
    assert other.do(lambda box: box.run(["cat", "link"])).stdout == "two!"


def test_a_command_runs_in_the_work_tree_with_a_clear_environment(bench: Bench) -> None:
    os.environ["FORGE_SECRET"] = "hidden"
    try:
        result = bench.python(
            "import os, sys; print(sorted(os.listdir())); print('FORGE_SECRET' in os.environ, file=sys.stderr); sys.exit(3)"
        )
    finally:
        del os.environ["FORGE_SECRET"]
    assert (result.exit_code, result.stdout, result.stderr) == (3, "['pkg', 'run.sh', 'tests']\n", "False\n")
    assert result.breach == ""


def test_a_program_of_the_tree_keeps_its_executable_bit(bench: Bench) -> None:
    assert bench.do(lambda box: box.run(["./run.sh"])).stdout == "ran\n"


def test_a_program_that_does_not_exist_is_a_result(bench: Bench) -> None:
    assert bench.do(lambda box: box.run(["no-such-program"])).exit_code == 127


def test_a_command_that_kills_itself_shows_the_signal(bench: Bench) -> None:
    assert bench.python("import os; os.kill(os.getpid(), 11)").exit_code == 139


def test_a_command_that_takes_too_long_is_ended_and_the_box_lives_on(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        result = await box.run(["sleep", "60"], timeout_s=0.3)
        assert (result.breach, result.exit_code) == ("time", 137)
        assert (await box.run(["echo", "alive"])).stdout == "alive\n"

    bench.do(body)


def test_endless_output_is_cut_at_its_limit(bench: Bench) -> None:
    result = bench.python("while True: print('x' * 1000)")
    assert result.breach == "output"
    assert len(result.stdout) <= LIMITS.output_bytes


def test_a_memory_hog_is_ended_and_named(bench: Bench) -> None:
    result = bench.python("x = []\nwhile True: x.append(b'y' * 2**20 + bytes([len(x) % 256]))")
    assert result.breach == "memory"
    assert result.exit_code != 0


def test_memory_shared_among_many_processes_counts_as_one_sum(bench: Bench) -> None:
    code = """
    import os, time
    for _ in range(4):
        if not os.fork():
            x = [b"y" * 2**20 + bytes([i]) for i in range(60)]
            time.sleep(30)
    time.sleep(30)
    """
    assert bench.python(code).breach == "memory"


def test_a_disk_filler_stops_at_the_limit(bench: Bench) -> None:
    code = """
    import os
    try:
        for n in range(10**6):
            with open(f"f{n}", "wb") as file:
                file.write(b"x" * 2**20)
    except OSError as error:
        print(error.errno)
    """
    result = bench.python(code)
    assert result.breach == "disk"


def test_a_fork_bomb_is_stopped_and_the_box_lives_on(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        result = await box.run(["sh", "-c", "f() { f | f & f | f; }; f; sleep 30"], timeout_s=10)
        assert result.breach in ("pids", "time") or result.exit_code != 0
        assert (await box.run(["echo", "alive"])).stdout == "alive\n"

    bench.do(body)


def test_too_many_processes_are_ended_and_named(bench: Bench) -> None:
    code = """
    import os, time
    while True:
        try:
            if os.fork() == 0:
                time.sleep(30)
        except OSError:
            time.sleep(0.01)
    """
    assert bench.python(code).breach == "pids"


def test_there_is_no_network(bench: Bench) -> None:
    code = """
    import socket
    for host, port in [("1.1.1.1", 53), ("127.0.0.1", 22), ("10.0.0.1", 80)]:
        try:
            socket.create_connection((host, port), timeout=2)
            print("connected", host)
        except OSError as error:
            print("refused")
    """
    assert bench.python(code).stdout == "refused\n" * 3


def test_the_process_tree_is_dead_on_return(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        daemon = """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(0.3)
                open("late", "w").close()
                time.sleep(60)
            os._exit(0)
        """
        assert (await box.run(["python", "-c", textwrap.dedent(daemon)])).exit_code == 0
        await asyncio.sleep(0.6)
        assert await box.read("late") is None

    bench.do(body)


def test_a_daemon_that_holds_the_output_does_not_delay_the_result(bench: Bench) -> None:
    result = bench.do(lambda box: box.run(["sh", "-c", "setsid sleep 30 & echo done"]))
    assert (result.stdout, result.breach) == ("done\n", "")
    assert result.seconds < 10


def test_a_link_out_of_the_tree_is_not_followed_by_a_write(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.run(["sh", "-c", "ln -s /tmp out; ln -s /etc/passwd pass"])
        with pytest.raises(SandboxError):
            await box.write([FileEdit(path="out/x", content="x")])
        await box.write([FileEdit(path="pass", content="mine")])
        assert await box.read("pass") == "mine"

    bench.do(body)


def test_traps_in_the_tree_do_not_hang_a_read(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.run(["sh", "-c", "mkfifo pipe; mkdir folder; ln -s /dev/zero zero"])
        assert [await box.read(name) for name in ("pipe", "folder", "zero", "pkg/calc.py/x")] == [None] * 4
        await box.write([FileEdit(path="pipe", content="x"), FileEdit(path="folder", content="y"), FileEdit(path="run.sh/z", content="z")])
        assert [await box.read(name) for name in ("pipe", "folder", "run.sh/z")] == ["x", "y", "z"]

    bench.do(body)


def test_a_box_has_no_privilege(strong: Bench) -> None:
    result = strong.do(lambda box: box.run(["sh", "-c", "grep -E 'CapEff|CapPrm|NoNewPrivs|Seccomp:' /proc/self/status; id -u"]))
    words = result.stdout.split()
    assert words[words.index("CapEff:") + 1] == words[words.index("CapPrm:") + 1] == "0" * 16
    assert words[words.index("NoNewPrivs:") + 1] == "1"
    assert words[words.index("Seccomp:") + 1] == "2"
    assert words[-1] != "0"


@pytest.mark.parametrize(
    "call", ["unshare(0x10000000)", "unshare(0x20000)", "mount(b'none', b'/tmp', b'tmpfs', 0, None)", "ptrace(16, 1, 0, 0)"]
)
def test_a_box_cannot_make_namespaces_mount_or_trace(bench: Bench, call: str) -> None:
    assert bench.python(f"import ctypes; print(ctypes.CDLL(None).{call})").stdout == "-1\n"


def test_a_box_sees_no_process_but_its_own(strong: Bench) -> None:
    listed = strong.python("import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))").stdout
    assert int(listed) <= 3


def test_a_box_cannot_touch_its_supervisor(strong: Bench) -> None:
    async def body(box: Sandbox) -> None:
        code = """
        import os
        for look in (lambda: os.listdir("/proc/1/fd"), lambda: open("/proc/1/mem", "rb"), lambda: open("/proc/1/environ", "rb").read()):
            try:
                look()
                print("open")
            except OSError:
                print("shut")
        """
        assert (await box.run(["python", "-c", textwrap.dedent(code)])).stdout == "shut\n" * 3
        await box.run(["sh", "-c", "kill -9 1; kill -9 -1"])
        assert (await box.run(["echo", "alive"])).stdout == "alive\n"

    strong.do(body)


def test_a_box_cannot_write_outside_its_own_places(bench: Bench) -> None:
    code = """
    import os, sys
    for place in ("/usr", "/etc", os.path.dirname(sys.executable), sys.prefix, "/dev", "/", "/root", "/run", "/var/tmp", "/home"):
        try:
            open(os.path.join(place, "forge-was-here"), "w").close()
            print("wrote", place)
        except OSError:
            pass
    """
    assert bench.python(code).stdout == ""


def test_boxes_share_no_file_between_them(bench: Bench) -> None:
    async def both() -> list[str]:
        async with bench.box() as first, bench.box() as second:
            await first.run(["sh", "-c", "echo hi > /tmp/left; echo hi > $TMPDIR/left; echo hi > /dev/shm/left; echo hi > left"])
            result = await second.run(["sh", "-c", "cat /tmp/left $TMPDIR/left /dev/shm/left left"])
            return [result.stdout]

    assert bench.run(both()) == [""]


@pytest.mark.parametrize(
    ("body", "complete"),
    [
        ("import os\n    os._exit(0)", False),
        ("import os\n    os.kill(os.getpid(), 9)", False),
        ("import sys\n    sys.exit(0)", True),
        (
            "import os\n    [os.write(fd, b'PASSED\\n') for fd in range(3, 600) if os.path.exists(f'/proc/self/fd/{fd}')]\n    os._exit(0)",
            False,
        ),
        ("raise KeyboardInterrupt", False),
    ],
)
def test_a_test_that_ends_the_process_does_not_pass(bench: Bench, body: str, complete: bool) -> None:
    async def attempt(box: Sandbox) -> None:
        await box.write([FileEdit(path="tests/test_evil.py", content=f"def test_evil():\n    {body}\n")])
        run = await box.run_tests(["tests/test_evil.py::test_evil", "tests/test_calc.py::test_small"])
        assert run.outcomes["tests/test_evil.py::test_evil"] != "passed"
        assert run.complete is complete
        assert run.complete or run.reason
        assert (await box.run_tests(["tests/test_calc.py::test_small"])).complete

    bench.do(attempt)


def test_a_test_that_hangs_is_cut_short(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.write([FileEdit(path="tests/test_slow.py", content="import time\n\ndef test_slow():\n    time.sleep(60)\n")])
        run = await box.run_tests(["tests/test_slow.py::test_slow"], timeout_s=1.5)
        assert not run.complete
        assert "time" in run.reason

    bench.do(body)


def test_a_filler_of_any_place_that_can_be_written_is_stopped(bench: Bench) -> None:
    code = """
    import os, tempfile
    places = {"/dev/shm", "/tmp", "/var/tmp", "/run", tempfile.gettempdir(), os.path.expanduser("~"), os.getcwd()}
    for place in sorted(place for place in places if os.access(place, os.W_OK)):
        try:
            for n in range(300):
                with open(f"{place}/filler{n}", "wb") as file:
                    file.write(b"x" * 2**20)
            print("filled", place)
        except OSError as error:
            print("stopped", place)
    """
    result = bench.python(code)
    assert "filled" not in result.stdout
    assert result.breach in ("disk", "memory")


def test_children_that_left_the_session_die_with_a_command_that_took_too_long(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        code = """
        import os, time
        for _ in range(3):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    time.sleep(1.2)
                    open("late", "w").close()
                    time.sleep(60)
                os._exit(0)
        time.sleep(60)
        """
        assert (await box.run(["python", "-c", textwrap.dedent(code)], timeout_s=0.6)).breach == "time"
        await asyncio.sleep(1.2)
        assert await box.read("late") is None
        assert (await box.run(["echo", "alive"])).stdout == "alive\n"

    bench.do(body)


@pytest.mark.parametrize(
    ("body", "limit"),
    [
        ("x = []\n    while True: x.append(b'y' * 2**20 + bytes([len(x) % 256]))", "memory"),
        ("import os\n    for n in range(10**6): open(f'f{n}', 'wb').write(b'x' * 2**20)", "disk"),
        ("import os, time\n    for _ in range(10**6):\n        if os.fork() == 0: time.sleep(30)", "pids"),
        ("import os\n    while True: os.write(1, b'x' * 1000)", ""),
    ],
)
def test_a_test_that_breaches_a_limit_does_not_pass_and_the_box_lives_on(bench: Bench, body: str, limit: str) -> None:
    async def attempt(box: Sandbox) -> None:
        await box.write([FileEdit(path="tests/test_evil.py", content=f"def test_evil():\n    {body}\n")])
        run = await box.run_tests(["tests/test_evil.py::test_evil", "tests/test_calc.py::test_small"], timeout_s=10)
        assert run.outcomes.get("tests/test_evil.py::test_evil") != "passed"
        # Where memory is counted by process, many copies of a test run may come to that limit first.
        assert run.complete or any(word in run.reason for word in (limit, "time", "memory")), run.reason
        assert (await box.run_tests(["tests/test_calc.py::test_small"])).complete or limit == "disk"

    bench.do(attempt)


def test_pytest_features_of_a_normal_suite_work(bench: Bench) -> None:
    suite = """
    import os
    import subprocess
    import sys
    import pytest

    @pytest.mark.parametrize("text", ["a::b", "c[d]", "e f"])
    def test_parametrized(text, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("X", text)
        (tmp_path / "f").write_text(text)
        print(text)

    @pytest.fixture
    def thing():
        yield 1
        raise RuntimeError("teardown")

    def test_fixture(thing):
        assert thing == 1

    @pytest.mark.skip
    def test_skipped():
        pass

    @pytest.mark.xfail
    def test_expected_failure():
        assert False

    class TestClass:
        def test_method(self):
            assert subprocess.run([sys.executable, "-c", "print(1)"], capture_output=True, text=True).stdout == "1\\n"

        def test_folder(self):
            assert os.path.isdir("pkg")
    """

    async def body(box: Sandbox) -> dict[str, str]:
        await box.write([FileEdit(path="tests/test_normal.py", content=textwrap.dedent(suite))])
        run = await box.run_tests(["tests/test_normal.py"])
        assert run.complete, run.reason
        return {name.partition("::")[2]: outcome for name, outcome in run.outcomes.items()}

    assert bench.do(body, LIMITS.model_copy(update={"memory_bytes": 256 * 2**20})) == {
        "test_parametrized[a::b]": "passed",
        "test_parametrized[c[d]]": "passed",
        "test_parametrized[e f]": "passed",
        "test_fixture": "error",
        "test_skipped": "skipped",
        "test_expected_failure": "skipped",
        "TestClass::test_method": "passed",
        "TestClass::test_folder": "passed",
    }


def test_a_tree_with_its_own_pytest_configuration_is_honoured(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.write(
            [
                FileEdit(path="conftest.py", content="import pytest\n\n@pytest.fixture\ndef seven():\n    return 7\n"),
                FileEdit(
                    path="pyproject.toml", content="[tool.pytest.ini_options]\npythonpath = ['lib']\naddopts = '--nothing-like-this'\n"
                ),
                FileEdit(path="lib/inner.py", content="VALUE = 7\n"),
                FileEdit(
                    path="tests/test_seven.py", content="from inner import VALUE\n\ndef test_seven(seven):\n    assert seven == VALUE\n"
                ),
            ]
        )
        run = await box.run_tests(["tests/test_seven.py::test_seven"])
        assert run.outcomes == {"tests/test_seven.py::test_seven": "passed"}, run

    bench.do(body)


def test_many_boxes_at_once_make_no_thread_each(bench: Bench) -> None:
    count = 6 if isinstance(bench.provider, DockerProvider) and bench.provider.way == "single" else 60

    async def one(number: int) -> str:
        async with bench.box() as box:
            return str((await box.run(["echo", str(number)])).stdout)

    async def all_of_them() -> tuple[list[str], int]:
        results = asyncio.gather(*(one(number) for number in range(count)))
        await asyncio.sleep(0.2)
        threads = len(os.listdir("/proc/self/task"))
        return await results, threads

    import threading

    before = threading.active_count()
    results, threads = bench.run(all_of_them())
    assert results == [f"{number}\n" for number in range(count)]
    assert threading.active_count() - before <= 8, threads


def test_a_cancelled_request_takes_its_box_with_it(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(box.run(["sleep", "60"]), 0.3)
        with pytest.raises(SandboxError):
            await box.read("pkg/calc.py")

    bench.do(body)


@pytest.mark.parametrize("name", ["bubblewrap", "confined"])
def test_when_the_fork_server_dies_boxes_are_dead_and_the_next_open_works(benches: Callable[[str], Bench], name: str) -> None:
    bench = benches(name)

    async def body(box: Sandbox) -> None:
        for server in _fork_servers("namespaced" if name == "bubblewrap" else "confined"):
            os.kill(server, signal.SIGKILL)
        with pytest.raises(SandboxError):
            await box.run(["sleep", "5"])
        with pytest.raises(SandboxError):
            await box.read("pkg/calc.py")

    bench.do(body)
    assert bench.do(lambda box: box.run(["echo", "again"])).stdout == "again\n"


@pytest.mark.parametrize("name", ["bubblewrap", "confined"])
def test_killing_the_owner_leaves_no_process_and_no_folder(benches: Callable[[str], Bench], name: str, tmp_path: Path) -> None:
    benches(name)
    program = f"""
    import asyncio, sys, tempfile
    from pathlib import Path
    from forge.records import Limits
    from sandboxes.{"local" if name == "bubblewrap" else "confined"} import *
    async def main():
        provider = {"LocalProvider()" if name == "bubblewrap" else f"ConfinedProvider(Path({str(tmp_path)!r}))"}
        box = await provider.open(Path({str(tmp_path)!r}) / "tree", limits=Limits(), run_id="x")
        print("ready", flush=True)
        await box.run(["sh", "-c", "setsid sleep 4242 & sleep 4242"], timeout_s=19)
    asyncio.run(main())
    """
    (tmp_path / "tree").mkdir()
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.getcwd()}
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == b"ready\n"
        _until(lambda: len(_processes("sleep 4242")) >= 2)
    finally:
        owner.kill()
        owner.wait()
        if owner.stdout:
            owner.stdout.close()
    _until(lambda: not _processes("sleep 4242"))
    _until(lambda: [path.name for path in tmp_path.iterdir()] == ["tree"])


def test_a_sweep_removes_only_what_dead_owners_left(tmp_path: Path) -> None:
    from sandboxes.owners import owner_mark

    ended = subprocess.Popen(["true"])
    dead_mark = owner_mark(ended.pid)
    ended.wait()
    for name, mark in (("forge-confined-dead", dead_mark), ("forge-confined-live", owner_mark())):
        (tmp_path / name).mkdir()
        (tmp_path / name / "owner").write_text(mark)
    with asyncio.Runner() as runner:
        assert runner.run(ConfinedProvider(tmp_path).sweep()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["forge-confined-live"]


def test_only_the_confined_provider_is_for_trusted_code_only() -> None:
    assert ConfinedProvider.trusted_only
    assert not LocalProvider.trusted_only
    assert not DockerProvider.trusted_only


def _fork_servers(kind: str) -> list[int]:
    """The processes of these tests' fork servers: ours, and no children of their own kind (a box looks like it)."""
    parents: dict[int, int] = {}
    servers = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[1])
            if f"-m inside {kind}" in Path(f"/proc/{name}/cmdline").read_bytes().replace(
                b"\0", b" "
            ).decode() and "bwrap" not in os.readlink(f"/proc/{name}/exe"):
                servers.add(int(name))

    def is_ours(pid: int) -> bool:
        return pid == os.getpid() or (pid in parents and is_ours(parents[pid]))

    return [pid for pid in servers if parents[pid] not in servers and is_ours(pid)]


def _processes(words: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").strip() == words.encode():
                    found.append(int(name))
    return found


def _until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        time.sleep(0.05)


def test_the_engine_probe_names_its_problem() -> None:
    problem = engine_problem()
    assert problem == "" or len(problem) > 5


def test_a_fork_server_forgets_unused_trees_over_its_budget(benches: Callable[[str], Bench], tmp_path: Path, monkeypatch: Any) -> None:
    bench = benches("bubblewrap")
    # The budget is a constant: no test should need 256 MiB of trees.
    monkeypatch.setattr(zygote, "KEPT_TREE_BYTES", 0)
    others = [Bench(bench.provider, tmp_path / name, bench._runner) for name in ("a", "b", "a", "b")]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "name").write_text(name)
    assert [other.do(lambda box: box.read("name")) for other in others] == ["a", "b", "a", "b"]

    async def overlapping() -> list[str | None]:
        async with others[0].box() as first, others[1].box() as second, others[2].box() as third:
            return [await box.read("name") for box in (first, second, third)]

    assert bench.run(overlapping()) == ["a", "b", "a"]


def test_a_broken_pyproject_ends_a_run_as_it_ends_pytest(bench: Bench) -> None:
    async def body(box: Sandbox) -> None:
        await box.write([FileEdit(path="pyproject.toml", content="[project\n")])
        run = await box.run_tests(["tests/test_calc.py::test_small"])
        assert not run.complete and run.outcomes.get("tests/test_calc.py::test_small") != "passed"

    bench.do(body)
