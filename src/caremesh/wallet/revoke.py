"""Take back: one transaction for each consent of a share; each works without the others."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, Protocol

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Revoke
from caremesh.errors import CareMeshError, Tampered
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import DestroyConfirmation
from caremesh.types import ConsentId, Count, Did, Seconds
from caremesh.wallet import state as states
from caremesh.wallet import transact
from caremesh.wallet.errors import WRONG_CONFIRMATION
from caremesh.wallet.members import active_member
from caremesh.wallet.ports import Sponsor
from caremesh.wallet.standing import standing
from caremesh.wallet.state import ShareRecord, WalletState

_AT_ONCE: Final = 16


def revocations(state: WalletState, record: ShareRecord, reader: Reader, sponsor: Sponsor, now: Seconds) -> list[bytes]:
    """Signed transactions that revoke every consent of a share that is not revoked yet. Raises Refused wallet.NN."""
    found = []
    for item in record.items:
        consent = consents.consent(reader, item.consent)
        if consent is None or consent.status == "revoked":
            continue
        located = states.locate(state, item.stream)
        key = located.keys.signing(standing(reader, located).rotation)
        found.append(transact.signed(reader, state.chain, Revoke(consent=item.consent), key, sponsor, now))
    return found


def check_confirmation(reader: Reader, consent: ConsentId, custodian: Did, answer: bytes) -> Seconds:
    """When this custodian destroyed its fragment of this consent, by its signature.

    When ``n − t + 1`` custodians have confirmed, fewer than *t* fragments are left, and nothing can be opened.
    Raises Tampered custody.01, custody.02, wallet.26; Refused wallet.13, wallet.14.
    """
    node_key = active_member(reader, custodian).keys.node
    signed = custody.read_signed(answer, custodian)
    said = custody.open_signed(custody.DESTROY_CONFIRMATION, signed, DestroyConfirmation, node_key, custodian)
    if (said.consent, said.custodian) != (consent, custodian):
        raise Tampered(WRONG_CONFIRMATION, custodian)
    return said.at


class Destroyers(Protocol):
    """The way to custodians that destroy what is over."""

    def confirm_destroyed(self, custodian: Did, consent: ConsentId) -> bytes:
        """The signed ``DestroyConfirmation`` of a consent that is over. Raises CareMeshError."""


class Destroyed(NamedTuple):
    """Fragments whose custodians say by signature that they are gone, and those who did not say so yet."""

    confirmed: Count
    missing: list[tuple[Did, str]]


def destroyed(record: ShareRecord, reader: Reader, way: Destroyers) -> Destroyed:
    """Ask every custodian of a share that was taken back, all at once; believe what it signs for this consent alone."""
    asked = []
    for item in record.items:
        consent = consents.consent(reader, item.consent)
        asked += [(item.consent, fragment.custodian) for fragment in ([] if consent is None else consent.fragments)]
    if not asked:
        return Destroyed(0, [])

    def lacking(consent: ConsentId, custodian: Did) -> list[tuple[Did, str]]:
        try:
            check_confirmation(reader, consent, custodian, way.confirm_destroyed(custodian, consent))
        except CareMeshError as error:
            return [(custodian, error.code)]
        return []

    with ThreadPoolExecutor(min(_AT_ONCE, len(asked))) as pool:
        missing = [each for found in pool.map(lambda pair: lacking(*pair), asked) for each in found]
    return Destroyed(len(asked) - len(missing), missing)
