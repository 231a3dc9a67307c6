"""tools/mutants.py: survivors are counted, and only their own explanation excuses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from tools import mutants
from tools.mutants_explained import Mutant, explanations, idle_explanations, reason, source_of

LESS = Mutant("caremesh.codec._check_depth", "if info < 24:", "if info <= 24:")
PAGE = """
| function | before | after | why no test can tell |
|---|---|---|---|
| `caremesh.codec._check_depth` | `if info < 24:` | `if info <= 24:` | 24 means one more byte, read as such |
| `caremesh.codec.decode` | `a \\| b` | `a & b` | both are zero |
"""
NAME = "caremesh.codec.x__check_depth__mutmut_1"


def test_explanations_are_read_with_pipes_in_code() -> None:
    assert explanations(PAGE) == {
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
    modules = mutants.summary({NAME: "survived"}, {NAME: LESS}, explanations(PAGE))
    assert mutants.show(modules, Console(quiet=True)) == 100


def test_an_explanation_of_another_change_excuses_nothing() -> None:
    other = LESS._replace(becomes="if info < 25:")
    modules = mutants.summary({NAME: "survived"}, {NAME: other}, explanations(PAGE))
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
    assert source_of(NAME) == Path("src/caremesh/codec.py")
    assert source_of("caremesh.crypto.keys.xǁSigningKeyǁsign__mutmut_1") == Path("src/caremesh/crypto/keys.py")
    assert source_of("caremesh.contracts.x_f__mutmut_1") == Path("src/caremesh/contracts/__init__.py")


def test_a_second_trial_needs_tests_that_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, list[str]]] = []

    def trial(name: str, tests: list[str]) -> str:
        asked.append((name, tests))
        return "killed"

    monkeypatch.setattr(mutants, "try_afresh", trial)
    with pytest.raises(RuntimeError, match="tests/unit/codec"):
        mutants.second_trial([NAME], 1)
    assert asked == [("", ["tests/unit/codec", "tests/property/codec"])]


def test_an_explanation_that_no_survivor_needs_is_idle() -> None:
    why = explanations(PAGE)
    gone = Mutant("caremesh.codec.decode", "a | b", "a & b")
    assert idle_explanations(why, [LESS], [NAME]) == [gone]
    assert idle_explanations(why, [LESS, gone], [NAME]) == []
    assert idle_explanations(why, [], [NAME]) == [LESS, gone]


def test_explanations_of_modules_that_were_not_tried_are_let_be() -> None:
    other = {Mutant("caremesh.ledger.trie.FlatTree.part", "a", "b"): "", Mutant("caremesh.gone.f", "a", "b"): ""}
    assert idle_explanations(other, [], [NAME]) == []
    assert len(idle_explanations(other, [], ["caremesh.ledger.trie.x_bit__mutmut_1"])) == 1


def test_a_copy_touches_only_what_changed(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "__pycache__").mkdir(parents=True)
    (source / "__pycache__/a.pyc").write_bytes(b"")
    for name in ("same", "changed", "gone"):
        (source / name).write_text(name)
    mutants.copy(source, target)
    before = (target / "same").stat().st_mtime_ns
    (source / "changed").write_text("other")
    (source / "gone").unlink()
    (source / "new").write_text("new")
    mutants.copy(source, target)
    assert {path.name: path.read_text() for path in target.iterdir()} == {
        "same": "same",
        "changed": "other",
        "new": "new",
    }
    assert (target / "same").stat().st_mtime_ns == before


def test_what_was_not_killed_is_tried_again(tmp_path: Path) -> None:
    kept = tmp_path / "codec.py.meta"
    kept.write_text(json.dumps({"exit_code_by_key": {"a": 1, "b": 0, "c": 33, "d": None, "e": 36, "f": 3}, "other": 1}))
    mutants.forget_survivors(kept)
    found = json.loads(kept.read_text())
    assert found == {"exit_code_by_key": {"a": 1, "b": None, "c": None, "d": None, "e": None, "f": 3}, "other": 1}


def test_a_kind_of_change_is_explained_wherever_it_is_made() -> None:
    why = explanations('| `*` | `, "big")` | `, )` | the default |\n')
    twice = 'f(a, "big") + f(b, "big")'
    for was, becomes, explained in (
        ('f(a, "big")', "f(a, )", True),
        (twice, 'f(a, ) + f(b, "big")', True),
        (twice, 'f(a, "big") + f(b, )', True),
        (twice, "f(a, ) + f(b, )", False),
        ('f(a, "big")', 'f(a, "BIG")', False),
        ("f(a)", "f(a)", False),
    ):
        found = reason(Mutant("caremesh.codec.decode", was, becomes), why)
        assert found == ("the default" if explained else None)
    assert idle_explanations(why, [], [NAME]) == []
