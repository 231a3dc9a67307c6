"""What every engine promises: one suite, run against the embedded engine and against a real CometBFT.

Nothing here asks how many blocks there are or how soon they come: that is the engine's own affair.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

import pytest

from caremesh.consensus import kept
from caremesh.consensus.cometbft.engine import CometBft
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed, Engine
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable, WrongLedger
from caremesh.ledger.application import Params
from caremesh.ledger.blocks import Block, BlockHeader, txs_root
from caremesh.ledger.light import LightClient, check_answer
from caremesh.ledger.snapshot import export
from tests.support.comet_engine import PATIENT_S, comet, embedded, now, short_folder, signed
from tests.support.kv import CHAIN, MEMBER, VALUES, Append, Delete, Fail, Kv, Put, Refuse, Revoke
from tools.cometbft import CHECKSUMS, VERSION

# CometBFT is built by whichever test asks first: a minute of processor time, once for each machine.
pytestmark = pytest.mark.timeout(900)

Running: TypeAlias = Embedded | CometBft
Make: TypeAlias = Callable[..., Running]
STRANGER = SigningKey.from_seed(b"stranger".ljust(32, b"."))
ENGINES = [
    pytest.param(embedded, id="embedded"),
    pytest.param(comet, id="cometbft", marks=pytest.mark.slow),
    *(
        pytest.param(partial(comet, version=version), id=f"cometbft-{version}", marks=pytest.mark.long)
        for version in sorted(CHECKSUMS.keys() - {VERSION})
    ),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    with short_folder() as short:
        yield short


@pytest.fixture(params=ENGINES, scope="module")
def make(request: pytest.FixtureRequest) -> Make:
    engine: Make = request.param
    return engine


@pytest.fixture(scope="module")
def made(make: Make) -> Iterator[Running]:
    """One ledger for all tests that leave it as they found it but for their own keys."""
    with short_folder() as short:
        engine = make(short, begun=now())
        try:
            engine.start()
            engine.wait(1, PATIENT_S)
            yield engine
        finally:
            engine.close()


@pytest.fixture
def own(make: Make, folder: Path) -> Iterator[Callable[..., Running]]:
    """Starts ledgers of the test's own, over one folder; all are closed in the end."""
    begun, engines = now(), []

    def start(app: Kv | None = None) -> Running:
        engine = make(folder, app, begun=begun)
        engines.append(engine)
        engine.start()
        return engine

    yield start
    for engine in engines:
        engine.close()


def put(key: bytes, value: bytes = b"1") -> bytes:
    return signed(Put(key=key, value=value))


def held(engine: Engine) -> int:
    """How many transactions stand in kept blocks."""
    return sum(len(block.txs) for block in engine.blocks(engine.status().oldest))


def proving(engine: Running, height: int) -> BlockHeader:
    """The header that proves the state at a height, verified."""
    at = height if isinstance(engine, Embedded) else height + 1
    engine.wait(at, PATIENT_S)
    client = LightClient(CHAIN, engine.validators, trusted_at=engine.block(1).signed.own().time)
    return client.advance(engine.light_block(at), engine.light_block, now())


def test_it_is_an_engine(made: Running) -> None:
    made.wait(1, PATIENT_S)
    engine: Engine = made
    status = engine.status()
    assert (status.chain, status.oldest, status.running) == (CHAIN, 1, True)
    assert abs(status.time - now()) < PATIENT_S


def test_what_is_submitted_is_committed_and_read(made: Running) -> None:
    done = made.submit(signed(Put(key=b"read.a", value=b"1"), Put(key=b"read.b", value=b"2")))
    assert (done.code, len(done.tx)) == ("", 36)
    assert [event.attributes["key"] for event in done.events] == [b"read.a", b"read.b"]
    assert VALUES.get(made.reader(), b"read.a") == b"1"
    assert VALUES.get(made.reader(done.height - 1), b"read.a") is None
    assert made.outcome(done.tx) == done
    assert made.outcome(bytes(36)) is None
    assert made.status().height >= done.height


def test_what_a_contract_refuses_is_committed_with_its_code(made: Running) -> None:
    done = made.submit(signed(Put(key=b"never", value=b"1"), Refuse(key=b"never")))
    assert (done.code, done.result.place, done.events) == ("kv.01", "msgs[1]", [])
    assert made.outcome(done.tx) == done
    assert VALUES.get(made.reader(), b"never") is None


def test_what_no_block_may_hold_costs_none(made: Running) -> None:
    good = put(b"once")
    made.submit(good)
    before = held(made)
    cases: list[tuple[bytes, type[CareMeshError], str]] = [
        (good, Refused, r"ledger\.09"),
        (b"nonsense", BadInput, r"codec"),
        (good[:-1] + bytes([good[-1] ^ 1]), Tampered, r"signatures\.03"),
        (signed(Put(key=b"a", value=b"1"), chain="other"), Refused, r"ledger\.06"),
        (signed(Put(key=b"a", value=b"1"), lives_s=-100), Refused, r"ledger\.07"),
        (signed(Put(key=b"a", value=b"1"), lives_s=10_000), Refused, r"ledger\.08"),
        (signed(Put(key=b"a", value=b"1"), key=STRANGER), Refused, r"kv\.02"),
        (put(b"a", bytes(70_000)), Refused, r"ledger\.14"),
    ]
    for raw, kind, code in cases:
        with pytest.raises(kind, match=code):
            made.submit(raw)
    for future, (_, kind, _) in zip(made.submit_many([raw for raw, _, _ in cases]), cases, strict=True):
        assert isinstance(future.exception(), kind)
    made.wait(made.status().height + 2, PATIENT_S)
    assert held(made) == before


