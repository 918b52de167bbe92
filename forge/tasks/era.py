"""What a tree says about where its code ran: Python versions, requirements, import roots. Read, never executed.

A repository's commits of one era share an environment: the same declared Pythons and requirements, in the same year.
"""

from __future__ import annotations

import ast
import configparser
import datetime
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from forge.records import EnvironmentSpec, Record

RELEASED = {
    "3.6": "2016-12-23",
    "3.7": "2018-06-27",
    "3.8": "2019-10-14",
    "3.9": "2020-10-05",
    "3.10": "2021-10-04",
    "3.11": "2022-10-24",
    "3.12": "2023-10-02",
    "3.13": "2024-10-07",
    "3.14": "2025-10-07",
}
"""First release of each minor version, from the release schedules (PEP 494 to PEP 745)."""
_SETTLED = datetime.timedelta(days=180)
"""What a Python needs of its packages is there this long after its release."""
_PYTEST = "pytest>=3.5"
_PYTEST_SINCE = datetime.date(2018, 9, 30)
"""No environment is older: then came pytest 3.8, which takes all options that the boxes give and still knows yield tests."""
_TEST_GROUPS = re.compile(r"tests?|testing|test[-_].*|tests?[-_]?requires?|dev|develop", re.IGNORECASE)
_CLASSIFIER = re.compile(r"Programming Language :: Python :: (\d\.\d+)")
_VERSION = re.compile(r"(?<![\d.])([23]\.\d{1,2})(?![\d.])")
_TOX = re.compile(r"\bpy(\d)(\d{1,2})\b")
_REQUIREMENT_FILES = re.compile(r"(^|/)(requirements[-_./]?(dev|tests?|testing)?|(dev|tests?)[-_]requirements)\.(txt|in)$")
_SKIPPED = re.compile(
    "tox|nox|tox-uv(-bare)?|build|wheel|twine|sphinx|black|flake8|isort|ruff|pylint|pyright|pyrefly|mypy|ty|prek|pre-commit|"
    "codecov|coveralls|pytest-(cov|xdist|sugar)"
)
"""Tools that are listed with test requirements and that no test imports."""


class Era(Record):
    """What a tree declares. `pythons` are minor versions, newest first; `year` is that of the commit."""

    pythons: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    roots: tuple[str, ...] = ()
    """Folders below the tree that its packages are imported from, beside the tree itself."""
    project: str = ""
    year: int


def era_of(files: Mapping[str, bytes], date: datetime.datetime) -> Era:
    """The era of a tree as of a commit's date; what does not parse is left out."""
    texts = {path: content.decode("utf-8", "replace") for path, content in files.items() if _tells(path)}
    project, needed = _metadata(texts)
    needed += [line for path, text in sorted(texts.items()) if _REQUIREMENT_FILES.search(path) for line in _lines(text)]
    if any(b"import nose" in content or b"from nose" in content for path, content in files.items() if path.endswith(".py")):
        needed.append("nose")
    return Era(
        pythons=tuple(sorted(_pythons(texts), key=_number, reverse=True)),
        requirements=tuple(sorted({line for line in map(_clean, needed) if line and _is_needed(_name(line), project)})),
        roots=tuple(root for root in ("src", "lib") if any(re.match(rf"{root}/[^/]+(/__init__)?\.py$", path) for path in files)),
        project=project,
        year=date.year,
    )


def specs_of(era: Era, available: Iterable[str], date: datetime.datetime, *, limit: int = 3) -> list[EnvironmentSpec]:
    """Environments to try, likeliest first: declared Pythons, then those of the time, as far as they are `available`.

    Packages are those of the commit's day, or of half a year after the Python's release when that is later.
    """
    there = sorted(available, key=_number, reverse=True)
    declared = [version for version in there if version in era.pythons]
    highest = max(map(_number, era.pythons), default=(0, 0))
    above = [version for version in reversed(there) if _number(version) > highest] if era.pythons else []
    of_the_time = [version for version in there if RELEASED.get(version, "9") <= date.date().isoformat()]
    order = dict.fromkeys([*declared[:2], *above[:1], *of_the_time[:1], *there[-1:]])
    return [
        EnvironmentSpec(python=version, requirements=(_PYTEST, *era.requirements), before=_before(version, date), project=era.project)
        for version in list(order)[:limit]
    ]


def _before(version: str, date: datetime.datetime) -> str:
    day = max(date.date() + datetime.timedelta(days=1), _PYTEST_SINCE)
    if version in RELEASED:
        day = max(day, datetime.date.fromisoformat(RELEASED[version]) + _SETTLED)
    return day.isoformat()


def _tells(path: str) -> bool:
    plain = path in ("setup.py", "setup.cfg", "pyproject.toml", "tox.ini", ".travis.yml", "noxfile.py")
    return plain or bool(re.match(r"\.github/workflows/[^/]+\.ya?ml$", path)) or bool(_REQUIREMENT_FILES.search(path))


