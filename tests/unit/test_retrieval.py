"""Retrieval held against the library that it computes the scores of, and against symbols read the long way."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import sysconfig
import tarfile
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from forge.nano.repository import FIX_MESSAGES, generate
from forge.records import Symbol, Task
from forge.rollouts.tree import CACHED, TaskTree
from forge.stages.retrieval import outlining
from forge.stages.retrieval.index import Index
from forge.stages.retrieval.okapi import Okapi
from forge.stages.retrieval.outline import from_bytes, key_of, outline_of, to_bytes
from forge.stages.retrieval.outlining import outlines
from forge.stages.retrieval.words import bags_of, hashed, joined, words
from forge.stages.source.symbols import Place, is_test_path, places_of, symbol_at, symbols_in, symbols_of
from forge.stages.statements import CallExample, compose
from forge.store.cache import Cache

ROOT = Path(__file__).resolve().parents[2]


class Former:
    """Retrieval as it was: rank_bm25 whole, over lists of words."""

    def __init__(self, symbols: list[Symbol]) -> None:
        self.symbols = symbols
        self.library = BM25Okapi([words(s.name) * 3 + words(s.path) * 2 + words(s.source) for s in symbols])

    def search(self, query: str) -> list[str]:
        scores = self.library.get_scores(words(query))
        return [self.symbols[i].key for i in sorted(range(len(self.symbols)), key=lambda i: (-scores[i], i))]


@cache
def real_code() -> dict[str, str]:
    """Our own sources and some hundreds of the standard library's, by path."""
    library = Path(sysconfig.get_paths()["stdlib"])
    own = [(ROOT, path) for name in ("forge", "jobs", "serve", "sandboxes") for path in sorted((ROOT / name).rglob("*.py"))]
    theirs = [*(library / "email").rglob("*.py"), *(library / "asyncio").rglob("*.py"), *sorted(library.glob("*.py"))[::3]]
    files = [*own, *((library, path) for path in sorted(theirs))]
    found = {}
    for root, path in files:
        try:
            found[path.relative_to(root).as_posix()] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def index_of(files: dict[str, str]) -> Index:
    offered = [(path, files[path]) for path in sorted(files) if path.endswith(".py") and not is_test_path(path)]
    return Index.of_files(files, dict(zip((path for path, _ in offered), outlines(offered), strict=True)))