def test_blocks_lead_from_one_to_the_next(made: Running) -> None:
    for number in range(3):
        made.submit(put(b"lead.%d" % number))
    headers = [(block, block.signed.own()) for block in made.blocks(1)]
    assert [header.height for _, header in headers] == list(range(1, len(headers) + 1))
    for (_, before), (block, header) in pairwise(headers):
        assert header.txs == txs_root(block.txs)
        assert header.time >= before.time
        assert header.chain == CHAIN
        assert header.validators == before.next_validators
    assert len({header.previous for _, header in headers}) == len(headers)
    assert made.header().height >= headers[-1][1].height
    assert made.block(1) == next(made.blocks(1))
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.block(0)


@pytest.mark.promise("P4")
def test_answers_are_proven_under_headers_that_validators_sign(made: Running) -> None:
    first = made.submit(put(b"proof", b"one"))
    second = made.submit(put(b"proof", b"two"))
    key = VALUES.key(b"proof")
    for height, value in ((first.height - 1, None), (first.height, b"one"), (second.height, b"two")):
        answer = made.query(key, height)
        assert answer.height == height
        header = proving(made, height)
        assert header.proves == height
        found = check_answer(header, answer)
        assert (found is None) == (value is None)
        assert VALUES.get(made.reader(height), b"proof") == value
    with pytest.raises(BadInput, match=r"ledger\.11"):
        made.query(key, made.status().height + 1_000)
    for height in (0, made.status().height + 1_000):
        with pytest.raises(BadInput, match=r"ledger\.11"):
            made.light_block(height)
    assert made.light_block().signed.content().height >= second.height


def test_an_empty_block_leaves_the_app_hash(made: Running) -> None:
    height = made.submit(put(b"empty")).height
    made.wait(height + 3, PATIENT_S)
    blocks = list(made.blocks(height + 1))[:2]
    assert [block.txs for block in blocks] == [[], []]
    assert len({block.signed.own().app_hash for block in blocks}) == 1
    assert blocks[0].signed.own().app_hash == made.block(height).signed.own().app_hash


def test_events_resume_without_a_gap_or_a_repeat(made: Running) -> None:
    for number in range(1, 4):
        made.submit(signed(*(Put(key=b"event.%d.%d" % (number, at), value=b"1") for at in range(number))))
    rows = list(made.subscribe())
    mine = [row for row in rows if bytes(row[1].attributes["key"]).startswith(b"event.")]
    assert [event.attributes["key"] for _, event in mine] == [
        b"event.%d.%d" % (number, at) for number in range(1, 4) for at in range(number)
    ]
    for at, (cursor, _) in enumerate(rows):
        assert list(made.subscribe(cursor)) == rows[at + 1 :]
    with pytest.raises(BadInput, match=r"consensus\.05"):
        next(made.subscribe("x"))


def test_the_same_transaction_at_once_is_committed_once(made: Running) -> None:
    raw = put(b"twice")
    before = held(made)
    first, second = made.submit_many([raw, raw])
    done = first.result(PATIENT_S)
    refused = second.exception(PATIENT_S)
    if isinstance(refused, Refused):  # a block had it before it came the second time
        assert refused.code == "ledger.09"
    else:
        assert second.result() == done
    assert held(made) == before + 1


def test_waiting_for_a_block_ends(made: Running) -> None:
    with pytest.raises(Unavailable, match=r"consensus\.06"):
        made.wait(made.status().height + 1_000, 0.01)
    height = made.status().height
    assert made.wait(height, 0.01) >= height
    assert made.wait(height + 1, PATIENT_S) > height, "blocks come although nothing happens"


@pytest.mark.slow
def test_many_threads_submit_and_read_at_once(made: Running) -> None:
    stop = threading.Event()
    problems: list[BaseException] = []

    def read() -> None:
        while not stop.is_set():
            try:
                reader = made.reader()
                count = [VALUES.get(reader, b"%d.0" % thread) for thread in range(4)]
                made.query(VALUES.key(b"0.0"))
                assert count == [VALUES.get(reader, b"%d.0" % thread) for thread in range(4)]
            except BaseException as error:  # noqa: BLE001 - shown by the assertion below
                problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()

    def write(thread: int) -> list[Committed]:
        futures = [made.submit_soon(put(b"%d.%d" % (thread, number), bytes(1_000))) for number in range(40)]
        return [future.result(PATIENT_S) for future in futures]

    try:
        with ThreadPoolExecutor(4) as pool:
            done = [row for rows in pool.map(write, range(4)) for row in rows]
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert not problems
    assert {row.code for row in done} == {""}
    assert len({row.tx for row in done}) == 160


