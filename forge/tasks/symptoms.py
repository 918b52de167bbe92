"""What a failing test shows of a bug, as someone would report it: the lines that lead there, what was expected, what came."""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections.abc import Collection, Sequence

from forge.records import Record

MAX_LINES = 20
"""Lines of a test that a report shows at most; of longer ones the statements nearest before the one that fails."""
MAX_DEFINITION = 12
"""Lines of a helper outside the test that are still shown."""
MAX_TOLD = 240
"""Characters of an exception's message that are told."""
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]*(?:\.\.\.[0-9a-fA-F]*(?=>))?|(?<=\.\.\.)[0-9a-fA-F]+(?=>)")
"""Memory addresses, whole or as pytest shortens them: they differ from run to run."""
_NOT_RAISED = re.compile(r"DID NOT RAISE.*?(\w+)(?:'>)?\s*$")


class Symptom(Record):
    """One failing test: `title` says what is wrong with `subject` in a line, `code` shows it, `outcome` says what came instead."""

    subject: str
    title: str
    code: str
    outcome: str


def symptom_of(text: str, line: int, message: str, names: Collection[str], case: str = "") -> Symptom | None:
    """The symptom of a test of `text` that failed at `line` with `message`; `names` are those of the broken functions.

    `case` is what stands in brackets after a parametrized test's name. `None` when the line is in no function of that file.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return None
    owner, function = _test_at(tree, line)
    if function is None:
        return None
    steps = _steps(function, line)
    failing = _innermost(steps[-1], line)
    kind, _, said = message.partition(": ")
    subject = _subject([failing, *reversed(steps)], names, _imported(tree))
    code = _code(tree, steps, line, text.splitlines())
    if owner is not None and "self." in code:
        code = _in_class(owner, function.name, code, text.splitlines())
    told = f"# case: {case}\n{code}" if case else code
    return Symptom(subject=subject, title=_title(subject, kind, said), code=told, outcome=_outcome(failing, kind, said))


def _test_at(tree: ast.Module, line: int) -> tuple[ast.ClassDef | None, ast.FunctionDef | ast.AsyncFunctionDef | None]:
    """The outermost function around a line, and the class that it is in."""
    owner: ast.ClassDef | None = None
    waiting: list[ast.stmt] = list(tree.body)
    for node in waiting:
        if node.lineno <= line <= (node.end_lineno or node.lineno):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                return owner, node
            owner = node if isinstance(node, ast.ClassDef) else owner
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return owner, None


def _innermost(function: ast.stmt, line: int) -> ast.stmt:
    """The smallest statement around a line; a `with` whose own line failed counts as a whole."""
    for child in ast.walk(function):
        if child is not function and isinstance(child, ast.stmt) and child.lineno <= line <= (child.end_lineno or child.lineno):
            return _innermost(child, line)
    return function


def _subject(steps: Sequence[ast.stmt], names: Collection[str], imported: Collection[str]) -> str:
    """What a person would say is wrong: what the nearest step uses of the broken functions, else what it calls of the package."""
    for step in steps:
        spoken = [_dotted(node) for node in ast.walk(step) if isinstance(node, ast.Name | ast.Attribute)]
        broken = sorted((name for name in spoken if name.split(".")[-1] in names), key=len)
        called = [name for name in _called(step) if name.split(".")[0] in imported]
        for name in [*broken[:1], *called[:1]]:
            return f"{name}()" if name in _called(step) else name
    return ", ".join(sorted(names)[:3])


def _called(step: ast.stmt) -> list[str]:
    return [_dotted(node.func) for node in ast.walk(step) if isinstance(node, ast.Call)]


def _dotted(node: ast.expr) -> str:
    """`a.b.c` as written, without `self`; of anything else the last attribute."""
    if isinstance(node, ast.Attribute):
        return f"{inner}.{node.attr}" if (inner := _dotted(node.value)) else node.attr
    return node.id if isinstance(node, ast.Name) and node.id != "self" else ""


def _imported(tree: ast.Module) -> set[str]:
    """Names that a test file imports from anything but the standard library and pytest."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            of = [node.module or ""] * len(node.names) if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for alias, module in zip(node.names, of, strict=True):
                if module.split(".")[0] not in {*sys.stdlib_module_names, "pytest", "hypothesis"}:
                    found.add(alias.asname or alias.name.split(".")[0])
    return found


def _title(subject: str, kind: str, said: str) -> str:
    missing = _NOT_RAISED.search(said)
    if kind == "Failed" and missing:
        return f"{subject} does not raise {missing.group(1)}"
    return f"wrong result from {subject}" if kind in ("AssertionError", "Failed") else f"{subject} raises {kind}"


