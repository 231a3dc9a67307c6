"""What a policy text may be, to the last bracket and operator."""

from __future__ import annotations

import pytest

from caremesh.contracts.policy import engine, errors
from caremesh.contracts.policy.engine import LEDGER, MAX_POLICIES, MAX_TEXT_BYTES
from caremesh.contracts.policy.shape import MAX_NESTING, MAX_OPERATORS, check_shape
from caremesh.errors import Refused

POLICY = '@id("{}") @legal("l") @sentence("s.") permit (principal, action in Action::"access", resource);'


@pytest.mark.parametrize(
    "text",
    [
        "(" * MAX_NESTING,
        "[{" * (MAX_NESTING // 2),
        "()" * (MAX_NESTING + 1),
        "||" * MAX_OPERATORS,
        "&&" * 20 + ";" + "||" * MAX_OPERATORS,
        '"a" ' * (MAX_OPERATORS + 1),
        "// a\n" * (MAX_OPERATORS + 1),
        '"' + "(" * 20 + '"',
        "// " + "(" * 20,
    ],
)
def test_what_is_within_bounds_passes(text: str) -> None:
    check_shape(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_NESTING + 1),
        "(()" + "(" * MAX_NESTING,
        ")" + "(" * (MAX_NESTING + 1),
        "||" * (MAX_OPERATORS + 1),
        "(" + "&&" * 20 + ";" + "||" * (MAX_OPERATORS - 19),
    ],
)
def test_what_is_one_beyond_does_not(text: str) -> None:
    with pytest.raises(Refused, match=r"policy\.18"):
        check_shape(text)


def test_a_set_may_be_as_long_and_as_large_as_the_limits_say() -> None:
    many = "".join(POLICY.format(f"p{number}") for number in range(MAX_POLICIES))
    assert len(LEDGER.parse(many).texts) == MAX_POLICIES
    assert LEDGER.parse(POLICY.format("p") + " " * (MAX_TEXT_BYTES - len(POLICY.format("p").encode()))).texts


def test_an_id_that_stands_twice_is_named() -> None:
    with pytest.raises(Refused) as caught:
        LEDGER.parse(POLICY.format("p") + POLICY.format("q") + POLICY.format("q"))
    assert (caught.value.error, caught.value.place) == (errors.DUPLICATE_ID, "q")


def test_what_reads_as_text_but_not_as_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The engine's JSON reader nests less deep than its text reader. The shape keeps such texts out before; without
    # it, the refusal still has to be one, and never an exception that stops a replica.
    text = POLICY.format("a")[:-1] + " when { 1" + " + 1" * 80 + " == 1 };"
    with pytest.raises(Refused, match=r"policy\.18"):
        LEDGER.parse(text)
    monkeypatch.setattr(engine, "check_shape", lambda _: None)
    with pytest.raises(Refused, match=r"policy\.04") as caught:
        LEDGER.parse(text)
    assert isinstance(caught.value.__cause__, ValueError)
