"""Segments come in under a permit, once; a corrected, retracted or resealed one keeps its number."""

from typing import Any

import msgspec
import pytest

from caremesh.codec import CID
from caremesh.contracts.consent.messages import Revoke, Scope
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.records import queries
from caremesh.contracts.records.messages import Attest, Reseal, Retract, Supersede
from caremesh.contracts.records.state import Attestation, Segment
from caremesh.contracts.streams.messages import AddController, Close, NewEpoch, RenewPermit
from caremesh.crypto.signatures import stream_of
from caremesh.types import DAY_S
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import Actor, World

SALT = bytes(15) + b"\x01"


def segment_of(world: World, index: int = 0) -> Segment:
    found = queries.segment(world.view, world.stream, index)
    assert found is not None
    return found


def descriptor(number: int) -> CID:
    return CID.cidv1_dag_cbor_sha256_32_from(b"descriptor %d" % number)


def correction(world: World, segment: int = 0, **changes: Any) -> Supersede:
    given: dict[str, Any] = {"descriptor": descriptor(9), "seal": b"\x09" * 32, "size_class": 13}
    return Supersede(stream=world.stream, segment=segment, **given | changes)


def resealing(world: World, segment: int = 0, **changes: Any) -> Reseal:
    given: dict[str, Any] = {"descriptor": descriptor(9), "seal": b"\x09" * 32, "size_class": 11}
    return Reseal(stream=world.stream, segment=segment, **given | changes)


@pytest.fixture
def filled(world: World) -> World:
    """The stream holds two segments."""
    for number in (0, 1):
        world.must(world.register(number), world.hospital)
    return world


def test_a_segment_is_registered_by_the_source(world: World) -> None:
    world.must(RenewPermit(permit=world.permit()), world.hospital)
    assert queries.segments(world.view, world.stream) == []
    told = effect(world, world.register(), world.hospital)
    assert told == [("records/registered", {"stream": world.stream, "segment": 0})]
    assert segment_of(world) == Segment(
        source=str(world.hospital.did),
        epoch=0,
        registered=world.height - 1,
        size_class=12,
        status="current",
        descriptor=descriptor(0),
        seal=bytes(32),
    )
    told = effect(world, world.register(1, size_class=63), world.hospital)
    assert told == [("records/registered", {"stream": world.stream, "segment": 1})]
    assert queries.count(world.view, world.stream) == 2
    assert [queries.index_of(world.view, world.stream, descriptor(n)) for n in range(3)] == [0, 1, None]
    for key in (queries.segment_key(world.stream, 1), queries.count_key(world.stream)):
        assert world.view.get(key) is not None
    assert queries.segment(world.view, world.stream, 2) is None


def test_what_cannot_be_registered(world: World) -> None:
    block = CID.cidv1_raw_sha256_32_from(b"block")
    for message, signer, code in (
        (world.register(permit=None), world.hospital, "records.01"),
        (world.register(stream=bytes(32)), world.hospital, "records.09"),
        (world.register(), world.practice, "records.05"),
        (world.register(size_class=64), world.hospital, "records.08"),
        (world.register(descriptor=block), world.hospital, "records.10"),
    ):
        assert without_effect(world, message, signer) == code
    assert without_effect(world, world.register(), world.hospital, alone=False) == "records.06"
    world.must(world.register(), world.hospital)
    assert without_effect(world, world.register(1, permit=None), world.practice) == "records.05"
    world.must(Suspend(member=str(world.hospital.did)), *world.custodians[:2])
    assert without_effect(world, world.register(1, permit=None), world.hospital) == "members.04"


def test_a_descriptor_or_seal_comes_into_a_stream_once(filled: World) -> None:
    for wrong in (filled.register(), filled.register(2, seal=bytes(32)), filled.register(2, descriptor=descriptor(1))):
        assert without_effect(filled, wrong, filled.hospital) == "records.02"
    other = Actor("another stream", stream=True)
    stream = stream_of(other.key.public)
    permit = filled.permit(other, key=other.key.public, stream=stream)
    filled.must(filled.register(0, stream=stream, permit=permit), filled.hospital)


