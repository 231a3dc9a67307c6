"""What was granted is narrowed, extended and delegated anew: what each asks for, and what it changes."""

from typing import Any

import pytest

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Extend, FragmentCommitment, Narrow, Redelegate, Revoke, Scope
from caremesh.contracts.consent.state import Consent
from caremesh.contracts.members.messages import Keys, Reinstate, SetKeys, Suspend
from caremesh.contracts.members.state import MEMBERS
from caremesh.contracts.network.messages import Brake
from caremesh.contracts.policy.messages import Retire
from caremesh.contracts.records.messages import Erase, Supersede
from caremesh.contracts.streams.messages import AddController, Close, NewEpoch, SetCustodians
from caremesh.crypto.reencryption import ReadingKey
from caremesh.types import DAY_S
from tests.support.world import NOW, Actor, World

DAY = NOW // DAY_S * DAY_S
FRESH = ReadingKey.from_secret(b"f" * 32).public


def kept(world: World, consent_id: bytes) -> Consent:
    found = consents.consent(world.view, consent_id)
    assert found is not None
    return found


def subject(world: World, message: Any, **changes: Any) -> str:
    return world.do(message, world.stream_key, world.practice, **changes)


def redelegation(world: World, consent_id: bytes, **changes: Any) -> Redelegate:
    given: dict[str, Any] = {
        "consent": consent_id,
        "epoch": 0,
        "receiving_key": world.receiving.public,
        "verifying_key": FRESH,
        "fragments": fragments(*world.custodians),
    }
    return Redelegate(**given | changes)


def fragments(*custodians: Actor) -> list[FragmentCommitment]:
    return [FragmentCommitment(custodian=str(actor.did), commitment=b"f" * 32) for actor in custodians]


def controller(world: World, *powers: Any) -> Actor:
    carer = Actor("carer", stream=True)
    message = AddController(stream=world.stream, key=carer.key.public, powers=list(powers), until=DAY + 200 * DAY_S)
    world.must(message, world.stream_key, carer, world.practice)
    return carer


# --- narrow ----------------------------------------------------------------------------------------


def test_narrowing_replaces_what_is_given_and_leaves_the_rest(world: World) -> None:
    consent_id = world.granted(actions=["read", "copy"], purposes=["TREAT", "COC"])
    before = kept(world, consent_id)
    assert subject(world, Narrow(consent=consent_id, until=DAY + 10 * DAY_S)) == ""
    assert kept(world, consent_id).ends == DAY + 10 * DAY_S
    assert subject(world, Narrow(consent=consent_id, actions=["read"])) == ""
    assert subject(world, Narrow(consent=consent_id, purposes=["COC"])) == ""
    assert subject(world, Narrow(consent=consent_id, scope=Scope(kind="existing", height=2))) == ""
    after = kept(world, consent_id)
    assert (after.actions, after.purposes, after.scope) == (["read"], ["COC"], Scope(kind="existing", height=2))
    assert (after.starts, after.fragments, after.granted) == (before.starts, before.fragments, before.granted)
    assert world.told("consent/narrowed") == {
        "consent": consent_id, "stream": world.stream, "grantee": world.practice.did,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, "consent.27"),
        ({"until": DAY + 30 * DAY_S}, "consent.27"),
        ({"until": DAY + 31 * DAY_S}, "consent.27"),
        ({"actions": ["read", "copy"]}, "consent.27"),
        ({"purposes": ["COC"]}, "consent.27"),
        ({"actions": []}, "consent.13"),
        ({"actions": ["read", "read"]}, "consent.13"),
        ({"purposes": []}, "consent.08"),
        ({"until": DAY + 10 * DAY_S + 1}, "consent.12"),
        ({"until": DAY}, "consent.03"),
        ({"scope": Scope(kind="listed", segments=[2])}, "consent.18"),
        ({"scope": Scope(kind="existing", height=10_000)}, "consent.18"),
    ],
)
def test_what_is_no_narrowing(world: World, changes: dict[str, Any], code: str) -> None:
    consent_id = world.granted()
    assert subject(world, Narrow(consent=consent_id, **changes)) == code


def test_a_later_consent_is_not_narrowed_to_nothing(world: World) -> None:
    consent_id = world.granted(from_=DAY + 5 * DAY_S)
    assert subject(world, Narrow(consent=consent_id, until=DAY + 5 * DAY_S)) == "consent.03"
    assert subject(world, Narrow(consent=consent_id, until=DAY + 6 * DAY_S)) == ""


