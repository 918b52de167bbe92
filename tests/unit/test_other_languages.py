"""Repositories that are not in Python: their symbols, what their commits teach, and an agent that changes them."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from forge.config import AgentConfig, MiningConfig
from forge.errors import StageError
from forge.fakes.chat_model import FakeChatModel
from forge.fakes.tokenizer import FakeTokenizer
from forge.mining.changes import change_of
from forge.mining.teaching import examples_of
from forge.records import STAGES, Commit, FileChange, FileEdit, Task
from forge.rollouts.agent import Models, StagedAgent
from forge.rollouts.checks import CheckResult
from forge.rollouts.tree import TaskTree
from forge.seams import SampleRequest
from forge.stages.bugs.mutations import wrong_fixes
from forge.stages.retrieval.outline import outline_of
from forge.stages.source.languages import is_shown, spoken
from forge.stages.source.symbols import is_test_path, symbol_at, symbols_of
from forge.stages.source.syntax import refuse_broken, syntax_error
from forge.stages.stage import Change

GO = """package cart

import "fmt"

// Total adds.
func Total(values []int) int {
\tsum := 1
\tfor _, v := range values {
\t\tsum += v
\t}
\treturn sum
}

func (c *Cart[T]) Add(item T) (err error) {
\tc.items = append(c.items, item) // "ü"
\treturn nil
}
"""
RUST = """impl<'a> Cart<'a> {
    pub fn total(&self) -> Result<i64, Error>
    where
        Self: Sized,
    {
        let f = |x| x + 1;
        Ok(self.items.iter().map(f).sum())
    }
}

trait Priced {
    fn price(&self) -> i64;
}

#[cfg(test)]
mod tests {
    fn helper() {}
}
"""
TYPESCRIPT = """export class Cart {
\tget total(): number {
\t\treturn this.items.reduce((a, b) => a + b, 0);
\t}

\tset total(value: number) {
\t\tthrow new Error(`no ${value}`);
\t}
}

