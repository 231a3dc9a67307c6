"""tools/mutants.py: survivors are counted, and only their own explanation excuses them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from tools import mutants
from tools.mutants import Mutant

LESS = Mutant("caremesh.codec._check_depth", "if info < 24:", "if info <= 24:")
PAGE = """
| function | before | after | why no test can tell |
|---|---|---|---|
| `caremesh.codec._check_depth` | `if info < 24:` | `if info <= 24:` | 24 means one more byte, read as such |
| `caremesh.codec.decode` | `a \\| b` | `a & b` | both are zero |
"""
NAME = "caremesh.codec.x__check_depth__mutmut_1"


def test_explanations_are_read_with_pipes_in_code() -> None:
    assert mutants.explanations(PAGE) == {
        LESS: "24 means one more byte, read as such",
        Mutant("caremesh.codec.decode", "a | b", "a & b"): "both are zero",
    }


def test_the_summary_counts_by_module() -> None:
    found = {
        NAME: "survived",
        "caremesh.codec.x_decode__mutmut_1": "killed",
        "caremesh.codec.x_decode__mutmut_2": "not checked",
    }
    modules = mutants.summary(found, {NAME: LESS}, {})
    assert modules["caremesh.codec"]["tried"] == 2
    assert modules["caremesh.codec"]["killed"] == 1
    assert modules["caremesh.codec"]["explained"] == 0
    assert modules["caremesh.codec"]["survivors"] == [
        {"id": NAME, **LESS._asdict(), "status": "survived", "explained": None},
    ]
    assert mutants.show(modules, Console(quiet=True)) == 50


def test_an_explained_survivor_is_settled() -> None:
    modules = mutants.summary({NAME: "survived"}, {NAME: LESS}, mutants.explanations(PAGE))
    assert mutants.show(modules, Console(quiet=True)) == 100


def test_an_explanation_of_another_change_excuses_nothing() -> None:
    other = LESS._replace(becomes="if info < 25:")
    modules = mutants.summary({NAME: "survived"}, {NAME: other}, mutants.explanations(PAGE))
    assert mutants.show(modules, Console(quiet=True)) == 0


def test_a_room_is_judged_by_its_own_tests() -> None:
    assert mutants.own_tests([Path("src/caremesh/codec.py")]) == ["tests/unit/codec", "tests/property/codec"]


def test_percentages_are_rounded_down() -> None:
    assert mutants.percent(899, 1000) == 89
    assert mutants.percent(0, 0) == 0


def test_names_of_functions_and_methods_are_read_back() -> None:
    assert mutants.function_of(NAME) == "caremesh.codec._check_depth"
    assert mutants.function_of("caremesh.ledger.trie.xǁTrieǁput__mutmut_12") == "caremesh.ledger.trie.Trie.put"


def test_a_mutant_leads_back_to_its_file() -> None:
    assert mutants.source_of(NAME) == Path("src/caremesh/codec.py")
    assert mutants.source_of("caremesh.crypto.keys.xǁSigningKeyǁsign__mutmut_1") == Path("src/caremesh/crypto/keys.py")
    assert mutants.source_of("caremesh.contracts.x_f__mutmut_1") == Path("src/caremesh/contracts/__init__.py")


def test_a_second_trial_needs_tests_that_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def trial(name: str, tests: list[str]) -> str:
        asked.append((name, tests))
        return "killed"

    monkeypatch.setattr(mutants, "try_afresh", trial)
    with pytest.raises(RuntimeError, match="tests/unit/codec"):
        mutants.second_trial([NAME])
    assert asked == [("", ["tests/unit/codec", "tests/property/codec"])]
