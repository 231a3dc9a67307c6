"""Each rule of tools/lint_determinism.py: what it refuses, and what it lets pass."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tools import lint_determinism

ROOT = Path(__file__).parents[3]
TOOL = ROOT / "tools" / "lint_determinism.py"


def rules(source: str) -> list[str]:
    return [finding.rule for finding in lint_determinism.lint(Path("rule.py"), source)]


@pytest.mark.parametrize(
    "source",
    [
        "x = 0.5",
        "x = 1e3",
        "x = 2j",
        "x = float(y)",
        "x = complex(y)",
        "x = a / b",
        "x /= 2",
        "import math",
        "import cmath",
        "import decimal",
        "import fractions",
        "from math import floor",
        "from statistics import mean",
    ],
)
def test_floats_are_refused(source: str) -> None:
    assert rules(source) == ["D1"]


@pytest.mark.parametrize("source", ["hash(x)", "id(x)", "key = hash((a, b)) % 7"])
def test_process_dependent_builtins_are_refused(source: str) -> None:
    assert rules(source) == ["D2"]


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: pass",
        "for x in set(y): pass",
        "for x in frozenset(y): pass",
        "for x in {y for y in z}: pass",
        "[x for x in set(y)]",
        "(x for x in set(y))",
        "{x: 1 for x in set(y)}",
        "list(set(y))",
        "tuple({1, 2})",
        "iter({1, 2})",
        "enumerate({1, 2})",
        "zip(a, {1, 2})",
        "next(iter_of, *{1, 2})",
        "', '.join({'a', 'b'})",
        "xs.extend({1, 2})",
        "dict.fromkeys({1, 2})",
        "{1, 2}.pop()",
        "print(*{1, 2})",
        "a, b = {1, 2}",
        "def f():\n    yield from {1, 2}",
        "for x in a.keys() & b: pass",
        "for x in set(a) | set(b): pass",
        "for x in a.union(b): pass",
        "for x in a.difference(b): pass",
        "for x in set(a).copy(): pass",
        "for x in ({1} if y else [1]): pass",
        "xs = {1, 2}\nfor x in xs: pass",
        "xs: set[int] = make()\nfor x in xs: pass",
        "xs: Final[frozenset[str]] = make()\nfor x in xs: pass",
        "xs: set[int] | None = make()\nfor x in xs: pass",
        "def f(xs: AbstractSet[int]):\n    return list(xs)",
        "class A:\n    xs: set[int]\ndef f(a):\n    return [x for x in a.xs]",
        "xs = {1}\nys = xs\nfor y in ys: pass",
        "if xs := {1}:\n    list(xs)",
        "xs = make()\nxs |= {1}\nlist(xs)",
        "for x in (xs := {1}): pass",
    ],
)
def test_the_order_of_a_set_is_refused(source: str) -> None:
    assert set(rules(source)) == {"D3"}


@pytest.mark.parametrize("module", sorted(lint_determinism.OUTSIDE))
def test_the_machine_is_refused(module: str) -> None:
    assert rules(f"import {module}") == ["D4"]
    assert rules(f"from {module} import thing") == ["D4"]
    assert rules(f"import {module}.part as p") == ["D4"]


@pytest.mark.parametrize(
    "source",
    [
        "consent.actions.append('read')",
        "state.get(key).purposes.sort()",
        "stream.custodians[0] = did",
        "stream.custodians += [did]",
        "stream.custodians[0] += did",
        "del stream.custodians[0]",
        "known[0].entries.pop(0)",
        "def f(consent):\n    mine = consent.actions\n    mine.append('read')",
        "def f(consent):\n    mine: list[str] = consent.actions\n    mine[0] = 'read'",
        "def f(consent):\n    if (mine := consent.actions):\n        del mine[0]",
    ],
)
def test_what_another_object_holds_is_not_changed_in_place(source: str) -> None:
    assert rules(source) == ["D5"]


@pytest.mark.parametrize(
    "source",
    [
        "found.append(1)",
        "self._rows.append(1)",
        "self._rows[0] = 1",
        "del self._rows[0]",
        "names[0] = 1",
        "def f(consent):\n    mine = list(consent.actions)\n    mine.append('read')",
    ],
)
def test_ones_own_may_be_changed_in_place(source: str) -> None:
    assert rules(source) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = a // b",
        "x = 7 % 3",
        "for x in sorted({1, 2}): pass",
        "[x for x in sorted(set(y))]",
        "n = len({1, 2}) + sum({1, 2}) + max({1, 2})",
        "ok = x in {1, 2}",
        "ok = all(x in KNOWN for x in xs)",
        "for key in mapping: pass",
        "for key, value in mapping.items(): pass",
        "for x in [1, 2]: pass",
        "{x for x in [1, 2]}",
        "ys = {y for y in set(z)}",
        "heap.pop()",
        "from caremesh.codec import encode",
        "from .time import thing",
        "import timeit_of_ours",
    ],
)
def test_what_is_the_same_everywhere_passes(source: str) -> None:
    assert rules(source) == []


def test_a_finding_says_where_and_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "rule.py").write_text("x = 1\ny = 0.5\n")
    run = subprocess.run([sys.executable, TOOL, tmp_path], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert run.stdout == f"{tmp_path}/rule.py:2: D1 a float literal; count in integers\n"


def test_a_missing_folder_is_not_taken_for_a_clean_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lint_determinism.main([str(tmp_path / "absent")])


def test_what_is_guarded_is_there_and_clean() -> None:
    run = subprocess.run([sys.executable, TOOL], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "")
    guarded = lint_determinism.files([ROOT / part for part in lint_determinism.GUARDED])
    assert len(guarded) > 10