def test_a_corrected_segment_takes_the_place_of_another(filled: World) -> None:
    before = segment_of(filled)
    told = effect(filled, correction(filled), filled.hospital)
    assert told == [
        ("records/registered", {"stream": filled.stream, "segment": 2}),
        ("records/superseded", {"stream": filled.stream, "segment": 0, "successor": 2}),
    ]
    assert segment_of(filled) == msgspec.structs.replace(before, status="superseded", successor=2)
    assert segment_of(filled, 2) == msgspec.structs.replace(
        before, registered=filled.height - 1, descriptor=descriptor(9), seal=b"\x09" * 32, size_class=13
    )
    assert without_effect(filled, correction(filled, descriptor=descriptor(8)), filled.hospital) == "records.11"
    chained = correction(filled, 2, descriptor=descriptor(8), seal=b"\x08" * 32, permit=filled.permit(serial=2))
    filled.must(chained, filled.hospital)
    assert segment_of(filled, 2).successor == 3


def test_who_corrects_what(filled: World) -> None:
    assert without_effect(filled, correction(filled), filled.practice) == "records.05"
    assert without_effect(filled, correction(filled), filled.stream_key, filled.practice) == "records.05"
    assert without_effect(filled, correction(filled), filled.hospital, alone=False) == "records.06"
    assert without_effect(filled, correction(filled, 2), filled.hospital) == "records.03"
    assert without_effect(filled, correction(filled, size_class=64), filled.hospital) == "records.08"
    assert without_effect(filled, correction(filled, seal=b"\x01" * 32), filled.hospital) == "records.02"
    filled.must(Retract(stream=filled.stream, segment=0), filled.hospital)
    assert without_effect(filled, correction(filled), filled.hospital) == "records.11"
    filled.must(filled.register(2), filled.hospital)
    filled.must(filled.register(3), filled.hospital)
    assert without_effect(filled, correction(filled, 1), filled.hospital) == "streams.10"


def test_a_superseded_segment_is_read_only_where_a_consent_names_it(filled: World) -> None:
    filled.granted(salt=SALT, purposes=["TREAT"])
    filled.must(correction(filled), filled.hospital)
    message = Attest(stream=filled.stream, segment=0)
    assert without_effect(filled, message, filled.practice) == "records.12"
    filled.must(Attest(stream=filled.stream, segment=2), filled.practice)
    named = Scope(kind="listed", segments=[0])
    filled.granted(salt=bytes(16), purposes=["HPAYMT"], scope=named)
    filled.must(message, filled.practice)


def test_a_source_says_that_a_segment_was_entered_in_error(filled: World) -> None:
    before = segment_of(filled)
    message = Retract(stream=filled.stream, segment=0)
    assert without_effect(filled, message, filled.practice) == "records.05"
    assert without_effect(filled, message, filled.stream_key, filled.practice) == "records.05"
    assert without_effect(filled, message, filled.hospital, alone=False) == "records.06"
    for wrong in (Retract(stream=filled.stream, segment=2), Retract(stream=bytes(32), segment=0)):
        assert without_effect(filled, wrong, filled.hospital) == "records.03"
    told = effect(filled, message, filled.hospital)
    assert told == [("records/retracted", {"stream": filled.stream, "segment": 0})]
    assert segment_of(filled) == msgspec.structs.replace(before, status="retracted")
    assert without_effect(filled, message, filled.hospital) == "records.11"


