"""What the kernel and the application (the contracts) are to each other."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from caremesh.errors import Unavailable
from caremesh.ledger import history
from caremesh.ledger.blocks import Misbehaviour, Validator
from caremesh.ledger.state import Reader, View
from caremesh.ledger.transactions import Message, Signer
from caremesh.types import Count, Did, Digest, Height, Seconds


class Params(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a ledger. Units are in the names; sizes are of the signed bytes."""

    tx_ttl_s: Seconds = 600
    """How far ahead of block time a transaction may expire."""
    max_tx_bytes: Count = 65_536
    max_tx_messages: Count = 64
    max_block_bytes: Count = 2**20
    quota_messages: Count = 100_000
    """Messages that one sponsor may send in a window; exempt messages do not count."""
    quota_window_s: Seconds = 3_600
    kept_heights: Count = 256
    """For how many heights back state can still be read and proven."""
    retain_blocks: Count = 100_000
    """For how many heights back bodies, results, events, headers and undo records are kept."""
    last_height: Height = 0
    """Of the last block of the first chain, after which another one follows (``succession``); 0 where none does."""
    unknown_from: Height = 0
    """From this height on rules count that this program does not have; 0 where it has them all."""


class UnknownRules(Unavailable):
    """Blocks are to come whose rules this program does not have. Nothing is broken: a newer one goes on from here."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What happened, for those who follow: from a contract, in the order of execution."""

    type: str
    height: Height
    tx: bytes
    """The CID (36 bytes) of the transaction; empty where none is the cause of it."""
    attributes: dict[str, Any]
    """Plain values: str, int, bytes."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one transaction. Only ``code`` is consensus; the rest is for people."""

    code: str = ""
    """Empty when it took effect, else the stable code of the refusal."""
    sentence: str = ""
    place: str = ""


class Told(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A leaf of the history: a transaction, the code of its result and its events.

    Where no transaction is the cause of the events, ``tx`` and ``code`` are empty.
    """

    tx: bytes
    code: str
    events: list[Event]

    def leaf(self) -> Digest:
        """Its hash."""
        return history.tx_leaf(self.tx, self.code, self.events)


class Context:
    """What a handler knows and may touch while it executes one message."""

    __slots__ = ("_events", "alone", "chain", "height", "index", "signers", "sponsor", "state", "time", "tx_id")

    def __init__(
        self,
        *,
        chain: str,
        height: Height,
        time: Seconds,
        tx_id: bytes,
        signers: list[Signer],
        sponsor: Did,
        alone: bool,
        state: View,
        events: list[Event],
    ) -> None:
        self.chain: Final = chain
        self.height: Final = height
        """The block that is being executed."""
        self.time: Final = time
        """Block time, seconds UTC."""
        self.tx_id: Final = tx_id
        """The transaction's CID, 36 bytes; empty where there is none."""
        self.signers: Final = signers
        """All of them signed these bytes; the last is the sponsor."""
        self.sponsor: Final = sponsor
        """The active member whose current key signed last."""
        self.alone: Final = alone
        """Whether the transaction holds this message only."""
        self.state: Final = state
        self.index = 0
        """Position of the message in its transaction."""
        self._events: Final = events

    def signed_by(self, key: bytes, did: Did | None = None) -> bool:
        """Whether this key signed, in this name (None: the key of a stream, in its own)."""
        return any(signer.key == key and signer.did == did for signer in self.signers)

    def emit(self, kind: str, /, **attributes: str | int | bytes) -> None:
        """Tell followers that something of this type happened; forgotten if the transaction is refused."""
        self._events.append(Event(type=kind, height=self.height, tx=self.tx_id, attributes=attributes))


class Application(Protocol):
    """The contracts, as the kernel sees them. Deterministic: functions of their arguments alone.

    A method may raise ``Refused``, which is a result. Anything else that it raises is a fault of the
    program, and stops the ledger before the block is committed.
    """

    @property
    def messages(self) -> Any:
        """The union of all message types."""

    def genesis(self, state: View, document: bytes) -> None:
        """Write the first state. ``document``: the genesis bytes (DAG-CBOR with at least chain and time)."""

    def params(self, reader: Reader) -> Params:
        """The limits now in force."""

    def sponsor(self, reader: Reader, signer: Signer) -> Did:
        """The active member whose current key this is. Raises Refused when there is none."""

    def quota_exempt(self, message: Message) -> bool:
        """Whether this message costs its sponsor nothing."""

    def handle(self, ctx: Context, message: Message) -> None:
        """Carry out one message. Raises Refused; then nothing of its transaction takes effect."""

    def misbehaved(self, ctx: Context, found: Misbehaviour) -> None:
        """Take in what the engine has proof of, before the block's transactions. ``ctx`` has no signers."""

    def validators(self, reader: Reader) -> list[Validator]:
        """Who is to order blocks, each key once; nobody where this is not the application's to say.

        Once it names somebody, it always does. An engine that one key orders does not ask.
        """
