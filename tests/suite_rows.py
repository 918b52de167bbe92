# ruff: noqa: E501
"""Small rows of each suite's own schema, written for these tests, with a right and a wrong answer to each."""

from __future__ import annotations

import base64
import json
import pickle
import zlib
from typing import Any

Row = dict[str, Any]


def humaneval(**changed: Any) -> Row:
    """The fields of `HumanEval.jsonl`."""
    return {
        "task_id": "HumanEval/0",
        "prompt": 'from typing import List\n\n\ndef total(values: List[int]) -> int:\n    """ The sum of all values.\n    >>> total([1, 2])\n    3\n    """\n',
        "entry_point": "total",
        "canonical_solution": "    return sum(values)\n",
        "test": "\n\nMETADATA = {'author': 'tests'}\n\n\ndef check(candidate):\n    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n    assert candidate([5, -5, 7]) == 7\n",
        **changed,
    }


def humanevalfix(**changed: Any) -> Row:
    """The fields of HumanEvalPack's Python part."""
    return {
        "task_id": "Python/0",
        "prompt": 'def double(value: int) -> int:\n    """ Twice the value."""\n',
        "declaration": "def double(value: int) -> int:\n",
        "canonical_solution": "    return 2 * value\n",
        "buggy_solution": "    return 3 * value\n",
        "bug_type": "value misuse",
        "failure_symptoms": "incorrect output",
        "entry_point": "double",
        "import": "",
        "test_setup": "",
        "test": "\n\n\n\n\ndef check(double):\n    assert double(2) == 4\n    assert double(0) == 0\n\ncheck(double)",
        "example_test": "",
        "signature": "double(value: int) -> int",
        "docstring": "Twice the value.",
        "instruction": "Write a Python function `double(value: int) -> int`.",
        **changed,
    }


def mbpp(**changed: Any) -> Row:
    """The fields of `mbpp.jsonl`."""
    return {
        "task_id": 12,
        "text": "Write a function to find the larger of two numbers.",
        "code": "def test_larger(a, b):\r\n  return max(a, b)",
        "test_list": ["assert test_larger(1, 2) == 2", "assert test_larger(7, 3) == 7", "assert test_larger(-1, -4) == -1"],
        "test_setup_code": "",
        "challenge_test_list": [],
        **changed,
    }


def sanitized_mbpp(**changed: Any) -> Row:
    """The fields of `sanitized-mbpp.json`."""
    plain = mbpp()
    fields = {"source_file": "a.ipynb", "task_id": 12, "prompt": plain["text"], "code": plain["code"], "test_list": plain["test_list"]}
    return {**fields, "test_imports": ["import math"], **changed}


BIG_TEST = """import unittest
from unittest.mock import patch


class TestCases(unittest.TestCase):
    def setUp(self):
        self.words = ["b", "a", "b"]

    def test_case_1(self):
        self.assertEqual(task_func(self.words), {"b": 2, "a": 1})

    def test_case_2(self):
        with self.assertRaises(ValueError):
            task_func([])
"""


def bigcodebench(**changed: Any) -> Row:
    """The fields of BigCodeBench v0.1.4."""
    start = "from collections import Counter\n\ndef task_func(words):\n"
    doc = '    """\n    Count words; raises ValueError when there is none.\n    """\n'
    return {
        "task_id": "BigCodeBench/0",
        "complete_prompt": start + doc,
        "instruct_prompt": f"Count words; raises ValueError when there is none.\nYou should write self-contained code starting with:\n```\n{start}```",
        "canonical_solution": "    if not words:\n        raise ValueError('no words')\n    return dict(Counter(words))",
        "code_prompt": start,
        "test": BIG_TEST,
        "entry_point": "task_func",
        "doc_struct": "{}",
        "libs": "['collections']",
        **changed,
    }


