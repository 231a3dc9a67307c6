"""Who orders blocks: keys are replaced by their members, who goes orders no more, who signs twice is removed."""

from __future__ import annotations

from typing import Any

import pytest

from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members.messages import Leave, Reinstate, Suspend
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import RotateValidator, SetValidators, Upgrade, Validator
from caremesh.contracts.network.state import EQUIVOCATIONS
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import Unavailable
from caremesh.ledger.application import Context
from caremesh.ledger.blocks import Misbehaviour
from caremesh.ledger.blocks import Validator as Power
from caremesh.ledger.comet import address_of
from tests.support.acting import acting_for, effect, without_effect
from tests.support.world import CHAIN, NOW, Actor, World

ENGINES = {name: Actor(f"engine of {name}").key.public for name in ("hospital", "practice", "custodian")}


def members(world: World) -> dict[str, Actor]:
    return {"hospital": world.hospital, "practice": world.practice, "custodian": world.custodians[0]}


def named(world: World, *names: str, **keys: bytes) -> list[Validator]:
    """The validators of these members; ``keys``: others than their first."""
    rows = [
        Validator(member=str(members(world)[name].did), key=keys.get(name, ENGINES[name]), power=10) for name in names
    ]
    return sorted(rows, key=lambda row: row.key)


@pytest.fixture
def elected(world: World) -> World:
    """All three order blocks."""
    world.must(SetValidators(validators=named(world, *ENGINES)), *world.custodians[:2])
    return world


def keys_of(world: World) -> set[bytes]:
    return {validator.key for validator in queries.validators(world.view)}


def rotation(world: World, new: str, old: bytes = ENGINES["practice"]) -> tuple[RotateValidator, Actor]:
    """The message, and the new key that signs it in the practice's name."""
    actor = acting_for(new, str(world.practice.did))
    return RotateValidator(old=old, new=actor.key.public), actor


def proof(key: bytes, height: int, **changes: Any) -> Misbehaviour:
    given: dict[str, Any] = {"kind": "two-votes", "validator": address_of(key), "height": height, "time": NOW}
    return Misbehaviour(**given | changes)


def misbehaves(world: World, found: Misbehaviour) -> list[tuple[str, dict[str, Any]]]:
    """What followers are told when an engine comes with proof, in a block of its own."""
    before = len(world.events)
    ctx = Context(
        chain=CHAIN,
        height=world.height,
        time=world.now,
        tx_id=b"",
        signers=[],
        sponsor="",
        alone=True,
        state=world.view,
        events=world.events,
    )
    world.app.misbehaved(ctx, found)
    world.height += 1
    return [(event.type, event.attributes) for event in world.events[before:]]


def test_the_engine_is_told_keys_and_power_in_order(elected: World) -> None:
    assert elected.app.validators(elected.view) == [Power(key, 10) for key in sorted(ENGINES.values())]
    assert World().app.validators(World().view) == []


def test_a_member_replaces_the_key_of_its_validator(elected: World) -> None:
    message, new = rotation(elected, "second engine")
    told = effect(elected, message, new, elected.practice)
    assert told == [
        (
            "network/validator-rotated",
            {"member": str(elected.practice.did), "old": message.old, "new": message.new},
        )
    ]
    assert queries.validators(elected.view) == named(elected, *ENGINES, practice=message.new)


def test_only_the_member_replaces_it_and_only_with_a_key_that_somebody_has(elected: World) -> None:
    message, new = rotation(elected, "second engine")
    assert without_effect(elected, message, new, elected.hospital) == "network.12"
    assert without_effect(elected, message, elected.practice) == "network.13"
    in_its_own_name = Actor("second engine")
    assert without_effect(elected, message, in_its_own_name, elected.practice) == "network.13"
    unknown = RotateValidator(old=message.new, new=message.new)
    assert without_effect(elected, unknown, new, elected.practice) == "network.12"
    elected.must(Suspend(member=str(elected.practice.did)), *elected.custodians[:2])
    assert without_effect(elected, message, new, elected.practice) == "members.04"


def test_the_new_key_is_nobodys(elected: World) -> None:
    elected.must(
        Register(did=str(Actor("nurse").did), key=Actor("nurse").key.public, kind="practitioner"),
        Actor("nurse"),
        elected.practice,
    )
    elected.must(elected.register(), elected.hospital)
    for name in ("nurse", "stream", "engine of hospital", "engine of practice"):
        message, new = rotation(elected, name)
        assert without_effect(elected, message, new, elected.practice) == "network.14", name
    second, by = rotation(elected, "second engine")
    elected.must(second, by, elected.practice)
    for name in ("engine of practice", "second engine"):
        message, new = rotation(elected, name, old=second.new)
        assert without_effect(elected, message, new, elected.practice) == "network.14", name


def test_a_weak_key_orders_no_blocks(elected: World) -> None:
    weak = acting_for("weak", str(elected.practice.did))
    weak.signer = type(weak.signer)(key=ED25519_PREFIX + bytes(32), did=str(elected.practice.did))
    message = RotateValidator(old=ENGINES["practice"], new=weak.signer.key)
    assert without_effect(elected, message, weak, elected.practice) == "signatures.02"


