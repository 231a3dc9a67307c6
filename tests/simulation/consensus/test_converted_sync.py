"""Members that join a ledger that went over from one who ordered it to several, when its old blocks are gone."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from caremesh import codec
from caremesh.consensus.cometbft.engine import RPC_SOCKET, CometBft
from caremesh.consensus.cometbft.joining import Fetch, Joining, trust
from caremesh.consensus.cometbft.rpc import Rpc
from caremesh.consensus.cometbft.snapshot_files import Snapshotting
from caremesh.contracts.network import queries
from caremesh.contracts.network.messages import Params, SetParams
from caremesh.errors import BadInput, Unavailable
from caremesh.ledger.blocks import Header
from caremesh.ledger.comet import CometHeader
from caremesh.ledger.light import LightClient, check_answer
from caremesh.ledger.succession import KEY
from tests.support.comet_engine import PATIENT_S, code_of, now, short_folder
from tests.support.comet_network import signed
from tests.support.converted import COUNT, LAST, NEXT, Converted
from tests.support.world import CHAIN

pytestmark = [pytest.mark.long, pytest.mark.timeout(1_200)]

RETAIN = 100
"""Blocks: with two a second, what the one key ordered is gone within a minute."""
PLAN = Snapshotting(every=10, kept=6)


def until(condition: Callable[[], bool], limit_s: float = 5 * PATIENT_S) -> None:
    """Wait for what must come about."""
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def joining(case: Converted, client: LightClient, *members: int) -> Joining:
    """What it takes to join, asked of these members' CometBFT."""
    sources: list[Fetch] = [Rpc(case.folders[number] / "run" / RPC_SOCKET).fetch for number in members]
    return trust(client, sources, now(), PLAN.span)


@pytest.mark.promise("P4", "P5", "P7")
def test_a_member_joins_a_converted_chain_by_a_snapshot_and_decides_alike() -> None:
    with short_folder() as folder:
        case = Converted(folder, PLAN, spare=1)
        try:
            case.start()
            check(case)
        finally:
            case.close()


def check(case: Converted) -> None:
    one, world = case.engines[0], case.before.world
    old = one.light_block(2)
    few = SetParams(params=Params(kept_heights=50, retain_blocks=RETAIN))
    done = one.submit_soon(signed(few, *world.custodians[:2], chain=NEXT)).result(PATIENT_S)
    assert done.code == ""
    until(lambda: all(each.status().oldest > LAST for each in case.engines))
    until(lambda: all(each.snapshots.listed().snapshots for each in case.engines))
    with pytest.raises(BadInput, match=r"ledger\.11"):
        one.block(LAST)
    with pytest.raises(Unavailable, match=r"consensus\.40"):
        joining(case, case.before.client(), 0, 1)  # who knows of no crossing believes no header of the second chain

    folder = case.folder / "late"
    late = case.opened(COUNT, folder, joining(case, case.client(), 0, 1, 2))
    case.engines.append(late)
    late.start()
    until(lambda: late.machine.head.height > LAST + 1 and not late._join.under_way)
    oldest = late.status().oldest
    assert oldest > LAST + 1, "it has executed nothing of what came before the snapshot"
    assert late._has_changed_the_state(oldest), "whatever the one before it has done: nobody here knows"
    served(case, late)

    assert late.machine.head.chain == CHAIN
    assert late.outcome(done.tx) is None or late.outcome(done.tx) == done
    raws = (
        (case.early, "ledger.06"),
        (case.pending, "ledger.06"),
        (signed(few, *world.custodians[:2], chain=NEXT, lives_s=-1), "ledger.07"),
        (signed(few, *world.custodians[:2], chain=NEXT, lives_s=100_000), "ledger.08"),
        (signed(few, *world.custodians[:2], chain=NEXT), ""),
    )
    for raw, code in raws:
        assert [code_of(engine, raw) for engine in case.engines] == [code] * (COUNT + 1)

    again = late.submit(signed(SetParams(params=Params(kept_heights=60)), *world.custodians[:2], chain=NEXT))
    assert again.code == ""
    alike(case, again.height)

    late.close(0)
    late = case.engines[COUNT] = case.opened(COUNT, folder)
    late.start()
    later = one.submit_soon(signed(SetParams(params=Params(kept_heights=70)), *world.custodians[:2], chain=NEXT))
    alike(case, later.result(PATIENT_S).height)
    assert queries.params(late.reader()).kept_heights == 70
    served(case, late)

    before = case.before.client().until(LAST).verify(old, now())
    assert isinstance(before, Header)
    assert (before.chain, before.height) == (CHAIN, 2)


def alike(case: Converted, height: int) -> None:
    """Every member has the same block, and so the same state."""
    for engine in case.engines:
        engine.wait(height, 2 * PATIENT_S)
    assert len({codec.encode(engine.block(height)) for engine in case.engines}) == 1


def served(case: Converted, late: CometBft) -> None:
    """What it shows leads from the one key's last header to values of now; that header it has, too."""
    client = case.before.client()
    block = late.light_block()
    header = client.advance(block, late.light_block, now(), crossing=lambda: case.crossing)
    assert isinstance(header, CometHeader)
    assert header.chain == client.chain == NEXT
    for key in (b"network/params/", KEY):
        assert check_answer(header, late.query(key, header.proves)) is not None
    last = case.before.client().until(LAST).verify(late.light_block(LAST), now())
    assert isinstance(last, Header)
    assert (last.chain, last.height) == (CHAIN, LAST)
