"""A ledger under all contracts that one key orders, until its authorities have several order it together.

The founders are those of ``World``. ``convert`` decides it for the block after the next, and gives what that proves.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus import kept
from caremesh.consensus.embedded import Embedded
from caremesh.consensus.interface import Committed
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts
from caremesh.contracts.network.messages import Convert, Peer
from caremesh.crypto.keys import SigningKey
from caremesh.ledger.blocks import HEADER_DOMAIN, Header, HeaderSignature, SignedHeader, Validator
from caremesh.ledger.comet import Instant
from caremesh.ledger.light import FOREVER_S, Crossing, LightBlock, LightClient
from caremesh.ledger.transactions import Message
from caremesh.types import Height, Seconds
from tests.support import comet_headers
from tests.support.comet_engine import now
from tests.support.comet_network import engine_key, in_order, signed, validator
from tests.support.world import CHAIN, Actor, World

OPERATOR: Final = SigningKey.from_seed(b"operator".ljust(32, b"."))
SIGNERS: Final = [Validator(OPERATOR.public, 1)]
PEER: Final = f"{'a' * 40}@127.0.0.1:26656"


def resigned(header: Header) -> SignedHeader:
    """A header of the old chain, signed by its one key."""
    raw = codec.encode(header)
    return SignedHeader(raw, [HeaderSignature(OPERATOR.public, OPERATOR.sign(HEADER_DOMAIN + raw))])


def comet_block(crossing: Crossing, height: int, chain: str, *by: str) -> LightBlock:
    """A header of CometBFT that the validators of these names have signed."""
    """A header of CometBFT that the validators of these names have signed; all four unless named."""
    header = crossing.block.signed.own()
    made = replace(comet_headers.header(height, crossing.validators, header.app_hash, chain), time=header.time)
    made = replace(made, validators=header.next_validators, next_validators=header.next_validators)
    at = Instant(made.time, 0)
    keys = [engine_key(name) for name in by or ("0", "1", "2", "3")]
    votes = [HeaderSignature(key.public, key.sign(made.signing_input(at, made.hash())), at) for key in keys]
    return LightBlock(SignedHeader(codec.encode(made), votes), crossing.validators)


class Converting:
    """The operator's engine, and what begins a copy of it. ``engine`` makes a block for each transaction."""

    def __init__(self, folder: Path) -> None:
        self.world: Final = World()
        self.begun: Final[Seconds] = now()
        self.genesis: Final = codec.encode(self.world.genesis(time=self.begun))
        self.folder: Final = folder
        self.engine = self.opened()

    def opened(self, rules: Contracts | None = None) -> Embedded:
        """The operator's engine over its folder. ``rules``: of another version of the program."""
        return Embedded(
            self.folder,
            rules or Contracts(),
            chain=CHAIN,
            genesis=self.genesis,
            genesis_time=self.begun,
            key=OPERATOR,
            clock=now,
        )

    def replica(self, folder: Path, rules: Contracts | None = None) -> Replica:
        """A follower's copy in a folder."""
        return Replica(
            folder,
            rules or Contracts(),
            chain=CHAIN,
            genesis=self.genesis,
            genesis_time=self.begun,
            validators=SIGNERS,
            clock=now,
            monotonic=lambda: 0.0,
        )

    def client(self) -> LightClient:
        """One that trusts the operator."""
        return LightClient(CHAIN, SIGNERS, trusted_at=self.begun, trust_period_s=FOREVER_S)

    def send(self, message: Message, *signers: Actor) -> Committed:
        """Submit to the operator; what became of it."""
        return self.engine.submit(signed(message, *signers))

    def decision(self, height: Height, names: Sequence[str] = ("0", "1", "2", "3")) -> Convert:
        """That validators with these keys follow after a height, of one member each in turn."""
        founders = [self.world.hospital, self.world.practice, *self.world.custodians]
        named = [validator(founders[number % 5], name) for number, name in enumerate(names)]
        peers = [Peer(member=each.member, address=PEER) for each in named]
        return Convert(height=height, validators=in_order(*named), peers=peers)

    def convert(self, names: Sequence[str] = ("0", "1", "2", "3")) -> Crossing:
        """Decide it for the block after the next, come to it, and end: what then proves it."""
        last = self.engine.machine.head.height + 2
        done = self.send(self.decision(last, names), *self.world.custodians[:2])
        assert done.code == "", done.code
        while self.engine.machine.head.height < last:
            self.engine.make_block()
        return kept.crossing_of(self.engine.machine, SIGNERS)
