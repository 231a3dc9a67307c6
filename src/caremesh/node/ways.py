"""How a member reaches the members of its network, itself among them: in one process, or over it.

``LocalMesh`` is the way through one process. ``node/reaching.py`` is the way over the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from caremesh.blobs.interface import BlockStore
from caremesh.errors import CareMeshError
from caremesh.gateway.directories import DirectoryWay
from caremesh.types import Did, Seconds


class CustodianWay(Protocol):
    """The way to one custodian, for sources, recipients, wallets and fellow custodians. All raise CareMeshError."""

    def deposit_fragment(self, sealed: bytes) -> bytes:
        """See ``Custodian.deposit_fragment``."""
        ...

    def deposit_seal(self, data: bytes) -> bytes:
        """See ``Custodian.deposit_seal``."""
        ...

    def deposit_seals(self, data: Sequence[bytes]) -> list[bytes]:
        """See ``Custodian.deposit_seals``."""
        ...

    def deposit_reseal(self, sealed: bytes) -> bytes:
        """See ``Custodian.deposit_reseal``."""
        ...

    def release(self, data: bytes) -> list[bytes]:
        """See ``Custodian.release``."""
        ...

    def release_each(self, data: Sequence[bytes]) -> list[list[bytes] | CareMeshError]:
        """See ``Custodian.release_each``."""
        ...

    def seals(self, data: bytes) -> bytes:
        """See ``Custodian.seals``."""
        ...

    def stream_log(self, data: bytes) -> bytes:
        """See ``Custodian.stream_log``."""
        ...


class Ways(Protocol):
    """The ways of one member to others."""

    def clock(self) -> Seconds:
        """Now, UTC."""
        ...

    @property
    def custodians(self) -> Mapping[Did, CustodianWay]:
        """To each custodian."""
        ...

    def holders(self) -> Mapping[Did, BlockStore]:
        """The block stores by the member that has it, this member's own with them."""
        ...

    def stores(self) -> Sequence[BlockStore]:
        """The block stores, each at a member of its own."""
        ...

    def directories(self) -> Mapping[Did, DirectoryWay]:
        """To the directory of each member."""
        ...