def packed(tests: list[Row]) -> str:
    """Private tests as they are published."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def livecodebench(**changed: Any) -> Row:
    """The fields of code_generation_lite, tests on standard input."""
    return {
        "question_title": "Sum",
        "question_content": "Read n and then n numbers; print their sum.",
        "platform": "atcoder",
        "question_id": "abc001_a",
        "contest_id": "abc001",
        "contest_date": "2024-01-01T00:00:00",
        "starter_code": "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "2\n1 2\n", "output": "3\n", "testtype": "stdin"}]),
        "private_test_cases": packed(
            [{"input": "3\n1 2 3", "output": "6", "testtype": "stdin"}, {"input": "0\n\n", "output": "0", "testtype": "stdin"}]
        ),
        "metadata": "{}",
        **changed,
    }


def livecodebench_call(**changed: Any) -> Row:
    """The same set's rows from LeetCode, tests by calls."""
    return livecodebench(
        question_id="3000",
        platform="leetcode",
        question_content="Give the pairs of neighbours.",
        starter_code="class Solution:\n    def pairs(self, values: List[int], step: int) -> List[List[int]]:\n        ",
        public_test_cases=json.dumps([{"input": "[1, 2, 3]\n1", "output": "[[1, 2], [2, 3]]", "testtype": "functional"}]),
        private_test_cases=json.dumps([{"input": "[1]\n1", "output": "[]", "testtype": "functional"}]),
        metadata=json.dumps({"func_name": "pairs"}),
        **changed,
    )


def crosscodeeval(**changed: Any) -> Row:
    """The fields of `line_completion_rg1_bm25.jsonl`."""
    return {
        "prompt": "from shop.cart import Cart\n\n\ndef price(cart: Cart) -> int:\n    return ",
        "groundtruth": "cart.total(tax=True)",
        "right_context": "\n",
        "metadata": {
            "task_id": "project_cc_python/1",
            "repository": "shop",
            "file": "shop/price.py",
            "context_start_lineno": 0,
            "groundtruth_start_lineno": 4,
            "right_context_start_lineno": 5,
        },
        "crossfile_context": {"text": "# shop/cart.py\n# class Cart:\n#     def total(self, tax): ...\n", "list": []},
        **changed,
    }


ROWS = {
    "humaneval": humaneval,
    "humanevalfix": humanevalfix,
    "mbpp": mbpp,
    "bigcodebench": bigcodebench,
    "bigcodebench-complete": bigcodebench,
    "livecodebench": livecodebench,
    "crosscodeeval": crosscodeeval,
}
RIGHT = {
    "humaneval": "```python\ndef total(values):\n    return sum(values)\n```",
    "humanevalfix": "Here it is:\n```python\ndef double(value: int) -> int:\n    return value + value\n```\n",
    "mbpp": "[BEGIN]\ndef test_larger(a, b):\n    return a if a > b else b\n[DONE]",
    "bigcodebench": "```python\nfrom collections import Counter\ndef task_func(words):\n    if not words:\n        raise ValueError\n    return dict(Counter(words))\n```",
    "bigcodebench-complete": "```python\ndef task_func(words):\n    if not words:\n        raise ValueError\n    return dict(Counter(words))\n```",
    "livecodebench": "```python\nn = int(input())\nprint(sum(map(int, input().split())))\n```",
    "crosscodeeval": "cart.total(tax=True)\n\n\ndef more():\n    pass\n",
}
WRONG = {
    "humaneval": "```python\ndef total(values):\n    return 3\n```",
    "humanevalfix": "```python\ndef double(value: int) -> int:\n    return value + 1\n```\n",
    "mbpp": "```python\ndef test_larger(a, b):\n    return b\n```",
    "bigcodebench": "```python\ndef task_func(words):\n    return dict(Counter(words))\n```",
    "bigcodebench-complete": "```python\ndef task_func(words):\n    return {}\n```",
    "livecodebench": "```python\nprint(3)\n```",
    "crosscodeeval": "cart.total(tax=False)\n",
}
