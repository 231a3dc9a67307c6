"""What an engine and a replica both answer out of their machine: blocks, events, outcomes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from caremesh import codec
from caremesh.blobs.durable import take_room
from caremesh.blobs.pages import check_pages
from caremesh.consensus.gate import ReadersGate
from caremesh.consensus.interface import Committed, Cursor, Status
from caremesh.errors import BadInput, CareMeshError, StorageFailed
from caremesh.ledger import history
from caremesh.ledger.application import Application, Event, Told
from caremesh.ledger.blocks import Block, Validator, in_comets_order
from caremesh.ledger.comet import set_hash
from caremesh.ledger.inclusion import Entries, Inclusion, block_path
from caremesh.ledger.light import Answer, Crossing, LightBlock
from caremesh.ledger.machine import NOT_KEPT, Executed, Machine
from caremesh.ledger.records import DAMAGED
from caremesh.ledger.store import DATABASES, MAP_BYTES, NOT_WRITTEN, Store
from caremesh.ledger.succession import KEY
from caremesh.types import Digest, Height, Seconds

MAX_ENTRIES: Final = 2_000
"""After so many, or so many blocks, an answer takes no further block; one block has room for about as many."""


def open_machine(
    folder: Path, app: Application, *, chain: str, genesis: bytes, genesis_time: Seconds, map_bytes: int = MAP_BYTES
) -> Machine:
    """The machine over a folder, begun with this genesis. Raises WrongLedger, StorageFailed, Tampered."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StorageFailed(NOT_WRITTEN, folder.name) from error
    check_pages(folder, DAMAGED, DATABASES)
    store = Store(str(folder), chain, gate=ReadersGate(), map_bytes=map_bytes)
    lock = folder / "lock.mdb"  # mapped: a full disk that has no page for a hole in it ends the process
    with suppress(OSError):
        take_room(lock, lock.stat().st_size)
    try:
        machine = Machine(store, app)
        machine.start(genesis_time, genesis)
    except BaseException:
        store.close()
        raise
    return machine


def is_whole_after_failure(machine: Machine) -> bool:
    """After a write that failed: open the database anew; whether it holds the last commit, and nothing after it."""
    try:
        with machine.store.gate.exclusive():
            machine.store.reopen()
        with machine.store.read() as read:
            return read.head() == machine.head
    except CareMeshError:
        return False


def has_ended(machine: Machine) -> bool:
    """Whether the last block that one key orders is the head: others order those after it (``ledger.succession``)."""
    return 0 < machine.params.last_height <= machine.head.height


def taking_over(done: Executed) -> Digest:
    """What the last header of a chain names as the set that signs the next block: as CometBFT names sets."""
    order = sorted(done.validators, key=in_comets_order)
    return set_hash((each.key, each.power) for each in order)


def crossing_of(machine: Machine, signers: Sequence[Validator]) -> Crossing:
    """What leads to the next chain, out of a copy whose head is the last block of this one. ``signers``: of that."""
    block = LightBlock(block_at(machine, machine.head.height).signed, list(signers))
    _, proof, height = machine.prove(KEY)
    return Crossing(block, Answer(KEY, height, proof), sorted(machine.validators, key=in_comets_order))


def block_at(machine: Machine, height: Height) -> Block:
    """A kept block (from height 1 on). Raises BadInput ledger.11."""
    with machine.store.read() as read:
        stored = read.block(height) if height else None
    if stored is None:
        raise BadInput(NOT_KEPT, f"height {height}")
    return codec.decode_as(stored, Block)


def blocks_from(machine: Machine, start: Height) -> Iterator[Block]:
    """Kept blocks from ``start`` to the head. Raises BadInput ledger.11."""
    height = max(1, start)
    while height <= machine.head.height:
        yield block_at(machine, height)
        height += 1


def oldest_height(machine: Machine) -> Height:
    """The first block that is still kept, 0 before the first."""
    with machine.store.read() as read:
        first = read.first_height("results")
    return (first or 1) if machine.head.height else 0


def events_after(machine: Machine, cursor: str) -> Iterator[tuple[str, Event]]:
    """Events after the cursor, in order, each once."""
    place = Cursor.read(cursor) if cursor else Cursor(max(1, oldest_height(machine)), 0, 0)
    height = place.height
    while height <= machine.head.height:
        done = machine.results(height)
        if done.leaf is None:
            raise BadInput(NOT_KEPT, f"height {height}")
        for at, event in place.following(done.leaf, done.told()):
            yield str(at), event
        height += 1


def outcome_of(machine: Machine, tx_id: bytes) -> Committed | None:
    """What became of a transaction in a kept block."""
    found = machine.outcome(tx_id)
    return None if found is None else Committed(tx_id, *found)


def inclusion_of(machine: Machine, tx_id: bytes, height: Height | None) -> Inclusion | None:
    """The proof of what became of a transaction in a kept block, None where none holds it; ``height``: whose state
    proves the log, the head's by default.

    Raises BadInput ledger.11 where that state is not kept, or the log did not hold the transaction yet.
    """
    with machine.store.read() as read:
        place = read.place_of(tx_id)
    if place is None:
        return None
    at, position = place
    done, block = machine.results(at), block_at(machine, at)
    value, proof, proven = machine.prove(history.STATE_KEY, height)
    size, told = _size(value), done.told()
    skipped = len(told) - len(done.txs) + position
    if done.leaf is None or done.leaf + skipped >= size:
        raise BadInput(NOT_KEPT, f"height {at}")
    return Inclusion(
        height=at,
        code=told[skipped].code,
        events=told[skipped].events,
        signed=block.txs[position],
        position=position,
        count=len(block.txs),
        block_path=block_path(block.txs, position, of_comet=not block.signed.signatures),
        index=done.leaf + skipped,
        path=machine.prove_transaction(done.leaf + skipped, size),
        log=Answer(history.STATE_KEY, proven, proof),
    )


def entries_from(machine: Machine, start: Height, height: Height | None) -> Entries:
    """What blocks from ``start`` on (0: the oldest that is kept) entered into the history, under the state of a height
    (the head's by default): as many blocks as fit an answer.

    Raises BadInput ledger.11 where that state or one of the blocks is not kept.
    """
    value, proof, proven = machine.prove(history.STATE_KEY, height)
    size, through = _size(value), (start or max(1, oldest_height(machine))) - 1
    first, told = size, list[Told]()
    last = min(proven, through + MAX_ENTRIES)
    while through < last and len(told) < MAX_ENTRIES:
        done = machine.results(through + 1)
        if done.leaf is None:
            raise BadInput(NOT_KEPT, f"height {through + 1}")
        first = first if told else done.leaf
        told += done.told()
        through += 1
    beside = machine.prove_leaves(first, first + len(told), size) if told else []
    return Entries(through, first, told, beside, Answer(history.STATE_KEY, proven, proof))


def _size(value: bytes | None) -> int:
    return 0 if value is None else codec.decode_as(value, history.Frontier).size


def status_of(machine: Machine, *, running: bool) -> Status:
    """Where a machine stands."""
    head = machine.head
    return Status(head.chain, head.height, head.time, head.app_hash, oldest_height(machine), running)
