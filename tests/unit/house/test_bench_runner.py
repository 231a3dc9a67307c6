"""bench/__main__.py: results are complete, goals point the right way, pages say what was measured."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

runner = importlib.import_module("bench.__main__")

RESULT: dict[str, Any] = {
    "id": "ledger.commit",
    "value": 0.6,
    "unit": "of the signature rate",
    "goal": 0.5,
    "better": "higher",
    "baseline": 16000,
    "samples": [0.59, 0.6, 0.61],
}


def test_a_complete_result_passes_and_optional_fields_are_filled() -> None:
    assert runner.check(RESULT, "ledger") == RESULT
    short = {key: value for key, value in RESULT.items() if key not in {"goal", "baseline"}}
    assert runner.check(short, "ledger") == {**RESULT, "goal": None, "baseline": None}


@pytest.mark.parametrize("field", ["id", "value", "unit", "better", "samples"])
def test_a_missing_field_is_named(field: str) -> None:
    short = {key: value for key, value in RESULT.items() if key != field}
    with pytest.raises(ValueError, match=field):
        runner.check(short, "ledger")


def test_better_has_two_values() -> None:
    with pytest.raises(ValueError, match="better"):
        runner.check({**RESULT, "better": "bigger"}, "ledger")


@pytest.mark.parametrize(
    ("better", "goal", "said"),
    [("higher", 0.5, "yes"), ("higher", 0.7, "no"), ("lower", 0.5, "no"), ("lower", 0.7, "yes"), ("lower", None, "–")],
)
def test_goals_point_the_right_way(better: str, goal: float | None, said: str) -> None:
    assert runner.reached({**RESULT, "better": better, "goal": goal}) == said


def test_the_page_names_machine_commit_and_numbers() -> None:
    result = {**RESULT, "machine": runner.machine(), "commit": "abc123"}
    page = runner.page([result])
    assert "`abc123`" in page
    assert "| `ledger.commit` | 0.6 | of the signature rate | ≥ 0.5 | 1.20 | yes | 16,000 | 3 |" in page


def test_every_bench_has_areas_and_a_run() -> None:
    for name in runner.modules():
        module = importlib.import_module(f"bench.{name}")
        if hasattr(module, "run"):
            assert all(getattr(module, "AREAS", (name,)))
