"""Codes are an API: one meaning each, all documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import error_pages

FOUND = error_pages.declared()
CODES = [one.error.code for one in FOUND]
EXIT_CODES = Path(__file__).parents[3] / "docs" / "reference" / "exit-codes"


def test_there_are_codes_to_look_at() -> None:
    assert len(FOUND) > 30


def test_no_code_is_used_twice() -> None:
    twice = [f"{one.module}.{one.name}: {one.error.code}" for one in FOUND if CODES.count(one.error.code) > 1]
    assert twice == []


@pytest.mark.parametrize("one", FOUND, ids=CODES)
def test_a_code_has_a_form_and_a_sentence(one: error_pages.Declared) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9-]*\.\d\d", one.error.code)
    assert one.error.sentence.endswith((".", "?"))
    assert not one.error.cure or one.error.cure.endswith(".")
    assert "\n" not in one.error.sentence + one.error.cure


def test_the_page_says_what_the_code_says() -> None:
    assert error_pages.PAGE.read_text("utf-8") == error_pages.page(FOUND), "run `make docs` and commit the page"


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130])
def test_every_exit_code_has_a_page_with_cause_cure_and_example(code: int) -> None:
    text = (EXIT_CODES / f"{code}.md").read_text("utf-8")
    assert text.startswith(f"# Exit code {code}: ")
    for heading in ("## Cause", "## Cure", "## Example"):
        assert heading in text


def test_every_kind_of_error_has_a_page_of_its_own() -> None:
    kinds = {kind.exit_code: kind.__name__ for one in FOUND for kind in one.raised}
    for code, name in kinds.items():
        assert name in (EXIT_CODES / f"{code}.md").read_text("utf-8")
