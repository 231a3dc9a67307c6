"""How the network is run: parameters, authorities, the brake, validators, upgrades; all of it by a quorum."""

from typing import Any, cast

import pytest

from caremesh import codec
from caremesh.contracts import Contracts
from caremesh.contracts.members.messages import Suspend
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries
from caremesh.contracts.network.logic import Needs, is_quorum, quorum_without
from caremesh.contracts.network.state import BrakeState, Rules
from caremesh.contracts.records.messages import Erase, Retract
from caremesh.contracts.streams.messages import RenewPermit, RevokePermit
from caremesh.errors import BadInput
from caremesh.ledger.application import Params as KernelParams
from caremesh.ledger.state import View
from caremesh.ledger.transactions import Message
from caremesh.types import DAY_S
from tests.support.acting import effect, without_effect
from tests.support.world import NOW, Actor, World

DID = str(Actor("hospital").did)
HIGH = sorted(Actor(f"validator {number}").key.public for number in range(3))


class Empty:
    """A state in which there is nothing."""

    def get(self, key: bytes) -> bytes | None:  # noqa: ARG002 - there is nothing
        return None


def brake(**changes: Any) -> network.Brake:
    given: dict[str, Any] = {"scope": "receipts", "reason": "drill", "until": NOW + 60}
    return network.Brake(**given | changes)


def validators(world: World, **changes: Any) -> list[network.Validator]:
    founders = [world.hospital, world.practice, world.custodians[0]]
    pairs = zip(founders, HIGH, strict=True)
    return [network.Validator(**{"member": str(a.did), "key": key, "power": 10} | changes) for a, key in pairs]


@pytest.mark.parametrize(
    "message",
    [
        network.SetParams(params=network.Params()),
        network.SetAuthorities(authorities=network.Authorities([DID], 1)),
        network.SetValidators(validators=[network.Validator(member=DID, key=HIGH[0], power=1)]),
        brake(),
        network.EndBrake(),
        network.Upgrade(version=2, height=10_000),
        network.CancelUpgrade(),
    ],
)
def test_everything_takes_a_quorum(world: World, message: Message) -> None:
    assert without_effect(world, message, world.custodians[0]) == "network.01"
    assert without_effect(world, message, world.hospital, world.practice) == "network.01"


def test_parameters_are_replaced_and_reach_the_kernel(world: World) -> None:
    given = network.Params(
        tx_ttl_s=700,
        max_tx_bytes=2**16 - 1,
        max_tx_messages=63,
        max_block_bytes=2**19,
        quota=99,
        quota_window_s=60,
        kept_heights=7,
        retain_blocks=8,
    )
    assert effect(world, network.SetParams(params=given), *world.custodians[:2]) == [("network/params-set", {})]
    assert queries.params(world.view) == given
    assert world.app.params(world.view) == KernelParams(
        tx_ttl_s=700,
        max_tx_bytes=2**16 - 1,
        max_tx_messages=63,
        max_block_bytes=2**19,
        quota_messages=99,
        quota_window_s=60,
        kept_heights=7,
        retain_blocks=8,
    )


RANGES: dict[str, tuple[int, int | None]] = {
    "tx_ttl_s": (60, DAY_S),
    "max_tx_bytes": (16_384, 2**20),
    "max_tx_messages": (1, 1_024),
    "max_block_bytes": (65_536, 2**24),
    "quota": (1, None),
    "quota_window_s": (1, DAY_S),
    "kept_heights": (1, 1_000_000),
    "retain_blocks": (1_000, None),
    "receipt_life_s": (60, DAY_S),
    "audit_years": (3, 100),
    "max_age_s": (10, 3_600),
    "deposit_ttl_s": (600, None),
    "replicas": (1, 100),
    "batch_min": (1, None),
    "batch_wait_s": (0, 599),
    "recovery_wait_s": (DAY_S, 90 * DAY_S),
    "answer_s": (DAY_S, 92 * DAY_S),
    "review_s": (DAY_S, 92 * DAY_S),
}
"""Each with the others at their defaults: a block holds the largest transaction, waiting ends before expiry."""


