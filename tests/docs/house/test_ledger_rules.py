"""Pages that name tests and places in code: where each rule of the ledger is, what an attacker gets. They exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/ledger-rules.md").read_text()
ROWS = re.findall(r"^\| ([^|]+) \| `([^`]+)` `([^`]+)` \| `([^`]+)` \|$", PAGE, re.MULTILINE)
TESTS = {
    node.name
    for path in (ROOT / "tests").rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text()))
    if isinstance(node, ast.FunctionDef)
}


def test_every_line_of_the_tables_is_read() -> None:
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| rule ")]
    assert len(ROWS) == len(lines) > 40


@pytest.mark.parametrize(("rule", "path", "symbol", "test"), ROWS, ids=[row[0][:40] for row in ROWS])
def test_code_and_test_of_a_rule_exist(rule: str, path: str, symbol: str, test: str) -> None:
    scope: list[ast.stmt] = ast.parse((ROOT / "src/caremesh" / path).read_text()).body
    for name in symbol.split("."):
        found = [node for node in scope if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name]
        assert found, f"{rule}: {path} has no {symbol}"
        scope = found[0].body
    assert test in TESTS, f"{rule}: there is no test {test}"


def test_every_threat_names_a_test_that_exists() -> None:
    page = (ROOT / "docs/explanation/threat-model.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| attacker ")]
    named = [re.search(r"\| `(test_\w+)` \|$", row) for row in rows]
    assert len(rows) > 20
    assert [row for row, found in zip(rows, named, strict=True) if found is None or found[1] not in TESTS] == []


def test_every_fault_names_a_test_that_exists() -> None:
    page = (ROOT / "docs/explanation/faults.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| fault ")]
    named = [re.search(r"\| `(test_\w+)` \|$", row) for row in rows]
    assert len(rows) > 20
    assert [row for row, found in zip(rows, named, strict=True) if found is None or found[1] not in TESTS] == []
