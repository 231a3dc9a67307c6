"""How a wallet reaches members: through a mesh in one process, or over the network. Whoever runs it brings one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from caremesh.client.wallet import Page
from caremesh.ledger.light import Answer, LightBlock
from caremesh.ledger.transactions import Signs
from caremesh.types import Count, Did, Height, Seconds
from caremesh.wallet import asking, erase, index, reseal, revoke
from caremesh.wallet.ports import Custodians, Ledger, Sponsor
from caremesh.wallet.proven import Fault


class Posts(Protocol):
    """The way to members by letter, and to an inbox."""

    def send_letter(self, member: Did, sealed: bytes) -> bytes:
        """Carry a letter to a member; its sealed reply. Raises CareMeshError."""

    def messages(self, relay: Did, channel: Signs, after: str = "") -> Page:
        """What waits at a relay for who holds this channel key. Raises CareMeshError."""

    def acknowledge(self, relay: Did, channel: Signs, ids: Sequence[str]) -> Count:
        """Let the relay destroy what the wallet has kept; how many there were. Raises CareMeshError."""


class Ways(
    Posts, reseal.SealKeepers, asking.LogKeepers, Custodians, index.Keepers, erase.Keepers, revoke.Destroyers, Protocol
):
    """All that a wallet needs of others."""

    def clock(self) -> Seconds:
        """Now, UTC."""

    @property
    def chain(self) -> str:
        """The name of the ledger."""

    @property
    def relay(self) -> Did:
        """The member that relays for this wallet unless it has chosen another."""

    def did(self, name: str) -> Did:
        """A member by the name that people type, or by its DID. Raises BadInput."""

    def name_of(self, did: Did) -> str:
        """What people call a member, or who works there."""

    @property
    def faults(self) -> Sequence[Fault]:
        """Members that did not answer, or lied, and were done without, so far."""

    def subject_ledger(self) -> Ledger:
        """The ledger for a wallet, through the member that relays for it."""

    def sponsor(self, name: str = "") -> Sponsor:
        """The member that sponsors: the relay, or the one with this name."""

    def sponsors(self) -> Sequence[Did]:
        """Whom to ask to sponsor what must get through, the relay first."""

    def light_block(self) -> LightBlock:
        """The newest signed header."""

    def query(self, key: bytes, height: Height) -> Answer:
        """A key's value with its proof. Raises CareMeshError."""
