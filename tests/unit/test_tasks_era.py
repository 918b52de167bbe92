"""What a tree declares of its time, and which environments follow from it."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forge.tasks.era import Era, era_of, specs_of

DAY = datetime.datetime(2019, 10, 11, tzinfo=datetime.UTC)
HERE = ("3.6", "3.7", "3.8", "3.11", "3.13")
SETUP = b"""
from setuptools import setup
TESTS = ["pytest-mock", "mock; python_version < '3'"]
setup(
    name="toolbelt",
    install_requires=["six>=1.10"],
    tests_require=TESTS,
    extras_require={"test": ["hypothesis"], "docs": ["sphinx", "furo"]},
    classifiers=["Programming Language :: Python :: 3.6", "Programming Language :: Python :: 3.7", "Programming Language :: Python :: 3"],
)
"""


def test_setup_py_is_read_and_not_run() -> None:
    era = era_of({"setup.py": SETUP + b"raise SystemExit('run')\n", "toolbelt/__init__.py": b""}, DAY)
    assert era.project == "toolbelt"
    assert era.pythons == ("3.7", "3.6")
    assert era.requirements == ("hypothesis", "mock; python_version < '3'", "pytest-mock", "six>=1.10")
    assert (era.roots, era.year) == ((), 2019)


def test_pyproject_groups_are_followed_and_the_project_itself_is_left_out() -> None:
    text = b"""
    [project]
    name = "attrs"
    dependencies = ["typing_extensions"]
    classifiers = ["Programming Language :: Python :: 3.11"]
    [project.optional-dependencies]
    docs = ["furo"]
    [dependency-groups]
    tests = ["hypothesis", {include-group = "extra"}, "attrs", "attrs[docs2, more]"]
    more = ["zope.interface"]
    docs2 = []
    extra = ["cloudpickle", {include-group = "tests"}]
    """
    era = era_of({"pyproject.toml": text, "src/attr/__init__.py": b""}, DAY)
    assert era.requirements == ("cloudpickle", "hypothesis", "typing_extensions", "zope.interface")
    assert era.roots == ("src",)


def test_tox_travis_and_requirement_files_tell_too() -> None:
    files = {
        "tox.ini": b"[tox]\nenvlist = py36,py{37}\n[testenv]\ndeps =\n    pytest-asyncio\n    -rdev.txt\n    tox\n",
        ".travis.yml": b"python:\n  - 2.7\n  - '3.5'\nscript: x --level 3.9\n",
        "requirements/test.txt": b"# c\nfreezegun==0.3 # pinned\n-e .\nhttps://example.org/x.zip\n",
        "tests/test_x.py": b"from nose.tools import eq_\n",
    }
    era = era_of(files, DAY)
    assert era.pythons == ("3.6", "3.5", "2.7")
    assert era.requirements == ("freezegun==0.3", "nose", "pytest-asyncio")


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"[project", b"setup(", b"[metadata]\nname", b"x: [", b"[project]\nname = 3\ndependencies = 4\n"]
)
def test_what_does_not_parse_is_left_out(content: bytes) -> None:
    names = ("setup.py", "setup.cfg", "pyproject.toml", "tox.ini", ".travis.yml")
    era = era_of(dict.fromkeys(names, content), DAY)
    assert era.requirements == () and era.pythons == ()


@given(
    st.dictionaries(
        st.sampled_from(["setup.py", "setup.cfg", "pyproject.toml", "tox.ini", ".github/workflows/a.yml"]), st.binary(max_size=80)
    )
)
def test_any_bytes_give_an_era(files: dict[str, bytes]) -> None:
    assert era_of(files, DAY).year == 2019


def test_declared_pythons_come_first_as_of_the_commits_day() -> None:
    specs = specs_of(Era(pythons=("3.7", "3.6", "2.7"), requirements=("six",), year=2019), HERE, DAY)
    assert [spec.python for spec in specs] == ["3.7", "3.6", "3.8"]
    assert [spec.before for spec in specs] == ["2019-10-12", "2019-10-12", "2020-04-11"]
    assert specs[0].requirements == ("pytest>=3.5", "six")


def test_an_era_older_than_every_python_here_takes_the_nearest_above() -> None:
    specs = specs_of(Era(pythons=("3.4", "2.7"), year=2015), HERE, datetime.datetime(2015, 8, 9, tzinfo=datetime.UTC))
    assert [spec.python for spec in specs] == ["3.6"]
    assert specs[0].before == "2018-09-30"


def test_an_era_that_declares_nothing_takes_the_python_of_its_time() -> None:
    specs = specs_of(Era(year=2019), HERE, DAY)
    assert [spec.python for spec in specs] == ["3.7", "3.6"]
