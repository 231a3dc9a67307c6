"""What the kernel tells the contracts, and what it asks them: always of the state that the block has made so far."""

from __future__ import annotations

from pathlib import Path

import pytest

from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused
from caremesh.ledger.application import Context, Event, Params
from caremesh.ledger.machine import Machine
from caremesh.ledger.state import Reader, View
from caremesh.ledger.store import Store
from caremesh.ledger.transactions import Message, Signer, Tx, encode, sign
from caremesh.types import Did
from tests.support.blocks import block, codes, machine
from tests.support.kv import CHAIN, FORBIDDEN, MEMBER, START_S, VALUES, Kv, Put, Revoke, as_signer, transaction

STREAM = SigningKey.from_seed(b"stream".ljust(32, b"."))
LIMIT, CLOSED = b"limit", b"closed"


class Asking(Kv):
    """Takes its limits and its sponsors from the state, and notes what its handler is told."""

    def __init__(self) -> None:
        super().__init__([MEMBER])
        self.told: list[tuple[object, ...]] = []

    def params(self, reader: Reader) -> Params:
        stored = VALUES.get(reader, LIMIT)
        return Params(max_tx_messages=2 if stored is None else stored[0], quota_messages=6)

    def sponsor(self, reader: Reader, signer: Signer) -> Did:
        if VALUES.get(reader, CLOSED) is not None:
            raise Refused(FORBIDDEN, "closed")
        return super().sponsor(reader, signer)

    def handle(self, ctx: Context, message: Message) -> None:
        self.told.append((ctx.chain, ctx.height, ctx.time, ctx.tx_id, ctx.sponsor, ctx.alone, ctx.index))
        super().handle(ctx, message)


def puts(*keys: bytes, value: bytes = b"\x03") -> bytes:
    return transaction(*(Put(key=key, value=value) for key in keys))


def test_a_handler_knows_its_place(tmp_path: Path) -> None:
    app = Asking()
    ledger = machine(tmp_path, app)
    done = block(ledger, puts(b"a"), puts(b"a", b"b"), time=START_S + 7)
    one, two = done.results.txs
    who = app.members[MEMBER.public]
    assert app.told == [
        (CHAIN, 1, START_S + 7, one, who, True, 0),
        (CHAIN, 1, START_S + 7, two, who, False, 0),
        (CHAIN, 1, START_S + 7, two, who, False, 1),
    ]
    assert [(event.height, event.tx) for event in done.results.events] == [(1, one), (1, two), (1, two)]
    ledger.store.close()


def test_a_handler_knows_who_signed(tmp_path: Path) -> None:
    seen: list[list[Signer]] = []

    class Listening(Kv):
        def handle(self, ctx: Context, message: Message) -> None:
            seen.append(ctx.signers)
            super().handle(ctx, message)

    signers = [Signer(key=STREAM.public), as_signer(MEMBER)]
    tx: Tx[Put] = Tx(
        chain=CHAIN, expires_at=START_S + 9, salt=bytes(8), signers=signers, msgs=[Put(key=b"", value=b"")]
    )
    ledger = machine(tmp_path, Listening([MEMBER]))
    assert codes(block(ledger, sign(encode(tx), [STREAM, MEMBER]))) == [""]
    assert seen == [signers]
    ledger.store.close()


def context(*signers: Signer) -> Context:
    return Context(
        chain=CHAIN,
        height=1,
        time=START_S,
        tx_id=bytes(36),
        signers=list(signers),
        sponsor=Kv([MEMBER]).members[MEMBER.public],
        alone=True,
        state=View({}),
        events=[],
    )


def test_a_key_signs_in_one_name() -> None:
    member = as_signer(MEMBER)
    ctx = context(Signer(key=STREAM.public), member)
    assert ctx.signed_by(STREAM.public)
    assert ctx.signed_by(MEMBER.public, member.did)
    assert not ctx.signed_by(MEMBER.public)
    assert not ctx.signed_by(STREAM.public, member.did)
    assert not ctx.signed_by(bytes(34))
    assert not context().signed_by(STREAM.public)
    assert ctx.index == 0


def test_an_event_says_what_when_and_by_which_transaction() -> None:
    events: list[Event] = []
    ctx = context()
    ctx._events = events  # type: ignore[misc]
    ctx.emit("kv/put", key=b"k", index=3)
    assert events == [Event(type="kv/put", height=1, tx=bytes(36), attributes={"key": b"k", "index": 3})]


def test_limits_are_those_of_the_state_before_the_block(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Asking())
    assert ledger.params.max_tx_messages == 2
    three = [puts(b"a", b"b", b"c") for _ in range(2)]
    assert codes(block(ledger, puts(LIMIT), three[0])) == ["", "ledger.14"]
    assert ledger.params.max_tx_messages == 3
    assert codes(block(ledger, three[1])) == [""]
    ledger.store.close()
    again = machine(tmp_path, Asking())
    assert again.params.max_tx_messages == 3
    again.store.close()


def test_a_sponsor_is_judged_by_the_state_that_the_block_has_made(tmp_path: Path) -> None:
    ledger = machine(tmp_path, Asking())
    early, late = (ledger.codec.decode(puts(b"a")) for _ in range(2))
    ledger.check(early, START_S)
    done = block(ledger, puts(CLOSED), late.signed)
    assert codes(done) == ["", "kv.01"]
    assert done.results.results[1].place == "closed"
    with pytest.raises(Refused, match=r"kv\.01"):
        ledger.check(early, START_S)
    ledger.store.close()


def test_the_quota_is_asked_at_submission_too(tmp_path: Path) -> None:
    """Window by window, at whatever second of it; what costs nothing always passes."""
    ledger = machine(tmp_path, Asking())
    time = START_S - START_S % 3_600 + 1_801
    block(ledger, time=time)

    def ask(*messages: Message, at: int = time) -> None:
        ledger.check(ledger.codec.decode(transaction(*messages, expires_at=at + 300)), at)

    one, two = Put(key=b"a", value=b"1"), Put(key=b"b", value=b"1")
    ask(one, two)
    for _ in range(2):
        block(ledger, transaction(one, two, expires_at=time + 300), time=time)
    ask(one, two)
    block(ledger, transaction(one, expires_at=time + 300), time=time)
    ask(one, at=time + 300)
    ask(one, Revoke(key=b"a"))
    for at in (time, time + 300, time + 1_798):
        with pytest.raises(Refused, match=r"ledger\.10"):
            ask(one, two, at=at)
    block(ledger, transaction(one, expires_at=time + 300), time=time)
    ask(Revoke(key=b"a"))
    with pytest.raises(Refused, match=r"ledger\.10"):
        ask(one)
    ask(one, two, at=time + 1_799)  # the next window
    ledger.store.close()


def test_before_genesis_there_is_nothing(tmp_path: Path) -> None:
    bare = Machine(Store(str(tmp_path), CHAIN), Kv([MEMBER]))
    assert bare.params == Params()
    for ask in (lambda: bare.head, bare.reader, lambda: bare.prove(b"a")):
        with pytest.raises(BadInput, match=r"ledger\.11") as caught:
            ask()
        assert caught.value.place == "before genesis"
    bare.store.close()