def test_which_scope_lies_within_which(world: World) -> None:
    for number in range(3):
        world.must(world.register(number), world.hospital)
    height = world.height - 1
    listed, some = Scope(kind="listed", segments=[0, 1, 2]), Scope(kind="listed", segments=[0, 2])
    until_now, earlier = Scope(kind="existing", height=height), Scope(kind="existing", height=height - 1)
    future = Scope(kind="future")
    within = {
        ("listed", "some"): (listed, some, True),
        ("some", "listed"): (some, listed, False),
        ("listed", "existing"): (listed, until_now, False),
        ("listed", "future"): (listed, future, False),
        ("existing", "earlier"): (until_now, earlier, True),
        ("earlier", "existing"): (earlier, until_now, False),
        ("existing", "listed"): (until_now, listed, True),
        ("earlier", "listed"): (earlier, listed, False),
        ("existing", "future"): (until_now, future, False),
        ("future", "existing"): (future, until_now, True),
        ("future", "listed"): (future, listed, True),
    }
    for name, (old, new, expected) in within.items():
        consent_id = world.granted(scope=old)
        assert subject(world, Narrow(consent=consent_id, scope=new)) == ("" if expected else "consent.27"), name
        world.must(Revoke(consent=consent_id), world.stream_key, world.practice)


def test_the_same_scope_with_less_else_stays_as_it_is(world: World) -> None:
    world.must(world.register(), world.hospital)
    scope = Scope(kind="listed", segments=[0])
    consent_id = world.granted(scope=scope)
    world.must(Erase(stream=world.stream, segment=0), world.stream_key, world.hospital)
    assert subject(world, Narrow(consent=consent_id, scope=scope, until=DAY + DAY_S)) == ""


def test_a_list_made_of_another_scope_names_no_older_version(world: World) -> None:
    world.must(world.register(0), world.hospital)
    renewed = {name: getattr(world.register(1), name) for name in ("descriptor", "seal", "size_class")}
    consent_id = world.granted()
    world.must(Supersede(stream=world.stream, segment=0, **renewed), world.hospital)
    assert subject(world, Narrow(consent=consent_id, scope=Scope(kind="listed", segments=[0]))) == "consent.27"
    assert subject(world, Narrow(consent=consent_id, scope=Scope(kind="listed", segments=[1]))) == ""


@pytest.mark.promise("P3")
def test_taking_back_works_under_the_brake_and_in_a_closed_stream(world: World) -> None:
    consent_id = world.granted()
    world.must(Brake(scope="receipts", reason="drill", until=NOW + 1_000), *world.custodians[:2])
    assert subject(world, Narrow(consent=consent_id, until=DAY + 9 * DAY_S)) == ""
    world.must(Close(stream=world.stream), world.stream_key, world.practice)
    assert subject(world, Narrow(consent=consent_id, until=DAY + 8 * DAY_S)) == ""
    assert subject(world, Revoke(consent=consent_id)) == ""
    assert kept(world, consent_id).revoked == DAY
    assert world.told("consent/revoked") == {
        "consent": consent_id, "stream": world.stream, "grantee": world.practice.did,
    }  # fmt: skip


# --- extend ----------------------------------------------------------------------------------------


def test_extending_allows_the_same_for_longer(world: World) -> None:
    consent_id = world.granted()
    before = kept(world, consent_id)
    assert subject(world, Extend(consent=consent_id, until=DAY + 60 * DAY_S)) == ""
    after = kept(world, consent_id)
    assert after.ends == DAY + 60 * DAY_S
    assert (after.starts, after.scope, after.status) == (before.starts, before.scope, "granted")
    assert world.told("consent/extended") == {
        "consent": consent_id, "stream": world.stream, "grantee": world.practice.did,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("until", "code"),
    [
        (DAY + 30 * DAY_S, "consent.28"),
        (DAY + 29 * DAY_S, "consent.28"),
        (DAY + 60 * DAY_S + 1, "consent.12"),
        (DAY + 4_000 * DAY_S, "consent.04"),
    ],
)
def test_what_is_no_extension(world: World, until: int, code: str) -> None:
    assert subject(world, Extend(consent=world.granted(), until=until)) == code


def test_an_extension_does_not_run_into_another_consent(world: World) -> None:
    first = world.granted()
    second = world.granted(from_=DAY + 40 * DAY_S, until=DAY + 50 * DAY_S)
    assert subject(world, Extend(consent=first, until=DAY + 41 * DAY_S)) == "consent.02"
    assert world.refusal is not None
    assert world.refusal.place == second.hex()
    assert subject(world, Extend(consent=first, until=DAY + 40 * DAY_S)) == ""


