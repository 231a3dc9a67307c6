"""What a stream's own key may do, alone: rotate, begin an epoch, choose custodians, close."""

from collections.abc import Callable

import msgspec
import pytest

from caremesh.contracts.consent.messages import Revoke
from caremesh.contracts.members.messages import SetRole, Suspend
from caremesh.contracts.streams import queries
from caremesh.contracts.streams.messages import Close, NewEpoch, RenewPermit, RevokePermit, RotateKey, SetCustodians
from caremesh.contracts.streams.state import Stream
from caremesh.crypto.hashes import sha256
from caremesh.crypto.reencryption import ReadingKey
from caremesh.crypto.signatures import stream_of
from caremesh.ledger.transactions import Message
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import Actor, World

NEW_KEY = Actor("stream's next key", stream=True)
NEXT, AFTER = (ReadingKey.from_secret(secret * 32).public for secret in (b"s", b"t"))
WEAK = b"\xed\x01" + bytes(32)
"""A point of small order."""


@pytest.fixture
def opened(world: World) -> World:
    """The stream is open, with one segment."""
    world.must(world.register(), world.hospital)
    return world


def stream_of_world(world: World) -> Stream:
    found = queries.stream(world.view, world.stream)
    assert found is not None
    return found


def dids(*actors: Actor) -> list[str]:
    return sorted(str(actor.did) for actor in actors)


Make = Callable[[World], Message]
OWN: list[Make] = [
    lambda world: RotateKey(stream=world.stream, key=NEW_KEY.key.public),
    lambda world: NewEpoch(stream=world.stream, reading_key=NEXT),
    lambda world: SetCustodians(stream=world.stream, custodians=dids(*world.custodians[:2]), threshold=1),
    lambda world: Close(stream=world.stream),
]


@pytest.mark.parametrize("make", OWN)
def test_only_the_streams_own_key_may_and_alone(world: World, make: Make) -> None:
    own = (world.stream_key, NEW_KEY, world.hospital)
    assert without_effect(world, make(world), *own) == "streams.12"
    world.must(world.register(), world.hospital)
    assert without_effect(world, make(world), NEW_KEY, world.hospital) == "streams.03"
    impostor = acting_for("stream", world.doctor.did)
    assert without_effect(world, make(world), impostor, NEW_KEY, world.hospital) == "streams.03"
    assert without_effect(world, make(world), *own, alone=False) == "streams.16"
    world.must(make(world), *own)


@pytest.mark.parametrize("make", OWN)
def test_a_closed_stream_does_not_change(opened: World, make: Make) -> None:
    own = (opened.stream_key, NEW_KEY, opened.hospital)
    opened.must(Close(stream=opened.stream), opened.stream_key, opened.practice)
    assert without_effect(opened, make(opened), *own) == "streams.17"


def test_a_key_is_rotated_and_permits_by_the_old_one_end(opened: World) -> None:
    before = stream_of_world(opened)
    message = RotateKey(stream=opened.stream, key=NEW_KEY.key.public)
    assert without_effect(opened, message, opened.stream_key, opened.practice) == "streams.03"
    told = effect(opened, message, opened.stream_key, NEW_KEY, opened.practice)
    assert told == [("streams/key-rotated", {"stream": opened.stream, "rotation": 1})]
    assert stream_of_world(opened) == msgspec.structs.replace(
        before, key=NEW_KEY.key.public, rotation=1, permit_revoked=True
    )
    assert queries.of_key(opened.view, NEW_KEY.key.public) == opened.stream
    assert queries.of_key(opened.view, opened.stream_key.key.public) == opened.stream
    assert without_effect(opened, opened.register(1, permit=None), opened.hospital) == "streams.09"
    by_old = RenewPermit(permit=opened.permit(serial=2))
    assert without_effect(opened, by_old, opened.hospital) == "streams.03"
    unturned = RenewPermit(permit=opened.permit(NEW_KEY, key=NEW_KEY.key.public, serial=2))
    assert without_effect(opened, unturned, opened.hospital) == "streams.03"
    newer = RenewPermit(permit=opened.permit(NEW_KEY, key=NEW_KEY.key.public, rotation=1, serial=2))
    opened.must(newer, opened.hospital)
    opened.must(opened.register(1, permit=None), opened.hospital)
    revoke = RevokePermit(stream=opened.stream)
    assert without_effect(opened, revoke, opened.stream_key, opened.hospital) == "streams.03"
    opened.must(revoke, NEW_KEY, opened.hospital)


