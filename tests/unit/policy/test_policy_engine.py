"""The engine fails closed, says nothing but ids, and refuses what it could not judge safely."""

from __future__ import annotations

from typing import Any

import cedarpy
import pytest

from caremesh.contracts.policy import engine, errors
from caremesh.contracts.policy.acceptance import PolicyTest, accept, changed
from caremesh.contracts.policy.engine import LEDGER, MAX_POLICIES, MAX_TEXT_BYTES, Handles, Verdict, question
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.schema import ACCESS_ATTRIBUTES
from caremesh.contracts.policy.shape import MAX_NESTING, MAX_OPERATORS
from caremesh.crypto.hashes import sha256
from caremesh.errors import ErrorCode, Refused

HOUSE = shipped("house")[0]
ASK = question(HOUSE.access)


def policy(body: str, effect: str = "permit", name: str = "p", scope: str = 'action in Action::"access"') -> str:
    return f'@id("{name}") @legal("l") @sentence("s.") {effect} (principal, {scope}, resource) {body};'


def refused(text: str) -> ErrorCode:
    with pytest.raises(Refused) as caught:
        LEDGER.parse(text)
    return caught.value.error


@pytest.mark.parametrize("attribute", sorted(ACCESS_ATTRIBUTES))
def test_a_question_that_lacks_an_attribute_is_never_permitted(attribute: str) -> None:
    anything = LEDGER.parse(policy(""))
    assert anything.evaluate(ASK).permit
    rest = {name: value for name, value in ASK.attributes.items() if name != attribute}
    verdict = anything.evaluate(ASK._replace(attributes=rest))
    assert (verdict.permit, verdict.reasons) == (False, ("no-permit",))


@pytest.mark.parametrize(
    "changes",
    [
        {"purpose": "NONSENSE"},
        {"member_roles": ["king"]},
        {"requester_roles": ["physician", "king"]},
        {"legal_basis": ["GDPR:99"]},
        {"approvals": ["mine"]},
        {"explicit": 1},
        {"at": True},
        {"at": "1000"},
        {"source_jurisdiction": 7},
        {"member_roles": "provider"},
        {"purpose": ["TREAT"]},
        {"category": "mental-health"},
    ],
    ids=str,
)
def test_a_question_with_a_strange_or_surplus_value_is_never_permitted(changes: dict[str, Any]) -> None:
    anything = LEDGER.parse(policy(""))
    asked = ASK._replace(attributes={**ASK.attributes, **changes})
    assert anything.evaluate(asked).reasons == ("no-permit",)


def test_a_set_may_speak_of_what_kind_asks_and_is_asked_about() -> None:
    text = policy("").replace("(principal,", "(principal is Requester,").replace("resource)", "resource is Stream)")
    assert LEDGER.parse(text).evaluate(ASK).reasons == ("p",)


def test_the_latest_answers_are_remembered_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    evaluate = LEDGER.evaluate

    def noted(handle: cedarpy.PolicySet, action: str, context: str) -> Verdict:
        asked.append(context)
        return evaluate(handle, action, context)

    monkeypatch.setattr(LEDGER, "evaluate", noted)
    monkeypatch.setattr(engine, "MAX_REMEMBERED", 2)
    young = LEDGER.parse(policy("when { context.at > 11 }"))
    for at, before in ((10, 0), (10, 1), (11, 1), (10, 2), (12, 2), (10, 3), (12, 3), (11, 3), (12, 4), (10, 4)):
        assert len(asked) == before
        assert young.evaluate(ASK._replace(attributes={**ASK.attributes, "at": at})).permit == (at > 11)
    assert asked == ['{"at": 10}', '{"at": 11}', '{"at": 12}', '{"at": 11}', '{"at": 10}']


def test_an_unknown_action_is_never_permitted() -> None:
    assert not LEDGER.parse(policy("", scope="action")).evaluate(ASK._replace(action="erase")).permit


def test_a_prohibition_that_errors_denies() -> None:
    """Cedar skips it and allows; the rule is allowed and no errors."""
    overflow = policy("when { context.at * 9223372036854775807 > 0 }", "forbid", "f")
    verdict = LEDGER.parse(policy("") + overflow).evaluate(ASK)
    assert (verdict.permit, verdict.reasons) == (False, ("no-permit",))


def test_a_denial_cites_the_prohibitions_sorted_and_nothing_else() -> None:
    text = policy("") + policy("", "forbid", "z") + policy("", "forbid", "a") + policy("", "forbid", "m")
    assert LEDGER.parse(text).evaluate(ASK).reasons == ("a", "m", "z")
    assert LEDGER.parse(policy("when { context.explicit }")).evaluate(ASK).reasons == ("no-permit",)