def _pythons(texts: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    for path, text in texts.items():
        found.update(_CLASSIFIER.findall(text))
        if path == "tox.ini":
            found.update(f"{major}.{minor}" for major, minor in _TOX.findall(text))
        elif path.endswith((".yml", ".yaml")):
            found.update(
                version
                for line in text.splitlines()
                if "python" in line or line.strip().startswith("-")
                for version in _VERSION.findall(line)
            )
    return {version for version in found if (2, 6) <= _number(version) <= (3, 20) and version not in ("3.0", "3.1")}


def _metadata(texts: Mapping[str, str]) -> tuple[str, list[str]]:
    """The project's name, and what its metadata requires to run and to test."""
    name, needed = "", []
    for read, path in ((_of_pyproject, "pyproject.toml"), (_of_setup_cfg, "setup.cfg"), (_of_setup_py, "setup.py"), (_of_tox, "tox.ini")):
        if path in texts:
            found, lines = read(texts[path])
            name = name or found
            needed += lines
    return name, needed


def _of_pyproject(text: str) -> tuple[str, list[str]]:
    try:
        table: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return "", []
    project = _table(table, "project")
    groups = _table(table, "dependency-groups") | _table(project, "optional-dependencies")
    wanted = [group for group in groups if _TEST_GROUPS.fullmatch(group)]
    name = str(project.get("name") or "")
    needed = [*_strings(project.get("dependencies")), *(line for group in wanted for line in _group(groups, group, name, set()))]
    poetry = _table(_table(table, "tool"), "poetry")
    for section in (poetry, _table(_table(poetry, "group"), "test"), _table(_table(poetry, "group"), "dev")):
        needed += [key for part in ("dependencies", "dev-dependencies") for key in _table(section, part) if key.lower() != "python"]
    return name or str(poetry.get("name") or ""), needed


def _group(groups: Mapping[str, Any], name: str, project: str, seen: set[str]) -> Iterator[str]:
    """Requirements of a group, with those of the groups that it includes: by name, or as extras of the project itself."""
    if name in seen:
        return
    seen.add(name)
    for entry in groups.get(name) or []:
        if isinstance(entry, dict) and "include-group" in entry:
            yield from _group(groups, str(entry["include-group"]), project, seen)
        elif (
            isinstance(entry, str)
            and (extras := re.fullmatch(r"([\w.-]+)\s*\[([^\]]*)\]", entry.strip()))
            and _normal(extras[1]) == _normal(project)
        ):
            for extra in extras[2].split(","):
                yield from _group(groups, extra.strip(), project, seen)
        elif isinstance(entry, str):
            yield entry


def _of_setup_cfg(text: str) -> tuple[str, list[str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return "", []
    needed = parser.get("options", "install_requires", fallback="") + "\n" + parser.get("options", "tests_require", fallback="")
    if parser.has_section("options.extras_require"):
        needed += "".join(f"\n{value}" for key, value in parser.items("options.extras_require") if _TEST_GROUPS.fullmatch(key))
    return parser.get("metadata", "name", fallback=""), _lines(needed)


def _of_tox(text: str) -> tuple[str, list[str]]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(text)
    except configparser.Error:
        return "", []
    lines = _lines(parser.get("testenv", "deps", fallback=""))
    return "", [line for line in lines if ":" not in line.split(";")[0] and "{" not in line]


def _of_setup_py(text: str) -> tuple[str, list[str]]:
    """Literal arguments of `setup(…)`, names of module-level literals looked up."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return "", []
    names = {
        target.id: _literal(node.value, {})
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    calls = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "setup"
    ]
    given = {keyword.arg: _literal(keyword.value, names) for call in calls for keyword in call.keywords if keyword.arg}
    extras = given.get("extras_require")
    needed = [*_strings(given.get("install_requires")), *_strings(given.get("tests_require"))]
    if isinstance(extras, dict):
        needed += [line for key, value in extras.items() if _TEST_GROUPS.fullmatch(str(key)) for line in _strings(value)]
    name = given.get("name")
    return name if isinstance(name, str) else "", needed


def _literal(node: ast.expr, names: Mapping[str, object]) -> object:
    if isinstance(node, ast.Name):
        return names.get(node.id)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return None


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return _lines(value)
    return [entry for entry in value if isinstance(entry, str)] if isinstance(value, list | tuple) else []


def _table(table: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = table.get(key)
    return value if isinstance(value, dict) else {}


def _lines(text: str) -> list[str]:
    return [line for line in (line.split(" #")[0].strip() for line in text.splitlines()) if line and not line.startswith(("#", "-"))]


def _clean(line: str) -> str:
    """The requirement without what points outside the index; empty when nothing is left."""
    line = line.strip().rstrip(",")
    return line if re.match(r"[A-Za-z0-9][\w.-]*\s*(\[[\w, .-]*\])?\s*([<>=!~;(].*)?$", line) and " @ " not in line else ""


def _name(line: str) -> str:
    found = re.match(r"[\w.-]+", line)
    return _normal(found.group()) if found else ""


def _is_needed(name: str, project: str) -> bool:
    return name != _normal(project) and not _SKIPPED.fullmatch(name)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _number(version: str) -> tuple[int, int]:
    major, _, minor = version.partition(".")
    return int(major), int(minor)
