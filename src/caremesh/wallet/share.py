"""Share: for each stream fragments, left with its custodians; then the consents; then word to the grantee.

The order matters. A consent goes on the ledger only when at least *t* custodians of its stream have acknowledged their
fragments, so that what the ledger grants can be opened. A fragment is inert until its consent is active. The state
that knows of the share is saved before the consents are sent, so that a crash in between loses nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import FragmentCommitment, Grant, Scope
from caremesh.contracts.members.queries import Member
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.kinds import may_be_read
from caremesh.contracts.records import queries as records
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.reencryption import make_fragments
from caremesh.errors import BadInput, CareMeshError, Refused, Tampered, Unavailable
from caremesh.ledger.state import Reader
from caremesh.sealing import custody
from caremesh.sealing.custody import Acknowledgement, FragmentDeposit
from caremesh.types import DAY_S, Bytes16, Code, ConsentId, Count, Did, Height, ReencryptionKey, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.errors import (
    GRANTEE_IS_CUSTODIAN,
    KIND_NOT_ALLOWED,
    NOT_ACKNOWLEDGED,
    NOT_WHOLE_DAYS,
    NOTHING_GRANTED,
    NOTHING_THERE,
    OTHER_ACKNOWLEDGEMENT,
)
from caremesh.wallet.members import active_member
from caremesh.wallet.ports import Custodians
from caremesh.wallet.standing import Standing, standing
from caremesh.wallet.state import Located, PendingDeposit, SharedItem, ShareRecord, WalletState

Entropy = Callable[[int], bytes]


class Terms(Struct, frozen=True, kw_only=True):
    """What is granted, in one act, over all chosen streams.

    ``from_``, ``until``: seconds UTC, whole days; ``until`` is the first second after. ``explicit``: the person said
    yes in an express statement, not by mere use; there is no default, since nobody may assume it. ``future``: records
    still to come as well as those that are there.
    """

    grantee: Did
    streams: list[StreamId]
    purposes: list[Code]
    actions: list[Code]
    from_: Seconds
    until: Seconds
    explicit: bool
    future: bool = True


class Prepared(Struct, frozen=True, kw_only=True):
    """A share that has not left the wallet: its record, consents with the keys that sign them, sealed fragments.

    ``grants`` are in the order of the record's items.
    """

    record: ShareRecord
    grants: list[tuple[SigningKey, Grant]]
    thresholds: dict[ConsentId, Count]
    deposits: list[PendingDeposit]


class Missing(Struct, frozen=True, kw_only=True):
    """A fragment that its custodian has not acknowledged, and the code of what was wrong."""

    consent: ConsentId
    custodian: Did
    code: str


def prepare(
    state: WalletState, terms: Terms, reader: Reader, height: Height, now: Seconds, entropy: Entropy = os.urandom
) -> Prepared:
    """Fragments, commitments and consents for these terms, as of ``height``; nothing is sent.

    Raises BadInput wallet.17, wallet.19; Refused wallet.11, wallet.13, wallet.14, wallet.20, wallet.21, wallet.25,
    wallet.27, wallet.31.
    """
    check_terms(terms)
    grantee = active_member(reader, terms.grantee)
    grants, deposits, thresholds, items = [], [], {}, []
    for stream in terms.streams:
        located = states.locate(state, stream)
        where = standing(reader, located)
        if terms.grantee in where.custodians:
            raise Refused(GRANTEE_IS_CUSTODIAN, located.stream.id.hex())
        check_kind(reader, located, grantee, terms, now)
        if not terms.future and not records.count(reader, stream):
            raise Refused(NOTHING_THERE, located.stream.id.hex())
        salt = entropy(16)
        consent = consents.consent_id(stream, salt)
        verifying, fragments = make_fragments(
            located.keys.reading(where.epoch), grantee.keys.receiving, where.threshold, len(where.custodians)
        )
        commitments = []
        for custodian, fragment in zip(where.custodians, fragments, strict=True):
            deposit = FragmentDeposit(
                consent=consent,
                stream=stream,
                epoch=where.epoch,
                custodian=custodian,
                fragment=fragment,
                delegating=where.reading_key,
                receiving=grantee.keys.receiving,
                verifying=verifying,
            )
            commitments.append(
                FragmentCommitment(
                    custodian=custodian,
                    commitment=consents.fragment_commitment(consent, custodian, where.epoch, fragment),
                )
            )
            deposits.append(_sealed(reader, deposit, located, where))
        delegation = (grantee.keys.receiving, verifying, commitments)
        grant = _grant(terms, where, stream, delegation, salt, height)
        grants.append((located.keys.signing(where.rotation), grant))
        thresholds[consent] = where.threshold
        items.append(SharedItem(category=located.stream.category, stream=stream, consent=consent))
    record = ShareRecord(id=entropy(16), grantee=terms.grantee, at=now, items=items)
    return Prepared(record=record, grants=grants, thresholds=thresholds, deposits=deposits)


def deposit(reader: Reader, prepared: Prepared, custodians: Custodians) -> list[Missing]:
    """Leave the fragments, at all custodians side by side; those that were not acknowledged.

    Raises Unavailable wallet.22 when fewer than *t* custodians of a stream acknowledged: then nothing was granted, and
    the fragments left are inert.
    """
    missing = leave(reader, prepared.deposits, custodians)
    lacking = dict.fromkeys(prepared.thresholds, 0)
    total = dict.fromkeys(prepared.thresholds, 0)
    for entry in missing:
        lacking[entry.consent] += 1
    for pending in prepared.deposits:
        total[pending.consent] += 1
    for consent, threshold in prepared.thresholds.items():
        if total[consent] - lacking[consent] < threshold:
            silent = sorted({f"{entry.custodian} {entry.code}" for entry in missing if entry.consent == consent})
            raise Unavailable(NOT_ACKNOWLEDGED, "; ".join(silent))
    return missing


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


def _try(reader: Reader, pending: PendingDeposit, custodians: Custodians) -> Missing | None:
    try:
        check_acknowledgement(reader, pending, custodians.deposit(pending.custodian, pending.sealed))
    except CareMeshError as error:
        return Missing(consent=pending.consent, custodian=pending.custodian, code=error.code)
    return None


def is_wanted(reader: Reader, pending: PendingDeposit, at: Seconds) -> bool:
    """Whether a fragment is still of use: its consent is on the ledger, not revoked and not over."""
    consent = consents.consent(reader, pending.consent)
    return consent is not None and consent.status == "granted" and at < consent.ends


def check_acknowledgement(reader: Reader, pending: PendingDeposit, answer: bytes) -> None:
    """Return when the custodian's node key, as the ledger names it, acknowledges this very deposit.

    Raises Tampered custody.01, custody.02, wallet.23; Refused wallet.13, wallet.14.
    """
    node_key = active_member(reader, pending.custodian).keys.node
    signed = custody.read_signed(answer, pending.custodian)
    said = custody.open_signed(custody.ACKNOWLEDGEMENT, signed, Acknowledgement, node_key, pending.custodian)
    if said != Acknowledgement(custodian=pending.custodian, what=pending.what):
        raise Tampered(OTHER_ACKNOWLEDGEMENT, pending.custodian)


def _sealed(reader: Reader, deposit_: FragmentDeposit, located: Located, where: Standing) -> PendingDeposit:
    signed = custody.sign_payload(custody.FRAGMENT_DEPOSIT, deposit_, located.keys.signing(where.rotation))
    custodian = active_member(reader, deposit_.custodian)
    return PendingDeposit(
        consent=deposit_.consent,
        custodian=deposit_.custodian,
        what=custody.deposit_digest(signed),
        sealed=custody.seal_to_custodian(custody.FRAGMENT_DEPOSIT, custodian.keys.channel, deposit_.custodian, signed),
    )


def check_kind(reader: Reader, located: Located, grantee: Member, terms: Terms, now: Seconds) -> None:
    """Whether the law on this kind of records lets them be granted so. Raises Refused wallet.31 with policies."""
    source = active_member(reader, located.member)
    for action in terms.actions:
        for purpose in terms.purposes:
            decision = may_be_read(
                category=located.stream.category,
                action=action,
                purpose=purpose,
                roles=grantee.roles,
                approvals=policies.approvals(reader, grantee.did, now),
                places=(source.jurisdiction, grantee.jurisdiction),
                explicit=terms.explicit,
                originator=grantee.did == source.did,
                licensed=True,  # who asks for the member is not known yet; the gateway looks at them
            )
            if not decision.permit:
                raise Refused(KIND_NOT_ALLOWED, f"{located.stream.category}: {', '.join(decision.policies)}")


def check_terms(terms: Terms) -> None:
    """Refuse terms that name nothing, or something twice, or no whole days. Raises BadInput wallet.17, wallet.19."""
    for chosen in (terms.streams, terms.purposes, terms.actions):
        if not chosen or len(set(chosen)) != len(chosen):
            raise BadInput(NOTHING_GRANTED)
    if terms.from_ % DAY_S or terms.until % DAY_S or terms.until <= terms.from_:
        raise BadInput(NOT_WHOLE_DAYS)


def _grant(
    terms: Terms,
    where: Standing,
    stream: StreamId,
    delegation: tuple[ReencryptionKey, ReencryptionKey, list[FragmentCommitment]],
    salt: Bytes16,
    height: Height,
) -> Grant:
    receiving, verifying, commitments = delegation
    return Grant(
        stream=stream,
        grantee=terms.grantee,
        scope=Scope(kind="future") if terms.future else Scope(kind="existing", height=height),
        actions=terms.actions,
        purposes=terms.purposes,
        from_=terms.from_,
        until=terms.until,
        epoch=where.epoch,
        receiving_key=receiving,
        verifying_key=verifying,
        fragments=commitments,
        explicit=terms.explicit,
        salt=salt,
        permit=where.permit,
    )