def test_every_parameter_has_a_range() -> None:
    assert set(RANGES) == set(network.Params.__struct_fields__)


@pytest.mark.parametrize("name", RANGES)
def test_parameters_keep_to_their_ranges(world: World, name: str) -> None:
    low, high = RANGES[name]
    quorum = world.custodians[:2]
    wrong = [value for value in (low - 1, None if high is None else high + 1) if value is not None and value >= 0]
    assert wrong
    for value in wrong:
        message = network.SetParams(params=network.Params(**{name: value}))
        assert without_effect(world, message, *quorum) == "network.02"
    for value in (low, low if high is None else high):
        world.must(network.SetParams(params=network.Params(**{name: value})), *quorum)
        assert getattr(queries.params(world.view), name) == value


@pytest.mark.parametrize("quorum", [1, 2])
def test_the_authorities_hand_over(world: World, quorum: int) -> None:
    old, new = world.custodians[:2], [world.hospital, world.practice]
    given = network.Authorities([str(actor.did) for actor in new], quorum)
    told = effect(world, network.SetAuthorities(authorities=given), *old)
    assert told == [("network/authorities-set", {"count": 2, "quorum": quorum})]
    assert queries.authorities(world.view) == given
    assert without_effect(world, brake(), *old) == "network.01"
    world.must(brake(), *new[:quorum])


@pytest.mark.parametrize(
    ("dids", "quorum"), [([], 0), ([DID], 0), ([DID], 2), ([DID, DID], 1), ([DID, str(Actor("stranger").did)], 1)]
)
def test_authorities_that_could_not_decide(world: World, dids: list[str], quorum: int) -> None:
    message = network.SetAuthorities(authorities=network.Authorities(dids, quorum))
    assert without_effect(world, message, *world.custodians[:2]) == "network.11"
    with pytest.raises(BadInput, match=r"contracts\.01"):
        world.app.genesis(View(Empty()), codec.encode(world.genesis(authorities=message.authorities)))


def test_a_suspended_member_is_no_authority(world: World) -> None:
    world.must(Suspend(member=DID), *world.custodians[:2])
    message = network.SetAuthorities(authorities=network.Authorities([DID, str(world.practice.did)], 1))
    assert without_effect(world, message, *world.custodians[:2]) == "network.11"


def test_the_brake_is_pulled_and_ended(world: World) -> None:
    quorum = world.custodians[:2]
    assert without_effect(world, network.EndBrake(), *quorum) == "network.04"
    told = effect(world, brake(), *quorum)
    assert told == [("network/brake-on", {"scope": "receipts", "until": NOW + 60})]
    assert queries.brake(world.view, NOW + 59) == BrakeState("receipts", "drill", NOW + 60)
    assert queries.brake(world.view, NOW + 60) is None
    assert effect(world, network.EndBrake(), *quorum) == [("network/brake-off", {})]
    assert queries.brake(world.view, NOW) is None


@pytest.mark.parametrize("until", [NOW - 1, NOW, NOW + 7 * DAY_S + 1])
def test_a_brake_ends_by_itself_within_seven_days(world: World, until: int) -> None:
    assert without_effect(world, brake(until=until), *world.custodians[:2]) == "network.03"


def test_a_brake_of_seven_days_is_over_after_them(world: World) -> None:
    world.must(brake(until=NOW + 7 * DAY_S), *world.custodians[:2])
    world.now += 7 * DAY_S
    assert without_effect(world, network.EndBrake(), *world.custodians[:2]) == "network.04"


