"""Forgotten: every keeper lets go of an erased segment and signs for it, and a certificate shows it offline."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.records import queries as records
from caremesh.crypto.keys import SigningKey
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable
from caremesh.node import erasures
from caremesh.sealing import certificate, custody
from caremesh.sealing.certificate import Certificate
from caremesh.sealing.custody import ErasureConfirmation
from caremesh.sealing.descriptor import read_descriptor
from caremesh.wallet.change import Narrower
from caremesh.wallet.erase import confirmations
from caremesh.wallet.records import own_seals
from caremesh.wallet.reseal import Record
from tests.support.case import Case


def blocks_of(case: Case, index: int) -> set[object]:
    descriptor = case.segments()[index].descriptor
    assert descriptor is not None
    table = read_descriptor(case.block(descriptor))
    return {descriptor, table.manifest, *table.blocks}


def held(case: Case, cids: set[object]) -> int:
    """How many of these blocks the stores hold, all stores together."""
    return sum(store.has(cid) for store in case.mesh.stores() for cid in cids)  # type: ignore[arg-type]


def keys(case: Case) -> list[str]:
    return case.mesh.member("hospital").home.vault.names(f"index/{case.name}/{case.stream.hex()}/")


def seals(case: Case) -> int:
    return sum(len(m.home.vault.names(f"seal/{case.stream.hex()}/")) for m in case.mesh.members.values())


@pytest.mark.promise("P8")
def test_an_erased_segment_is_nowhere_any_more(case: Case) -> None:
    shared = case.share()
    assert case.read(shared) == [1, 2, 3]
    gone, stays = blocks_of(case, 0), blocks_of(case, 1)
    assert (held(case, gone), len(keys(case)), seals(case)) == (9, 2, 6)
    case.person.erase("conditions", 0)
    assert (held(case, gone), held(case, stays), len(keys(case)), seals(case)) == (0, 9, 1, 3)
    assert case.read(shared) == [3]
    with pytest.raises(Unavailable, match=r"blobs\.09"):
        case.block(next(iter(gone)))  # type: ignore[arg-type]
    assert [segment.status for segment in case.segments()] == ["erased", "current"]
    assert [entry.index for entry in own_seals(case.reader, case.located, case.mesh, case.clock()).segments] == [1]
    with pytest.raises(Refused, match=r"records\.04"):
        case.person.erase("conditions", 0)


@pytest.mark.promise("P8")
def test_the_certificate_shows_who_confirmed_and_who_had_read_it(case: Case) -> None:
    case.read(case.share())
    made, found = case.person.erase("conditions", 0)
    shown = certificate.verify(made, case.mesh.light_client(), case.clock())
    assert found.faults == []
    assert {(entry.member, entry.kept) for entry in shown.confirmed} == {
        *((did, "seals") for did in case.mesh.custodians),
        *((case.did(name), "blocks") for name in ("hospital", "laboratory", "payer")),
        (case.did("hospital"), "keys"),
    }
    assert (shown.missing, shown.unreadable, shown.source_confirmed) == ([], True, True)
    assert shown.read_by == [case.did("practice")]
    assert (shown.stream, shown.segment, shown.by_duty) == (case.stream, 0, "")
    again = certificate.read(codec.encode(made))
    assert again == made
    case.add(4)
    later, _ = case.person.certificate("conditions", 0)
    assert certificate.verify(later, case.mesh.light_client(), case.clock()).height > shown.height


@pytest.mark.promise("P8")
def test_with_a_custodian_silent_the_certificate_says_so(case: Case) -> None:
    case.wallet.erase(case.stream, 0, case.ledger, case.sponsor)
    one, two, _ = sorted(case.mesh.custodians)

    class Silent:
        def __init__(self, *silent: str) -> None:
            self.silent = silent

        def confirm_erased(self, member: str, stream: bytes, segment: int) -> list[bytes]:
            if member in self.silent:
                raise Unavailable(custody.NOT_SIGNED, member)
            return case.mesh.confirm_erased(member, stream, segment)

    for silent, unreadable in (([one], True), ([one, two], False)):
        found = confirmations(case.reader, case.stream, 0, Silent(*silent))
        assert sorted(did for did, _ in found.faults) == silent
        made = erasures.make(case.mesh, case.stream, 0, found.signed)
        shown = certificate.verify(made, case.mesh.light_client(), case.clock())
        assert (sorted(shown.missing), shown.unreadable) == (silent, unreadable)


@pytest.mark.promise("P6")
def test_a_certificate_that_was_changed_or_is_of_something_else_shows_nothing(case: Case) -> None:
    made, _ = case.person.erase("conditions", 0)
    client, now = case.mesh.light_client(), case.clock()

    def code(changed: Certificate) -> str:
        with pytest.raises(CareMeshError) as caught:
            certificate.verify(changed, client, now)
        return caught.value.code

    first = made.confirmations[0]
    said = codec.decode_as(first.payload, ErasureConfirmation)
    key = next(m.home.node_key for m in case.mesh.members.values() if m.home.did == said.member)

    def signed(changed: ErasureConfirmation, by: SigningKey = key) -> Certificate:
        entry = custody.sign_payload(custody.ERASURE_CONFIRMATION, changed, by)
        return replace(made, confirmations=[entry, *made.confirmations[1:]])

    assert certificate.verify(signed(said), client, now)
    assert code(signed(replace(said, segment=1))) == "certificate.03"
    assert code(signed(replace(said, stream=bytes(32)))) == "certificate.03"
    assert code(signed(replace(said, erased=False))) == "certificate.03", "of a reseal, not of an erasure"
    assert code(signed(said, SigningKey.generate())) == "custody.02"
    assert code(signed(replace(said, member="did:caremesh:x:" + "a" * 32))) == "evidence.03"
    assert code(replace(made, confirmations=[replace(first, signature=bytes(64))])) == "custody.01"
    assert code(replace(made, confirmations=[replace(first, payload=b"")])) == "certificate.03"
    assert code(replace(made, segment=1)) == "evidence.03"
    assert code(replace(made, answers=made.answers[1:])) == "evidence.03"
    assert code(replace(made, chain="another")) == "certificate.01"
    value = replace(made.answers[0].proof, value=b"x")
    changed = replace(made, answers=[replace(made.answers[0], proof=value), *made.answers[1:]])
    assert code(changed) == "proof.01"
    with pytest.raises(Tampered, match=r"certificate\.01"):
        certificate.read(codec.encode(made)[:-1])
    with pytest.raises(Tampered, match=r"certificate\.02"):
        erasures.make(case.mesh, case.stream, 1, [])


def test_nobody_confirms_what_the_ledger_does_not_say(case: Case) -> None:
    for did in (*case.mesh.custodians, case.did("hospital")):
        with pytest.raises(Refused, match=r"custodian\.23"):
            case.mesh.confirm_erased(did, case.stream, 0)
    for custodian in case.mesh.custodians.values():
        for segment in (0, 7):
            with pytest.raises(Refused, match=r"custodian\.23"):
                custodian.confirm_erased(case.stream, segment)
    assert case.mesh.member("hospital").home.did not in case.mesh.custodians
    with pytest.raises(Refused, match=r"custodian\.23"):
        case.mesh.confirm_erased(case.did("hospital"), case.stream, 7)
    found = confirmations(case.reader, case.stream, 0, case.mesh)
    assert {code for _, code in found.faults} == {"custodian.23"}
    case.wallet.erase(case.stream, 0, case.ledger, case.sponsor)
    assert case.mesh.confirm_erased(case.did("practice"), case.stream, 0) == [], "it keeps none of it"


@pytest.mark.promise("P8")
def test_what_is_sealed_anew_leaves_nothing_of_the_old_behind(case: Case) -> None:
    old, other = blocks_of(case, 0), blocks_of(case, 1)
    case.person.drop("conditions", 0, [Record("Condition", f"{case.name}-c1")])
    new = blocks_of(case, 0)
    assert (held(case, old), held(case, new), held(case, other)) == (0, 9, 9)
    assert seals(case) == 6
    index = case.mesh.member("hospital").source(case.mesh).index
    rows = {entry.descriptor: entry for entry in index.segments(case.name, case.reader) if entry.stream == case.stream}
    assert rows[case.segments()[0].descriptor].key == b"", "the source's key of the old blocks is destroyed"  # type: ignore[index]
    assert case.add(1).unchanged == 2, "and what was dropped does not come back by itself"
    assert {
        codec.decode_as(custody.read_signed(raw).payload, ErasureConfirmation).erased for raw in case.mesh.confirmations
    } == {False}


def test_a_new_epoch_keeps_the_blocks_and_the_sources_keys(case: Case) -> None:
    before = blocks_of(case, 0)
    case.person.new_epoch("conditions")
    after = blocks_of(case, 0)
    assert len(before & after) == 2
    assert (held(case, before & after), held(case, before - after), held(case, after)) == (6, 0, 9)
    index = case.mesh.member("hospital").source(case.mesh).index
    rows = {entry.descriptor: entry for entry in index.segments(case.name, case.reader) if entry.stream == case.stream}
    assert set(rows) == {segment.descriptor for segment in case.segments()}
    assert all(entry.key for entry in rows.values())


@pytest.mark.promise("P3")
def test_fragments_of_a_list_go_with_the_last_of_its_segments(case: Case) -> None:
    shared = case.share()
    consent = shared.record.items[0].consent
    case.person.narrow(shared.record.id, Narrower(listed={case.stream: [0, 1]}))
    case.person.erase("conditions", 0)
    assert case.fragments(consent) == 3
    case.person.erase("conditions", 1)
    assert case.fragments(consent) == 0


@pytest.mark.promise("P8")
def test_what_was_erased_while_a_member_was_away_goes_when_it_is_back(case: Case) -> None:
    """Its copy of the ledger, its table and its stores as they were: it catches up by the events."""
    hospital = case.mesh.member("hospital")
    gone, follow = blocks_of(case, 0), hospital.forgetting.follow
    hospital.forgetting.follow = list  # type: ignore[method-assign,assignment]
    try:
        case.wallet.erase(case.stream, 0, case.ledger, case.sponsor)
        assert held(case, gone) == 3
        case.add(4)
    finally:
        hospital.forgetting.follow = follow  # type: ignore[method-assign]
    case.mesh.tick()
    assert held(case, gone) == 0
    assert held(case, blocks_of(case, 2)) == 9
    assert len(keys(case)) == 2


@pytest.mark.promise("P8")
def test_when_the_events_have_gone_too_every_row_is_looked_at(case: Case) -> None:
    hospital = case.mesh.member("hospital")
    gone, follow = blocks_of(case, 0), hospital.forgetting.follow
    hospital.forgetting.follow = list  # type: ignore[method-assign,assignment]
    case.wallet.erase(case.stream, 0, case.ledger, case.sponsor)
    hospital.forgetting.follow = follow  # type: ignore[method-assign]
    hospital.forgetting._cursor = "not a cursor"
    case.mesh.tick()
    assert held(case, gone) == 0
    assert records.segment(case.reader, case.stream, 0) is not None
