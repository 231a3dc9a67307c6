"""What generated traffic has found, each reduced to the fewest messages."""

import pytest

from caremesh.contracts.streams import queries as streams
from caremesh.contracts.streams.messages import NewEpoch
from tests.support.world import World

LAST = 2**53 - 1


@pytest.mark.parametrize("epoch", [1, LAST])
def test_a_stream_begins_at_epoch_zero(world: World, epoch: int) -> None:
    """At the last epoch that can be written, the next could not be read any more, by anyone."""
    assert world.do(world.register(permit=world.permit(epoch=epoch)), world.hospital) == "streams.07"
    world.must(world.register(), world.hospital)
    world.must(NewEpoch(stream=world.stream, reading_key=b"\x02" + bytes(32)), world.stream_key, world.hospital)
    stream = streams.stream(world.view, world.stream)
    assert stream is not None
    assert stream.epoch == 1