def test_the_brake_on_receipts_stops_those_and_lets_sources_write(world: World) -> None:
    consent = world.granted(salt=bytes(16))
    world.must(world.register(), world.hospital)
    world.must(brake(), *world.custodians[:2])
    assert world.asked(consent) != ("", "")
    world.must(world.register(1), world.hospital)
    world.must(RenewPermit(permit=world.permit(serial=2)), world.hospital)
    world.must(network.EndBrake(), *world.custodians[:2])
    assert world.asked(consent) == ("", "")


@pytest.mark.promise("P3")
def test_the_brake_on_all_stops_neither_revocation_nor_erasure(world: World) -> None:
    for number in (0, 1):
        world.must(world.register(number), world.hospital)
    world.must(brake(scope="all"), *world.custodians[:2])
    for message in (
        world.register(2),
        Retract(stream=world.stream, segment=0),
        RenewPermit(permit=world.permit(serial=2)),
    ):
        assert without_effect(world, message, world.hospital) == "network.05"
    assert without_effect(world, brake(), *world.custodians[:2]) == "network.05"
    world.must(RevokePermit(stream=world.stream), world.stream_key, world.hospital)
    world.must(Erase(stream=world.stream, segment=0), world.stream_key, world.hospital)
    world.must(network.EndBrake(), *world.custodians[:2])
    world.must(Retract(stream=world.stream, segment=1), world.hospital)


def test_the_brake_on_all_ends_by_itself(world: World) -> None:
    world.must(brake(scope="all"), *world.custodians[:2])
    assert without_effect(world, world.register(), world.hospital) == "network.05"
    world.now += 60
    world.must(world.register(), world.hospital)


def test_what_costs_a_sponsor_nothing(world: World) -> None:
    assert world.app.quota_exempt(RevokePermit(stream=world.stream))
    assert world.app.quota_exempt(Erase(stream=world.stream, segment=0))
    assert not world.app.quota_exempt(world.register())


def test_validators_are_replaced(world: World) -> None:
    assert queries.validators(world.view) == []
    given = validators(world)
    told = effect(world, network.SetValidators(validators=given), *world.custodians[:2])
    assert told == [("network/validators-set", {"count": 3})]
    assert queries.validators(world.view) == given


def test_validators_are_active_members_each_key_once_in_order(world: World) -> None:
    given = validators(world)
    quorum = world.custodians[:2]
    stranger = network.Validator(member=str(Actor("stranger").did), key=HIGH[0], power=1)
    for wrong in (given[::-1], [given[0], given[0]], [stranger], [stranger, given[1]]):
        assert without_effect(world, network.SetValidators(validators=wrong), *quorum) == "network.06"
        with pytest.raises(BadInput, match=r"contracts\.01"):
            world.app.genesis(View(Empty()), codec.encode(world.genesis(validators=wrong)))
    weak = network.SetValidators(validators=validators(world, key=b"\xed\x01" + bytes(32))[:1])
    assert without_effect(world, weak, *quorum) == "signatures.02"
    world.must(Suspend(member=DID), *quorum)
    assert without_effect(world, network.SetValidators(validators=given), *quorum) == "network.06"


def test_validators_of_the_founders(world: World) -> None:
    view = View(Empty())
    world.app.genesis(view, codec.encode(world.genesis(validators=validators(world))))
    assert queries.validators(view) == validators(world)


def test_a_genesis_with_parameters_out_of_range_is_refused(world: World) -> None:
    with pytest.raises(BadInput, match=r"contracts\.01"):
        world.app.genesis(View(Empty()), codec.encode(world.genesis(params=network.Params(quota=0))))


def test_before_genesis_nobody_decides_and_the_defaults_hold() -> None:
    assert queries.authorities(Empty()) is None
    needs = cast("Needs", None)
    assert not is_quorum(Empty(), [Actor("custodian 0").signer], needs)
    assert not quorum_without(Empty(), DID, needs)
    assert queries.params(Empty()) == network.Params()
    assert queries.rules(Empty()) == Rules(version=1)
    assert Contracts().params(Empty()).tx_ttl_s == 600