def test_reasons_are_ids_and_not_positions() -> None:
    text = policy("when { context.explicit }", name="first") + policy("", name="second")
    assert LEDGER.parse(text).evaluate(ASK).reasons == ("second",)


def test_a_set_without_its_only_policy_permits_nothing() -> None:
    assert LEDGER.parse(policy("")).without("p").evaluate(ASK).reasons == ("no-permit",)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x" * (MAX_TEXT_BYTES + 1), errors.TOO_LARGE),
        ("permit (", errors.NOT_VALID),
        (policy("when { context.category }"), errors.NOT_VALID),
        (policy("when { context.explicit == 1 }"), errors.NOT_VALID),
        (policy("", scope='action == Action::"erase"'), errors.NOT_VALID),
        (policy('when { context.member_roles.contains(MemberRole::"king") }'), errors.NOT_VALID),
        (policy("when { context.licensed }", scope="action"), errors.NOT_VALID),
        ("", errors.EMPTY_SET),
        ("".join(policy("", name=f"p{i}") for i in range(MAX_POLICIES + 1)), errors.EMPTY_SET),
        (policy("") + policy("", name="t").replace("(principal,", "(principal == ?principal,"), errors.EMPTY_SET),
        ('@legal("l") @sentence("s") permit (principal, action, resource);', errors.BAD_ANNOTATION),
        ('@id("p") @sentence("s") permit (principal, action, resource);', errors.BAD_ANNOTATION),
        ('@id("p") @legal("") @sentence("s") permit (principal, action, resource);', errors.BAD_ANNOTATION),
        ('@id("p") @legal("l") permit (principal, action, resource);', errors.BAD_ANNOTATION),
        (policy("", name="no-permit"), errors.BAD_ANNOTATION),
        (policy("", name="Upper"), errors.BAD_ANNOTATION),
        ('@note("n") ' + policy(""), errors.BAD_ANNOTATION),
        (policy("") + policy("", "forbid"), errors.DUPLICATE_ID),
        (policy('when { context.purpose in Purpose::"TREET" }'), errors.UNKNOWN_PURPOSE),
        (policy('when { [Purpose::"TREET"].contains(context.purpose) }'), errors.UNKNOWN_PURPOSE),
        (policy("when { " + "(" * MAX_NESTING + "true" + ")" * MAX_NESTING + " }"), errors.TOO_DEEP),
        (policy("when { true" + " || true" * (MAX_OPERATORS + 1) + " }"), errors.TOO_DEEP),
        ("))" + "(" * 20_000, errors.TOO_DEEP),
        ("// x\r" + "(" * 20_000, errors.TOO_DEEP),
        (")" * 20_000 + "(" * 20_000, errors.TOO_DEEP),
        ("(" + ".a;" * 15_000, errors.TOO_DEEP),
    ],
)
def test_a_text_that_may_not_be_a_set(text: str, error: ErrorCode) -> None:
    assert refused(text) == error


def test_what_the_engine_writes_and_cannot_read_back_is_no_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """No text is known that it does so with: here what it wrote is bent on its way."""
    text, written = policy("when { true }"), cedarpy.policies_to_json_str(policy("when { true }"))
    assert '"Value"' in written
    monkeypatch.setattr(cedarpy, "policies_to_json_str", lambda _: written.replace('"Value"', '"Nothing"'))
    with pytest.raises(Refused) as caught:
        LEDGER.parse(text)
    assert caught.value.error == errors.NOT_VALID
    assert not caught.value.place


def test_brackets_in_strings_and_comments_do_not_count() -> None:
    text = "// ((((((((((((((\n" + policy('when { context.source_jurisdiction != "((((((((((((\\"(((((((((" }')
    assert LEDGER.parse(text).evaluate(ASK).permit


def test_what_is_refused_never_repeats_the_text() -> None:
    with pytest.raises(Refused) as caught:
        LEDGER.parse(policy("when { context.secret_name }"))
    assert "secret_name" not in str(caught.value)


FLIPS = PolicyTest("p", "access", {}, {"explicit": True})


def outcome(*tests: PolicyTest, text: str = policy("when { !context.explicit }")) -> ErrorCode | None:
    try:
        accept(text, HOUSE.access, HOUSE.grant, list(tests))
    except Refused as error:
        return error.error
    return None


