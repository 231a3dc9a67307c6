"""A parent or carer acts in the subject's place, with a key made for one stream, within powers, for a year at most."""

from typing import Any

import pytest

from caremesh.contracts.records.messages import Erase
from caremesh.contracts.streams import queries
from caremesh.contracts.streams.messages import (
    AddController,
    Close,
    NewEpoch,
    RemoveController,
    RenewPermit,
    RevokePermit,
    RotateKey,
    SetCustodians,
)
from caremesh.contracts.streams.state import Controller
from caremesh.crypto.signatures import stream_of
from caremesh.types import DAY_S
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import NOW, Actor, World

UNTIL = 20_100 * DAY_S
LONGEST = 20_366 * DAY_S
PARENT, CARER = Actor("parent", stream=True), Actor("carer", stream=True)


@pytest.fixture
def opened(world: World) -> World:
    """The stream is open, with one segment."""
    world.must(world.register(), world.hospital)
    return world


@pytest.fixture
def guided(opened: World) -> World:
    """A parent may do everything that a controller can."""
    opened.must(adding(opened, powers=["dispute", "erase", "grant", "revoke"]), *by_both(opened, PARENT))
    return opened


def adding(world: World, who: Actor = PARENT, **changes: Any) -> AddController:
    given: dict[str, Any] = {"stream": world.stream, "key": who.key.public, "powers": ["revoke"], "until": UNTIL}
    return AddController(**given | changes)


def by_both(world: World, controller: Actor) -> tuple[Actor, Actor, Actor]:
    return world.stream_key, controller, world.practice


def test_a_controller_is_added_by_the_stream_and_signs_for_itself(opened: World) -> None:
    message = adding(opened, powers=["grant", "revoke"])
    assert queries.controllers(opened.view, opened.stream) == []
    assert without_effect(opened, message, opened.stream_key, opened.practice) == "streams.03"
    assert without_effect(opened, message, PARENT, opened.practice) == "streams.03"
    named = acting_for("parent", opened.doctor.did)
    assert without_effect(opened, message, opened.stream_key, named, opened.practice) == "streams.03"
    assert without_effect(opened, message, *by_both(opened, PARENT), alone=False) == "streams.16"
    told = effect(opened, message, *by_both(opened, PARENT))
    assert told == [("streams/controller-added", {"stream": opened.stream})]
    entry = Controller(key=PARENT.key.public, powers=["grant", "revoke"], until=UNTIL)
    assert queries.controllers(opened.view, opened.stream) == [entry]
    assert queries.of_key(opened.view, PARENT.key.public) == opened.stream
    assert opened.view.get(queries.controllers_key(opened.stream)) is not None


def test_controllers_are_kept_in_order_of_keys(opened: World) -> None:
    for controller in (PARENT, CARER):
        opened.must(adding(opened, controller), *by_both(opened, controller))
    keys = [entry.key for entry in queries.controllers(opened.view, opened.stream)]
    assert keys == sorted(keys) == sorted([PARENT.key.public, CARER.key.public])


@pytest.mark.parametrize(
    "changes",
    [
        {"powers": []},
        {"powers": ["revoke", "grant"]},
        {"powers": ["grant", "grant"]},
        {"until": UNTIL + 1},
        {"until": 20_000 * DAY_S},
        {"until": LONGEST + DAY_S},
    ],
)
def test_powers_are_sorted_and_end_within_a_year(opened: World, changes: dict[str, Any]) -> None:
    message = adding(opened, **changes)
    assert without_effect(opened, message, *by_both(opened, PARENT)) == "streams.22"


def test_a_controller_lasts_a_leap_year_at_most_and_not_until_now(opened: World) -> None:
    opened.must(adding(opened, until=LONGEST), *by_both(opened, PARENT))
    opened.now = 20_001 * DAY_S
    assert without_effect(opened, adding(opened, until=opened.now), *by_both(opened, PARENT)) == "streams.22"
    opened.must(adding(opened, until=opened.now + 366 * DAY_S), *by_both(opened, PARENT))


def test_a_renewal_needs_the_streams_key_only_and_replaces(opened: World) -> None:
    opened.must(adding(opened), *by_both(opened, PARENT))
    opened.must(adding(opened, CARER), *by_both(opened, CARER))
    opened.must(adding(opened, powers=["erase"], until=UNTIL + DAY_S), opened.stream_key, opened.practice)
    entries = {entry.key: entry for entry in queries.controllers(opened.view, opened.stream)}
    assert len(entries) == 2
    assert entries[PARENT.key.public] == Controller(key=PARENT.key.public, powers=["erase"], until=UNTIL + DAY_S)


def test_a_stream_has_eight_controllers_at_most(opened: World) -> None:
    several = [Actor(f"controller {number}", stream=True) for number in range(9)]
    for controller in several[:8]:
        opened.must(adding(opened, controller), *by_both(opened, controller))
    assert without_effect(opened, adding(opened, several[8]), *by_both(opened, several[8])) == "streams.23"
    opened.must(adding(opened, several[0], until=UNTIL + DAY_S), opened.stream_key, opened.practice)
    opened.must(RemoveController(stream=opened.stream, key=several[0].key.public), opened.stream_key, opened.practice)
    opened.must(adding(opened, several[8]), *by_both(opened, several[8]))
    assert len(queries.controllers(opened.view, opened.stream)) == 8


