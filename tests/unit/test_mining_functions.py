from __future__ import annotations

import random
import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.mining.functions import Functions
from forge.mining.python_functions import changed_functions
from forge.records import FileChange
from forge.stages.source.languages import language_of
from forge.stages.source.symbols import symbols_of
from forge.store.diffs import diff

OURS = sorted(Path(__file__).resolve().parents[2].glob("forge/**/*.py"))
STANDARD = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))


def change(path: str, before: str | None, after: str | None) -> FileChange:
    return FileChange(path=path, before=before, after=after, diff=diff({path: before}, {path: after}))


def told(path: str, before: str | None, after: str | None) -> list[tuple[str, str]]:
    return [(found.kind, found.name) for found in Functions().changed([change(path, before, after)])]


def test_pythons_functions_are_those_that_the_stages_know() -> None:
    wrong = []
    for path in [*OURS, *STANDARD]:
        text = path.read_text(encoding="utf-8", errors="replace")
        if "\f" in text:
            continue  # the parser counts no line there, whoever splits lines does
        wanted: dict[str, str] = {}
        for symbol in symbols_of("x.py", text):
            wanted.setdefault(symbol.name, symbol.source)
        found = {one.name: one.after for one in Functions().changed([FileChange(path="x.py", before=None, after=text)])}
        if found != wanted:
            wrong.append(path.name)
    assert wrong == []


def test_added_removed_and_modified_functions_are_told_apart() -> None:
    before = "def a():\n    return 1\n\n\ndef b():\n    return 2\n\n\nclass C:\n    def m(self):\n        return 3\n"
    after = (
        "def a():\n    return 1\n\n\nclass C:\n    @property\n    def m(self):\n        return 3\n\n    def n(self):\n        return 4\n"
    )
    assert told("x.py", before, after) == [("modified", "C.m"), ("added", "C.n"), ("removed", "b")]


def test_a_function_that_moves_is_not_changed() -> None:
    one, two = "def a():\n    return 1\n", "def b():\n    return 2\n"
    assert told("x.py", f"{one}\n\n{two}", f"{two}\n\n{one}") == []


def test_a_line_that_is_taken_out_changes_the_function_around_it() -> None:
    assert told("x.py", "def a():\n    x = 1\n    return 1\n", "def a():\n    return 1\n") == [("modified", "a")]


def test_what_does_not_parse_gives_what_can_be_made_out() -> None:
    assert ("modified", "a") in told("x.py", "def a():\n    return 1\n\nx = (\n", "def a():\n    return 2\n\nx = (\n")


@pytest.mark.parametrize(
    ("path", "before", "found"),
    [
        ("a.js", "class A { m() { return 1 } }\nfunction f() { return 0 }\n", "A.m"),
        ("a.ts", "export class A { m(): number { return 1 } }\n", "A.m"),
        ("a.tsx", "function F() { return <a b='1'/> }\n", "F"),
        ("a.go", "package a\n\nfunc (s *Set[T]) Add() { x(1) }\n", "Set.Add"),
        ("a.rs", "impl Set {\n  fn add() { x(1); }\n}\n", "Set.add"),
        ("a.java", "class A { int m() { return 1; } }\n", "A.m"),
        ("a.c", "int *f(int x) { return 1; }\n", "f"),
        ("a.cpp", "namespace n { struct A { int m() { return 1; } }; }\n", "n.A.m"),
        ("a.rb", "class A\n  def m\n    1\n  end\nend\n", "A.m"),
        ("a.php", "<?php\nclass A { function m() { return 1; } }\n", "A.m"),
        ("a.cs", "class A { int M() { return 1; } }\n", "A.M"),
    ],
)
def test_other_languages_have_functions_too(path: str, before: str, found: str) -> None:
    assert told(path, before, before.replace("1", "2")) == [("modified", found)]


def test_files_of_no_known_grammar_have_none() -> None:
    assert told("a.lua", "function f() return 1 end\n", "function f() return 2 end\n") == []
    assert language_of("README.md") is None and language_of("A.PY") == "python"


LINES = st.lists(
    st.sampled_from(
        ["def a():", "def b():", "    return 1", "    x = '''", "    '''", "class C:", "    def m(self):", "        pass", "", "é = 1"]
    )
)


@given(st.lists(LINES, min_size=2, max_size=5))
def test_growing_from_the_last_version_finds_what_a_fresh_start_finds(versions: list[list[str]]) -> None:
    texts = ["\n".join(lines) for lines in versions]
    kept = Functions()
    for before, after in zip(texts[1:], texts, strict=False):
        step = [change("x.py", before, after)]
        assert kept.changed(step) == Functions().changed(step)