def test_a_set_is_accepted_only_with_tests_that_show_each_policy() -> None:
    assert outcome(FLIPS) is None
    assert outcome() == errors.UNTESTED
    assert outcome(PolicyTest("q", "access", {}, {})) == errors.UNKNOWN_POLICY
    assert outcome(PolicyTest("p", "access", {"explicit": True}, {"explicit": True})) == errors.NOT_FLIPPED
    assert outcome(PolicyTest("p", "access", {}, {})) == errors.NOT_LEFT_ALONE
    assert outcome(PolicyTest("p", "access", {"colour": 1}, {})) == errors.BAD_TEST
    assert outcome(PolicyTest("p", "access", {"at": "now"}, {})) == errors.BAD_TEST
    assert outcome(PolicyTest("p", "access", {"ask": "grant"}, {})) == errors.BAD_TEST
    assert outcome(PolicyTest("p", "grant", {"licensed": False}, {})) == errors.BAD_TEST


def test_what_is_no_change_of_a_request_is_refused_by_its_number() -> None:
    with pytest.raises(Refused) as caught:
        changed(HOUSE.access, {"colour": 1})
    assert (caught.value.error, caught.value.place) == (errors.BAD_TEST, "test 0")
    with pytest.raises(Refused) as caught:
        changed(HOUSE.access, {"colour": 1}, 7)
    assert caught.value.place == "test 7"


def test_a_policy_that_only_shares_in_an_answer_is_not_shown_by_it() -> None:
    both = policy("", name="p") + policy("", name="q")
    assert outcome(FLIPS, PolicyTest("q", "access", {}, {}), text=both) == errors.NOT_FLIPPED


def test_a_refusal_is_repeated_and_not_remembered_as_acceptance() -> None:
    assert [outcome(), outcome(), outcome(FLIPS), outcome(FLIPS)] == [errors.UNTESTED, errors.UNTESTED, None, None]


def test_handles_are_kept_by_digest_and_bounded() -> None:
    handles, read = Handles(LEDGER, limit=2), []

    def text(name: str) -> str:
        read.append(name)
        return policy("", name=name)

    for name in ("a", "b", "a", "c", "a", "b"):
        assert list(handles.get(sha256(name.encode()), lambda name=name: text(name)).texts) == [name]
    assert read == ["a", "b", "c", "b"]


def test_grants_and_accesses_are_different_questions() -> None:
    only_grants = LEDGER.parse(policy("", scope='action in Action::"grant"'))
    assert only_grants.evaluate(question(HOUSE.grant)).permit
    assert not only_grants.evaluate(ASK).permit


def test_every_action_can_be_asked() -> None:
    anything = LEDGER.parse(policy("", scope="action"))
    for action in ("read", "copy", "compute", "decide"):
        assert anything.evaluate(question(changed(HOUSE.access, {"action": action}))).permit
        assert anything.evaluate(question(changed(HOUSE.grant, {"action": action}))).permit


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("permit (principal, action, resource);", "@id"),
        ('@legal("l") @sentence("s") permit (principal, action, resource);', "@id"),
        ('@id("p") @sentence("s") permit (principal, action, resource);', "p @legal"),
        ('@id("p") @legal("") @sentence("s") permit (principal, action, resource);', "p @legal"),
        ('@id("p") @legal("l") permit (principal, action, resource);', "p @sentence"),
        ('@note("n") ' + policy(""), "p"),
    ],
)
def test_a_bad_annotation_is_named(text: str, place: str) -> None:
    with pytest.raises(Refused) as caught:
        LEDGER.parse(text)
    assert (caught.value.error, caught.value.place) == (errors.BAD_ANNOTATION, place)


@pytest.mark.parametrize(
    ("test", "place"),
    [
        (PolicyTest("p", "access", {"explicit": True}, {"explicit": True}), "p"),
        (PolicyTest("p", "access", {}, {}), "p"),
        (PolicyTest("p", "access", {"colour": 1}, {}), "test 0"),
    ],
)
def test_a_test_that_shows_nothing_is_named(test: PolicyTest, place: str) -> None:
    with pytest.raises(Refused) as caught:
        accept(policy("when { !context.explicit }"), HOUSE.access, HOUSE.grant, [test])
    assert caught.value.place == place


def test_a_set_has_texts_for_people() -> None:
    [text] = LEDGER.parse(policy("", "forbid")).texts.values()
    assert (text.effect, text.legal, text.sentence) == ("forbid", "l", "s.")


def test_a_purpose_that_does_not_exist_is_told_by_its_policy() -> None:
    with pytest.raises(Refused) as caught:
        LEDGER.parse(policy('when { context.purpose in Purpose::"TREET" }'))
    assert (caught.value.error, caught.value.place) == (errors.UNKNOWN_PURPOSE, "p")
