"""Slips inside an expression that real code offers beyond the core ones (compared with SWE-smith, mutmut and cosmic-ray)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise

from forge.stages.bugs.splices import Finder, Splice, Text

_TESTS = {ast.In: ("in", "not in"), ast.Is: ("is", "is not")}
_ARITHMETIC = {
    ast.Div: ("/", "//"),
    ast.Pow: ("**", "*"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.BitXor: ("^", "|"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}
_ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_CALLS = {
    "append": "extend",
    "add": "discard",
    "split": "rsplit",
    "rsplit": "split",
    "partition": "rpartition",
    "find": "rfind",
    "rfind": "find",
    "items": "keys",
    "union": "intersection",
    "intersection": "union",
    "popleft": "pop",
    "setdefault": "get",
    "isinstance": "issubclass",
    "isupper": "islower",
    "islower": "isupper",
    "isalpha": "isalnum",
    "islice": "chain",
    "round": "int",
    "int": "float",
}
_WRAPPERS = frozenset(
    ("list", "tuple", "set", "frozenset", "dict", "sorted", "reversed", "str", "int", "float", "abs", "iter", "bool", "len")
)
_CHAINED = frozenset(("strip", "lstrip", "rstrip", "lower", "upper", "copy", "title", "casefold", "keys", "values"))


def _membership(node: ast.AST, text: Text) -> Iterator[Splice]:
    """`in` for `not in`, `is` for `is not`, and the other way round."""
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for operator, left, right in zip(node.ops, operands, operands[1:], strict=False):
        token, wrong = _TESTS.get(type(operator), ("", ""))
        if isinstance(operator, ast.NotIn | ast.IsNot):
            token, wrong = ("not in", "in") if isinstance(operator, ast.NotIn) else ("is not", "is")
        place = text.between(left, right, f" {token} ") if token else None
        if place:
            yield Splice(operator="membership", start=place[0] + 1, end=place[1] - 1, text=wrong)


def _operands(node: ast.AST, text: Text) -> Iterator[Splice]:
    """A wrong binary operator, operands the wrong way round, a lost sign."""
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        token, wrong = _ARITHMETIC[type(node.op)]
        place = text.between(node.left, node.right, token)
        if place:
            yield Splice(operator="wrong-binary", start=place[0], end=place[1], text=wrong)
    if isinstance(node, ast.BinOp) and isinstance(node.op, _ORDERED) and not isinstance(node.left, ast.Constant):
        yield from _swapped("operands-swapped", node.left, node.right, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        start, end = text.span(node)
        yield Splice(operator="sign-lost", start=start, end=end, text=text.of(node.operand))


def _precedence(node: ast.AST, text: Text) -> Iterator[Splice]:
    """The parentheses of an operand forgotten, so that it binds otherwise."""
    if not isinstance(node, ast.BinOp):
        return
    for operand in (node.left, node.right):
        if isinstance(operand, ast.BinOp):
            start, end = text.span(operand)
            if text.source[start - 1 : start] == "(" and text.source[end : end + 1] == ")":
                bare = text.of(node).replace(f"({text.of(operand)})", text.of(operand), 1)
                if ast.dump(ast.parse(f"({bare})", mode="eval").body) != ast.dump(node):
                    yield Splice(operator="parentheses-lost", start=start - 1, end=end + 1, text=text.of(operand))


def _conditions(node: ast.AST, text: Text) -> Iterator[Splice]:
    """One part of an `and` or `or` forgotten, a filter of a comprehension forgotten, the ends of `a if b else c` swapped."""
    if isinstance(node, ast.BoolOp):
        for number, value in enumerate(node.values):
            beside = node.values[number - 1] if number else node.values[1]
            (low, high), (other_low, other_high) = text.span(value), text.span(beside)
            start, end = (other_high, high) if number else (low, other_low)
            if _balanced(text.source[start:end]):
                yield Splice(operator="condition-lost", start=start, end=end, text="")
    if isinstance(node, ast.comprehension) and len(node.ifs) == 1:
        start, end = text.span(node.iter)[1], text.span(node.ifs[0])[1]
        if _balanced(text.source[start:end]):
            yield Splice(operator="filter-lost", start=start, end=end, text="")
    if isinstance(node, ast.IfExp):
        yield from _swapped("branches-swapped", node.body, node.orelse, text)


def _strings(node: ast.AST, text: Text) -> Iterator[Splice]:
    """A key or another string constant misspelt: its last character lost."""
    keys: list[ast.expr | None] = []
    if isinstance(node, ast.Subscript):
        keys = [node.slice]
    elif isinstance(node, ast.Dict):
        keys = list(node.keys)
    for key in keys:
        yield from _misspelt("dict-key", key, text)
    values: list[ast.expr | None] = []
    if isinstance(node, ast.Call):
        values = [*node.args, *(keyword.value for keyword in node.keywords)]
    elif isinstance(node, ast.Compare):
        values = [node.left, *node.comparators]
    elif isinstance(node, ast.BinOp):
        values = [node.left, node.right]
    elif isinstance(node, ast.Assign | ast.Return | ast.Attribute):
        values = [node.value]
    elif isinstance(node, ast.Dict | ast.List | ast.Tuple | ast.Set):
        values = list(node.values if isinstance(node, ast.Dict) else node.elts)
    elif isinstance(node, ast.arguments):
        values = [*node.defaults, *node.kw_defaults]
    for value in values:
        yield from _misspelt("string", value, text)


def _defaults(node: ast.AST, text: Text) -> Iterator[Splice]:
    """A parameter's default changed, as far as it is neither a number nor a truth value (core has those)."""
    if not isinstance(node, ast.arguments):
        return
    for default in (*node.defaults, *node.kw_defaults):
        wrong = None
        if isinstance(default, ast.Constant):
            wrong = "0" if default.value is None else "None" if isinstance(default.value, str) else None
        elif isinstance(default, ast.Name | ast.Attribute | ast.Tuple):
            wrong = "None"
        if default is not None and wrong:
            start, end = text.span(default)
            yield Splice(operator="default-changed", start=start, end=end, text=wrong)


