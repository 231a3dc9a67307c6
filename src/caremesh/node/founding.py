"""How a network began, as every member keeps it: the genesis document, and who orders and signs the blocks.

Either one node does, the operator's, by the embedded engine, or the validators do together, by CometBFT: then they are
in the genesis document, and the file names besides where each reaches the others.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias

from msgspec import Struct

from caremesh import codec
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts, Genesis
from caremesh.errors import BadInput, StorageFailed, Tampered
from caremesh.ledger.blocks import Validator
from caremesh.ledger.light import FOREVER_S, LightClient
from caremesh.node.errors import BROKEN_GENESIS, NOT_WRITABLE
from caremesh.types import Did, Seconds

CHAIN: Final = "caremesh-local"
FILE: Final = "founding.cbor"

Clock = Callable[[], Seconds]
EngineName: TypeAlias = Literal["embedded", "cometbft"]


class Peer(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the CometBFT of a member is reached by the others': ``id@host:port``."""

    member: Did
    address: str


class Founding(Struct, frozen=True, omit_defaults=True):
    """The file ``founding.cbor`` of a home, or of the mesh's folder; also the network file.

    ``validators``: who signs the first block; of CometBFT in its order, by power, then by address.
    """

    genesis: bytes
    validators: list[Validator]
    engine: EngineName = "embedded"
    peers: list[Peer] = []

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

    def light_client(self) -> LightClient:
        """A client that trusts the founding validators, and nobody else.

        Trust in them does not end: a wallet that was not used for years has nobody else to begin with.
        """
        return LightClient(self.chain, self.validators, trusted_at=self.time, trust_period_s=FOREVER_S)

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
    try:
        return codec.decode_as((folder / FILE).read_bytes(), Founding)
    except FileNotFoundError:
        return None
    except BadInput as error:
        raise Tampered(BROKEN_GENESIS, FILE) from error
    except OSError as error:
        raise StorageFailed(NOT_WRITABLE, FILE) from error
