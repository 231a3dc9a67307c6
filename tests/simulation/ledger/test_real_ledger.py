"""A ledger with all contracts, brought into trouble: replays after a restore, a quota used up, bytes that change."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from caremesh import codec
from caremesh.consensus.replica import Replica
from caremesh.contracts.consent.messages import Revoke
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.streams.messages import RevokePermit
from caremesh.crypto.hashes import sha256
from caremesh.errors import CareMeshError, Refused
from caremesh.ledger.blocks import Block
from caremesh.ledger.light import FOREVER_S, LightClient
from caremesh.ledger.machine import Machine
from caremesh.ledger.records import state_record
from caremesh.ledger.snapshot import export, restore
from caremesh.ledger.store import Store
from caremesh.ledger.transactions import Message
from caremesh.ledger.trie import leaf_hash
from caremesh.ledger.verify import check_store
from caremesh.node import snapshots
from tests.support.kernel_scenarios import Kernel
from tests.support.participants import CHAIN, START_S
from tests.support.recorder import state_of
from tests.support.states import machine_at
from tests.support.traffic import Traffic, rules
from tests.support.two_replicas import FAR, VALIDATORS, Maker, follower
from tests.support.world import Actor


def lived(folder: Path, seed: int, blocks: int, most: int = 40) -> tuple[Maker, list[Block], bytes]:
    """A ledger after some traffic, its blocks, its genesis document."""
    traffic = Traffic(seed)
    genesis = traffic.all.genesis()
    maker, made = Maker(folder, genesis), list[Block]()
    for height in range(1, blocks + 1):
        time, txs = traffic.block(maker.machine.reader(), height, most)
        block, results = maker.block(time, txs)
        traffic.heard(results)
        made.append(block)
    return maker, made, genesis


@pytest.mark.promise("P7")
@pytest.mark.slow
def test_after_a_restore_nothing_counts_twice(tmp_path: Path) -> None:
    maker, blocks, genesis = lived(tmp_path / "a", 4, 12)
    store = Store(str(tmp_path), CHAIN)
    restore(store, list(export(maker.machine.store)), blocks[-1].signed.header)
    copy = Machine(store, rules())
    copy.start(START_S, genesis)
    now = copy.head.time
    again = [tx for block in blocks[-6:] for tx in block.txs]
    one, two = copy.execute(13, now, again), maker.machine.execute(13, now, again)
    assert codec.encode(one.results) == codec.encode(two.results)
    assert one.app_hash == two.app_hash
    codes = [result.code for result in one.results.results]
    assert "" not in codes
    assert codes.count("ledger.09") > 15
    store.close()
    maker.machine.store.close()


def submission(machine: Machine, raw: bytes, now: int) -> str:
    """The code with which a transaction would be refused before it is in a block."""
    try:
        machine.check(machine.codec.decode(raw), now)
    except Refused as error:
        return error.code
    return ""


@pytest.mark.promise("P3")
def test_with_the_quota_used_up_what_takes_back_still_commits(tmp_path: Path) -> None:
    kernel = Kernel()
    world = kernel.world
    world.must(world.register(0), world.hospital)
    world.must(world.register(1, permit=None), world.hospital)
    consent = world.granted(purposes=["COC"])
    kernel.state = state_of(world)
    kernel.state = kernel.limited(quota=1)
    machine = machine_at(tmp_path, CHAIN, kernel.state, world.height, world.now, rules())
    subject = [world.stream_key, world.hospital]

    def becomes(message: Message, *signers: Actor) -> tuple[str, str]:
        """(what submission says, what becomes of it in a block of its own)."""
        raw = kernel.signed(message, signers=signers)
        said = submission(machine, raw, world.now)
        done = machine.execute(machine.head.height + 1, world.now, [raw])
        machine.commit(done, block=b"", header=bytes(32))
        return said, done.results.results[0].code

    assert becomes(kernel.endpoints(), world.hospital) == ("", "")
    assert becomes(kernel.endpoints("https://a.example"), world.hospital) == ("ledger.10", "ledger.10")
    assert becomes(world.grant(purposes=["TREAT"]), *subject) == ("ledger.10", "ledger.10")
    assert becomes(Revoke(consent=consent), *subject) == ("", "")
    assert becomes(Erase(stream=world.stream, segment=0), *subject) == ("", "")
    assert becomes(Erase(stream=world.stream, segment=1, duty="GDPR:17"), world.hospital) == ("", "")
    assert becomes(RevokePermit(stream=world.stream), *subject) == ("", "")
    other = SetEndpoints(member=str(world.practice.did), endpoints=[])
    assert becomes(other, world.practice) == ("", "")  # another member's quota is its own
    machine.store.close()


# --- bytes that change -----------------------------------------------------------------------------------


def verdict(image: bytes, folder: Path, place: str, genesis: bytes) -> tuple[str, str]:
    """What opening and checking a copy with one bit changed (``byte.bit``) says: its app hash, or code and place."""
    at, bit = map(int, place.split("."))
    folder.mkdir(parents=True)
    (folder / "data.mdb").write_bytes(image[:at] + bytes([image[at] ^ 1 << bit]) + image[at + 1 :])
    try:
        copy = follower(folder, genesis)
    except CareMeshError as error:
        return error.code, error.place
    try:
        check_store(copy.machine.store)
        return "sound", copy.machine.head.app_hash.hex()
    except CareMeshError as error:
        return error.code, error.place
    finally:
        copy.close()


@pytest.mark.promise("P5", "P6")
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_changed_byte_is_noticed_named_and_repaired_from_a_snapshot(tmp_path: Path, evidence: Any) -> None:
    rng = random.Random(9)  # noqa: S311 - a seed must replay
    maker, blocks, genesis = lived(tmp_path / "maker", 6, 16)
    copy = follower(tmp_path / "copy", genesis)
    for block in blocks:
        copy.apply(block)
        if copy.height() == 9:
            snapshots.write(copy, tmp_path / "file")
    (tmp_path / "whole").mkdir()
    copy.machine.store.compact(str(tmp_path / "whole"))  # without free pages, in which a change does no harm
    with copy.machine.store.read() as read:
        records = [state_record(leaf_hash(digest, sha256(value)), key, value) for digest, key, value in read.records()]
    head = copy.machine.head
    copy.close()
    image = (tmp_path / "whole" / "data.mdb").read_bytes()
    chosen = [(image.index(record), len(record)) for record in rng.sample(records, 24)]
    in_state = {f"{start + rng.randrange(length)}.{rng.randrange(8)}" for start, length in chosen}
    anywhere = {f"{rng.randrange(len(image))}.{rng.randrange(8)}" for _ in range(24)}
    heard = {place: verdict(image, tmp_path / "bent" / place, place, genesis) for place in sorted(in_state | anywhere)}
    for place, (code, where) in heard.items():
        evidence.fault("byte changed in data.mdb")
        if code == "sound":
            assert place not in in_state
            assert where == head.app_hash.hex()
        else:
            assert code in ("ledger.11", "ledger.30", "ledger.31", "ledger.32", "ledger.33")
            assert code == "ledger.31" or where
    assert all(heard[place][0] == "ledger.32" for place in in_state)
    assert any(where.startswith("state key ") for _, where in heard.values())

    for place in sorted(in_state)[:3]:
        folder = tmp_path / "bent" / place
        client = LightClient(CHAIN, VALIDATORS, trusted_at=START_S, trust_period_s=FOREVER_S)
        restored = snapshots.restore(tmp_path / "file", folder, client=client, chain=CHAIN, now=FAR)
        assert restored.height == 9
        repaired: Replica = follower(folder, genesis)
        for block in blocks[9:]:
            repaired.apply(block)
        assert repaired.machine.head == head
        assert check_store(repaired.machine.store).height == 16
        repaired.close()
    maker.machine.store.close()
