"""Members that join by a snapshot: they get on without what came before it, and decide like those that were there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.cometbft.joining import set_aside
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.errors import Refused, Tampered, Unavailable
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Validator
from tests.support.comet_engine import PATIENT_S, code_of, short_folder, signed
from tests.support.comet_sync import Members
from tests.support.kv import MEMBER, NODE, VALUES, Put, Refuse
from tools.cometbft import CHECKSUMS, VERSION

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)

KEPT = Snapshotting(every=5, kept=100)
"""Blocks come fast here, and a snapshot must outlast whoever fetches it, however slow the machine is."""


def until(condition: Callable[[], bool], limit_s: float = 2 * PATIENT_S) -> None:
    """Wait for what must come about."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def offered(engine: CometBft) -> list[int]:
    return [snapshot.height for snapshot in engine.snapshots.listed().snapshots]


@pytest.mark.promise("P5", "P7")
@pytest.mark.slow
def test_a_member_joins_by_a_snapshot_and_decides_alike() -> None:
    with short_folder() as folder, Members(folder, 2, 1, KEPT, Params()) as members:
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


def damage(path: Path, key: bytes) -> None:
    """Flip a bit of the leaf hash before each record of a key, wherever in the file it lies."""
    data = bytearray(path.read_bytes())
    at = data.find(key)
    while at >= 0:
        data[at - 10] ^= 1
        at = data.find(key, at + 1)
    path.write_bytes(data)


def signs(engine: CometBft, validator: Validator) -> bool:
    """Whether a validator's vote is in the newest header that is canonical."""
    block = engine.light_block(engine.status().height - 1)
    return validator.key in {each.key for each in block.signed.signatures}


@pytest.mark.promise("P5", "P7")
@pytest.mark.long
def test_a_validator_whose_database_is_damaged_is_healed_by_a_snapshot() -> None:
    """Noticed and named at opening; set aside; the state comes from the others, and the validator signs again."""
    with short_folder() as folder, Members(folder, 4, 1, KEPT, Params()) as members:
        engines = [members.start(number) for number in range(4)]
        engines[0].wait(1, PATIENT_S)
        sent = [signed(Put(key=b"key-%d" % number, value=b"1")) for number in range(200)]
        told = [future.result(PATIENT_S) for future in engines[1].submit_many(sent)]
        assert {each.code for each in told} == {""}
        engines[3].wait(max(each.height for each in told), PATIENT_S)
        members.close(3)
        until(lambda: bool(offered(engines[0])))
        assert engines[0].submit(signed(Put(key=b"three", value=b"1"))).code == "", "three go on"
        damage(folder / "3" / "ledger" / "data.mdb", VALUES.key(b"key-7"))
        with pytest.raises(Tampered, match=r"ledger\.32"):
            members.start(3)
        aside = set_aside(folder / "3")
        assert (aside / "data.mdb").exists()
        with pytest.raises(Refused, match=r"consensus\.41"):
            members.start(3)
        joining = members.joining([members.fetch(0), members.fetch(1), members.fetch(2)])
        healed = members.start(3, joining)
        with pytest.raises(Unavailable, match=r"consensus\.42"):
            healed.submit_soon(sent[0])
        healed.wait(engines[0].status().height, 2 * PATIENT_S)
        assert healed.status().oldest > 1
        assert healed.reader().get(VALUES.key(b"key-7")) == engines[0].reader().get(VALUES.key(b"key-7"))
        until(lambda: signs(engines[0], members.validators[3]))
        done = healed.submit(signed(Put(key=b"four", value=b"1")))
        late = members.start(4, members.joining([members.fetch(3), members.fetch(0)]))
        late.wait(done.height, 2 * PATIENT_S)
        assert late.status().oldest > 1
        for engine in engines[:3]:
            engine.wait(done.height, PATIENT_S)
            assert engine.block(done.height) == late.block(done.height) == healed.block(done.height)
        for engine in (healed, late):
            assert code_of(engine, sent[3]) == "ledger.09"
        members.close(3)
        again = members.start(3)
        again.wait(engines[0].status().height, 2 * PATIENT_S)


@pytest.mark.promise("P5")
@pytest.mark.long
@pytest.mark.parametrize("version", [version for version in CHECKSUMS if version != VERSION])
def test_the_versions_around_join_alike(version: str) -> None:
    with short_folder() as folder, Members(folder, 2, 1, KEPT, Params()) as members:
        one = members.start(0, version=version)
        members.start(1, version=version)
        one.wait(1, PATIENT_S)
        done = one.submit(signed(Put(key=b"a", value=b"1")))
        until(lambda: bool(offered(one)) and offered(one)[-1] >= done.height)
        late = members.start(2, members.joining([members.fetch(0)]), version)
        late.wait(one.status().height, 2 * PATIENT_S)
        assert late.status().oldest > 1
        assert late.reader().get(VALUES.key(b"a")) == one.reader().get(VALUES.key(b"a"))
