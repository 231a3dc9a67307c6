"""A member opens letters that came by way of any member, does what they ask, and answers so that only the wallet reads.

Errors go into the sealed reply too: who carries it learns nothing of what became of a letter, whether a code was wrong
or a patient is unknown. What fails here for reasons of ours alone (storage) is told to who carries it, who tries again.
"""

from __future__ import annotations

from typing import Final, Protocol

from caremesh import codec
from caremesh.errors import CareMeshError, StorageFailed
from caremesh.sealing import letter as letters
from caremesh.sealing.channel import Share
from caremesh.sealing.letter import Letter
from caremesh.types import Did, ReceiptId, Seconds


class Hears(Protocol):
    """What a member does with what it is told."""

    def claim(self, data: bytes) -> str:
        """See ``Invitations.claim``."""

    def renew_profile(self, sealed_profile: bytes) -> None:
        """See ``Source.renew_profile``."""

    def receive_share(self, sealed: bytes) -> Share:
        """See ``Gateway.receive_share``."""

    def hear_dispute(self, receipt: ReceiptId, sealed: bytes) -> Seconds:
        """By when the member has to answer. See ``Gateway.hear_dispute``."""


class Letters:
    """One member's letter box."""

    def __init__(self, did: Did, hpke_private: bytes, member: Hears) -> None:
        self._did: Final = did
        self._hpke_private: Final = hpke_private
        self._member: Final = member

    def receive(self, sealed: bytes) -> bytes:
        """The sealed reply. Raises Tampered relay.02 for what is no letter to this member, StorageFailed."""
        read = letters.read(self._did, self._hpke_private, sealed)
        try:
            return letters.answer(read, sealed, self._done(read))
        except StorageFailed:
            raise
        except CareMeshError as error:
            return letters.answer(read, sealed, error=error)

    def _done(self, read: Letter) -> bytes:
        match read.kind:
            case "enrolment":
                return self._member.claim(read.content).encode()
            case "profile":
                self._member.renew_profile(read.content)
            case "share":
                self._member.receive_share(read.content)
            case "dispute":
                return codec.encode(self._member.hear_dispute(read.about, read.content))
        return b""