def trees(folder: Path, seed: int) -> list[dict[str, str]]:
    """A practice repository's files at its first commits, half-way and in the end."""
    generate(folder, seed=seed, name=f"r{seed}", commits=40, modules=4 + seed % 9, difficulty=0.5, faulty=0.5)
    run = ["git", "-C", str(folder)]
    commits = subprocess.run([*run, "rev-list", "--reverse", "HEAD"], capture_output=True, text=True, check=True).stdout.split()
    found = []
    for commit in (commits[5], commits[len(commits) // 2], commits[-1]):
        archive = subprocess.run([*run, "archive", commit], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            members = [member for member in tar if member.isfile()]
            found.append({member.name: tar.extractfile(member).read().decode() for member in members})  # type: ignore[union-attr]
    return found


def statements(symbols: list[Symbol], rng: random.Random) -> list[str]:
    """Issues as they are written about practice functions, with and without examples."""
    found = []
    for symbol in symbols:
        spoken = " ".join(symbol.name.split("_")[:-1] or [symbol.name])
        module = symbol.path.split("/")[-1].removesuffix(".py")
        title = rng.choice(FIX_MESSAGES).format(name=symbol.name, number=rng.randint(1, 99), module=module, words=spoken)
        example = CallExample(call=f"{symbol.name}([{rng.randint(-9, 9)}, {rng.randint(0, 9)}])", expected=str(rng.randint(-9, 99)))
        found += [title, f"{spoken} is wrong", compose(title, [example])]
    return found


@pytest.mark.parametrize("seed", range(16))
def test_practice_trees_are_ranked_as_rank_bm25_ranks_them(seed: int, tmp_path: Path) -> None:
    asked = 0
    for files in trees(tmp_path / "repo", seed):
        symbols = symbols_in(files)
        former, index, made = Former(symbols), index_of(files), Index(symbols)
        for statement in statements(symbols, random.Random(seed)):
            expected = former.search(statement)
            assert [symbol.key for symbol in index.search(statement, len(symbols))] == expected
            assert [symbol.key for symbol in made.search(statement, 6)] == expected[:6]
            asked += 1
    assert asked > 50


def test_real_code_is_ranked_as_rank_bm25_ranks_it() -> None:
    files = {path: source for path, source in real_code().items() if path.startswith(("forge/", "email/"))}
    symbols = symbols_in(files)
    former, index = Former(symbols), index_of(files)
    assert len(index) == len(symbols) > 1500
    chosen = random.Random(0).sample(symbols, 40)
    for query in (*(f"{symbol.name} does not work" for symbol in chosen), *(symbol.source[:1500] for symbol in chosen[:6])):
        assert [found.key for found in index.search(query, 200)] == former.search(query)[:200]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_scores_are_those_of_rank_bm25(data: st.DataObject) -> None:
    text = st.lists(st.sampled_from(["a", "b", "c", "dd", "Ee", "f_g", "h1", "self"]), max_size=12).map(" ".join)
    documents = data.draw(st.lists(text, min_size=1, max_size=12))
    query = data.draw(text)
    given_words = [words("n") * 3 + words("p.py") * 2 + words(document) for document in documents]
    expected = BM25Okapi(given_words).get_scores(words(query))
    found = Okapi(joined([bags_of("p.py", [("n", document)]) for document in documents])).scores(hashed(query))
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_scores_are_those_worked_by_hand() -> None:
    # Three documents of 7, 6 and 6 words; "wheel" is in the first alone, twice.
    index = Okapi(bags_of("p", [("x", "wheel wheel"), ("x", "a"), ("x", "b")]))
    mean = 19 / 3
    norm = 1.5 * (1 - 0.75 + 0.75 * 7 / mean)
    idf = 0.5108256237659907  # log(2.5) - log(1.5)
    assert index.scores(hashed("wheel")).tolist() == pytest.approx([idf * 2 * 2.5 / (2 + norm), 0.0, 0.0])
    assert index.scores(hashed("wheel wheel nothing")).tolist() == pytest.approx([2 * idf * 2 * 2.5 / (2 + norm), 0.0, 0.0])
    # "x" is in all three: a quarter of the mean weight of x, p, wheel, a and b.
    floor = 0.25 * (2 * -1.9459101490553132 + 3 * idf) / 5  # log(0.5) - log(3.5)
    assert index.scores(hashed("x"))[1] == pytest.approx(floor * 3 * 2.5 / (3 + 1.5 * (0.25 + 0.75 * 6 / mean)))


def test_equal_scores_stay_in_the_order_of_the_index_and_nothing_is_found_in_nothing() -> None:
    symbols = [Symbol(path="a.py", name="f", signature="f()", source="def f(): pass\n", first_line=n, last_line=n) for n in range(1, 9)]
    assert [symbol.first_line for symbol in Index(symbols).search("f", 5)] == [1, 2, 3, 4, 5]
    assert [symbol.first_line for symbol in Index(symbols).search("", 3)] == [1, 2, 3]
    assert Index([]).search("f", 3) == []
    assert Index.of_files({}, {}).search("f", 3) == []


def test_words_are_parts_of_identifiers_and_identifiers_whole() -> None:
    assert words("maxSum_2") == ["max", "sum", "2", "maxsum_2"]
    assert words("x = HTTPServer") == ["x", "http", "server", "httpserver"]
    assert len(hashed("maxSum_2 x")) == 5
    assert hashed("maxsum") == [hashed("MAXSUM")[0]] != hashed("maxsun")
    # On disk these numbers outlive the process.
    assert hashed("sum") == [-88820844347510066]


def test_symbols_found_one_by_one_are_those_of_the_whole_file() -> None:
    rng, seen = random.Random(0), 0
    for path, source in real_code().items():
        places, expected = tuple(places_of("x.py", source)), symbols_of(path, source)
        assert [(path, *place) for place in places] == [(s.path, s.name, s.first_line, s.last_line) for s in expected]
        for number in rng.sample(range(len(places)), min(8, len(places))):
            assert symbol_at(path, source, places, number) == expected[number]
            seen += 1
    assert seen > 1500


@pytest.mark.parametrize(
    "source",
    [
        "x = 1\n\x0c\ndef f(a):\n    return a\n\x0c\n\ndef f(b):\n    return b\n",
        "class A:\n    @property\n    def x(self): return 1\n    @x.setter\n    def x(self, value): pass\n",
        "class A:\n\tasync def f(self, *, a='''\nx'''):\n\t\tpass\n\n\tg = 1\n",
        "@(lambda f:\n  f)\ndef f(a, /, b: int = 1): return a; x = 2\n",
        "if 1:\n    def hidden(): pass\nclass B:\n  if 1:\n    def hidden(self): pass\n  def seen(self): pass\n",
        "def f():\r\n    return 1\r\ndef g():\r\n    return 2",
        "def f(:\n",
        "",
    ],
)
def test_odd_files_have_the_same_symbols_one_by_one(source: str) -> None:
    places = tuple(places_of("x.py", source))
    assert [symbol_at("p.py", source, places, number) for number in range(len(places))] == symbols_of("p.py", source)


@pytest.mark.parametrize("source", ["(" * 5000, "x = " + "-" * 200_000 + "1", "a\0b", "x = '\ud800'", "print 'Python 2'"])
def test_what_the_parser_cannot_read_has_no_symbols(source: str) -> None:
    assert symbols_of("p.py", source) == []
    assert outline_of("p.py", source).places == ()
    assert len(key_of("p.py", source)) == 32


def test_outlines_are_the_same_after_bytes_and_by_a_second_process(caplog: pytest.LogCaptureFixture) -> None:
    files = [*list(real_code().items())[:120], ("odd.py", "x = '\ud800'"), ("ä.py", "def größe(): pass\n")]
    alone = outlines(files)
    assert [to_bytes(outline) for outline in outlines(files, shared=0)] == [to_bytes(outline) for outline in alone]
    assert [to_bytes(from_bytes(to_bytes(outline))) for outline in alone] == [to_bytes(outline) for outline in alone]
    assert sum(len(outline.places) for outline in alone) > 500 and not caplog.records


def test_a_second_process_that_fails_is_done_without(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    files = list(real_code().items())[:40]
    expected = [to_bytes(outline) for outline in outlines(files)]
    # There is no seam for the interpreter that runs the tests; all that is patched is its path.
    monkeypatch.setattr(outlining.sys, "executable", "/bin/false")
    assert [to_bytes(outline) for outline in outlines(files, shared=0)] == expected
    assert "could not read half" in caplog.text


@settings(deadline=None)
@given(st.binary(max_size=80), st.integers(0, 200))
def test_bytes_that_are_no_outline_are_refused(noise: bytes, cut: int) -> None:
    body = to_bytes(outline_of("a.py", "def f(x):\n    return x\n\ndef g(y):\n    return f(y)\n"))
    with pytest.raises(ValueError):
        from_bytes(body[: min(cut, len(body) - 1)])
    with pytest.raises(ValueError):
        from_bytes(body + b"x")
    with pytest.raises(ValueError):
        from_bytes(b"\xff" * 4 + noise)


def test_a_large_tree_is_read_from_the_cache_but_for_what_changed(tmp_path: Path) -> None:
    folder, cache = tmp_path / "tree", Cache(tmp_path / "cache.db", 2**30)
    folder.mkdir()
    filler = "".join(f"def filler_{n}():\n    pass\n" for n in range(20)) + f"""\ntext = '{"- " * 100_000}'\n"""
    files = {f"m{n}.py": f"def task_{n}(value):\n    return value * {n}\n\n\n{filler}" for n in range(CACHED // 200_000 + 2)}
    for name, source in files.items():
        (folder / name).write_text(source, encoding="utf-8")
    first = TaskTree(folder, _question(), kept=False, cache=cache)
    assert first.index.search("task_3 value", 1)[0].key == "m3.py::task_3"
    keys = {name: key_of(name, source) for name, source in files.items()}
    assert set(cache.get(list(keys.values()))) == set(keys.values())
    # What the cache says of an unchanged file is believed: here it is told that the file holds one symbol alone.
    cache.put({keys["m0.py"]: to_bytes(outline_of("m0.py", "def task_0(value):\n    return 'zebra'\n"))})
    (folder / "m1.py").write_text("def giraffe(value):\n    return value\n", encoding="utf-8")
    second = TaskTree(folder, _question(), kept=False, cache=cache)
    assert len(second.index) == len(first.index) - 20 - 20
    assert second.index.search("zebra", 1)[0].key == "m0.py::task_0"
    assert second.index.search("giraffe", 1)[0].key == "m1.py::giraffe"
    # What is no outline is made anew.
    cache.put({keys["m0.py"]: b"broken"})
    third = TaskTree(folder, _question(), kept=False, cache=cache)
    assert len(third.index) == len(first.index) - 20
    assert third.files == second.files


def test_a_small_tree_and_one_of_tasks_leave_the_cache_alone(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(x):\n    return x\n", encoding="utf-8")
    cache = Cache(tmp_path / "cache.db", 2**20)
    for kept in (True, False):
        assert [s.key for s in TaskTree(tmp_path, _question(), kept=kept, cache=cache).index.search("f", 1)] == ["a.py::f"]
    assert not cache.path.exists()


def test_the_second_process_runs_where_the_code_is_on_the_path_alone(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom forge.stages.retrieval import outlining\n"
        "assert outlining._elsewhere([('a.py', 'def f(): pass')])[0].places[0].name == 'f'\n",
        encoding="utf-8",
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def _question() -> Task:
    return Task(
        id="q", repo="r", base_commit="", origin="commit", statement="s", statement_by="people", tree="", gold=(), tests=(),
        fail_to_pass=(), pass_to_pass=(), files=(),
    )  # fmt: skip


def test_places_are_lines_with_their_decorators() -> None:
    source = "@d\ndef f():\n    pass\n\nclass A:\n    def g(self):\n        pass\n"
    assert places_of("x.py", source) == [Place("f", 1, 3), Place("A.g", 6, 7)]
