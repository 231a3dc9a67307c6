"""What a wallet remembers. Everything but ``seed`` can be found again on the ledger, from the seed.

Immutable: every act gives a new state, which is saved before anything that depends on it leaves the wallet.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.errors import BadInput, Refused, Tampered
from caremesh.ledger.transactions import ChainId
from caremesh.types import Bytes16, Bytes32, Code, ConsentId, Count, Did, Seconds, StreamId
from caremesh.wallet.derive import RelationshipKeys, StreamKeys, relationship
from caremesh.wallet.errors import NO_SUCH_STREAM, NOT_A_WALLET, UNKNOWN_SHARE, UNKNOWN_STREAM

Uint32 = Annotated[int, Meta(ge=0, lt=2**32)]

VERSION: Final = 1


class Stream(Struct, frozen=True, kw_only=True):
    """One stream: how its keys are derived, and where they stand."""

    category: Code
    counter: Uint32 = 0
    id: StreamId
    rotation: Uint32 = 0
    epoch: Uint32 = 0
    serial: Count = 0
    """Of the last write permit that this wallet signed; the next one has a higher."""
    permit: bytes = b""
    """The last write permit, canonical DAG-CBOR of it with its signature; empty when it is not known (restored)."""


class Relationship(Struct, frozen=True, kw_only=True):
    """This person with one member: as a source of records, as a grantee, or both."""

    member: Did
    counter: Uint32 = 0
    streams: list[Stream] = []


class SharedItem(Struct, frozen=True, kw_only=True):
    """One consent of a share."""

    category: Code
    stream: StreamId
    consent: ConsentId


class ShareRecord(Struct, frozen=True, kw_only=True):
    """What was granted in one act. Terms stand on the ledger; here is what the ledger must not know: that they belong
    together, and what the streams are about. ``at``: seconds UTC."""

    id: Bytes16
    grantee: Did
    at: Seconds
    items: list[SharedItem]


class PendingDeposit(Struct, frozen=True, kw_only=True):
    """A fragment that a custodian has not acknowledged yet. ``sealed``: readable by that custodian only."""

    consent: ConsentId
    custodian: Did
    what: Bytes32
    """The digest that the acknowledgement has to name."""
    sealed: bytes

    def __repr__(self) -> str:
        return f"PendingDeposit({self.consent.hex()}, {self.custodian})"


class Heard(Struct, frozen=True, kw_only=True):
    """Why a member asks, in its own words, for one offer on the ledger."""

    offer: Bytes32
    text: str

    def __repr__(self) -> str:
        return f"Heard({self.offer.hex()})"


class WalletState(Struct, frozen=True, kw_only=True):
    """All that a wallet file holds."""

    v: Literal[1] = 1
    chain: ChainId
    seed: Bytes32
    relationships: list[Relationship] = []
    shares: list[ShareRecord] = []
    pending: list[PendingDeposit] = []
    heard: list[Heard] = []
    version: Count = 0
    """How often this state was saved: of two copies the higher is the newer."""
    relay: Did | None = None
    """The member that keeps messages for this wallet; none: each keeps its own."""

    def __repr__(self) -> str:
        return f"WalletState({self.chain})"


class Located(Struct, frozen=True):
    """A stream with whom it is kept with, and its keys."""

    member: Did
    """The source."""
    stream: Stream
    keys: StreamKeys

    def __repr__(self) -> str:
        return f"Located({self.stream.id.hex()})"


def read_state(data: bytes, place: str = "") -> WalletState:
    """A state from a wallet file's content. Raises Tampered wallet.05."""
    try:
        return codec.decode_as(data, WalletState)
    except BadInput as error:
        raise Tampered(NOT_A_WALLET, place or error.place) from error


def keys_of(state: WalletState, member: Did) -> RelationshipKeys:
    """The keys of the relationship with a member; those of the first one when there is none yet."""
    found = relationship_with(state, member)
    return relationship(state.seed, member, found.counter if found else 0)


def relationship_with(state: WalletState, member: Did) -> Relationship | None:
    """The newest relationship with a member, or None."""
    found = [entry for entry in state.relationships if entry.member == member]
    return found[-1] if found else None


def streams(state: WalletState) -> list[Located]:
    """All streams, in the order in which they came to be."""
    found = []
    for entry in state.relationships:
        keys = relationship(state.seed, entry.member, entry.counter)
        found += [
            Located(entry.member, stream, keys.stream(stream.category, stream.counter)) for stream in entry.streams
        ]
    return found


def locate(state: WalletState, stream: StreamId) -> Located:
    """One stream by its id. Raises Refused wallet.11."""
    for entry in state.relationships:
        for known in entry.streams:
            if known.id == stream:
                keys = relationship(state.seed, entry.member, entry.counter)
                return Located(entry.member, known, keys.stream(known.category, known.counter))
    raise Refused(UNKNOWN_STREAM, stream.hex())


def choose(state: WalletState, categories: list[str], sources: list[Did] | None = None) -> list[StreamId]:
    """The streams of these categories, kept with any member or with these ones only. Raises Refused wallet.67 with the
    number of a category of which there is none.
    """
    found = [
        stream
        for entry in state.relationships
        for stream in entry.streams
        if stream.category in categories and (sources is None or entry.member in sources)
    ]
    kept = {stream.category for stream in found}
    for number, category in enumerate(categories, 1):
        if category not in kept:
            raise Refused(NO_SUCH_STREAM, f"category {number}")
    return [stream.id for stream in found]


def share_record(state: WalletState, share: bytes) -> ShareRecord:
    """One share by its id. Raises Refused wallet.12."""
    for record in state.shares:
        if record.id == share:
            return record
    raise Refused(UNKNOWN_SHARE, share.hex())


def with_relationship(state: WalletState, entry: Relationship) -> WalletState:
    """The state with this relationship added, or put in place of the one with the same member and counter."""
    name = (entry.member, entry.counter)
    kept = [entry if (known.member, known.counter) == name else known for known in state.relationships]
    return replace(state, relationships=kept if entry in kept else [*kept, entry])


def with_stream(state: WalletState, stream: Stream) -> WalletState:
    """The state with this stream in place of the one with the same id."""
    return replace(
        state,
        relationships=[
            replace(entry, streams=[stream if known.id == stream.id else known for known in entry.streams])
            for entry in state.relationships
        ],
    )