def test_a_key_that_was_given_up_does_not_come_back(elected: World) -> None:
    message, new = rotation(elected, "second engine")
    elected.must(message, new, elected.practice)
    old = SetValidators(validators=named(elected, *ENGINES))
    assert without_effect(elected, old, *elected.custodians[:2]) == "network.14"
    elected.must(SetValidators(validators=named(elected, "hospital")), *elected.custodians[:2])
    elected.must(SetValidators(validators=named(elected, *ENGINES, practice=message.new)), *elected.custodians[:2])


@pytest.mark.parametrize("leaves", [False, True])
def test_who_no_longer_acts_orders_no_blocks(elected: World, leaves: bool) -> None:
    did = str(elected.practice.did)
    told = (
        effect(elected, Leave(member=did), elected.practice)
        if leaves
        else effect(elected, Suspend(member=did), *elected.custodians[:2])
    )
    assert told[1:] == [("network/validators-dropped", {"member": did, "count": 1})]
    assert queries.validators(elected.view) == named(elected, "hospital", "custodian")
    if not leaves:
        assert effect(elected, Reinstate(member=did), *elected.custodians[:2]) == [
            ("members/reinstated", {"member": did})
        ]
        assert keys_of(elected) == {ENGINES["hospital"], ENGINES["custodian"]}, "until the authorities say so"


def test_the_last_who_orders_blocks_is_kept_and_that_is_said(world: World) -> None:
    world.must(SetValidators(validators=named(world, "practice")), *world.custodians[:2])
    told = effect(world, Suspend(member=str(world.practice.did)), *world.custodians[:2])
    assert told[1:] == [("network/validators-kept", {"member": str(world.practice.did)})]
    assert keys_of(world) == {ENGINES["practice"]}


def test_nothing_is_said_of_a_member_that_orders_no_blocks(world: World) -> None:
    world.must(SetValidators(validators=named(world, "practice")), *world.custodians[:2])
    assert len(effect(world, Suspend(member=str(world.hospital.did)), *world.custodians[:2])) == 1


def test_who_signs_twice_is_removed_until_the_authorities_name_it_again(elected: World) -> None:
    height = elected.height
    told = misbehaves(elected, proof(ENGINES["practice"], height - 1))
    said = {
        "member": str(elected.practice.did),
        "key": ENGINES["practice"],
        "kind": "two-votes",
        "at": height - 1,
        "removed": 1,
    }
    assert told == [("network/equivocated", said)]
    assert elected.events[-1].tx == b""
    assert queries.validators(elected.view) == named(elected, "hospital", "custodian")
    elected.must(SetValidators(validators=named(elected, *ENGINES)), *elected.custodians[:2])
    assert ENGINES["practice"] in keys_of(elected)


def test_proof_of_what_was_done_before_it_was_removed_changes_nothing(elected: World) -> None:
    first = elected.height
    misbehaves(elected, proof(ENGINES["practice"], first - 1))
    after = elected.view.changes()
    for found in (proof(ENGINES["practice"], first - 1), proof(ENGINES["practice"], first + 40, kind="false-header")):
        assert misbehaves(elected, found) == [], "it orders no blocks"
    assert elected.view.changes() == after
    elected.must(SetValidators(validators=named(elected, *ENGINES)), *elected.custodians[:2])
    for height in (first - 1, first, first + 1):
        assert misbehaves(elected, proof(ENGINES["practice"], height)) == [], "it may sign up to the block after"
    assert ENGINES["practice"] in keys_of(elected)
    assert misbehaves(elected, proof(ENGINES["practice"], first + 2, kind="false-header"))[0][1]["at"] == first + 2
    assert ENGINES["practice"] not in keys_of(elected)


def test_proof_against_a_stranger_changes_nothing(elected: World) -> None:
    before = elected.view.changes()
    assert misbehaves(elected, proof(Actor("stranger").key.public, 1)) == []
    assert elected.view.changes() == before


def test_a_rotation_hides_nothing(elected: World) -> None:
    message, new = rotation(elected, "second engine")
    elected.must(message, new, elected.practice)
    again, newer = rotation(elected, "third engine", old=message.new)
    elected.must(again, newer, elected.practice)
    told = misbehaves(elected, proof(ENGINES["practice"], 3))
    assert told[0][1]["key"] == again.new
    assert keys_of(elected) == {ENGINES["hospital"], ENGINES["custodian"]}
    known = EQUIVOCATIONS.get(elected.view, address_of(ENGINES["practice"]))
    assert known is not None
    assert (known.member, known.height) == (str(elected.practice.did), 3)


def test_a_key_that_signed_twice_is_no_new_key(elected: World) -> None:
    misbehaves(elected, proof(ENGINES["hospital"], 3))
    message, new = rotation(elected, "engine of hospital")
    assert without_effect(elected, message, new, elected.practice) == "network.14"


def test_the_last_validator_stays_and_that_is_said(world: World) -> None:
    world.must(SetValidators(validators=named(world, "practice")), *world.custodians[:2])
    told = misbehaves(world, proof(ENGINES["practice"], 1))
    assert [attributes["removed"] for _, attributes in told] == [0]
    assert keys_of(world) == {ENGINES["practice"]}
    assert misbehaves(world, proof(ENGINES["practice"], 1)) == []


def test_software_without_the_rules_takes_no_proof(elected: World) -> None:
    elected.must(Upgrade(version=2, height=elected.height + 1), *elected.custodians[:2])
    with pytest.raises(Unavailable, match=r"network\.10"):
        misbehaves(elected, proof(ENGINES["practice"], 1))
