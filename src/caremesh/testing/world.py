"""What the main job, and a person in it, are done in: a mesh in one process, or nodes on a network.

``LocalMesh`` is the first (with ``testing/near_world.py`` around it for the main job), ``testing/far_world.py`` the
second. Nothing of the job itself knows which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple, Protocol

from caremesh.contracts.access.state import Receipt
from caremesh.gateway.gather import ReleaseCustodian
from caremesh.gateway.opening import Opened
from caremesh.ledger.light import Answer, LightBlock, LightClient
from caremesh.ledger.state import Reader
from caremesh.node.member import MemberHome
from caremesh.sealing.channel import SharedStream
from caremesh.source.importer import ImportReport
from caremesh.types import Code, Count, Did, Digest, Height, ReceiptId, Seconds
from caremesh.wallet import erase, index, reseal
from caremesh.wallet.asking import LogKeepers
from caremesh.wallet.ports import Custodians, Ledger, Sponsor


class Around(reseal.SealKeepers, LogKeepers, Custodians, index.Keepers, erase.Keepers, Protocol):
    """What a person with a wallet has around: members, and the ways of a wallet to them."""

    def clock(self) -> Seconds:
        """Now, UTC."""
        ...

    @property
    def chain(self) -> str:
        """The name of the ledger."""
        ...

    @property
    def custodians(self) -> Mapping[Did, object]:
        """The members that are custodians."""
        ...

    def did(self, name: str) -> Did:
        """A member by its short name. Raises BadInput node.04."""
        ...

    def subject_ledger(self) -> Ledger:
        """The ledger for a wallet, through the member that relays for it."""
        ...

    def sponsor(self, name: str) -> Sponsor:
        """A member as sponsor of a person's transactions."""
        ...

    def light_block(self) -> LightBlock:
        """The newest signed header."""
        ...

    def query(self, key: bytes, height: Height) -> Answer:
        """A key's value with its proof."""
        ...

    def take_messages(self, channel_key: bytes) -> list[bytes]:
        """The sealed messages for a channel key; they are gone then."""
        ...

    def tell_profile(self, member: Did, sealed: bytes, patient: str = "") -> None:
        """Hand a member a sealing profile: of a patient of its own who enrols, or anew."""
        ...

    def tell_share(self, member: Did, sealed: bytes) -> None:
        """Hand a member what is shared with it."""
        ...

    def tell_dispute(self, member: Did, receipt: ReceiptId, sealed: bytes) -> Seconds:
        """Hand a member a question about an access; by when it has to answer."""
        ...


class Seen(NamedTuple):
    """A member as the first step shows it."""

    label: str
    roles: list[Code]


class World(Around, Protocol):
    """What the main job is done in. Members go by their short names."""

    def seen(self) -> list[Seen]:
        """All of them."""
        ...

    def name_of(self, did: Did) -> str:
        """What people call a member, or who works there."""
        ...

    def states(self) -> list[tuple[Height, Digest]]:
        """Height and app hash of every copy of the ledger, the operator's first."""
        ...

    def home(self, name: str) -> MemberHome:
        """A member's keys."""
        ...

    def reader(self) -> Reader:
        """Committed state, verified."""
        ...

    def light_client(self) -> LightClient:
        """A client that trusts the founding validators."""
        ...

    def import_file(self, member: str, data: bytes) -> ImportReport:
        """A member imports a file of FHIR."""
        ...

    def shared(self, member: str, category: Code) -> SharedStream:
        """See ``Gateway.shared``."""
        ...

    def ask(self, member: str, category: Code, purpose: Code, legal_basis: Sequence[Code]) -> Receipt:
        """The practitioner of a member asks for what is shared with it. See ``Gateway.ask``."""
        ...

    def open(self, member: str, receipt: Receipt) -> Opened:
        """The practitioner of a member opens what a receipt is for. See ``Gateway.open``."""
        ...

    def custodians_of(self, member: str) -> Mapping[Did, ReleaseCustodian]:
        """A member's ways to the custodians."""
        ...

    def lying(self, custodian: Did) -> AbstractContextManager[None]:
        """Within, this custodian lies (``testing/faults.py``)."""
        ...

    def block_folders(self) -> list[Path]:
        """Where members keep blocks."""
        ...

    def confirmed(self, beyond: Count = 0) -> Count:
        """How many confirmations of what was let go there have been; waits a while for more than ``beyond``."""
        ...

    def let_pass(self, seconds: Seconds) -> None:
        """Time goes by, and a block comes after it."""
        ...
