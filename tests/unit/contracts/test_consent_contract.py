"""A subject grants and takes back: every check of the consent contract, each with its code."""

from typing import Any, Literal

import pytest

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Conditions, FragmentCommitment, Revoke, Scope
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.network.messages import Brake
from caremesh.contracts.policy.acceptance import PolicyTest
from caremesh.contracts.policy.library import shipped
from caremesh.contracts.policy.messages import Adopt, PolicySet
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.records.state import Segment
from caremesh.crypto.hashes import tagged_hash
from caremesh.types import DAY_S
from tests.support.world import NOW, Actor, World

DAY = NOW // DAY_S * DAY_S


def test_a_grant_takes_effect(world: World) -> None:
    height, message = world.height, world.grant(conditions=Conditions(max_receipts=2, notify=True))
    world.must(message, world.stream_key, world.practice)
    identity = consents.consent_id(world.stream, message.salt)
    consent = consents.consent(world.view, identity)
    assert consent is not None
    assert consent == Consent(
        id=identity,
        stream=world.stream,
        source=str(world.hospital.did),
        grantee=str(world.practice.did),
        scope=Scope(kind="future"),
        actions=["read"],
        purposes=["TREAT"],
        starts=DAY,
        ends=DAY + 30 * DAY_S,
        epoch=0,
        receiving_key=message.receiving_key,
        verifying_key=message.verifying_key,
        fragments=message.fragments,
        explicit=True,
        granted=height,
        policies=["hipaa/506-b-grant", "house/grant", "iso22600/owner"],
        status="granted",
        threshold=2,
        conditions=Conditions(max_receipts=2, notify=True),
    )
    assert world.told("consent/granted") == {
        "consent": identity, "stream": world.stream, "grantee": world.practice.did,
    }  # fmt: skip
    assert consents.is_active(consent, NOW)
    assert not consents.is_active(consent, consent.starts - 1)
    assert consents.is_active(consent, consent.starts)
    assert consents.is_active(consent, consent.ends - 1)
    assert not consents.is_active(consent, consent.ends)
    assert [entry.id for entry in consents.of_stream(world.view, world.stream)] == [consent.id]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"permit": None}, "consent.01"),
        ({"until": DAY}, "consent.03"),
        ({"from_": DAY - 2 * DAY_S, "until": DAY}, "consent.03"),
        ({"until": DAY + 4_000 * DAY_S}, "consent.04"),
        ({"purposes": ["HOPERAT"], "until": DAY + 400 * DAY_S}, "consent.04"),
        ({"grantee": str(Actor("stranger").did)}, "consent.05"),
        ({"purposes": []}, "consent.08"),
        ({"purposes": ["TREAT", "TREAT"]}, "consent.08"),
        ({"purposes": ["NOSUCH"]}, "consent.08"),
        ({"from_": DAY + 1}, "consent.12"),
        ({"until": DAY + 30 * DAY_S + 1}, "consent.12"),
        ({"actions": []}, "consent.13"),
        ({"actions": ["steal"]}, "consent.13"),
        ({"epoch": 1}, "consent.14"),
        ({"fragments": []}, "consent.15"),
        ({"scope": Scope(kind="listed")}, "consent.18"),
        ({"actions": ["read", "read"]}, "consent.13"),
        ({"scope": Scope(kind="listed", segments=[0])}, "consent.18"),
        ({"scope": Scope(kind="listed", segments=[0], height=1)}, "consent.18"),
        ({"scope": Scope(kind="future", height=1)}, "consent.18"),
        ({"scope": Scope(kind="existing", segments=[0], height=1)}, "consent.18"),
        ({"scope": Scope(kind="existing", height=10_000)}, "consent.18"),
        ({"scope": Scope(kind="future", segments=[0])}, "consent.18"),
        ({"verifying_key": bytes(33)}, "consent.22"),
        ({"receiving_key": b"\x02" + bytes(32)}, "consent.16"),
        ({"conditions": Conditions(max_receipts=0)}, "consent.24"),
        ({"purposes": ["HMARKT"], "explicit": False}, "consent.19"),
    ],
)
def test_what_cannot_be_granted(world: World, changes: dict[str, Any], code: str) -> None:
    assert world.do(world.grant(**changes), world.stream_key, world.practice) == code