# --- redelegate ------------------------------------------------------------------------------------


def test_delegating_anew_after_a_new_epoch(world: World) -> None:
    consent_id = world.granted()
    world.must(NewEpoch(stream=world.stream, reading_key=FRESH), world.stream_key, world.practice)
    assert world.asked(consent_id) == ("", "access.21")
    assert subject(world, redelegation(world, consent_id)) == "consent.14"
    message = redelegation(world, consent_id, epoch=1)
    assert subject(world, message) == ""
    after = kept(world, consent_id)
    assert (after.epoch, after.verifying_key, after.fragments) == (1, FRESH, message.fragments)
    assert world.told("consent/redelegated") == {
        "consent": consent_id, "stream": world.stream, "grantee": world.practice.did,
    }  # fmt: skip
    assert world.asked(consent_id) == ("", "")


def test_delegating_anew_after_other_custodians(world: World) -> None:
    consent_id = world.granted()
    two = world.custodians[:2]
    message = SetCustodians(stream=world.stream, custodians=[str(actor.did) for actor in two], threshold=1)
    world.must(message, world.stream_key, world.practice)
    assert kept(world, consent_id).threshold == 2
    assert subject(world, redelegation(world, consent_id)) == "consent.15"
    assert subject(world, redelegation(world, consent_id, fragments=fragments(*two))) == ""
    assert kept(world, consent_id).threshold == 1


def test_who_keeps_an_older_fragment_is_granted_nothing_yet(world: World) -> None:
    consent_id = world.granted()
    former, *two = world.custodians
    message = SetCustodians(stream=world.stream, custodians=[str(actor.did) for actor in two], threshold=1)
    world.must(message, world.stream_key, world.practice)
    changes = {"grantee": str(former.did), "fragments": fragments(*two), "permit": None}
    assert subject(world, world.grant(**changes)) == "consent.07"
    world.must(redelegation(world, consent_id, fragments=fragments(*two)), world.stream_key, world.practice)
    assert subject(world, world.grant(**changes)) == ""


def test_delegating_anew_after_the_grantees_key(world: World) -> None:
    consent_id = world.granted()
    member = MEMBERS.get(world.view, str(world.practice.did).encode())
    assert member is not None
    keys = Keys(member.keys.node, member.keys.channel, FRESH)
    world.must(SetKeys(member=str(world.practice.did), keys=keys), world.practice)
    assert subject(world, redelegation(world, consent_id)) == "consent.16"
    assert subject(world, redelegation(world, consent_id, receiving_key=FRESH)) == ""
    assert kept(world, consent_id).receiving_key == FRESH


def test_new_fragments_under_a_new_signer_only(world: World) -> None:
    consent_id = world.granted()
    before = kept(world, consent_id)
    same_signer = redelegation(world, consent_id, verifying_key=before.verifying_key)
    assert subject(world, same_signer) == "consent.29"
    assert subject(world, redelegation(world, consent_id, fragments=before.fragments)) == "consent.29"
    assert subject(world, redelegation(world, consent_id, verifying_key=bytes(33))) == "consent.22"


# --- what they have in common ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["narrow", "extend", "redelegate"])
def test_changes_ask_for_a_consent_in_force_and_the_subjects_key(world: World, kind: str) -> None:
    consent_id = world.granted()

    def message(consent: bytes) -> Any:
        if kind == "narrow":
            return Narrow(consent=consent, until=DAY + 9 * DAY_S)
        return Extend(consent=consent, until=DAY + 60 * DAY_S) if kind == "extend" else redelegation(world, consent)

    assert subject(world, message(bytes(32))) == "consent.11"
    assert world.do(message(consent_id), world.practice) == "consent.09"
    assert world.do(message(consent_id), Actor("other", stream=True), world.practice) == "consent.09"
    assert subject(world, message(consent_id), alone=False) == "consent.17"
    world.now += 30 * DAY_S
    assert subject(world, message(consent_id)) == "consent.26"
    world.must(Revoke(consent=consent_id), world.stream_key, world.practice)
    assert subject(world, message(consent_id)) == "consent.10"


@pytest.mark.parametrize("kind", ["extend", "redelegate"])
def test_what_gives_more_cites_the_law_of_its_time(world: World, kind: str) -> None:
    consent_id = world.granted()
    world.must(Retire(set="house", effective=world.height + 1), *world.custodians[:2])
    extend = Extend(consent=consent_id, until=DAY + 60 * DAY_S)
    assert subject(world, extend if kind == "extend" else redelegation(world, consent_id)) == ""
    assert kept(world, consent_id).policies == ["hipaa/506-b-grant", "iso22600/owner"]


