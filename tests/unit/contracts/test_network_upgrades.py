"""The next version of the rules counts from a height on, and software without it stops there."""

import pytest

from caremesh.contracts import Contracts
from caremesh.contracts.network import messages as network
from caremesh.contracts.network import queries
from caremesh.contracts.network.state import Rules
from caremesh.errors import Unavailable
from caremesh.ledger.state import View
from tests.support.acting import effect, without_effect
from tests.support.world import World

MARK = b"migrated/"


def migration(state: View) -> None:
    """Leaves a mark, and counts."""
    state.put(MARK, (state.get(MARK) or b"") + b"1")


@pytest.fixture
def upgrading(world: World) -> World:
    """Version 2 counts from height 20 on, and the software knows it."""
    world.app = Contracts(migrations={2: migration})
    world.must(network.Upgrade(version=2, height=20), *world.custodians[:2])
    return world


def test_an_upgrade_is_set_for_a_later_height(world: World) -> None:
    quorum = world.custodians[:2]
    assert queries.rules(world.view) == Rules(version=1)
    for version in (0, 1, 3):
        assert without_effect(world, network.Upgrade(version=version, height=1_000), *quorum) == "network.07"
    for height in (0, world.height - 1, world.height):
        assert without_effect(world, network.Upgrade(version=2, height=height), *quorum) == "network.08"
    height = world.height + 1
    told = effect(world, network.Upgrade(version=2, height=height), *quorum)
    assert told == [("network/upgrade-set", {"version": 2, "height": height})]
    assert queries.rules(world.view) == Rules(version=1, following=2, height=height)


def test_an_upgrade_is_put_off_and_called_off(upgrading: World) -> None:
    quorum = upgrading.custodians[:2]
    upgrading.must(network.Upgrade(version=2, height=30), *quorum)
    assert queries.rules(upgrading.view) == Rules(version=1, following=2, height=30)
    told = effect(upgrading, network.CancelUpgrade(), *quorum)
    assert told == [("network/upgrade-cancelled", {"version": 2})]
    assert queries.rules(upgrading.view) == Rules(version=1)
    assert without_effect(upgrading, network.CancelUpgrade(), *quorum) == "network.09"
    upgrading.height = 40
    upgrading.must(upgrading.register(), upgrading.hospital)
    assert upgrading.view.get(MARK) is None


def test_the_state_is_migrated_once_before_the_first_message_at_the_height(upgrading: World) -> None:
    upgrading.height = 19
    upgrading.must(upgrading.register(0), upgrading.hospital)
    assert upgrading.view.get(MARK) is None
    upgrading.height = 20
    told = effect(upgrading, upgrading.register(1), upgrading.hospital)
    assert told[0] == ("network/upgraded", {"version": 2})
    assert upgrading.view.get(MARK) == b"1"
    assert queries.rules(upgrading.view) == Rules(version=2)
    upgrading.must(upgrading.register(2), upgrading.hospital)
    assert upgrading.view.get(MARK) == b"1"
    again = network.Upgrade(version=2, height=100)
    assert without_effect(upgrading, again, *upgrading.custodians[:2]) == "network.07"
    upgrading.must(network.Upgrade(version=3, height=100), *upgrading.custodians[:2])


def test_a_height_without_messages_delays_the_migration(upgrading: World) -> None:
    upgrading.height = 25
    upgrading.must(upgrading.register(), upgrading.hospital)
    assert upgrading.view.get(MARK) == b"1"


def test_a_refused_message_takes_its_migration_back(upgrading: World) -> None:
    upgrading.height = 20
    assert without_effect(upgrading, network.CancelUpgrade(), *upgrading.custodians[:2]) == "network.09"
    assert upgrading.view.get(MARK) is None
    upgrading.must(upgrading.register(), upgrading.hospital)
    assert upgrading.view.get(MARK) == b"1"


@pytest.mark.promise("P7")
def test_software_without_the_rules_stops_the_ledger(upgrading: World) -> None:
    upgrading.app = Contracts()
    upgrading.height = 19
    upgrading.must(upgrading.register(0), upgrading.hospital)
    upgrading.height = 20
    with pytest.raises(Unavailable, match=r"network\.10.*\(2\)"):
        upgrading.do(upgrading.register(1), upgrading.hospital)
