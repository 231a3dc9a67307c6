"""Five nodes: validators come, replace their keys and go, all at once in the end; blocks go on, and clients follow."""

from __future__ import annotations

import pytest

from caremesh.contracts.members.messages import SetEndpoints, Suspend
from caremesh.contracts.network.messages import RotateValidator, SetValidators, Validator
from tests.support.comet_evidence import report, two_votes
from tests.support.comet_network import engine_key, in_order, in_the_name_of, network, validator
from tests.support.world import Actor, World

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = [pytest.mark.timeout(900), pytest.mark.long]


def founders(world: World) -> list[Actor]:
    return [world.hospital, world.practice, *world.custodians]


def all_of(world: World) -> list[Validator]:
    """A validator of each founder, with the key of its number."""
    return [validator(member, str(number)) for number, member in enumerate(founders(world))]


@pytest.mark.promise("P4", "P5")
def test_four_validators_change_one_by_one_and_all_at_once() -> None:
    with network(5, lambda world: all_of(world)[:4]) as running:
        world = running.world
        members, rows = founders(world), all_of(world)
        quorum = world.custodians[1:]  # who is not suspended below
        keys = [row.key for row in rows]

        came = running.must(SetValidators(validators=in_order(*rows)), *quorum)
        assert running.signers(came + 2) == set(keys)
        running.until_signed(engine_key("4"), came + 1)

        # A key is replaced; four of five go on while its node is still the old one, and while it starts again.
        new = in_the_name_of("5", members[1].did)
        rotated = running.must(RotateValidator(old=keys[1], new=engine_key("5").public), new, members[1], by=1)
        assert running.signers(rotated + 2) == {engine_key("5").public, *keys} - {keys[1]}
        for _ in range(3):
            running.must(SetEndpoints(member=str(members[0].did), endpoints=[]), members[0])
        running.again(1, "5")
        running.until_signed(engine_key("5"), rotated + 1)

        gone = running.must(Suspend(member=str(members[2].did)), *quorum, by=3)
        assert running.signers(gone + 2) == {keys[0], engine_key("5").public, *keys[3:]}

        # One signs twice: the contract removes it, and three go on.
        assert report(running.folders[0], two_votes(running.block(gone + 2), engine_key("3"))) == ""
        removed = running.heard("network/equivocated").height
        assert running.signers(removed + 2) == {keys[0], engine_key("5").public, keys[4]}

        # Everybody is replaced by somebody else in one block.
        last = running.must(SetValidators(validators=in_order(rows[3])), *quorum)
        assert running.signers(last + 2) == {keys[3]}
        done = running.must(SetEndpoints(member=str(members[0].did), endpoints=[]), members[0], by=1)
        running.same_everywhere(done)
        steps = running.follow(done + 1)
        assert [each.key for each in steps[-1].validators] == [keys[3]]
        assert len(steps) > 1, "nobody of the founders has signed: it takes headers in between"