def test_a_key_is_rotated_with_the_next_permit_at_once(opened: World) -> None:
    permit = opened.permit(NEW_KEY, key=NEW_KEY.key.public, rotation=1, serial=2)
    message = RotateKey(stream=opened.stream, key=NEW_KEY.key.public, permit=permit)
    opened.must(message, opened.stream_key, NEW_KEY, opened.practice)
    found = stream_of_world(opened)
    assert (found.permit, found.permit_revoked, found.rotation) == (sha256(permit.permit), False, 1)


def test_a_stream_gets_no_key_that_serves_or_served_something(opened: World) -> None:
    other = Actor("another stream", stream=True)
    stream = stream_of(other.key.public)
    permit = opened.permit(other, key=other.key.public, stream=stream)
    opened.must(RenewPermit(permit=permit), opened.hospital)
    opened.must(RotateKey(stream=opened.stream, key=NEW_KEY.key.public), opened.stream_key, NEW_KEY, opened.hospital)
    known = acting_for("doctor", None)
    weak = Actor("weak", stream=True)
    weak.signer = type(weak.signer)(key=WEAK)
    for key in (other, opened.stream_key, NEW_KEY, known):
        message = RotateKey(stream=opened.stream, key=key.signer.key)
        assert without_effect(opened, message, NEW_KEY, key, opened.hospital) == "streams.19"
    message = RotateKey(stream=opened.stream, key=WEAK)
    assert without_effect(opened, message, NEW_KEY, weak, opened.hospital) == "signatures.02"
    message = RotateKey(stream=stream, key=NEW_KEY.key.public)
    assert without_effect(opened, message, other, NEW_KEY, opened.hospital) == "streams.19"


def test_a_key_that_a_stream_was_given_opens_no_other(opened: World) -> None:
    opened.must(RotateKey(stream=opened.stream, key=NEW_KEY.key.public), opened.stream_key, NEW_KEY, opened.hospital)
    stream = stream_of(NEW_KEY.key.public)
    permit = opened.permit(NEW_KEY, key=NEW_KEY.key.public, stream=stream)
    assert without_effect(opened, RenewPermit(permit=permit), opened.hospital) == "streams.19"


def test_a_new_epoch_ends_the_permits_of_the_old(opened: World) -> None:
    before = stream_of_world(opened)
    message = NewEpoch(stream=opened.stream, reading_key=NEXT)
    told = effect(opened, message, opened.stream_key, opened.practice)
    assert told == [("streams/epoch-begun", {"stream": opened.stream, "epoch": 1})]
    assert stream_of_world(opened) == msgspec.structs.replace(before, epoch=1, reading_key=NEXT, permit_revoked=True)
    assert without_effect(opened, opened.register(1, permit=None), opened.hospital) == "streams.09"
    old = RenewPermit(permit=opened.permit(serial=2))
    assert without_effect(opened, old, opened.hospital) == "streams.07"
    opened.must(RenewPermit(permit=opened.permit(serial=2, epoch=1, reading_key=NEXT)), opened.hospital)
    opened.must(opened.register(1, permit=None), opened.hospital)


def test_a_new_epoch_comes_with_its_permit(opened: World) -> None:
    permit = opened.permit(serial=2, epoch=1, reading_key=NEXT)
    message = NewEpoch(stream=opened.stream, reading_key=NEXT, permit=permit)
    told = effect(opened, message, opened.stream_key, opened.practice)
    assert told == [("streams/epoch-begun", {"stream": opened.stream, "epoch": 1})]
    assert not stream_of_world(opened).permit_revoked


def test_no_epoch_has_the_reading_key_of_one_before(opened: World) -> None:
    own, first = (opened.stream_key, opened.practice), opened.reading.public
    for wrong, code in ((b"\x04" + bytes(32), "streams.18"), (first, "streams.20")):
        message = NewEpoch(stream=opened.stream, reading_key=wrong)
        assert without_effect(opened, message, *own) == code
    opened.must(NewEpoch(stream=opened.stream, reading_key=NEXT), *own)
    opened.must(NewEpoch(stream=opened.stream, reading_key=AFTER), *own)
    assert stream_of_world(opened).epoch == 2
    for known in (first, NEXT, AFTER):
        message = NewEpoch(stream=opened.stream, reading_key=known)
        assert without_effect(opened, message, *own) == "streams.20"
    for prefix in (2, 3):
        opened.must(NewEpoch(stream=opened.stream, reading_key=bytes([prefix]) + bytes(32)), *own)