def test_a_listener_hears_of_each_durable_block_before_the_submitter(own: Callable[..., Running]) -> None:
    engine = own()
    heard: list[Block] = []
    engine.on_block(heard.append)
    done = engine.submit(put(b"heard"))
    heights = [block.signed.own().height for block in heard]
    assert done.height in heights
    assert heights == list(range(heights[0], heights[0] + len(heights)))


@pytest.mark.promise("P5")
def test_a_restart_goes_on_where_it_was(own: Callable[..., Running]) -> None:
    engine = own()
    raw = put(b"before")
    done = engine.submit(raw)
    engine.close()
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        engine.submit(put(b"closed"))
    again = own()
    assert again.outcome(done.tx) == done
    with pytest.raises(Refused, match=r"ledger\.09"):
        again.submit(raw)
    assert again.submit(put(b"after")).height > done.height
    heights = [block.signed.own().height for block in again.blocks(1)]
    assert heights == list(range(1, len(heights) + 1))
    assert VALUES.get(again.reader(), b"before") == b"1"


def test_what_is_over_quota_costs_no_block_but_revocation_goes_on(own: Callable[..., Running]) -> None:
    engine = own(Kv([MEMBER], Params(quota_messages=2, quota_window_s=10**6)))
    engine.submit(put(b"a"))
    with pytest.raises(Refused, match=r"ledger\.10"):
        engine.submit(signed(Put(key=b"b", value=b"1"), Put(key=b"c", value=b"1")))
    assert engine.submit(put(b"b")).code == ""
    with pytest.raises(Refused, match=r"ledger\.10"):
        engine.submit(put(b"c"))
    assert engine.submit(signed(Revoke(key=b"a"))).code == ""
    assert VALUES.get(engine.reader(), b"a") is None


def test_a_block_has_a_size_and_one_transaction_always_fits(own: Callable[..., Running]) -> None:
    raws = [put(b"%d" % number, bytes(1_000)) for number in range(6)]
    limit = 2 * max(map(len, raws))
    engine = own(Kv([MEMBER], Params(max_block_bytes=limit)))
    assert {future.result(PATIENT_S).code for future in engine.submit_many(raws)} == {""}
    large = put(b"large", bytes(3 * limit))
    assert engine.submit(large).code == ""
    sizes = [sum(map(len, block.txs)) for block in engine.blocks(1) if len(block.txs) != 1]
    assert max(sizes) <= limit
    assert held(engine) == 7


def test_what_is_older_than_the_ledger_keeps_is_gone(own: Callable[..., Running]) -> None:
    engine = own(Kv([MEMBER], Params(retain_blocks=2)))
    first = engine.submit(put(b"0"))
    last = first
    for number in range(1, 4):
        last = engine.submit(put(b"%d" % number))
    assert engine.status().oldest >= last.height - 1
    assert engine.outcome(first.tx) is None
    with pytest.raises(BadInput, match=r"ledger\.11"):
        next(engine.blocks(1))
    with pytest.raises(BadInput, match=r"ledger\.11"):
        next(engine.subscribe("1.0.1"))


def test_a_fault_of_a_contract_stops_the_engine_and_keeps_nothing(own: Callable[..., Running]) -> None:
    engine = own()
    engine.submit(put(b"a"))
    with pytest.raises(ZeroDivisionError):
        engine.submit(signed(Put(key=b"a", value=b"2"), Fail()))
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        engine.submit(put(b"b"))
    with pytest.raises(Unavailable, match=r"consensus\.01"):
        engine.wait(10**6, PATIENT_S)
    assert not engine.status().running
    assert VALUES.get(engine.reader(), b"a") == b"1"


def test_another_ledger_in_the_folder_is_refused(make: Make, folder: Path) -> None:
    begun = now()
    make(folder, begun=begun).close()
    with pytest.raises(WrongLedger, match=r"ledger\.31"):
        make(folder, begun=begun + 1)
    make(folder, begun=begun).close()


@pytest.mark.promise("P5")
def test_who_executes_the_same_blocks_comes_to_the_same_state(made: Running, tmp_path: Path) -> None:
    made.submit(signed(Append(owner=b"list", item=b"1"), Put(key=b"same", value=b"1")))
    made.submit(signed(Delete(key=b"same"), Append(owner=b"list", item=b"2")))
    made.submit(signed(Refuse(key=b"same")))
    blocks = list(made.blocks(1))
    begun = made.machine.reader(0)
    document = VALUES.get(begun, b"genesis")
    assert document is not None
    copy = kept.open_machine(tmp_path, Kv([MEMBER]), chain=CHAIN, genesis=document, genesis_time=0)
    try:
        for block in blocks:
            header = block.signed.own()
            done = copy.execute(header.height, header.time, block.txs)
            assert done.app_hash == header.app_hash, f"height {header.height}"
            copy.commit(done, block=b"", header=bytes(32))
        last = blocks[-1].signed.content()
        assert copy.head.app_hash == last.app_hash
        assert len(list(export(copy.store))) == 257
    finally:
        copy.store.close()