@pytest.mark.parametrize(
    "changes",
    [
        {"until": DAY + DAY_S},
        {"purposes": ["HOPERAT"], "from_": DAY + DAY_S, "until": DAY + 367 * DAY_S},
        {"scope": Scope(kind="existing", height=3)},
        {"verifying_key": b"\x02" + bytes(32)},
        {"verifying_key": b"\x03" + bytes(32)},
        {"purposes": ["TREAT", "COC"]},
    ],
)
def test_what_can_just_be_granted(world: World, changes: dict[str, Any]) -> None:
    assert world.height == 3
    assert world.do(world.grant(**changes), world.stream_key, world.practice) == ""


def test_what_would_end_now_is_over(world: World) -> None:
    world.now = DAY + DAY_S
    grant = world.grant(from_=DAY, until=DAY + DAY_S)
    assert world.do(grant, world.stream_key, world.practice) == "consent.03"


def test_a_segment_that_was_erased_is_not_listed(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.must(world.register(1), world.hospital)
    world.must(Erase(stream=world.stream, segment=1), world.stream_key, world.hospital)
    listed = world.grant(scope=Scope(kind="listed", segments=[0, 1]))
    assert world.do(listed, world.stream_key, world.practice) == "consent.18"
    assert world.do(world.grant(scope=Scope(kind="listed", segments=[0])), world.stream_key, world.practice) == ""


def test_consents_one_after_the_other_do_not_overlap(world: World) -> None:
    world.granted()
    next_month = {"from_": DAY + 30 * DAY_S, "until": DAY + 40 * DAY_S}
    assert world.do(world.grant(**next_month), world.stream_key, world.practice) == ""
    month_before = {"from_": DAY - 9 * DAY_S, "until": DAY + 1 * DAY_S}
    assert world.do(world.grant(**month_before), world.stream_key, world.practice) == "consent.02"


def test_a_list_overlaps_what_is_to_come(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.granted()
    assert (
        world.do(world.grant(scope=Scope(kind="listed", segments=[0])), world.stream_key, world.practice)
        == "consent.02"
    )
    world.granted(scope=Scope(kind="listed", segments=[0]), purposes=["COC"])
    assert world.do(world.grant(purposes=["COC"]), world.stream_key, world.practice) == "consent.02"


def adopt(world: World, policies: dict[str, str], *tests: PolicyTest) -> None:
    """From the next height on there is a set ``law``. ``policies``: id → effect and condition, all about grants."""
    house = shipped("house")[0]
    texts = []
    for name, rule in policies.items():
        effect, condition = rule.split(" when ")
        head = f'@id("{name}") @legal("§ 1") @sentence("A sentence.")'
        texts.append(f'{head} {effect} (principal, action in Action::"grant", resource) when {{ {condition} }};')
    rules = PolicySet(
        set="law", jurisdictions=[], text="\n".join(texts), access=house.access, grant=house.grant, tests=list(tests)
    )
    world.must(Adopt(rules, world.height + 1), *world.custodians[:2])


def test_what_the_law_is_told_of_a_scope(world: World) -> None:
    world.must(world.register(0), world.hospital)
    some, everything = {"entire": False}, {"entire": True}
    adopt(world, {"part": "permit when !context.entire"}, PolicyTest("part", "grant", some, everything))
    assert world.do(world.grant(), world.stream_key, world.practice) == "consent.19"
    assert world.refusal is not None
    assert world.refusal.place == "law/no-permit"
    listed = world.grant(scope=Scope(kind="listed", segments=[0]))
    assert world.do(listed, world.stream_key, world.practice) == ""


def test_a_refusal_by_law_cites_every_policy(world: World) -> None:
    said, unsaid = {"explicit": True}, {"explicit": False}
    adopt(world, {"said": "permit when context.explicit"}, PolicyTest("said", "grant", said, unsaid))
    assert world.do(world.grant(purposes=["HMARKT"], explicit=False), world.stream_key, world.practice) == "consent.19"
    assert world.refusal is not None
    assert world.refusal.place == "hipaa/508-a-grant, law/no-permit"


def test_each_pair_of_action_and_purpose_is_put_to_the_law(world: World) -> None:
    care, coordination = {"purpose": "TREAT"}, {"purpose": "COC"}
    adopt(
        world,
        {
            "treat": 'permit when context.purpose == Purpose::"TREAT"',
            "coordinate": 'permit when context.purpose == Purpose::"COC"',
        },
        PolicyTest("treat", "grant", care, coordination),
        PolicyTest("coordinate", "grant", coordination, care),
    )
    message = world.grant(purposes=["COC", "TREAT"])
    world.must(message, world.stream_key, world.practice)
    consent = consents.consent(world.view, consents.consent_id(world.stream, message.salt))
    assert consent is not None
    assert consent.policies == ["hipaa/506-b-grant", "house/grant", "iso22600/owner", "law/coordinate", "law/treat"]
    assert world.do(world.grant(purposes=["TREAT", "ETREAT"]), world.stream_key, world.practice) == "consent.02"
    later = {"from_": DAY + 40 * DAY_S, "until": DAY + 50 * DAY_S}
    refused = world.do(world.grant(purposes=["TREAT", "ETREAT"], **later), world.stream_key, world.practice)
    assert refused == "consent.19"


def test_ids_and_commitments_are_those_of_the_formula(world: World) -> None:
    stream, salt = bytes(range(32)), bytes(range(16))
    assert consents.consent_id(stream, salt) == tagged_hash("caremesh/v1/consent", stream, salt)
    did = str(world.hospital.did)
    assert consents.fragment_commitment(stream, did, 7, b"fragment") == tagged_hash(
        "caremesh/v1/fragment", stream, did.encode(), (7).to_bytes(8), b"fragment"
    )
    assert consents.offer_id(b"tx", 3) == tagged_hash("caremesh/v1/offer", b"tx", (3).to_bytes(4))


def test_the_keys_of_proofs_are_those_of_the_state(world: World) -> None:
    consent = world.granted()
    assert world.view.get(consents.consent_key(consent)) is not None
    assert codec.decode(world.view.get(consents.count_key(world.stream)) or b"") == 1


def test_fragments_are_one_for_each_custodian_in_order(world: World) -> None:
    swapped = [
        FragmentCommitment(custodian=str(actor.did), commitment=bytes(32)) for actor in reversed(world.custodians)
    ]
    assert world.do(world.grant(fragments=swapped), world.stream_key, world.practice) == "consent.15"


def test_a_custodian_of_the_stream_gets_no_grant(world: World) -> None:
    grant = world.grant(grantee=str(world.custodians[0].did))
    assert world.do(grant, world.stream_key, world.practice) == "consent.07"


def test_only_the_streams_own_key_grants(world: World) -> None:
    assert world.do(world.grant(), world.practice) == "consent.09"
    assert world.do(world.grant(), Actor("another stream", stream=True), world.practice) == "consent.09"


def test_a_grant_travels_alone(world: World) -> None:
    assert world.do(world.grant(), world.stream_key, world.practice, alone=False) == "consent.17"


def test_the_same_grant_twice_names_the_first(world: World) -> None:
    first = world.granted()
    assert world.do(world.grant(), world.stream_key, world.practice) == "consent.02"
    assert world.do(world.grant(purposes=["COC"]), world.stream_key, world.practice) == ""
    world.must(Revoke(consent=first), world.stream_key, world.practice)
    assert world.do(world.grant(), world.stream_key, world.practice) == ""


def test_listed_segments_that_do_not_overlap_are_not_the_same(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.must(world.register(1), world.hospital)
    world.granted(scope=Scope(kind="listed", segments=[0]))
    other, same = Scope(kind="listed", segments=[1]), Scope(kind="listed", segments=[0, 1])
    assert world.do(world.grant(scope=same), world.stream_key, world.practice) == "consent.02"
    assert world.do(world.grant(scope=other), world.stream_key, world.practice) == ""


def test_a_salt_serves_once(world: World) -> None:
    world.granted(salt=bytes(16))
    later = world.grant(salt=bytes(16), purposes=["COC"])
    assert world.do(later, world.stream_key, world.practice) == "consent.21"


def test_a_suspended_member_gets_no_grant(world: World) -> None:
    world.must(Suspend(member=str(world.practice.did)), *world.custodians[:2])
    assert world.do(world.grant(), world.stream_key, world.hospital) == "consent.06"


def test_the_permit_must_be_the_streams(world: World) -> None:
    other = Actor("another stream", stream=True)
    grant = world.grant(stream=bytes(32))
    assert world.do(grant, world.stream_key, world.practice) == "consent.23"
    assert world.do(world.grant(permit=world.permit(other)), world.stream_key, world.practice) == "streams.03"


@pytest.mark.promise("P3")
def test_revoking_ends_it_even_under_the_brake(world: World) -> None:
    consent_id = world.granted()
    world.must(Brake(scope="all", reason="drill", until=NOW + 1_000), *world.custodians[:2])
    assert world.do(world.grant(purposes=["COC"]), world.stream_key, world.practice) == "network.05"
    world.must(Revoke(consent=consent_id), world.stream_key, world.practice)
    consent = consents.consent(world.view, consent_id)
    assert consent is not None
    assert not consents.is_active(consent, NOW)


def test_no_grant_while_receipts_are_stopped(world: World) -> None:
    world.must(Brake(scope="receipts", reason="drill", until=NOW + 1_000), *world.custodians[:2])
    assert world.do(world.grant(), world.stream_key, world.practice) == "consent.20"


def test_what_cannot_be_revoked(world: World) -> None:
    consent_id = world.granted()
    assert world.do(Revoke(consent=bytes(32)), world.stream_key, world.practice) == "consent.11"
    assert world.do(Revoke(consent=consent_id), world.practice) == "consent.09"
    assert world.do(Revoke(consent=consent_id), world.stream_key, world.practice, alone=False) == "consent.17"
    world.must(Revoke(consent=consent_id), world.stream_key, world.practice)
    assert world.do(Revoke(consent=consent_id), world.stream_key, world.practice) == "consent.10"


def test_what_a_scope_covers(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.must(world.register(1), world.hospital)
    listed = consents.consent(world.view, world.granted(scope=Scope(kind="listed", segments=[1])))
    existing = consents.consent(world.view, world.granted(scope=Scope(kind="existing", height=5), purposes=["COC"]))
    future = consents.consent(world.view, world.granted(purposes=["CLINTRL"]))
    assert listed is not None
    assert existing is not None
    assert future is not None
    now, old, gone, late = segment(5), segment(5, "superseded"), segment(5, "erased"), segment(6)
    assert [consents.covers(listed, 1, each) for each in (now, old, gone, late)] == [True, True, False, True]
    assert not consents.covers(listed, 0, now)
    assert [consents.covers(existing, 0, each) for each in (now, old, gone, late)] == [True, False, False, False]
    assert [consents.covers(future, 0, each) for each in (now, old, gone, late)] == [True, False, False, True]
    assert consents.allows(existing, "read", "COC")
    assert not consents.allows(existing, "copy", "COC")
    assert not consents.allows(existing, "read", "TREAT")


def segment(registered: int, status: Literal["current", "superseded", "erased"] = "current") -> Segment:
    return Segment(source="", epoch=0, registered=registered, size_class=1, status=status)
