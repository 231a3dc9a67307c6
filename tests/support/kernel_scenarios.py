"""Blocks that show the kernel's own rules on the founders' state: what holds for every transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from caremesh import codec
from caremesh.codec import CID
from caremesh.contracts.access.messages import Report
from caremesh.contracts.identity.messages import Register
from caremesh.contracts.members.messages import Keys, SetEndpoints, SetKeys
from caremesh.contracts.network.messages import Params
from caremesh.contracts.network.state import PARAMS
from caremesh.contracts.streams.messages import RevokePermit
from caremesh.ledger.state import View
from caremesh.ledger.transactions import MAX_SIGNED_BYTES, Message, Tx, assemble, encode, sign
from tests.support.recorder import state_of
from tests.support.states import outcome
from tests.support.world import CHAIN, Actor, World

DEEP = b"\x81" * 17 + b"\x00"
"""Seventeen arrays, one in the other."""


class Scenario(NamedTuple):
    """A named block on a state."""

    name: str
    state: dict[bytes, bytes]
    height: int
    time: int
    txs: list[bytes]


class Kernel:
    """Builds the scenarios of one world."""

    def __init__(self) -> None:
        self.world = World()
        self.state = state_of(self.world)
        self.now, self.height = self.world.now, self.world.height
        self.made: list[Scenario] = []

    def tx(self, *msgs: Message, signers: Sequence[Actor] = (), **changes: Any) -> Tx[Any]:
        """A transaction of the hospital, unless others sign."""
        given: dict[str, Any] = {
            "chain": CHAIN,
            "expires_at": self.now + 300,
            "salt": bytes(8),
            "signers": [actor.signer for actor in signers or [self.world.hospital]],
            "msgs": list(msgs),
        }
        return Tx(**given | changes)

    def signed(self, *msgs: Message, signers: Sequence[Actor] = (), **changes: Any) -> bytes:
        """The same, signed."""
        actors = signers or [self.world.hospital]
        return sign(encode(self.tx(*msgs, signers=signers, **changes)), [actor.key for actor in actors])

    def signed_bytes(self, plain: dict[str, Any]) -> bytes:
        """Any value in the place of a transaction, signed by the hospital."""
        return sign(codec.encode(plain), [self.world.hospital.key])

    def endpoints(self, *addresses: str) -> SetEndpoints:
        """The smallest message that always takes effect."""
        return SetEndpoints(member=str(self.world.hospital.did), endpoints=list(addresses))

    def add(self, name: str, *txs: bytes, later_s: int = 0, state: dict[bytes, bytes] | None = None) -> None:
        """One more scenario."""
        self.made.append(
            Scenario(name, self.state if state is None else state, self.height, self.now + later_s, list(txs))
        )

    def after(self, *txs: bytes, state: dict[bytes, bytes] | None = None) -> dict[bytes, bytes]:
        """The state after a block of these; the next block comes one higher."""
        before = self.state if state is None else state
        done = outcome(CHAIN, before, self.height, self.now, txs)
        self.height += 1
        return {key: value for key, value in {**before, **done.put}.items() if key not in done.delete}

    def limited(self, **params: int) -> dict[bytes, bytes]:
        """The state with other parameters."""
        view = View(self.state)
        PARAMS.put(view, Params(**params))
        return {**self.state, **{key: now for key, _, now in view.changes() if now is not None}}


def scenarios() -> list[Scenario]:
    """All of them, in the order of the kernel's checks."""
    kernel = Kernel()
    _bytes(kernel)
    _envelopes(kernel)
    _keys(kernel)
    _blocks(kernel)
    return kernel.made


def _bytes(kernel: Kernel) -> None:
    good = encode(kernel.tx(kernel.endpoints()))
    signature = kernel.world.hospital.key.sign(b"")
    revoke = encode(kernel.tx(RevokePermit(stream=bytes(32))))
    plain = codec.decode(revoke)
    plain["msgs"][0]["permit"] = None
    minimal = codec.encode([good, [signature]])
    kernel.add("an empty block changes nothing")
    kernel.add("bytes that are no DAG-CBOR", b"\xff")
    kernel.add("an integer that is not minimal", b"\x98\x02" + minimal[1:])
    kernel.add("an array that does not end", b"\x9f\x00\xff")
    for name, tx_bytes in {
        "keys that are not sorted": b"\xa2\x61b\x00\x61a\x00",
        "a key twice": b"\xa2\x61a\x00\x61a\x00",
        "a float": b"\xa1\x61a\xfb" + bytes(8),
        "a tag that is no link": b"\xc1\x00",
        "bytes after the end": good + b"\x00",
    }.items():
        kernel.add(name, assemble(tx_bytes, [signature]))
    kernel.add("nested too deep", DEEP)
    kernel.add("another shape", codec.encode({"tx": good}))
    kernel.add("an unknown field", kernel.signed_bytes({**codec.decode(good), "extra": 1}))
    kernel.add("an unknown message", kernel.signed_bytes({**codec.decode(good), "msgs": [{"type": "no/such"}]}))
    kernel.add("a transaction without messages", kernel.signed_bytes({**codec.decode(good), "msgs": []}))
    kernel.add("an absent field spelled as null", kernel.signed_bytes(plain))
    kernel.add("longer than a block may be", bytes(MAX_SIGNED_BYTES + 1))
    kernel.add("a signature too few", assemble(good, []))
    kernel.add("a signature too many", assemble(good, [signature, signature]))
    twice = encode(kernel.tx(kernel.endpoints(), signers=[kernel.world.hospital] * 2))
    kernel.add("a key named twice", sign(twice, [kernel.world.hospital.key] * 2))
    kernel.add("a signature of other bytes", assemble(good, [signature]))
    kernel.add("a signature of another key", sign(good, [kernel.world.practice.key]))
    order = encode(kernel.tx(kernel.endpoints(), signers=[kernel.world.practice, kernel.world.hospital]))
    kernel.add("signatures in another order", sign(order, [kernel.world.hospital.key, kernel.world.practice.key]))


