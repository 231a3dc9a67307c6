"""What the main job, and a person in it, are done in: a mesh in one process, or nodes on a network.

``LocalMesh`` is the first (with ``testing/near_world.py`` around it for the main job), ``testing/far_world.py`` the
second. Nothing of the job itself knows which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple, Protocol, runtime_checkable

from caremesh.contracts.access.state import Receipt
from caremesh.gateway.gather import ReleaseCustodian
from caremesh.gateway.opening import Opened
from caremesh.ledger.light import LightClient
from caremesh.ledger.state import Reader
from caremesh.node.member import MemberHome
from caremesh.sealing.channel import SharedStream
from caremesh.sealing.invitation import Invitation
from caremesh.source.importer import ImportReport
from caremesh.types import Code, Count, Did, Digest, Height, Seconds
from caremesh.wallet.ways import Ways


@runtime_checkable
class FrontDesks(Protocol):
    """Members' front desks."""

    def invite(self, member: str, patient: str, *, again: bool = False) -> Invitation:
        """An invitation by a member's front desk. Raises what ``Invitations.invite`` raises."""
        ...


class Around(Ways, FrontDesks, Protocol):
    """What a person with a wallet has around: the ways of a wallet to members, and front desks that invite."""


class Seen(NamedTuple):
    """A member as the first step shows it."""

    label: str
    roles: list[Code]


ORDERED: Final = "The regulator orders transactions; four members re-execute every block themselves."


class World(Around, Protocol):
    """What the main job is done in. Members go by their short names."""

    def seen(self) -> list[Seen]:
        """All of them."""
        ...

    @property
    def custodians(self) -> Mapping[Did, object]:
        """The members that are custodians."""
        ...

    def ordered(self) -> str:
        """Who orders transactions, in a sentence."""
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

    def ask_for(self, member: str, category: Code, purpose: Code, legal_basis: Sequence[Code]) -> Receipt:
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

    def block_folders(self, asker: str) -> list[Path]:
        """Where members keep blocks, in the order in which this one asks for them."""
        ...

    def damaged(self) -> list[str]:
        """Names of the blocks that those who hold them have found damaged."""
        ...

    def confirmed(self, beyond: Count = 0) -> Count:
        """How many confirmations of what was let go there have been; waits a while for more than ``beyond``."""
        ...

    def let_pass(self, seconds: Seconds) -> None:
        """Time goes by, and a block comes after it."""
        ...
