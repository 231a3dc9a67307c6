"""From one key that orders blocks to several: who decides it, for when, and that it is done once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from caremesh import codec
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries
from caremesh.contracts.network.state import Conversion
from caremesh.errors import BadInput
from caremesh.ledger.succession import following, succeed
from tests.support.acting import effect, without_effect
from tests.support.world import CHAIN, Actor, World

KEYS = [Actor(f"orders {number}").key.public for number in range(3)]


def conversion(world: World, height: int, **changes: Any) -> network.Convert:
    founders = [world.hospital, world.practice, world.custodians[0]]
    named = [
        network.Validator(member=str(each.did), key=key, power=1)
        for each, key in zip(founders, sorted(KEYS), strict=True)
    ]
    peers = [network.Peer(member=each.member, address=f"{'0' * 40}@ordering.example:26656") for each in named]
    return network.Convert(**{"height": height, "validators": named, "peers": peers} | changes)


def test_it_is_decided_for_a_later_height(world: World) -> None:
    quorum = world.custodians[:2]
    height = world.height + 5
    message = conversion(world, height)
    assert without_effect(world, message, world.custodians[0]) == "network.01"
    assert without_effect(world, message, world.hospital, world.practice) == "network.01"
    for early in (0, world.height - 1, world.height):
        assert without_effect(world, conversion(world, early), *quorum) == "network.08"
    told = effect(world, message, *quorum)
    assert told == [("network/conversion-set", {"height": height, "count": 3})]
    assert queries.conversion(world.view) == Conversion(height, message.peers)
    assert queries.validators(world.view) == message.validators
    assert world.app.params(world.view).last_height == height


def test_who_orders_has_to_be_sound(world: World) -> None:
    quorum = world.custodians[:2]
    height = world.height + 5
    message = conversion(world, height)
    unsorted, first = message.validators[::-1], message.validators[0]
    assert without_effect(world, conversion(world, height, validators=unsorted), *quorum) == "network.06"
    stranger = msgspec.structs.replace(first, member=str(Actor("nobody").did))
    assert without_effect(world, conversion(world, height, validators=[stranger]), *quorum) == "network.06"
    weak = msgspec.structs.replace(first, key=b"\xed\x01" + bytes(32))
    assert without_effect(world, conversion(world, height, validators=[weak]), *quorum) == "signatures.02"
    assert queries.conversion(world.view) is None
    assert world.app.params(world.view).last_height == 0


@pytest.mark.parametrize("address", ['0@x:1"\nladdr = "tcp://0.0.0.0:1', "host:26656", f"{'0' * 40}@host:1\n", ""])
def test_an_address_is_nothing_else(address: str) -> None:
    said = {"member": str(Actor("hospital").did), "address": address}
    with pytest.raises(BadInput, match=r"codec\.03"):
        codec.decode_as(codec.encode(said), network.Peer)


def test_it_is_called_off_or_put_off_until_it_is_done(world: World) -> None:
    quorum = world.custodians[:2]
    assert without_effect(world, network.CancelConvert(), *quorum) == "network.16"
    world.must(conversion(world, 30), *quorum)
    world.must(conversion(world, 40), *quorum)
    assert world.app.params(world.view).last_height == 40
    assert without_effect(world, network.CancelConvert(), world.custodians[0]) == "network.01"
    assert effect(world, network.CancelConvert(), *quorum) == [("network/conversion-cancelled", {})]
    assert queries.conversion(world.view) is None
    world.must(conversion(world, 50), *quorum)
    succeed(world.view, CHAIN, 50)
    assert following(CHAIN, 50) == "test.50"
    assert without_effect(world, conversion(world, 60), *quorum) == "network.15"
    assert without_effect(world, network.CancelConvert(), *quorum) == "network.15"