def test_growing_holds_on_real_sources_that_lose_and_gain_lines() -> None:
    chance, kept = random.Random(3), Functions()
    for path in OURS[:40]:
        text = path.read_text(encoding="utf-8")
        for _ in range(5):
            lines = text.splitlines(keepends=True)
            for _ in range(chance.randrange(1, 4)):
                place = chance.randrange(len(lines) + 1)
                lines[place : place + chance.randrange(3)] = chance.choices(lines or ["\n"], k=chance.randrange(3))
            before, text = "".join(lines), text
            step = [change("x.py", before, text)]
            assert kept.changed(step) == Functions().changed(step)
            text = before


BLOCKS = [
    "import os\nX = 1\n",
    'def {n}(a, b):\n    """Say.\n\ndef looks_like_one():\n    pass\n"""\n    return a\n',
    "@cache\n@other(\n    1,\n)\ndef {n}():\n    return {v}\n",
    "async def {n}():\n    # a comment with ''' in it\n    return {v}\n",
    "class {n}:\n    '''Doc.\n\n    def no(self): 1\n    '''\n\n    def m(self):\n        return {v}\n\n    @p\n    def p(self): pass\n",
    "class {n}(Base):\n    class Meta:\n        def inner(self): {v}\n\n    def m(self):\n        return 2\n\nY = {v}\n",
    "class {n}(Base):\n    if X:\n        def maybe(self): return {v}\n\n    def m(self):\n        return 2\n",
    "class {n}:\n\tdef m(self): return {v}\n\tasync def k(self):\n\t\tdef nested(): return 3\n\t\treturn nested\n",
    "if X:\n    def {n}(): return {v}\nelse:\n    def {n}(): return 2\n",
    "try:\n    import {n}\nexcept ImportError:\n    Y = 1\n\n    def {n}(): return {v}\n",
    'text_{n} = """\ndef fake_{n}():\n    return {v}\n"""\n',
    "# def commented(): pass\n\n\n",
    "def {n}(): return (\n{v}\n)\n",
    "@decorated\nclass {n}:\n    def m(self):\n        return '''\n    def fake(self): {v}\n    '''\n    # the end\n",
    'def {n}():\n    return """\\\nclass Fake:\n\n    def m(self): {v}\n"""\n',
    'def {n}():\n    return \'"""\' + {v}\n',
    'def {n}():\n    return """\n    # {v}"""\n    # the end\n',
    "@mark(a, b={v})\ndef {n}(\n    a,\n):\n    return a\n\n\nX = {v}\n",
    "class {n}(\n    Base,\n):\n    X = {v}\n\n    def m(self):\n        return 1\n\n    def n(self):\n        return {v}\n",
]


@st.composite
def modules(draw: st.DrawFn, names: str) -> str:
    entries = st.tuples(st.sampled_from(BLOCKS), st.sampled_from(names), st.integers(0, 2))
    chosen = draw(st.lists(entries, max_size=7, unique_by=lambda entry: entry[1]))
    return "".join(block.format(n=name, v=value) for block, name, value in chosen)


@given(modules("abcdefg"), modules("ABCDEFG"), modules("ABCDEFG"))
def test_functions_found_in_pieces_are_those_that_whole_versions_differ_in(head: str, before: str, after: str) -> None:
    """Both versions begin alike, as versions do; the reference parses both as a whole."""

    def all_of(text: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for symbol in symbols_of("x.py", text):
            found.setdefault(symbol.name, set()).add(symbol.source)
        return found

    old, new = all_of(head + before), all_of(head + after)
    wanted = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    changes = changed_functions(head + before, head + after)
    assert changes is not None
    assert {name for name, _, _ in changes} == wanted
    for name, was, now in changes:
        assert was is None or was in old[name]
        assert now is None or now in new[name]


def test_what_looks_like_a_class_in_a_function_is_no_class() -> None:
    made = 'def a(path):\n    path.write("""\\\nimport x\n\n\ndef square(v):\n    return v\n\n\n@x.define\nclass S:\n\n    v = 1\n""")\n'
    assert told("x.py", "def b(): pass\n\n\n", f"def b(): pass\n\n\n{made}") == [("added", "a")]
    assert told("x.py", made, made.replace("v = 1", "v = 2")) == [("modified", "a")]


def test_a_setter_that_changes_beside_its_getter_is_told() -> None:
    one = "class C:\n    @property\n    def x(self):\n        return 1\n\n    @x.setter\n    def x(self, v):\n        self.y = v\n"
    (found,) = Functions().changed([change("x.py", one, one.replace("self.y = v", "self.z = v"))])
    assert (found.kind, found.name) == ("modified", "C.x")
    assert "self.z = v" in (found.after or "")
