"""A delegation of one stream to one grantee: a fragment for each custodian, left there before the ledger hears of it.

Each delegation has a fresh signer, which signs the delegating and the receiving key into every fragment and is then
forgotten. A fragment is inert until the ledger names it, so that what is left and then not granted opens nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from msgspec import Struct

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import FragmentCommitment
from caremesh.contracts.consent.queries import Consent
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.queries import Member
from caremesh.crypto.reencryption import make_fragments
from caremesh.errors import CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import Acknowledgement, FragmentDeposit
from caremesh.types import ConsentId, Count, Did, Digest, ReencryptionKey
from caremesh.wallet.errors import NOT_ACKNOWLEDGED, OTHER_ACKNOWLEDGEMENT, UNKNOWN_MEMBER
from caremesh.wallet.members import active_member
from caremesh.wallet.ports import Custodians
from caremesh.wallet.standing import Standing
from caremesh.wallet.state import Located, PendingDeposit


class Delegation(NamedTuple):
    """What a grant, or a delegation anew, says of the fragments, and the fragments, each sealed to its custodian."""

    receiving: ReencryptionKey
    verifying: ReencryptionKey
    commitments: list[FragmentCommitment]
    deposits: list[PendingDeposit]


class Missing(Struct, frozen=True, kw_only=True):
    """A fragment that its custodian has not acknowledged, and the code of what was wrong."""

    consent: ConsentId
    custodian: Did
    code: str


def delegate(
    reader: Reader, located: Located, where: Standing, receiving: ReencryptionKey, consent: ConsentId
) -> Delegation:
    """Fragments of a stream's reading key towards ``receiving``, one for each of the stream's custodians, in order.

    Raises Refused wallet.13; BadInput reencryption.02, reencryption.04.
    """
    verifying, fragments = make_fragments(
        located.keys.reading(where.epoch), receiving, where.threshold, len(where.custodians)
    )
    commitments, deposits = [], []
    for custodian, fragment in zip(where.custodians, fragments, strict=True):
        deposit = FragmentDeposit(
            consent=consent,
            stream=located.stream.id,
            epoch=where.epoch,
            custodian=custodian,
            fragment=fragment,
            delegating=where.reading_key,
            receiving=receiving,
            verifying=verifying,
        )
        commitment = consents.fragment_commitment(consent, custodian, where.epoch, fragment)
        commitments.append(FragmentCommitment(custodian=custodian, commitment=commitment))
        deposits.append(_sealed(reader, deposit, located, where))
    return Delegation(receiving, verifying, commitments, deposits)


def is_current(consent: Consent, grantee: Member, epoch: Count, custodians: Sequence[Did]) -> bool:
    """Whether a consent's delegation stands on the keys and custodians that the ledger has now."""
    keepers = [entry.custodian for entry in consent.fragments]
    return (consent.epoch, consent.receiving_key, keepers) == (epoch, grantee.keys.receiving, list(custodians))


def deposit(
    reader: Reader, deposits: Sequence[PendingDeposit], thresholds: Mapping[ConsentId, Count], custodians: Custodians
) -> list[Missing]:
    """Leave the fragments, at all custodians side by side; those that were not acknowledged.

    ``thresholds``: of each consent, how many must have acknowledged. Raises Unavailable wallet.22 when fewer did: then
    nothing was granted, and the fragments left are inert.
    """
    missing = leave(reader, deposits, custodians)
    lacking = dict.fromkeys(thresholds, 0)
    total = dict.fromkeys(thresholds, 0)
    for entry in missing:
        lacking[entry.consent] += 1
    for pending in deposits:
        total[pending.consent] += 1
    for consent, threshold in thresholds.items():
        if total[consent] - lacking[consent] < threshold:
            silent = sorted({f"{entry.custodian} {entry.code}" for entry in missing if entry.consent == consent})
            raise Unavailable(NOT_ACKNOWLEDGED, "; ".join(silent))
    return missing


def unreached(deposits: Sequence[PendingDeposit], missing: Sequence[Missing]) -> list[PendingDeposit]:
    """The deposits that are missing."""
    wanted = {(entry.consent, entry.custodian) for entry in missing}
    return [entry for entry in deposits if (entry.consent, entry.custodian) in wanted]


def leave(reader: Reader, deposits: Sequence[PendingDeposit], custodians: Custodians) -> list[Missing]:
    """Try every deposit once; those that were not acknowledged, with the code of what was wrong."""
    by_custodian: dict[Did, list[PendingDeposit]] = {}
    for pending in deposits:
        by_custodian.setdefault(pending.custodian, []).append(pending)
    if not by_custodian:
        return []
    with ThreadPoolExecutor(len(by_custodian)) as pool:
        answers = pool.map(
            lambda group: [_try(reader, pending, custodians) for pending in group], by_custodian.values()
        )
        return [entry for group in answers for entry in group if entry is not None]


def is_wanted(reader: Reader, pending: PendingDeposit, at: int) -> bool:
    """Whether a fragment is still of use at a time: its consent is on the ledger, not revoked and not over."""
    consent = consents.consent(reader, pending.consent)
    return consent is not None and not consents.is_over(consent, at)


def check_acknowledgement(reader: Reader, custodian: Did, what: Digest, answer: bytes) -> None:
    """Return when the custodian's node key, as the ledger names it, acknowledges this very deposit.

    ``what``: the deposit's digest. Raises Tampered custody.01, custody.02, wallet.23; Refused wallet.13, wallet.14.
    """
    node_key = active_member(reader, custodian).keys.node
    signed = custody.read_signed(answer, custodian)
    said = custody.open_signed(custody.ACKNOWLEDGEMENT, signed, Acknowledgement, node_key, custodian)
    if said != Acknowledgement(custodian=custodian, what=what):
        raise Tampered(OTHER_ACKNOWLEDGEMENT, custodian)


def _try(reader: Reader, pending: PendingDeposit, custodians: Custodians) -> Missing | None:
    try:
        active_member(reader, pending.custodian)  # one that is suspended gets its fragment when it is back
        answer = custodians.deposit(pending.custodian, pending.sealed)
        check_acknowledgement(reader, pending.custodian, pending.what, answer)
    except CareMeshError as error:
        return Missing(consent=pending.consent, custodian=pending.custodian, code=error.code)
    return None


def _sealed(reader: Reader, deposit_: FragmentDeposit, located: Located, where: Standing) -> PendingDeposit:
    signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, deposit_, located.keys.signing(where.rotation))
    custodian = members.member(reader, deposit_.custodian)
    if custodian is None:
        raise Refused(UNKNOWN_MEMBER, deposit_.custodian)
    return PendingDeposit(
        consent=deposit_.consent,
        custodian=deposit_.custodian,
        what=custody.deposit_digest(signed),
        sealed=custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, custodian.keys.channel, deposit_.custodian, signed),
    )
