"""A stream is opened by its own permit and lives by the newest."""

from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.contracts.identity.messages import Register as RegisterIdentity
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.streams import queries
from caremesh.contracts.streams.messages import RenewPermit, RevokePermit
from caremesh.contracts.streams.state import Stream
from caremesh.crypto.hashes import sha256
from caremesh.crypto.signatures import did_of, stream_of
from caremesh.types import DAY_S, SignedPermit
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import CHAIN, NOW, Actor, World

UNTIL = 20_300 * DAY_S
WEAK = b"\xed\x01" + bytes(32)
"""A point of small order."""


def stream_of_world(world: World) -> Stream:
    found = queries.stream(world.view, world.stream)
    assert found is not None
    return found


def opened(world: World, **changes: Any) -> None:
    world.must(world.register(permit=world.permit(**changes)), world.hospital)


def test_the_first_registration_opens_the_stream(world: World) -> None:
    assert queries.stream(world.view, world.stream) is None
    told = effect(world, world.register(), world.hospital)
    assert told[0] == ("streams/opened", {"stream": world.stream})
    assert stream_of_world(world) == Stream(
        id=world.stream,
        key=world.stream_key.key.public,
        rotation=0,
        source=str(world.hospital.did),
        epoch=0,
        reading_key=world.reading.public,
        custodians=[str(actor.did) for actor in world.custodians],
        threshold=2,
        serial=1,
        permit=sha256(world.permit().permit),
        permit_until=UNTIL,
        segments_left=3,
        permit_revoked=False,
        opened=world.height - 1,
        closed=False,
    )
    assert world.view.get(queries.stream_key(world.stream)) is not None
    assert queries.of_key(world.view, world.stream_key.key.public) == world.stream


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain": "other"}, "streams.02"),
        ({"stream": bytes(32)}, "streams.04"),
        ({"rotation": 1}, "streams.04"),
        ({"epoch": 1}, "streams.07"),
        ({"reading_key": bytes(33)}, "streams.18"),
        ({"threshold": 0}, "streams.11"),
        ({"threshold": 4}, "streams.11"),
        ({"custodians": []}, "streams.11"),
        ({"source": str(Actor("stranger").did)}, "streams.14"),
        ({"until": UNTIL + 1}, "streams.25"),
        ({"max_segments": 0}, "streams.25"),
        ({"max_segments": 3}, "streams.25"),
        ({"until": 20_000 * DAY_S}, "streams.08"),
    ],
)
def test_permits_that_open_nothing(world: World, changes: dict[str, Any], code: str) -> None:
    message = world.register(permit=world.permit(**changes), stream=changes.get("stream", world.stream))
    assert without_effect(world, message, world.hospital) == code


def test_both_kinds_of_compressed_reading_keys_are_accepted(world: World) -> None:
    for name, first in (("even", 2), ("odd", 3)):
        key = Actor(name, stream=True)
        stream = stream_of(key.key.public)
        permit = world.permit(key, key=key.key.public, stream=stream, reading_key=bytes([first]) + bytes(32))
        world.must(RenewPermit(permit=permit), world.hospital)


@pytest.mark.parametrize("threshold", [1, 3])
def test_a_threshold_is_from_one_to_the_number_of_custodians(world: World, threshold: int) -> None:
    opened(world, threshold=threshold)
    assert stream_of_world(world).threshold == threshold


def test_custodians_of_a_permit_are_sorted_active_members_in_that_role(world: World) -> None:
    dids = [str(actor.did) for actor in world.custodians]
    for wrong in (dids[::-1], [dids[0], dids[0], dids[1]], sorted([*dids[:2], str(world.hospital.did)])):
        message = world.register(permit=world.permit(custodians=wrong))
        assert without_effect(world, message, world.hospital) == "streams.11"
    world.must(Suspend(member=dids[0]), *world.custodians[1:])
    assert without_effect(world, world.register(), world.hospital) == "streams.11"


def test_bytes_that_are_no_permit_and_signatures_of_others(world: World) -> None:
    too_many = world.permit(custodians=[did_of(CHAIN, bytes([0xED, 1]) + bytes([n]) * 32) for n in range(33)])
    for garbage in (SignedPermit(permit=b"garbage", signature=bytes(64)), too_many):
        assert without_effect(world, world.register(permit=garbage), world.hospital) == "streams.01"
    forged = world.permit(Actor("another stream", stream=True))
    assert without_effect(world, world.register(permit=forged), world.hospital) == "streams.03"
    bare = codec.encode(codec.decode(world.permit().permit))
    undomained = SignedPermit(permit=bare, signature=world.stream_key.key.sign(bare))
    assert without_effect(world, world.register(permit=undomained), world.hospital) == "streams.03"


def test_a_key_that_serves_a_did_opens_no_stream(world: World) -> None:
    nurse = Actor("stream")
    nurse.did, nurse.signer = (
        did_of(CHAIN, nurse.key.public),
        acting_for("stream", did_of(CHAIN, nurse.key.public)).signer,
    )
    message = RegisterIdentity(did=str(nurse.did), key=nurse.key.public, kind="device")
    world.must(message, nurse, world.practice)
    assert without_effect(world, world.register(), world.hospital) == "streams.19"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"serial": 4}, "streams.05"),
        ({"serial": 5, "max_segments": 8}, "streams.06"),
        ({"serial": 6, "epoch": 1}, "streams.07"),
        ({"serial": 6, "rotation": 1}, "streams.03"),
        ({"serial": 6, "threshold": 3}, "streams.13"),
        ({"serial": 6, "custodians": [str(Actor("custodian 0").did)], "threshold": 2}, "streams.13"),
        ({"serial": 6, "reading_key": b"\x03" + b"r" * 32}, "streams.15"),
        ({"serial": 6, "source": str(Actor("practice").did)}, "streams.15"),
        ({"serial": 6, "until": UNTIL + 1}, "streams.25"),
        ({"serial": 6, "max_segments": 6}, "streams.25"),
        ({"serial": 6, "chain": "other"}, "streams.02"),
    ],
)
def test_a_permit_of_an_open_stream_follows_the_newest(world: World, changes: dict[str, Any], code: str) -> None:
    opened(world, serial=5)
    message = RenewPermit(permit=world.permit(**changes))
    assert without_effect(world, message, world.hospital) == code


