"""How the mesh on this machine began, as every member keeps it: the genesis document, and who signs the blocks."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from caremesh import codec
from caremesh.consensus.replica import Replica
from caremesh.contracts import Contracts, Genesis
from caremesh.errors import BadInput, StorageFailed, Tampered
from caremesh.ledger.blocks import Validator
from caremesh.ledger.light import FOREVER_S, LightClient
from caremesh.node.errors import BROKEN_GENESIS, NOT_WRITABLE
from caremesh.types import Seconds

CHAIN: Final = "caremesh-local"
FILE: Final = "founding.cbor"

Clock = Callable[[], Seconds]


class Founding(Struct, frozen=True):
    """The file ``founding.cbor`` of the mesh's folder."""

    genesis: bytes
    validators: list[Validator]

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

        The embedded engine has one key for good, so trust in it does not end.
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
