"""What every engine offers. Engines satisfy one suite of tests and are told apart by nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from caremesh.errors import BadInput, ErrorCode
from caremesh.ledger.application import Event, Result, Told
from caremesh.ledger.blocks import Block, Header
from caremesh.ledger.inclusion import Entries, Inclusion
from caremesh.ledger.light import Answer, LightBlock
from caremesh.ledger.state import Reader
from caremesh.types import Count, Digest, Height, Seconds

STOPPED = ErrorCode("consensus.01", "The ledger has stopped.", "Start the node again; look at its log for the reason.")
OUT_OF_ORDER = ErrorCode("consensus.02", "This block does not follow the last one.", "Ask for the blocks in between.")
DIVERGED = ErrorCode(
    "consensus.03", "This block leads to another state here than its header says.", "Do not use this replica."
)
FULL = ErrorCode("consensus.04", "Too many transactions are waiting.", "Send this one again a little later.")
BAD_CURSOR = ErrorCode("consensus.05", "This is not a cursor of the event stream.", "Use one as it was given.")
NOT_YET = ErrorCode("consensus.06", "No block of this height came in time.", "Ask again.")
WRONG_TXS = ErrorCode(
    "consensus.07", "These are not the transactions that the block's header names.", "Ask another node for the block."
)


ENDED = ErrorCode(
    "consensus.09",
    "One key orders no more blocks of this ledger: its members do together, by CometBFT.",
    "Start the node again: it goes over by itself, or says what it lacks.",
)
TOO_LARGE = ErrorCode("consensus.08", "This block is larger than the ledger allows.", "Ask another node for the block.")


class Committed(Struct, frozen=True):
    """What became of a transaction, once it is in a block. ``tx``: its id, 36 bytes."""

    tx: bytes
    height: Height
    result: Result
    events: list[Event]

    @property
    def code(self) -> str:
        """Empty when it took effect, else the stable code of the refusal."""
        return self.result.code


class Cursor(NamedTuple):
    """A place in the stream of events, written as its three numbers with points between: ``told`` events of the
    ``leaf`` of the history were read, and all before it; in the block of ``height``, or in one after it."""

    height: Height
    leaf: Count
    told: Count

    @classmethod
    def after(cls, height: Height) -> Cursor:
        """After everything of a height, for who does not verify."""
        return cls(height + 1, 0, 0)

    @classmethod
    def read(cls, cursor: str) -> Cursor:
        """Raises BadInput consensus.05."""
        parts = cursor.split(".")
        if len(parts) != len(cls._fields) or not all(part.isascii() and part.isdigit() for part in parts):
            raise BadInput(BAD_CURSOR)
        return cls(*map(int, parts))

    def following(self, start: Count, told: Sequence[Told]) -> Iterator[tuple[Cursor, Event]]:
        """The events after this place out of leaves that begin at ``start``, each with the place after it."""
        for leaf, each in enumerate(told, start):
            for count, event in enumerate(each.events, 1):
                if (leaf, count) > (self.leaf, self.told):
                    yield Cursor(event.height, leaf, count), event

    def __str__(self) -> str:
        return ".".join(map(str, self))


class Status(Struct, frozen=True):
    """Where the engine stands. ``oldest``: the first block that is still kept."""

    chain: str
    height: Height
    time: Seconds
    app_hash: Digest
    oldest: Height = 0
    running: bool = True


class Engine(Protocol):
    """Orders transactions and answers questions about what they led to."""

    def submit(self, raw: bytes) -> Committed:
        """Put a signed transaction into a block and wait until the block is durable.

        What no block may hold is refused at once: BadInput tx.NN and codec.NN, Tampered signatures.03, Refused
        ledger.06 to ledger.10 and .14, and what the application says of its sponsor. What a contract refuses is
        committed with its code. Raises Unavailable consensus.01 and consensus.04, StorageFailed.
        """
        ...

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """A key's value with its proof. Raises BadInput ledger.11 for heights that are no longer kept."""
        ...

    def light_block(self, height: Height | None = None) -> LightBlock:
        """The signed header of a height (the last by default) with its validators. Raises BadInput ledger.11."""
        ...

    def outcome(self, tx_id: bytes) -> Committed | None:
        """What became of a transaction (36 bytes) in a kept block, None when none holds it."""
        ...

    def inclusion(self, tx_id: bytes, height: Height | None = None) -> Inclusion | None:
        """The proof of what became of a transaction in a kept block, under the state of a height (the head by default).

        None when no block holds it. Raises BadInput ledger.11.
        """
        ...

    def entries(self, start: Height, height: Height | None = None) -> Entries:
        """What blocks from ``start`` on (0: the oldest that is kept) entered into the history, under the state of a
        height (the head by default). As many blocks as fit an answer; none of them when ``start`` is above ``height``.

        Raises BadInput ledger.11.
        """
        ...

    def blocks(self, start: Height) -> Iterator[Block]:
        """All kept blocks from ``start`` on, up to the last. Raises BadInput ledger.11 when ``start`` has gone."""
        ...

    def subscribe(self, cursor: str = "") -> Iterator[tuple[str, Event]]:
        """Events after ``cursor``, each with the cursor that resumes after it; ends at the last committed block.

        Without a cursor, from the oldest block that is kept. Raises BadInput consensus.05, and ledger.11 when
        events after the cursor have gone.
        """
        ...

    def wait(self, height: Height, timeout_s: float) -> Height:
        """The height of the head, once it is at least ``height``. Raises Unavailable consensus.06, consensus.01."""
        ...

    def status(self) -> Status:
        """Height, time and app hash of the last block."""
        ...

    def reader(self, height: Height | None = None) -> Reader:
        """The state at a height (the head by default): it stays that, whatever blocks come."""
        ...


class HeadReader(Protocol):
    """A verified copy of the ledger: its last header and the state under it."""

    def header(self) -> Header:
        """The last verified header."""
        ...

    def seen_s(self) -> float:
        """Seconds since that header came in, by a clock that never goes back."""
        ...

    def reader(self) -> Reader:
        """The state under that header."""
        ...
