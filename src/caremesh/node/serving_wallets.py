"""A member in the service of wallets, anybody's: the roles behind ``/wallet/v1`` (``api/wallet.py``)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from caremesh.client.wallet import Page
from caremesh.consensus.interface import Committed
from caremesh.contracts.members import queries as members
from caremesh.errors import BadInput
from caremesh.ledger.light import Answer
from caremesh.node.errors import UNKNOWN_MEMBER
from caremesh.node.running import Member
from caremesh.node.sponsoring import Proven
from caremesh.node.ways import Ways
from caremesh.types import Count, Did, Height, Multikey


class Carries(Protocol):
    """The way to another member's node for what is sealed. Both raise CareMeshError."""

    def letter(self, member: Did, sealed: bytes) -> bytes:
        """Carry a letter; its sealed reply."""

    def leave(self, relay: Did, channel_key: Multikey, sealed: bytes) -> None:
        """Leave a message at another member's inbox."""


class WalletService:
    """See ``api.wallet.Relay``. Any thread may call."""

    def __init__(self, member: Member, ways: Ways, carries: Carries, network_file: bytes) -> None:
        self.did: Final[Did] = member.home.did
        self._member: Final = member
        self._ways: Final = ways
        self._carries: Final = carries
        self._network_file: Final = network_file

    def network_file(self) -> bytes:
        """See ``Relay``, as for all of these."""
        return self._network_file

    def query(self, key: bytes, height: Height | None = None) -> Answer:
        """From this member's own copy."""
        return self._member.ledger.copy.query(key, height)

    def sponsor(self, tx_bytes: bytes, caller: Multikey) -> bytes:
        """For the key that asks, and no other."""
        return self._member.sponsoring.sponsor(tx_bytes, Proven(caller))

    def submit_batched(self, subject: bytes, raw: bytes) -> Committed:
        """By this member's outbox."""
        return self._member.ledger.submit_batch(subject, [raw])[0]

    def receive(self, sealed: bytes) -> bytes:
        """Open a letter to this member."""
        return self._member.letters(self._ways).receive(sealed)

    def carry(self, member: Did, sealed: bytes) -> bytes:
        """To another member's node, signed as this one's. Raises BadInput node.04 when there is no such member."""
        if members.member(self._member.ledger.reader(), member) is None:
            raise BadInput(UNKNOWN_MEMBER, member)
        return self._carries.letter(member, sealed)

    def leave(self, channel_key: Multikey, sealed: bytes, sender: Did) -> str:
        """Into this member's inbox."""
        return self._member.inbox.leave(channel_key, sealed, sender)

    def waiting(self, channel_key: Multikey, after: str) -> Page:
        """Of this member's inbox."""
        return self._member.inbox.waiting(channel_key, after)

    def acknowledge(self, channel_key: Multikey, ids: Sequence[str]) -> Count:
        """In this member's inbox."""
        return self._member.inbox.acknowledge(channel_key, ids)

    def wait(self, channel_key: Multikey, after: str, timeout_s: float) -> str:
        """For this member's inbox."""
        return self._member.inbox.wait(channel_key, after, timeout_s)

    def put_index(self, data: bytes) -> None:
        """With this member's keeper."""
        self._member.indexes.put(data)

    def get_index(self, locator: Multikey) -> bytes | None:
        """From this member's keeper."""
        return self._member.indexes.get(locator)


Leave = Callable[[Did, Multikey, bytes], None]
"""See ``Carries.leave``."""


def tell(member: Member, leave: Leave, channel_key: Multikey, sealed: bytes, relay: Did | None) -> None:
    """Leave a message for a person, at the relay that they named in a profile or a share, or else at this member.

    Raises Refused relay.10 to relay.13, and what the way raises.
    """
    if relay is None or relay == member.home.did:
        member.inbox.leave(channel_key, sealed, member.home.did)
    else:
        leave(relay, channel_key, sealed)
