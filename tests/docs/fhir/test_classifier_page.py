"""The page about the classifier says what the classifier does."""

from __future__ import annotations

import pytest

from caremesh.fhir.categories import OPEN, SENSITIVE
from tools.classifier_page import PAGE, SETS, judge, page


def test_the_page_is_as_measured() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "say: python -m tools.classifier_page"


@pytest.mark.parametrize("name", SETS)
def test_no_sensitive_resource_is_placed_in_an_open_category(name: str) -> None:
    judged = judge(name)
    assert [row for row in judged if row.too_open] == []
    assert sum(row.label == row.said for row in judged) / len(judged) > 0.93
    assert not [row for row in judged if row.label in OPEN and row.said in OPEN and row.label != row.said]


def test_the_sets_are_large_and_of_every_kind() -> None:
    judged = [row for name in SETS for row in judge(name)]
    assert len(judged) >= 600
    assert {row.label for row in judged} == {*OPEN, *SENSITIVE}
