"""Streams open by their own permit; segments come in under it, once, and can be erased."""

from typing import Any

import pytest

from caremesh.codec import CID
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.records import queries as records
from caremesh.contracts.records.messages import Erase, Retract
from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import RenewPermit, RevokePermit
from caremesh.types import SignedPermit
from tests.support.world import NOW, Actor, World


def test_registering_opens_the_stream(world: World) -> None:
    world.must(world.register(), world.hospital)
    stream = streams.stream(world.view, world.stream)
    assert stream is not None
    assert stream.segments_left == 2
    [segment] = records.segments(world.view, world.stream)
    assert segment.source == world.hospital.did
    assert records.index_of(world.view, world.stream, world.register().descriptor) == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain": "other"}, "streams.02"),
        ({"stream": bytes(32)}, "streams.04"),
        ({"rotation": 1}, "streams.04"),
        ({"reading_key": bytes(33)}, "streams.18"),
        ({"threshold": 0}, "streams.11"),
        ({"threshold": 4}, "streams.11"),
        ({"custodians": []}, "streams.11"),
        ({"source": str(Actor("stranger").did)}, "streams.14"),
        ({"until": NOW}, "streams.08"),
        ({"max_segments": 0}, "streams.10"),
    ],
)
def test_permits_that_open_nothing(world: World, changes: dict[str, Any], code: str) -> None:
    message = world.register(permit=world.permit(**changes), stream=changes.get("stream", world.stream))
    assert world.do(message, world.hospital) == code
    assert streams.stream(world.view, world.stream) is None


def test_custodians_of_a_permit_are_sorted_members_in_that_role(world: World) -> None:
    dids = [str(actor.did) for actor in world.custodians]
    for wrong in (dids[::-1], [dids[0], dids[0], dids[1]], sorted([*dids[:2], str(world.hospital.did)])):
        assert world.do(world.register(permit=world.permit(custodians=wrong)), world.hospital) == "streams.11"


def test_bytes_that_are_no_permit_and_signatures_of_others(world: World) -> None:
    garbage = SignedPermit(permit=b"garbage", signature=bytes(64))
    assert world.do(world.register(permit=garbage), world.hospital) == "streams.01"
    forged = world.permit(Actor("another stream", stream=True))
    assert world.do(world.register(permit=forged), world.hospital) == "streams.03"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"serial": 4}, "streams.05"),
        ({"max_segments": 4}, "streams.06"),
        ({"epoch": 1}, "streams.07"),
        ({"serial": 6, "rotation": 1}, "streams.03"),
        ({"serial": 6, "threshold": 3}, "streams.13"),
        ({"serial": 6, "reading_key": b"\x03" + b"r" * 32}, "streams.15"),
    ],
)
def test_a_permit_of_an_open_stream_follows_the_newest(world: World, changes: dict[str, Any], code: str) -> None:
    world.must(world.register(permit=world.permit(serial=5)), world.hospital)
    assert world.do(RenewPermit(permit=world.permit(**{"serial": 5} | changes)), world.hospital) == code


def test_a_permit_is_used_up_revoked_and_renewed(world: World) -> None:
    for number in range(3):
        world.must(world.register(number), world.hospital)
    assert world.do(world.register(3), world.hospital) == "streams.10"
    world.must(world.register(3, permit=world.permit(serial=2)), world.hospital)
    world.must(RevokePermit(stream=world.stream), world.stream_key, world.hospital)
    assert world.do(world.register(4, permit=None), world.hospital) == "streams.09"
    world.must(RenewPermit(permit=world.permit(serial=3)), world.hospital)
    world.must(world.register(4, permit=None), world.hospital)


def test_who_may_revoke_a_permit(world: World) -> None:
    message = RevokePermit(stream=world.stream)
    assert world.do(message, world.stream_key, world.hospital) == "streams.12"
    world.must(world.register(), world.hospital)
    assert world.do(message, world.hospital) == "streams.03"
    assert world.do(message, world.stream_key, world.hospital, alone=False) == "streams.16"
    other = RevokePermit(stream=bytes(32), permit=world.permit())
    assert world.do(other, world.stream_key, world.hospital) == "streams.15"
    world.must(message, world.stream_key, world.hospital)
    assert world.do(message, world.stream_key, world.hospital) == "streams.09"


def test_a_permit_lapses_with_time(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.now += 301 * 86_400
    assert world.do(world.register(1), world.hospital) == "streams.08"


def test_what_cannot_be_registered(world: World) -> None:
    assert world.do(world.register(permit=None), world.hospital) == "records.01"
    assert world.do(world.register(stream=bytes(32)), world.hospital) == "records.09"
    assert world.do(world.register(), world.practice) == "records.05"
    assert world.do(world.register(size_class=64), world.hospital) == "records.08"
    block = CID.cidv1_raw_sha256_32_from(b"block")
    assert world.do(world.register(descriptor=block), world.hospital) == "records.10"
    world.must(world.register(), world.hospital)
    assert world.do(world.register(), world.hospital) == "records.02"
    assert world.do(world.register(1, seal=bytes(32)), world.hospital) == "records.02"
    world.must(Suspend(member=str(world.hospital.did)), *world.custodians[:2])
    assert world.do(world.register(2), world.hospital) == "members.04"


@pytest.mark.promise("P8")
def test_erasing_leaves_a_tombstone_only(world: World) -> None:
    world.must(world.register(), world.hospital)
    descriptor = world.register().descriptor
    assert world.do(Erase(stream=world.stream, segment=0), world.practice) == "records.05"
    assert world.do(Erase(stream=world.stream, segment=0), world.hospital) == "records.07"
    assert world.do(Erase(stream=world.stream, segment=1), world.stream_key, world.hospital) == "records.03"
    both = (world.stream_key, world.hospital)
    assert world.do(Erase(stream=world.stream, segment=0), *both, alone=False) == "records.06"
    world.must(Erase(stream=world.stream, segment=0), *both)
    assert world.do(Erase(stream=world.stream, segment=0), *both) == "records.04"
    segment = records.segment(world.view, world.stream, 0)
    assert segment is not None
    assert (segment.status, segment.descriptor, segment.seal) == ("erased", None, None)
    assert all(bytes(descriptor) not in (value or b"") for _, _, value in world.view.changes())
    assert world.do(world.register(), world.hospital) == "records.02"


def test_a_source_erases_under_a_duty_and_retracts(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.must(world.register(1), world.hospital)
    assert world.do(Retract(stream=world.stream, segment=0), world.practice) == "records.05"
    world.must(Retract(stream=world.stream, segment=0), world.hospital)
    world.must(Erase(stream=world.stream, segment=1, duty="GDPR:17"), world.hospital)
    assert [segment.status for segment in records.segments(world.view, world.stream)] == ["retracted", "erased"]