export const empty = (cart: Cart): boolean => {
\treturn cart.items.length === 0;
};
const a = () => 1, b = () => 2;
"""
OTHERS = {
    "Cart.java": "class Cart {\n  int total(int a) {\n    return a;\n  }\n  int total() { return 0; }\n}\n",
    "cart.c": "static int\ntotal(const int *v, int n)\n{\n  return v[n];\n}\n\nint declared(void);\n",
    "cart.cpp": "namespace shop {\nint Cart::total() const {\n  return 1;\n}\n}\n",
    "cart.rb": "class Cart\n  def total(items)\n    items.sum\n  end\nend\n",
    "Cart.php": "<?php\nclass Cart {\n  public function total(int $a): int {\n    return $a;\n  }\n}\n",
    "Cart.cs": "class Cart {\n  public int Total(int a) {\n    return a;\n  }\n}\n",
    "cart.js": "function total(items) {\n  return items.length;\n}\n",
}


def told(path: str, source: str) -> list[tuple[str, str, int, int]]:
    return [(symbol.name, symbol.signature, symbol.first_line, symbol.last_line) for symbol in symbols_of(path, source)]


def test_functions_have_the_names_around_them_and_whole_lines() -> None:
    assert told("cart.go", GO) == [
        ("Total", "Total(values []int) int", 6, 12),
        ("Cart.Add", "Cart.Add(item T) (err error)", 14, 17),
    ]
    assert told("cart.rs", RUST) == [("Cart<'a>.total", "Cart<'a>.total(&self) -> Result<i64, Error> where Self: Sized,", 2, 8)]
    assert told("cart.ts", TYPESCRIPT) == [
        ("Cart.total", "Cart.total(): number", 2, 4),
        ("Cart.total#2", "Cart.total(value: number)", 6, 8),
        ("empty", "empty = (cart: Cart): boolean", 11, 13),
        ("a", "a = ()", 14, 14),
    ]


@pytest.mark.parametrize(("path", "names"), [
    ("Cart.java", ["Cart.total", "Cart.total#2"]), ("cart.c", ["total"]), ("cart.cpp", ["shop.Cart::total"]), ("cart.rb", ["Cart.total"]),
    ("Cart.php", ["Cart.total"]), ("Cart.cs", ["Cart.Total"]), ("cart.js", ["total"]),
])  # fmt: skip
def test_each_language_with_a_grammar_has_symbols(path: str, names: list[str]) -> None:
    found = symbols_of(path, OTHERS[path])
    lines = OTHERS[path].split("\n")
    assert [symbol.name for symbol in found] == names
    assert all(symbol.source == "".join(f"{line}\n" for line in lines[symbol.first_line - 1 : symbol.last_line]) for symbol in found)


@pytest.mark.parametrize(("path", "source"), [("cart.go", GO), ("cart.rs", RUST), ("cart.ts", TYPESCRIPT), *OTHERS.items()])
def test_an_outline_finds_the_same_symbols_again(path: str, source: str) -> None:
    outline, symbols = outline_of(path, source), symbols_of(path, source)
    assert [symbol_at(path, source, outline.places, number) for number in range(len(outline.places))] == symbols != []


def test_a_file_that_a_program_wrote_has_none() -> None:
    assert symbols_of("bundle.js", f"function a() {{ return '{'x' * 2000}'; }}\n") == []
    assert symbols_of("page.kt", "fun total() = 1\n") == []


@pytest.mark.parametrize(("path", "test"), [
    ("cart_test.go", True), ("src/cart.test.ts", True), ("src/__tests__/cart.js", True), ("spec/cart_spec.rb", True),
    ("CartTest.java", True),
    ("cart.go", False), ("src/latest.ts", False), ("contest.rs", False), ("spec/cart.py", False),
])  # fmt: skip
def test_tests_of_other_languages_are_told_by_their_own_conventions(path: str, test: bool) -> None:
    assert is_test_path(path) is test


def test_the_agent_looks_at_what_a_tree_is_written_in() -> None:
    go = [f"cmd/{number}.go" for number in range(20)]
    assert spoken([*go, "page.js", "vendor/a.c", "README.md"]) == {"go"}
    assert spoken([*go, "page.js", "tool.py"]) == {"go", "python"}
    assert spoken(["a.py", "b.py", "node_modules/x.js", "node_modules/y.js"]) == {"python"}
    assert spoken(["a.kt"]) == frozenset()
    shown = ["a.go", "vendor/a.go", "a.pb.go", "a.py", "vendor/a.py", "a.pyi", "a.js"]
    assert [path for path in shown if is_shown(path, {"go", "python"})] == ["a.go", "a.py", "vendor/a.py"]


def test_a_wrong_fix_exchanges_one_token_and_is_never_the_right_one() -> None:
    right = 'func Less(a, b int) bool {\n\treturn a < b && "ü<" != "a" // a > 1\n}\n'
    broken = right.replace("a < b", "a <= b")
    wrong = wrong_fixes(broken, right, random.Random(0), 20, "go")
    assert right not in wrong and broken not in wrong and len(set(wrong)) == len(wrong) >= 3
    assert all('"ü<"' in text and "// a > 1" in text for text in wrong), "strings and comments are no code"
    assert broken.replace("<=", ">") in wrong and broken.replace("&&", "||") in wrong


def commit(before: str, after: str, path: str = "cart/cart.go") -> Commit:
    return Commit(
        repo="shop", sha="a" * 40, parents=("b" * 40,), author_name="", author_email="", authored_at="2024-01-01T10:00:00+00:00",
        message="Fix Total so that it starts at zero", files=(FileChange(path=path, before=before, after=after),),
    )  # fmt: skip


def test_a_commit_teaches_every_stage() -> None:
    right = GO.replace("sum := 1", "sum := 0")
    change = change_of(commit(GO, right), lambda: symbols_of("cart/cart.go", GO), MiningConfig())
    assert isinstance(change, Change), change
    assert [symbol.key for symbol in change.touched] == ["cart/cart.go::Total"]
    assert [symbol.name for symbol in change.others] == ["Cart.Add"] and change.wrong
    rows = {row.stage: row for row in examples_of(change)}
    assert set(rows) == set(STAGES)


@pytest.mark.parametrize(("before", "after", "reason"), [
    (GO, GO.replace("\tsum := 1", "\tsum := 1 // one"), "formatting only"),
    (GO, GO.replace('"fmt"', '"os"').replace("sum := 1", "sum := 0"), "changes outside functions"),
    (GO, GO.replace("sum := 1", "sum := ("), "does not parse"),
])  # fmt: skip
def test_a_commit_that_cannot_teach_is_dropped_with_the_reason(before: str, after: str, reason: str) -> None:
    found = change_of(commit(before, after), list, MiningConfig())
    assert not isinstance(found, Change) and found.reason == reason


@pytest.mark.parametrize(("line", "reason"), [("sum := 0", ""), ("sum := (", "cart/cart.go does not parse after the edit: syntax error")])
def test_the_agent_changes_a_tree_without_python_and_refuses_what_nobody_could_compile(tmp_path: Path, line: str, reason: str) -> None:
    for path, text in {"cart/cart.go": GO, "cart/cart_test.go": "package cart\n\nfunc TestTotal() {}\n", "vendor/x.go": GO}.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    tokens = FakeTokenizer()
    answers = {
        "analysis": "1",
        "planning": "edit 1\nline: sum := 1\nchange: 1 -> 0",
        "generation": f"1\n<<<<<<< SEARCH\n\tsum := 1\n=======\n\t{line}\n>>>>>>> REPLACE",
    }

    def answer(request: SampleRequest) -> tuple[int, ...]:
        text = answers.get(request.model_id)
        if text is not None:
            return tokens.encode(text)
        return (tokens.yes_id if request.model_id == "review" or "func Total" in tokens.decode(request.prompt_ids) else tokens.no_id,)

    async def check(edits: object, symbols: object) -> CheckResult:
        return CheckResult(summary="", examples_right=None)

    task = Task(
        id="t", repo="r", base_commit="b", origin="commit", statement="Total of nothing is 1", tree="h", gold=(), tests=(),
        fail_to_pass=(), pass_to_pass=(), files=(), setup=(FileEdit(path="cart/more.go", content="package cart\n\nfunc More() {\n}\n"),),
    )  # fmt: skip
    tree = TaskTree(tmp_path, task, kept=False)
    models = Models(ids={stage: stage for stage in STAGES}, max_answer_tokens=dict.fromkeys(STAGES, 500), temperature=0.0, seed=0)
    agent = StagedAgent(FakeChatModel(answer), dict.fromkeys(STAGES, tokens), models, AgentConfig(prompt_style="brief"), check)
    work = asyncio.run(agent.solve(tree))
    if reason:
        assert work.handed_in is None and work.reason.startswith(reason)
        return
    assert work.handed_in is not None, work.reason
    assert "-\tsum := 1\n+\tsum := 0\n" in tree.patch(work.handed_in.edits)
    assert len(tree.index) == 3 and "vendor/x.go" not in tree.files and tree.tests_of(["cart/cart.go"], 9) == []


@pytest.mark.parametrize(("path", "right", "wrong", "said"), [
    ("a.py", "def f():\n    return 1\n", "def f():\n    return (\n", "'(' was never closed, line 2"),
    ("a.go", GO, GO.replace("return sum\n}", "return sum\n"), "syntax error, line"),
    ("a.rs", RUST, RUST.replace("x + 1;", "x + ;"), "syntax error, line 6"),
    ("a.kt", "fun f() = 1\n", "fun f( = 1\n", ""),
])  # fmt: skip
def test_an_edit_that_breaks_the_syntax_is_refused_with_the_line(path: str, right: str, wrong: str, said: str) -> None:
    assert syntax_error(path, right) == "" and said in syntax_error(path, wrong)
    refuse_broken([FileEdit(path=path, content=right), FileEdit(path=path, content=None)], {path: wrong})
    refuse_broken([FileEdit(path=path, content=wrong + " ")], {path: wrong})  # it was broken before
    if said:
        with pytest.raises(StageError, match=f"{path} does not parse after the edit: "):
            refuse_broken([FileEdit(path=path, content=wrong)], {path: right})
