"""Erase: a segment is forgotten by everybody who keeps something of it, and each says so by signature."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from caremesh.contracts.members import queries as members
from caremesh.contracts.records.messages import Erase
from caremesh.contracts.streams import queries as streams
from caremesh.errors import CareMeshError
from caremesh.ledger.state import Reader
from caremesh.sealing import certificate, custody
from caremesh.sealing.custody import Signed
from caremesh.types import Count, Did, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.change import Change
from caremesh.wallet.standing import standing
from caremesh.wallet.state import WalletState

_AT_ONCE: Final = 16


class Keepers(Protocol):
    """The way to members that may keep something of a segment."""

    def confirm_erased(self, member: Did, stream: StreamId, segment: Count) -> list[bytes]:
        """A member's signed ``ErasureConfirmation``s of an erased segment. Raises CareMeshError."""


class Confirmations(NamedTuple):
    """What was confirmed, what was wrong with which member's answer, and how many members were asked in all.

    ``unreadable``: so many custodians have confirmed that nobody can open it any more.
    """

    signed: list[Signed]
    faults: list[tuple[Did, str]]
    asked: Count
    unreadable: bool


def erasing(state: WalletState, reader: Reader, stream: StreamId, segment: Count) -> Change:
    """The message that erases a segment, and the key that signs it. Raises Refused wallet.11, wallet.21, wallet.25."""
    located = states.locate(state, stream)
    key = located.keys.signing(standing(reader, located).rotation)
    return key, Erase(stream=stream, segment=segment, duty=None)


def confirmations(
    reader: Reader, stream: StreamId, segment: Count, keepers: Keepers, before: Confirmations | None = None
) -> Confirmations:
    """Ask active members, all at once, what they have left of an erased segment; believe what each signs for this
    segment alone. ``before``: what was confirmed already; only those that had not are asked again.
    """
    active = [member.did for member in members.members(reader) if member.status == "active"]
    again = set(active) if before is None else {did for did, _ in before.faults}
    asked = [did for did in active if did in again]

    def ask(member: Did) -> tuple[Did, list[Signed] | str]:
        try:
            answers = keepers.confirm_erased(member, stream, segment)
            said = [custody.read_signed(answer) for answer in answers]
            for entry in said:
                certificate.check(reader, stream, segment, entry)
        except CareMeshError as error:
            return member, error.code
        return member, said

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = list(pool.map(ask, asked))
    signed = [] if before is None else [*before.signed]
    for _, said in answers:
        signed += [] if isinstance(said, str) else said
    faults = [(did, said) for did, said in answers if isinstance(said, str)]
    return Confirmations(signed, faults, len(active), _unreadable(reader, stream, segment, signed))


def _unreadable(reader: Reader, stream: StreamId, segment: Count, signed: list[Signed]) -> bool:
    opened = streams.stream(reader, stream)
    confirmed = [certificate.check(reader, stream, segment, entry) for entry in signed]
    return opened is not None and len(certificate.missing_seals(opened, confirmed)) < opened.threshold