def _envelopes(kernel: Kernel) -> None:
    set_one, set_two = kernel.endpoints("https://a.example"), kernel.endpoints("https://b.example")
    first = kernel.signed(set_one)
    kernel.add("accepted", first)
    kernel.add("of another chain", kernel.signed(set_one, chain="other"))
    kernel.add("expired", kernel.signed(set_one, expires_at=kernel.now - 1))
    kernel.add("expires in this second", kernel.signed(set_one, expires_at=kernel.now))
    kernel.add("expires too far ahead", kernel.signed(set_one, expires_at=kernel.now + 601))
    kernel.add("expires as late as may be", kernel.signed(set_one, expires_at=kernel.now + 600))
    kernel.add("twice in one block", first, first)
    kernel.add("too many messages", kernel.signed(*[kernel.endpoints()] * 65))
    kernel.add("as many messages as may be", kernel.signed(*[kernel.endpoints()] * 64))
    kernel.add("sponsored by no member", kernel.signed(set_one, signers=[kernel.world.stream_key]))
    stranger = Actor("stranger")
    kernel.add("sponsored by a stranger", kernel.signed(set_one, signers=[stranger]))
    poor = kernel.limited(quota=2)
    kernel.add("a quota that is used up", first, kernel.signed(set_one, set_two), kernel.signed(set_two), state=poor)
    registered = kernel.after(kernel.signed(kernel.world.register()), state=poor)
    other = kernel.signed(kernel.endpoints("https://c.example"))
    revoke = RevokePermit(stream=kernel.world.stream)
    free = kernel.signed(revoke, signers=[kernel.world.stream_key, kernel.world.hospital])
    kernel.add("what takes back costs nothing", other, first, free, state=registered)
    later = [kernel.signed(one, expires_at=kernel.now + 3_900) for one in (set_one, set_two)]
    kernel.add("a new window, a new quota", *later, later_s=3_600, state=registered)
    kernel.height -= 1
    known = kernel.after(first)
    kernel.add("in an earlier block already", first, state=known)
    late = msgspec.structs.replace(kernel.tx(set_two), expires_at=kernel.now + 900)
    next_one = sign(encode(late), [kernel.world.hospital.key])
    kernel.add("ids that can come no more are forgotten", next_one, later_s=601, state=known)
    kernel.height -= 1
    refused = kernel.signed(kernel.endpoints(), Report(root=bytes(32), count=1))
    kernel.add("what was refused is remembered too", refused, state=kernel.after(refused))
    kernel.height -= 1


def _keys(kernel: Kernel) -> None:
    hospital = str(kernel.world.hospital.did)
    channel, receiving = kernel.world.admission(kernel.world.hospital, []).keys.channel, kernel.world.receiving.public
    for name, node in {
        "a key of an unknown algorithm": b"\x12\x00" + bytes(32),
        "a key of small order": b"\xed\x01" + bytes(32),
        "a key that is not canonical": b"\xed\x01" + (2**255 - 18).to_bytes(32, "little"),
        "a key outside the prime-order group": b"\xed\x01" + b"\xec" + b"\xff" * 30 + b"\x7f",
    }.items():
        kernel.add(name, kernel.signed(SetKeys(member=hospital, keys=Keys(node, channel, receiving))))


def _blocks(kernel: Kernel) -> None:
    bad = Report(root=bytes(32), count=1)  # a hospital is no custodian
    kernel.add("all of a transaction or none", kernel.signed(kernel.endpoints("https://a.example"), bad))
    nurse = Actor("nurse")
    enrol = kernel.signed(
        Register(did=str(nurse.did), key=nurse.key.public, kind="practitioner"),
        signers=[nurse, kernel.world.hospital],
    )
    mixed = [kernel.signed(kernel.endpoints(f"https://{name}.example")) for name in "ab"]
    kernel.add("a block of many", mixed[0], b"\xff", enrol, mixed[1], mixed[0])
    block = CID.cidv1_raw_sha256_32_from(b"block")
    kernel.add("a link of another kind", kernel.signed(kernel.world.register(descriptor=block)))