def _arguments(node: ast.AST, text: Text) -> Iterator[Splice]:
    """Two arguments swapped, the last one forgotten, the call around a value forgotten, a similar method called."""
    if not isinstance(node, ast.Call):
        return
    plain = [argument for argument in node.args if not isinstance(argument, ast.Starred | ast.GeneratorExp)]
    for left, right in pairwise(plain):
        yield from _swapped("arguments-swapped", left, right, text)
    given: list[tuple[int, int]] = [text.span(argument) for argument in plain]
    given += [(text.at(k.lineno, k.col_offset), text.at(k.end_lineno or 0, k.end_col_offset or 0)) for k in node.keywords]
    if len(given) > 1:
        yield Splice(operator="argument-lost", start=given[-2][1], end=given[-1][1], text="")
    name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr if isinstance(node.func, ast.Attribute) else ""
    start, end = text.span(node)
    if isinstance(node.func, ast.Name) and name in _WRAPPERS and len(node.args) == len(plain) == 1 and not node.keywords:
        yield Splice(operator="call-lost", start=start, end=end, text=text.of(node.args[0]))
    if isinstance(node.func, ast.Attribute) and name in _CHAINED and not node.args and not node.keywords:
        yield Splice(operator="call-lost", start=start, end=end, text=text.of(node.func.value))
    if name in _CALLS:
        last = text.span(node.func)[1]
        yield Splice(operator="similar-call", start=last - len(name), end=last, text=_CALLS[name])


def _waiting(node: ast.AST, text: Text) -> Iterator[Splice]:
    """`await` forgotten."""
    if isinstance(node, ast.Await):
        start, end = text.span(node)
        yield Splice(operator="await-lost", start=start, end=end, text=text.of(node.value))


def _attributes(node: ast.AST, text: Text) -> Iterator[Splice]:
    """Another attribute of the same object, out of those that the function uses."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return
    used = [n for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "self"]
    called = {n.func for n in ast.walk(node) if isinstance(n, ast.Call)}
    fields = [n for n in used if n not in called]
    for attribute in fields:
        if isinstance(attribute.ctx, ast.Load):
            end = text.span(attribute)[1]
            for other in sorted({n.attr for n in fields} - {attribute.attr}):
                yield Splice(operator="wrong-attribute", start=end - len(attribute.attr), end=end, text=other)


def _swapped(operator: str, left: ast.expr, right: ast.expr, text: Text) -> Iterator[Splice]:
    (start, left_end), (right_start, end) = text.span(left), text.span(right)
    between = text.source[left_end:right_start]
    if text.of(left) != text.of(right) and _balanced(between):
        yield Splice(operator=operator, start=start, end=end, text=text.of(right) + between + text.of(left))


def _misspelt(operator: str, node: ast.expr | None, text: Text) -> Iterator[Splice]:
    """Only plain literals on one line, whose source is their value between quotes."""
    if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or not node.value.strip():
        return
    start, end = text.span(node)
    if text.source[start + 1 : end - 1] == node.value and text.source[start] in "\"'":
        wrong = node.value[:-1] if len(node.value) > 1 else ""
        yield Splice(operator=operator, start=start + 1, end=end - 1, text=wrong)


def _balanced(shown: str) -> bool:
    """Whether a piece between nodes may be taken away or kept as it is: no parenthesis of one side only, no comment."""
    return not set(shown) & set("()#")


EXPRESSIONS: tuple[Finder, ...] = (
    _membership,
    _operands,
    _precedence,
    _conditions,
    _strings,
    _defaults,
    _arguments,
    _waiting,
    _attributes,
)
