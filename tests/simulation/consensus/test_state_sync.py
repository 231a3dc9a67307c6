"""Members that join by a snapshot: they get on without what came before it, and decide like those that were there."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.errors import CareMeshError
from caremesh.ledger.application import Params
from tests.support.comet_engine import PATIENT_S, now, short_folder, signed
from tests.support.comet_sync import Members
from tests.support.kv import MEMBER, NODE, VALUES, Put, Refuse

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)


def until(condition: Callable[[], bool], limit_s: float = 2 * PATIENT_S) -> None:
    """Wait for what must come about."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def offered(engine: CometBft) -> list[int]:
    return [snapshot.height for snapshot in engine.snapshots.listed().snapshots]


def code_of(engine: CometBft, raw: bytes) -> str:
    """What a member says of a transaction before any block has it."""
    try:
        engine.machine.check(engine.machine.codec.decode(raw), now())
    except CareMeshError as error:
        return error.code
    return ""


@pytest.mark.promise("P5", "P7")
@pytest.mark.slow
def test_a_member_joins_by_a_snapshot_and_decides_alike() -> None:
    with short_folder() as folder, Members(folder, 2, 1, Snapshotting(every=5, kept=2), Params()) as members:
        one, two = members.start(0), members.start(1)
        one.wait(1, PATIENT_S)
        sent = [signed(Put(key=b"%d" % number, value=b"1")) for number in range(50)]
        refused = signed(Refuse(key=b"a"))
        assert {future.result(PATIENT_S).code for future in one.submit_many(sent)} == {""}
        assert one.submit(refused).code == "kv.01"
        until(lambda: bool(offered(one)) and offered(one) == offered(two))
        joining = members.joining([members.fetch(0), members.fetch(1)])
        late = members.start(2, joining)
        late.wait(offered(one)[0] + 1, 2 * PATIENT_S)
        assert late.status().oldest > 1, "it has not executed what came before the snapshot"
        done = one.submit(signed(Put(key=b"new", value=b"2")))
        for engine in (two, late):
            engine.wait(done.height, PATIENT_S)
        assert late.block(done.height) == one.block(done.height)
        assert late.reader(done.height).get(VALUES.key(b"7")) == one.reader(done.height).get(VALUES.key(b"7"))
        for raw, code in (
            (sent[0], "ledger.09"),
            (refused, "ledger.09"),
            (signed(Put(key=b"x", value=b"1"), lives_s=-1), "ledger.07"),
            (signed(Put(key=b"x", value=b"1"), lives_s=10_000), "ledger.08"),
            (signed(Put(key=b"x", value=b"1"), key=NODE), "kv.02"),
            (signed(Put(key=b"x", value=b"1"), key=MEMBER), ""),
        ):
            assert [code_of(engine, raw) for engine in (one, two, late)] == [code] * 3
        again = late.submit(signed(Put(key=b"through", value=b"3")))
        assert one.wait(again.height, PATIENT_S) >= again.height
        late.wait(one.status().height, PATIENT_S)