@pytest.mark.parametrize("kind", ["extend", "redelegate"])
def test_what_gives_more_passes_the_checks_of_a_grant(world: World, kind: str) -> None:
    consent_id = world.granted()
    extend = Extend(consent=consent_id, until=DAY + 60 * DAY_S)
    message = extend if kind == "extend" else redelegation(world, consent_id)
    quorum = world.custodians[:2]
    world.must(Brake(scope="receipts", reason="drill", until=NOW + 10), *quorum)
    assert subject(world, message) == "consent.20"
    world.now += 10
    world.must(Suspend(member=str(world.practice.did)), *quorum)
    assert world.do(message, world.stream_key, world.hospital) == "consent.06"
    world.must(Reinstate(member=str(world.practice.did)), *quorum)
    world.must(Retire(set="hipaa", effective=world.height + 1), *quorum)
    assert subject(world, message) == "consent.19"
    assert world.refusal is not None
    assert world.refusal.place == "policy/no-set"
    world.must(Close(stream=world.stream), world.stream_key, world.practice)
    assert subject(world, message) == "consent.25"


@pytest.mark.promise("P3")
def test_a_controller_acts_within_its_powers(world: World) -> None:
    consent_id = world.granted()
    carer = controller(world, "revoke")
    assert world.do(Extend(consent=consent_id, until=DAY + 60 * DAY_S), carer, world.practice) == "consent.09"
    assert world.do(world.grant(purposes=["COC"]), carer, world.practice) == "consent.09"
    assert world.do(Narrow(consent=consent_id, until=DAY + 9 * DAY_S), carer, world.practice) == ""
    assert world.do(Revoke(consent=consent_id), carer, world.practice) == ""


def test_a_controller_that_may_grant_may_not_revoke(world: World) -> None:
    consent_id = world.granted()
    carer = controller(world, "grant")
    assert world.do(Revoke(consent=consent_id), carer, world.practice) == "consent.09"
    assert world.do(Extend(consent=consent_id, until=DAY + 60 * DAY_S), carer, world.practice) == ""
    assert world.do(redelegation(world, consent_id), carer, world.practice) == ""
    assert world.do(world.grant(purposes=["COC"]), carer, world.practice) == ""


def test_where_the_source_is_not_known_nothing_is_granted(world: World) -> None:
    world.must(world.register(), world.hospital)
    MEMBERS.delete(world.view, str(world.hospital.did).encode())
    assert subject(world, world.grant(permit=None)) == "consent.19"
    assert world.refusal is not None
    assert world.refusal.place == "policy/no-set"


def test_who_is_a_grantee(world: World) -> None:
    consent_id = world.granted(from_=DAY + 5 * DAY_S)
    practice, hospital = str(world.practice.did), str(world.hospital.did)
    assert consents.is_grantee(world.view, world.stream, practice, NOW)
    assert not consents.is_grantee(world.view, world.stream, hospital, NOW)
    assert not consents.is_grantee(world.view, world.stream, practice, DAY + 30 * DAY_S)
    world.must(Revoke(consent=consent_id), world.stream_key, world.practice)
    assert not consents.is_grantee(world.view, world.stream, practice, NOW)


def for_a_day(number: int) -> dict[str, int]:
    return {"from_": DAY + number * DAY_S, "until": DAY + (number + 1) * DAY_S}


def test_as_many_consents_stand_as_a_grant_can_be_compared_with(world: World) -> None:
    first, *_ = [world.granted(**for_a_day(number)) for number in range(128)]
    one_more = world.grant(**for_a_day(128))
    assert subject(world, one_more) == "consent.35"
    assert subject(world, Revoke(consent=first)) == ""
    assert subject(world, one_more) == ""
    assert subject(world, world.grant(**for_a_day(129))) == "consent.35"
    world.now = DAY + 2 * DAY_S  # the second is over by itself
    assert subject(world, world.grant(**for_a_day(129))) == ""
    assert len(consents.standing(world.view, world.stream, world.now)) == 128
    assert len(consents.of_stream(world.view, world.stream)) == 130


def test_a_stream_with_a_long_past_is_not_read_again_for_a_grant(world: World) -> None:
    for _ in range(40):
        assert subject(world, Revoke(consent=world.granted())) == ""
    asked: list[bytes] = []
    read = world.view.get
    world.view.get = lambda key: asked.append(key) or read(key)  # type: ignore[method-assign,func-returns-value]
    world.granted()
    assert len({key for key in asked if key.startswith(b"consent/consent/")}) <= 2