def _outcome(failing: ast.stmt, kind: str, said: str) -> str:
    """What came, beside what was expected where that can be told apart."""
    told = [line.rstrip() for line in _ADDRESS.sub("", said).splitlines()]
    first = told[0][:MAX_TOLD] if told else ""
    if kind == "Failed" and _NOT_RAISED.search(said):
        return "Nothing is raised."
    if kind != "AssertionError":
        return f"{kind}: {first}" if first else kind
    compared = _compared(first.removeprefix("assert "))
    if compared and isinstance(failing, ast.Assert) and isinstance(failing.test, ast.Compare) and len(failing.test.ops) == 1:
        got, wanted = compared
        if "..." in wanted and _is_literal(failing.test.comparators[0]):
            wanted = ast.unparse(failing.test.comparators[0])
        return f"Expected: {wanted}\nActual:   {got}"
    where = [line.strip() for line in told[1:] if line.strip().startswith("+  where")]
    return "\n".join(part for part in (f"AssertionError: {first}".removesuffix(": "), *where[:2]) if part)


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, SyntaxError, TypeError):
        return False
    return True


def _compared(shown: str) -> tuple[str, str] | None:
    """Both sides of an equality as pytest shows it, cut short where it cuts them; `None` when it shows something else."""
    left, token, right = shown.partition(" == ")
    if not token:
        left, token, right = shown.partition(" is ")
    return (left, right) if token and token not in right else None


def _steps(function: ast.FunctionDef | ast.AsyncFunctionDef, line: int) -> list[ast.stmt]:
    """The statements of a test that lead to the one that fails at `line`, which comes last."""
    at = next((number for number, node in enumerate(function.body) if node.lineno <= line <= (node.end_lineno or node.lineno)), 0)
    needed = _loaded(function.body[at])
    steps = [function.body[at]]
    for node in reversed(function.body[:at]):
        if not isinstance(node, ast.Assert) and _changed(node) & needed:
            steps.insert(0, node)
            if isinstance(node, ast.Assign):  # what the name was before does not matter
                needed -= {target.id for target in node.targets if isinstance(target, ast.Name)}
            needed |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return steps


def _code(tree: ast.Module, steps: Sequence[ast.stmt], line: int, lines: list[str]) -> str:
    """The imports, definitions and steps that lead to the failure, without the test around them."""
    body = _block(lines, *_told(steps[-1], line))
    needed = _loaded(steps[-1])
    for node in reversed(steps[:-1]):
        block = _block(lines, _first_line(node), node.end_lineno or node.lineno)
        needed |= _loaded(node)
        if len(body) + len(block) > MAX_LINES:
            body.insert(0, "...")
            break
        body = [*block, *body]
    above: list[str] = []
    for node in reversed(tree.body):
        block = _above(node, needed, lines)
        if block:
            needed |= _loaded(node) if not isinstance(node, ast.Import | ast.ImportFrom) else set()
            above = [*block, *above]
    return "\n".join([*above, *([""] if above else []), *body])


def _in_class(owner: ast.ClassDef, name: str, code: str, lines: list[str]) -> str:
    """The code as a method of its class, with what that sets up, as far as it is short."""
    inside: list[str] = []
    for node in owner.body:
        first, last = _first_line(node), node.end_lineno or node.lineno
        sets_up = isinstance(node, ast.FunctionDef) and node.name in ("setUp", "setup_method", "__init__")
        if (sets_up or isinstance(node, ast.Assign)) and last - first < MAX_DEFINITION:
            inside += _block(lines, first, last)
    head, _, body = code.rpartition("\n\n")
    indented = [textwrap.indent("\n".join([*inside, f"def {name}(self):"]), "    "), textwrap.indent(body, "        ")]
    return "\n".join([*([head, ""] if head else []), f"class {owner.name}:", *indented])


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _told(statement: ast.stmt, line: int) -> tuple[int, int]:
    """Lines of the failing statement that are worth showing: all of a short one, else the part around the line."""
    first, last = statement.lineno, statement.end_lineno or statement.lineno
    if last - first < MAX_LINES:
        return first, last
    inner = _innermost(statement, line)
    return inner.lineno, inner.end_lineno or inner.lineno


def _block(lines: list[str], first: int, last: int) -> list[str]:
    shown = lines[first - 1 : last]
    margin = min((len(text) - len(text.lstrip()) for text in shown if text.strip()), default=0)
    return [text[margin:].rstrip() for text in shown if text.strip()]


def _above(node: ast.stmt, needed: Collection[str], lines: list[str]) -> list[str]:
    """What a module's top level has to say for these names: imports and short definitions."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        wanted = [alias for alias in node.names if (alias.asname or alias.name.split(".")[0]) in needed and alias.name != "pytest"]
        told = ", ".join(f"{alias.name} as {alias.asname}" if alias.asname else alias.name for alias in wanted)
        start = f"from {'.' * node.level}{node.module or ''} import" if isinstance(node, ast.ImportFrom) else "import"
        return [f"{start} {told}"] if told else []
    first, last = _first_line(node), node.end_lineno or node.lineno
    defines = isinstance(node, ast.Assign | ast.FunctionDef | ast.ClassDef) and bool(_changed(node) & set(needed))
    return _block(lines, first, last) if defines and last - first < MAX_DEFINITION else []


def _loaded(node: ast.AST) -> set[str]:
    return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}


def _changed(node: ast.stmt) -> set[str]:
    """Names that a statement binds, or whose object it may change: anything that it works with but for its value alone."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.Assign):
        return {name for target in node.targets for name in _loaded(target)}
    return _loaded(node)
