"""A small real application for tests and benches of the kernel: keys, values, counted lists, one sponsor rule."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from caremesh import codec
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.replica import Replica
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.errors import ErrorCode, Refused
from caremesh.ledger.application import Context, Params
from caremesh.ledger.blocks import Misbehaviour, Validator
from caremesh.ledger.state import CountedList, Reader, Table, View
from caremesh.ledger.transactions import Message, Signer, Tx, encode, sign
from caremesh.types import Did, Seconds

CHAIN: Final = "kv-test"
START_S: Final = 1_800_000_000
VALUES: Final = Table(b"kv/value/", bytes)
LISTS: Final = CountedList(b"kv/list/", bytes)
ELECTED: Final = Table(b"kv/elected/", list[Validator])
NOTED: Final = CountedList(b"kv/noted/", Misbehaviour)

FORBIDDEN: Final = ErrorCode("kv.01", "This message is refused.")
NO_MEMBER: Final = ErrorCode("kv.02", "This key is not a member's.")


class Put(Message, frozen=True, tag="kv/put"):
    """Set a key."""

    key: bytes
    value: bytes
    note: str | None = None


class Delete(Message, frozen=True, tag="kv/delete"):
    """Remove a key."""

    key: bytes


class Append(Message, frozen=True, tag="kv/append"):
    """Add to a list."""

    owner: bytes
    item: bytes


class DropFirst(Message, frozen=True, tag="kv/drop-first"):
    """Remove the oldest of a list."""

    owner: bytes


class Refuse(Message, frozen=True, tag="kv/refuse"):
    """Change something, then be refused."""

    key: bytes


class Fail(Message, frozen=True, tag="kv/fail"):
    """Make the handler raise what is not a refusal."""


class Revoke(Message, frozen=True, tag="kv/revoke"):
    """Costs no quota."""

    key: bytes


class Elect(Message, frozen=True, tag="kv/elect"):
    """Say who orders blocks."""

    validators: list[Validator]


class Kv:
    """The application."""

    messages: Any = Put | Delete | Append | DropFirst | Refuse | Fail | Revoke | Elect

    def __init__(
        self, members: list[SigningKey], params: Params | None = None, validators: Sequence[Validator] = ()
    ) -> None:
        """``validators``: those of the genesis, where it names any."""
        self.first: Final = list(validators)
        self.members: Final = {key.public: did_of(CHAIN, key.public) for key in members}
        self.limits = params or Params()
        self.handled = 0

    def genesis(self, state: View, document: bytes) -> None:
        VALUES.put(state, document, b"genesis")
        if self.first:
            ELECTED.put(state, self.first)

    def params(self, reader: Reader) -> Params:
        del reader
        return self.limits

    def sponsor(self, reader: Reader, signer: Signer) -> Did:
        del reader
        if signer.did is None or self.members.get(signer.key) != signer.did:
            raise Refused(NO_MEMBER)
        return signer.did

    def quota_exempt(self, message: Message) -> bool:
        return isinstance(message, Revoke)

    def handle(self, ctx: Context, message: Message) -> None:
        self.handled += 1
        match message:
            case Put():
                VALUES.put(ctx.state, message.value, message.key)
                ctx.emit("kv/put", key=message.key, index=ctx.index)
            case Delete() | Revoke():
                VALUES.delete(ctx.state, message.key)
                ctx.emit("kv/deleted", key=message.key)
            case Append():
                LISTS.append(ctx.state, message.item, message.owner)
            case Elect():
                ELECTED.put(ctx.state, message.validators)
            case DropFirst():
                first, count = LISTS.bounds(ctx.state, message.owner)
                if first == count:
                    raise Refused(FORBIDDEN, "empty")
                LISTS.drop_first(ctx.state, message.owner)
            case Refuse():
                VALUES.put(ctx.state, b"never", message.key)
                ctx.emit("kv/never")
                raise Refused(FORBIDDEN)
            case _:
                raise ZeroDivisionError

    def misbehaved(self, ctx: Context, found: Misbehaviour) -> None:
        NOTED.append(ctx.state, found, b"")
        ctx.emit("kv/noted", height=found.height)

    def validators(self, reader: Reader) -> list[Validator]:
        return ELECTED.get(reader) or []


class Clock:
    """A clock that stands still unless told."""

    def __init__(self, now: Seconds = START_S) -> None:
        self.now = now

    def __call__(self) -> Seconds:
        return self.now


MEMBER: Final = SigningKey.from_seed(b"member".ljust(32, b"."))
NODE: Final = SigningKey.from_seed(b"node".ljust(32, b"."))
GENESIS: Final = codec.encode({"chain": CHAIN, "time": START_S})


def as_signer(key: SigningKey) -> Signer:
    """The signer that a member's key is."""
    return Signer(key=key.public, did=did_of(CHAIN, key.public))


def transaction(
    *messages: Message,
    key: SigningKey = MEMBER,
    chain: str = CHAIN,
    expires_at: Seconds = START_S + 300,
    salt: bytes | None = None,
) -> bytes:
    """A signed transaction of one member."""
    tx = Tx(
        chain=chain,
        expires_at=expires_at,
        salt=os.urandom(8) if salt is None else salt,
        signers=[as_signer(key)],
        msgs=list(messages),
    )
    return sign(encode(tx), [key])


def engine(folder: Path, app: Kv | None = None, clock: Callable[[], Seconds] | None = None, **options: Any) -> Embedded:
    """An engine over a folder, not started: each submission makes a block."""
    return Embedded(
        folder,
        app or Kv([MEMBER]),
        chain=CHAIN,
        genesis=GENESIS,
        genesis_time=START_S,
        key=NODE,
        clock=clock or Clock(),
        **options,
    )


def replica(folder: Path, source: Embedded, app: Kv | None = None, **options: Any) -> Replica:
    """A replica that trusts the keys of an engine."""
    return Replica(
        folder,
        app or Kv([MEMBER]),
        chain=CHAIN,
        genesis=GENESIS,
        genesis_time=START_S,
        validators=source.validators,
        clock=lambda: START_S + 10**6,
        monotonic=lambda: 0.0,
        **options,
    )