def test_a_permit_of_an_open_stream_is_signed_by_its_current_key(world: World) -> None:
    opened(world)
    other = Actor("another stream", stream=True)
    message = RenewPermit(permit=world.permit(other, key=other.key.public, serial=2))
    assert without_effect(world, message, world.hospital) == "streams.03"


def test_a_newer_permit_takes_the_place_of_the_last(world: World) -> None:
    opened(world)
    before = stream_of_world(world)
    newer = world.permit(serial=9, until=UNTIL + DAY_S, max_segments=1)
    told = effect(world, RenewPermit(permit=newer), world.practice)
    assert told == [("streams/permitted", {"stream": world.stream, "serial": 9})]
    assert stream_of_world(world) == msgspec.structs.replace(
        before, serial=9, permit=sha256(newer.permit), permit_until=UNTIL + DAY_S, segments_left=1
    )
    again = effect(world, RenewPermit(permit=newer), world.practice)
    assert again == told
    old = RenewPermit(permit=world.permit())
    assert without_effect(world, old, world.practice) == "streams.05"


def test_a_renewal_travels_alone_and_may_open_a_stream(world: World) -> None:
    message = RenewPermit(permit=world.permit())
    assert without_effect(world, message, world.practice, alone=False) == "streams.16"
    told = effect(world, message, world.practice)
    assert [kind for kind, _ in told] == ["streams/opened", "streams/permitted"]
    assert stream_of_world(world).segments_left == 4


def test_a_suspended_source_gets_no_permit(world: World) -> None:
    opened(world)
    world.must(Suspend(member=str(world.hospital.did)), *world.custodians[:2])
    message = RenewPermit(permit=world.permit(serial=2))
    assert without_effect(world, message, world.practice) == "streams.14"


def test_a_permit_is_used_up_revoked_and_renewed(world: World) -> None:
    for number in range(4):
        world.must(world.register(number), world.hospital)
    assert without_effect(world, world.register(4), world.hospital) == "streams.10"
    world.must(world.register(4, permit=world.permit(serial=2)), world.hospital)
    told = effect(world, RevokePermit(stream=world.stream), world.stream_key, world.hospital)
    assert told == [("streams/permit-revoked", {"stream": world.stream})]
    assert without_effect(world, world.register(5, permit=None), world.hospital) == "streams.09"
    assert without_effect(world, world.register(5, permit=world.permit(serial=2)), world.hospital) == "streams.09"
    world.must(RenewPermit(permit=world.permit(serial=3)), world.hospital)
    world.must(world.register(5, permit=None), world.hospital)


def test_a_permit_lapses_with_time(world: World) -> None:
    world.must(world.register(0), world.hospital)
    world.now = UNTIL - 1
    world.must(world.register(1), world.hospital)
    world.now = UNTIL
    assert without_effect(world, world.register(2), world.hospital) == "streams.08"


def test_who_may_revoke_a_permit(world: World) -> None:
    message = RevokePermit(stream=world.stream)
    assert without_effect(world, message, world.stream_key, world.hospital) == "streams.12"
    opened(world)
    assert without_effect(world, message, world.hospital) == "streams.03"
    impostor = acting_for("stream", str(Actor("x").did))
    assert without_effect(world, message, impostor, world.hospital) == "streams.03"
    assert without_effect(world, message, world.stream_key, world.hospital, alone=False) == "streams.16"
    other = RevokePermit(stream=bytes(32), permit=world.permit())
    assert without_effect(world, other, world.stream_key, world.hospital) == "streams.15"
    world.must(message, world.stream_key, world.hospital)
    assert without_effect(world, message, world.stream_key, world.hospital) == "streams.09"


@pytest.mark.promise("P3")
def test_a_permit_is_revoked_before_it_was_used_whoever_is_suspended(world: World) -> None:
    quorum = world.custodians[1:]
    world.must(Suspend(member=str(world.hospital.did)), *quorum)
    world.must(Suspend(member=str(world.custodians[0].did)), *quorum)
    message = RevokePermit(stream=world.stream, permit=world.permit())
    unsorted = [str(actor.did) for actor in world.custodians][::-1]
    wrong = RevokePermit(stream=world.stream, permit=world.permit(custodians=unsorted))
    assert without_effect(world, wrong, world.stream_key, world.practice) == "streams.11"
    told = effect(world, message, world.stream_key, world.practice)
    assert [kind for kind, _ in told] == ["streams/opened", "streams/permit-revoked"]
    assert stream_of_world(world).permit_revoked


@pytest.mark.promise("P3")
def test_revoking_with_a_newer_permit_holds_for_that_too(world: World) -> None:
    opened(world)
    world.must(Suspend(member=str(world.hospital.did)), *world.custodians[:2])
    message = RevokePermit(stream=world.stream, permit=world.permit(serial=7))
    world.must(message, world.stream_key, world.practice)
    found = stream_of_world(world)
    assert (found.serial, found.permit_revoked, found.segments_left) == (7, True, 4)


def test_only_the_source_of_the_stream_writes(world: World) -> None:
    opened(world)
    assert without_effect(world, world.register(1), world.practice) == "records.05"
    assert NOW < UNTIL
