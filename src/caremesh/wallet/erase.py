"""Erase: a segment is forgotten by everybody who keeps something of it, and each says so by signature."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from caremesh.contracts.members import queries as members
from caremesh.contracts.records.messages import Erase
from caremesh.errors import CareMeshError
from caremesh.ledger.state import Reader
from caremesh.sealing import certificate, custody
from caremesh.sealing.custody import Signed
from caremesh.types import Count, Did, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.change import Change
from caremesh.wallet.standing import standing
from caremesh.wallet.state import WalletState


class Keepers(Protocol):
    """The way to members that may keep something of a segment."""

    def confirm_erased(self, member: Did, stream: StreamId, segment: Count) -> list[bytes]:
        """A member's signed ``ErasureConfirmation``s of an erased segment. Raises CareMeshError."""


class Confirmations(NamedTuple):
    """What was confirmed, and what was wrong with which member's answer."""

    signed: list[Signed]
    faults: list[tuple[Did, str]]


def erasing(state: WalletState, reader: Reader, stream: StreamId, segment: Count) -> Change:
    """The message that erases a segment, and the key that signs it. Raises Refused wallet.11, wallet.21, wallet.25."""
    located = states.locate(state, stream)
    key = located.keys.signing(standing(reader, located).rotation)
    return key, Erase(stream=stream, segment=segment, duty=None)


def confirmations(reader: Reader, stream: StreamId, segment: Count, keepers: Keepers) -> Confirmations:
    """Ask every active member what it has left of an erased segment; believe what it signs for this segment alone."""
    signed: list[Signed] = []
    faults: list[tuple[Did, str]] = []
    for member in members.members(reader):
        if member.status != "active":
            continue
        try:
            said = [
                custody.read_signed(answer, member.did)
                for answer in keepers.confirm_erased(member.did, stream, segment)
            ]
            for entry in said:
                certificate.check(reader, stream, segment, entry)
            signed += said
        except CareMeshError as error:
            faults.append((member.did, error.code))
    return Confirmations(signed, faults)
