"""What wallet and gateway ask about a kind of record is put to every shipped set, attribute by attribute."""

from __future__ import annotations

from typing import Any

import pytest

from caremesh.contracts.policy import categories, kinds
from caremesh.contracts.policy.categories import CategoryRequest
from caremesh.contracts.policy.request import Decision

ASKED: dict[str, Any] = {
    "category": "substance-use",
    "action": "read",
    "purpose": "HPAYMT",
    "roles": ["payer"],
    "approvals": ["irb-waiver"],
    "places": ("US", "DE"),
    "explicit": True,
    "originator": False,
    "licensed": True,
}


def test_every_attribute_reaches_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Any] = []
    answer = Decision(permit=True, policies=["a/b"])
    monkeypatch.setattr(categories, "decide", lambda *asked: heard.append(asked) or answer)
    assert kinds.may_be_read(**ASKED) == answer
    [(sets, request)] = heard
    assert [each.name for each in sets] == [each.name for each in categories.shipped()]
    assert request == CategoryRequest(
        action="read",
        category="substance-use",
        psychotherapy_notes=False,
        originator=False,
        purpose="HPAYMT",
        member_roles=["payer"],
        approvals=["irb-waiver"],
        source_jurisdiction="US",
        grantee_jurisdiction="DE",
        explicit=True,
        break_glass=False,
        licensed=True,
    )


def test_the_answer_is_that_of_the_sets() -> None:
    assert kinds.may_be_read(**ASKED).permit
    refused = kinds.may_be_read(**ASKED | {"explicit": False})
    assert not refused.permit
    assert any(reason.startswith("us-part2/") for reason in refused.policies)
    assert kinds.may_be_read(**ASKED | {"originator": True, "explicit": False, "purpose": "TREAT"}).permit