@pytest.mark.promise("P1")
def test_a_controllers_key_is_made_for_one_stream_alone(guided: World) -> None:
    other = Actor("another stream", stream=True)
    stream = stream_of(other.key.public)
    permit = guided.permit(other, key=other.key.public, stream=stream)
    guided.must(RenewPermit(permit=permit), guided.hospital)
    for key in (PARENT, guided.stream_key, other, acting_for("doctor", None)):
        message = AddController(stream=stream, key=key.signer.key, powers=["revoke"], until=UNTIL)
        assert without_effect(guided, message, other, key, CARER, guided.practice) == "streams.19"
    permit = guided.permit(PARENT, key=PARENT.key.public, stream=stream_of(PARENT.key.public))
    assert without_effect(guided, RenewPermit(permit=permit), guided.hospital) == "streams.19"
    weak = Actor("weak", stream=True)
    weak.signer = type(weak.signer)(key=b"\xed\x01" + bytes(32))
    message = AddController(stream=stream, key=weak.signer.key, powers=["revoke"], until=UNTIL)
    assert without_effect(guided, message, other, weak, guided.practice) == "signatures.02"


def test_a_removed_controller_does_not_come_back(guided: World) -> None:
    message = RemoveController(stream=guided.stream, key=PARENT.key.public)
    told = effect(guided, message, guided.stream_key, guided.practice)
    assert told == [("streams/controller-removed", {"stream": guided.stream})]
    assert queries.controllers(guided.view, guided.stream) == []
    revoke = RevokePermit(stream=guided.stream)
    assert without_effect(guided, revoke, PARENT, guided.practice) == "streams.03"
    assert without_effect(guided, adding(guided), *by_both(guided, PARENT)) == "streams.19"


def test_who_removes_a_controller(guided: World) -> None:
    guided.must(adding(guided, CARER), *by_both(guided, CARER))
    message = RemoveController(stream=guided.stream, key=PARENT.key.public)
    nowhere = RemoveController(stream=bytes(32), key=PARENT.key.public)
    assert without_effect(guided, nowhere, guided.stream_key, guided.practice) == "streams.12"
    for wrong in (CARER, acting_for("parent", guided.doctor.did), acting_for("stream", guided.doctor.did)):
        assert without_effect(guided, message, wrong, guided.practice) == "streams.03"
    assert without_effect(guided, message, PARENT, guided.practice, alone=False) == "streams.16"
    unknown = RemoveController(stream=guided.stream, key=Actor("nobody").key.public)
    assert without_effect(guided, unknown, guided.stream_key, guided.practice) == "streams.24"
    guided.must(Close(stream=guided.stream), guided.stream_key, guided.practice)
    guided.must(message, PARENT, guided.practice)
    assert [entry.key for entry in queries.controllers(guided.view, guided.stream)] == [CARER.key.public]


def test_a_controller_makes_no_controllers_and_changes_no_keys(guided: World) -> None:
    new, stream = Actor("stream's next key", stream=True), guided.stream
    for message in (
        adding(guided, CARER),
        RotateKey(stream=stream, key=new.key.public),
        NewEpoch(stream=stream, reading_key=b"\x02" + bytes(32)),
        SetCustodians(stream=stream, custodians=[str(guided.custodians[0].did)], threshold=1),
        Close(stream=stream),
    ):
        assert without_effect(guided, message, PARENT, CARER, new, guided.practice) == "streams.03"
    permit = guided.permit(PARENT, key=PARENT.key.public, serial=2)
    assert without_effect(guided, RenewPermit(permit=permit), guided.hospital) == "streams.03"


def test_a_controller_does_what_its_powers_name_until_they_end(opened: World) -> None:
    opened.must(adding(opened, powers=["erase"]), *by_both(opened, PARENT))
    opened.must(adding(opened, CARER, powers=["revoke"]), *by_both(opened, CARER))
    erase, revoke = Erase(stream=opened.stream, segment=0), RevokePermit(stream=opened.stream)
    assert without_effect(opened, erase, CARER, opened.practice) == "records.05"
    assert without_effect(opened, revoke, PARENT, opened.practice) == "streams.03"
    named = acting_for("parent", opened.doctor.did)
    assert without_effect(opened, erase, named, opened.practice) == "records.05"
    opened.now = UNTIL
    assert without_effect(opened, erase, PARENT, opened.practice) == "records.05"
    assert without_effect(opened, revoke, CARER, opened.practice) == "streams.03"
    opened.now = UNTIL - 1
    opened.must(erase, PARENT, opened.practice)
    opened.must(revoke, CARER, opened.practice)


def test_the_streams_own_key_has_every_power(opened: World) -> None:
    found = queries.stream(opened.view, opened.stream)
    assert found is not None
    for power in ("dispute", "erase", "grant", "revoke"):
        assert queries.may_sign(opened.view, found, opened.stream_key.key.public, power, NOW)  # type: ignore[arg-type]
        assert not queries.may_sign(opened.view, found, PARENT.key.public, power, NOW)  # type: ignore[arg-type]