def test_a_resealed_segment_keeps_its_number_and_height(filled: World) -> None:
    before = segment_of(filled)
    filled.must(NewEpoch(stream=filled.stream, reading_key=b"\x02" + bytes(32)), filled.stream_key, filled.practice)
    told = effect(filled, resealing(filled), filled.stream_key, filled.practice)
    assert told == [("records/resealed", {"stream": filled.stream, "segment": 0, "version": 1})]
    assert segment_of(filled) == msgspec.structs.replace(
        before, epoch=1, version=1, descriptor=descriptor(9), seal=b"\x09" * 32, size_class=11
    )
    assert queries.index_of(filled.view, filled.stream, descriptor(9)) == 0
    assert queries.index_of(filled.view, filled.stream, descriptor(0)) == 0
    back = resealing(filled, descriptor=descriptor(0), seal=b"\x07" * 32)
    assert without_effect(filled, back, filled.stream_key, filled.practice) == "records.02"
    again = resealing(filled, descriptor=descriptor(8), seal=b"\x08" * 32)
    assert effect(filled, again, filled.stream_key, filled.practice)[0][1]["version"] == 2
    reused = resealing(filled, 1, descriptor=descriptor(7), seal=b"\x09" * 32)
    assert without_effect(filled, reused, filled.stream_key, filled.practice) == "records.02"


def test_who_reseals_what(filled: World) -> None:
    own = (filled.stream_key, filled.practice)
    parent = Actor("parent", stream=True)
    powers = ["dispute", "erase", "grant", "revoke"]
    adding = AddController(stream=filled.stream, key=parent.key.public, powers=powers, until=20_100 * DAY_S)  # type: ignore[arg-type]
    filled.must(adding, filled.stream_key, parent, filled.practice)
    named = acting_for("stream", filled.doctor.did)
    for signers in ((filled.hospital,), (parent, filled.practice), (named, filled.practice)):
        assert without_effect(filled, resealing(filled), *signers) == "records.05"
    assert without_effect(filled, resealing(filled), *own, alone=False) == "records.06"
    assert without_effect(filled, resealing(filled, 2), *own) == "records.03"
    nowhere = Reseal(stream=bytes(32), segment=0, descriptor=descriptor(9), seal=bytes(32), size_class=1)
    assert without_effect(filled, nowhere, *own) == "records.03"
    assert without_effect(filled, resealing(filled, size_class=64), *own) == "records.08"
    block = CID.cidv1_raw_sha256_32_from(b"block")
    assert without_effect(filled, resealing(filled, descriptor=block), *own) == "records.10"
    filled.must(correction(filled), filled.hospital)
    filled.must(Close(stream=filled.stream), *own)
    filled.must(resealing(filled, descriptor=descriptor(8), seal=b"\x08" * 32), *own)
    assert (segment_of(filled).status, segment_of(filled).successor) == ("superseded", 2)


def test_a_second_party_attests_a_segment_as_it_is_sealed(filled: World) -> None:
    message = Attest(stream=filled.stream, segment=1)
    assert without_effect(filled, message, filled.practice) == "records.12"
    filled.granted(salt=SALT)
    filled.granted(salt=bytes(16), grantee=str(filled.hospital.did))
    assert without_effect(filled, message, filled.hospital) == "records.12"
    assert without_effect(filled, message, filled.custodians[0]) == "records.12"
    assert without_effect(filled, message, filled.practice, alone=False) == "records.06"
    for wrong in (Attest(stream=filled.stream, segment=2), Attest(stream=bytes(32), segment=0)):
        assert without_effect(filled, wrong, filled.practice) == "records.03"
    told = effect(filled, message, filled.practice)
    member = str(filled.practice.did)
    assert told == [("records/attested", {"stream": filled.stream, "segment": 1, "member": member})]
    first = Attestation(member=member, version=0, height=filled.height - 1)
    assert queries.attestations(filled.view, filled.stream, 1) == [first]
    assert queries.attestations(filled.view, filled.stream, 0) == []
    assert without_effect(filled, message, filled.practice) == "records.13"
    filled.must(resealing(filled, 1), filled.stream_key, filled.hospital)
    filled.must(message, filled.practice)
    second = Attestation(member=member, version=1, height=filled.height - 1)
    assert queries.attestations(filled.view, filled.stream, 1) == [first, second]
    assert without_effect(filled, message, filled.practice) == "records.13"


def test_who_may_no_longer_read_attests_nothing(filled: World) -> None:
    consent = filled.granted(salt=SALT)
    filled.must(Revoke(consent=consent), filled.stream_key, filled.hospital)
    message = Attest(stream=filled.stream, segment=0)
    assert without_effect(filled, message, filled.practice) == "records.12"
