from __future__ import annotations

from forge.mining.formats.graph import Edge, EdgeKind, graph_of, sources_of
from forge.mining.formats.graph_text import around, graph_text
from forge.stages.source.symbols import symbols_of

SHOP = {
    "src/shop/cart.py": (
        "from . import money\nfrom shop.base import Box as Container\n\n\n"
        "class Cart(Container):\n    def total(self):\n        return money.rounded(sum(self.prices()))\n\n"
        "    def prices(self):\n        return [1]\n\n\ndef main():\n    print(Cart())\n\n\nmain()\n"
    ),
    "src/shop/money.py": "def rounded(value):\n    return round(value, 2)\n",
    "src/shop/base.py": "class Box:\n    pass\n",
    "src/shop/broken.py": "def (:\n",
    "README.md": "# Shop\n",
}
CART, MONEY, BASE = "src/shop/cart.py", "src/shop/money.py", "src/shop/base.py"


def edges(kind: EdgeKind) -> set[tuple[str, str]]:
    return {(edge.source, edge.target) for edge in graph_of(SHOP).edges if edge.kind == kind}


def test_definitions_are_contained_in_files_and_classes() -> None:
    assert edges("contains") == {
        (CART, f"{CART}::Cart"),
        (f"{CART}::Cart", f"{CART}::Cart.total"),
        (f"{CART}::Cart", f"{CART}::Cart.prices"),
        (CART, f"{CART}::main"),
        (MONEY, f"{MONEY}::rounded"),
        (BASE, f"{BASE}::Box"),
    }


def test_imports_calls_and_bases_are_resolved_across_files() -> None:
    assert edges("imports") == {(CART, MONEY), (CART, BASE)}
    assert edges("extends") == {(f"{CART}::Cart", f"{BASE}::Box")}
    assert edges("calls") == {
        (f"{CART}::Cart.total", f"{MONEY}::rounded"),
        (f"{CART}::Cart.total", f"{CART}::Cart.prices"),
        (f"{CART}::main", f"{CART}::Cart"),
        (CART, f"{CART}::main"),
    }


def test_files_that_cannot_be_read_as_python_are_nodes_alone() -> None:
    assert {node.key for node in graph_of(SHOP).nodes if node.kind == "file"} == set(SHOP)


def test_the_text_says_each_fact_under_its_definition() -> None:
    assert graph_text(graph_of({path: SHOP[path] for path in (CART, MONEY)})).splitlines() == [
        f"file {CART}",
        f"  imports {MONEY}",
        f"  calls {CART}::main",
        "  class Cart(Container)",
        f"    called by {CART}::main",
        "    function Cart.total(self)",
        f"      calls {MONEY}::rounded",
        f"      calls {CART}::Cart.prices",
        "    function Cart.prices(self)",
        f"      called by {CART}::Cart.total",
        "  function main()",
        f"    calls {CART}::Cart",
        f"    called by {CART}",
        f"file {MONEY}",
        "  function rounded(value)",
        f"    called by {CART}::Cart.total",
    ]


def test_symbols_alone_give_the_graph_of_what_they_hold() -> None:
    symbols = [symbol for path, source in SHOP.items() for symbol in symbols_of(path, source)]
    found = graph_of(sources_of(symbols[::-1]))
    assert {node.key for node in found.nodes if node.kind == "function"} == {symbol.key for symbol in symbols}
    assert Edge(source=f"{CART}::Cart.total", target=f"{CART}::Cart.prices", kind="calls") in found.edges


def test_the_neighbourhood_keeps_what_holds_it_and_nothing_further() -> None:
    near = around(graph_of(SHOP), [f"{MONEY}::rounded"])
    assert {node.key for node in near.nodes} == {f"{MONEY}::rounded", MONEY, f"{CART}::Cart.total", f"{CART}::Cart", CART}
    assert Edge(source=f"{CART}::Cart.total", target=f"{MONEY}::rounded", kind="calls") in near.edges
