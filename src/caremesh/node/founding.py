"""How a network began, as every member keeps it: the genesis document, and who orders and signs the blocks.

Either one node does, the operator's, by the embedded engine, or the validators do together, by CometBFT: then they are
in the genesis document, and the file names besides where each reaches the others. Where the first way became the second
(ADR 0120), a file beside it, ``crossing.cbor``, holds what proves that; the founding itself stays what it was, since
all know the network by its hash.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from caremesh import codec
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts, Genesis
from caremesh.errors import BadInput, StorageFailed, Tampered, WrongLedger
from caremesh.ledger.blocks import Validator
from caremesh.ledger.light import FOREVER_S, Crossing, LightClient
from caremesh.ledger.succession import is_of
from caremesh.node.errors import BROKEN_GENESIS, LATER_CHAIN, NOT_WRITABLE
from caremesh.types import Did, Seconds

CHAIN: Final = "caremesh-local"
FILE: Final = "founding.cbor"
CROSSING: Final = "crossing.cbor"

T = TypeVar("T")
Clock = Callable[[], Seconds]
EngineName: TypeAlias = Literal["embedded", "cometbft"]


class Peer(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the CometBFT of a member is reached by the others': ``id@host:port``."""

    member: Did
    address: str


class Crossed(Struct, frozen=True, forbid_unknown_fields=True):
    """The file ``crossing.cbor``: the last block that one key ordered, and where those are reached who order since."""

    crossing: Crossing
    peers: list[Peer]


class Founding(Struct, frozen=True, omit_defaults=True):
    """The file ``founding.cbor`` of a home, or of the mesh's folder; also the network file.

    ``validators``: who signs the first block; of CometBFT in its order, by power, then by address.
    """

    genesis: bytes
    validators: list[Validator]
    engine: EngineName = "embedded"
    peers: list[Peer] = []
    crossed: Crossed | None = None
    """Of a file of its own, never of this one: see ``founded``."""

    @property
    def founded(self) -> Founding:
        """As it was founded: what a network is known by, whatever became of it."""
        return replace(self, crossed=None)

    @property
    def orders(self) -> EngineName:
        """By which engine blocks are ordered now."""
        return self.engine if self.crossed is None else "cometbft"

    @property
    def reached(self) -> list[Peer]:
        """Where the CometBFT of members is reached now, as far as files say."""
        return self.peers if self.crossed is None else self.crossed.peers

    @property
    def document(self) -> Genesis:
        """The genesis document. Raises BadInput codec.NN."""
        return codec.decode_as(self.genesis, Genesis)

    @property
    def chain(self) -> str:
        """The name of its ledger."""
        return self.document.chain

    @property
    def time(self) -> Seconds:
        """When it began."""
        return self.document.time

    def light_client(self, chain: str = "") -> LightClient:
        """A client that trusts the founding validators, and nobody else; and whom they have handed over to.

        ``chain``: of what headers, where it is to be the first chain of a network that has another one now. Trust in
        founders does not end: a wallet that was not used for years has nobody else to begin with. Raises light.NN of a
        crossing that does not prove what it says; WrongLedger node.35 where none is known to lead to ``chain``.
        """
        client = LightClient(self.chain, self.validators, trusted_at=self.time, trust_period_s=FOREVER_S)
        if self.crossed is None:
            if chain != self.chain and is_of(chain, self.chain):
                raise WrongLedger(LATER_CHAIN, chain)
            return client
        last = self.crossed.crossing.block.signed.content()
        if chain == self.chain:
            return client.until(last.height)
        client.cross(self.crossed.crossing, last.time)
        return client

    def replica(self, folder: Path, clock: Clock) -> Replica:
        """A copy of the ledger in a folder. Raises WrongLedger, StorageFailed, Tampered."""
        return Replica(
            folder,
            Contracts(),
            chain=self.chain,
            genesis=self.genesis,
            genesis_time=self.time,
            validators=self.validators,
            clock=clock,
            monotonic=time.monotonic,
        )


def load(folder: Path) -> Founding | None:
    """The founding of the mesh in a folder, None when there is no mesh. Raises Tampered node.05, StorageFailed."""
    found = _read(folder / FILE, Founding)
    return None if found is None else replace(found, crossed=_read(folder / CROSSING, Crossed))


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return codec.decode_as(path.read_bytes(), kind)
    except FileNotFoundError:
        return None
    except BadInput as error:
        raise Tampered(BROKEN_GENESIS, path.name) from error
    except OSError as error:
        raise StorageFailed(NOT_WRITABLE, path.name) from error