def test_custodians_are_replaced_and_permits_of_the_old_set_end(opened: World) -> None:
    before = stream_of_world(opened)
    fewer = dids(*opened.custodians[:2])
    message = SetCustodians(stream=opened.stream, custodians=fewer, threshold=1)
    told = effect(opened, message, opened.stream_key, opened.practice)
    assert told == [("streams/custodians-set", {"stream": opened.stream})]
    assert stream_of_world(opened) == msgspec.structs.replace(
        before, custodians=fewer, threshold=1, permit_revoked=True
    )
    assert without_effect(opened, opened.register(1, permit=None), opened.hospital) == "streams.09"
    old = RenewPermit(permit=opened.permit(serial=2))
    assert without_effect(opened, old, opened.hospital) == "streams.13"
    opened.must(RenewPermit(permit=opened.permit(serial=2, custodians=fewer, threshold=1)), opened.hospital)


def test_custodians_come_with_their_permit_which_is_this_streams(opened: World) -> None:
    fewer = dids(*opened.custodians[:2])
    other = Actor("another stream", stream=True)
    foreign = opened.permit(other, key=other.key.public, stream=stream_of(other.key.public))
    message = SetCustodians(stream=opened.stream, custodians=fewer, threshold=2, permit=foreign)
    assert without_effect(opened, message, opened.stream_key, opened.practice) == "streams.15"
    permit = opened.permit(serial=2, custodians=fewer)
    message = SetCustodians(stream=opened.stream, custodians=fewer, threshold=2, permit=permit)
    opened.must(message, opened.stream_key, opened.practice)
    assert not stream_of_world(opened).permit_revoked


def test_custodians_are_active_members_in_that_role(opened: World) -> None:
    own, (first, second, third) = (opened.stream_key, opened.practice), opened.custodians

    def choose(custodians: list[str], threshold: int = 1) -> SetCustodians:
        return SetCustodians(stream=opened.stream, custodians=custodians, threshold=threshold)

    two = dids(first, second)
    for wrong in (choose(two[::-1]), choose([two[0], two[0]]), choose(dids(first, opened.hospital)), choose([])):
        assert without_effect(opened, wrong, *own) == "streams.11"
    for threshold in (0, 3):
        assert without_effect(opened, choose(two, threshold), *own) == "streams.11"
    opened.must(Suspend(member=str(first.did)), second, third)
    assert without_effect(opened, choose(two), *own) == "streams.11"
    opened.must(choose(dids(second, third), 2), *own)


def test_who_is_granted_a_stream_is_no_custodian_of_it(world: World) -> None:
    world.must(SetRole(member=str(world.practice.did), roles=["custodian", "provider"]), *world.custodians[:2])
    salt = bytes(16)
    consent = world.granted(salt=salt)
    message = SetCustodians(stream=world.stream, custodians=dids(world.practice, *world.custodians), threshold=2)
    assert without_effect(world, message, world.stream_key, world.hospital) == "streams.21"
    world.must(Revoke(consent=consent), world.stream_key, world.hospital)
    world.must(message, world.stream_key, world.hospital)


def test_a_closed_stream_takes_nothing_in_and_lets_everything_be_taken_back(opened: World) -> None:
    consent = opened.granted(salt=bytes(16))
    before = stream_of_world(opened)
    told = effect(opened, Close(stream=opened.stream), opened.stream_key, opened.practice)
    assert told == [("streams/closed", {"stream": opened.stream})]
    assert stream_of_world(opened) == msgspec.structs.replace(before, closed=True)
    assert without_effect(opened, opened.register(1, permit=None), opened.hospital) == "streams.17"
    assert without_effect(opened, opened.register(1), opened.hospital) == "streams.17"
    renew = RenewPermit(permit=opened.permit(serial=2))
    assert without_effect(opened, renew, opened.hospital) == "streams.17"
    opened.must(RevokePermit(stream=opened.stream), opened.stream_key, opened.hospital)
    opened.must(Revoke(consent=consent), opened.stream_key, opened.hospital)
