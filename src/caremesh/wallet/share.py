"""Share: for each stream fragments, left with its custodians; then the consents; then word to the grantee.

The order matters. A consent goes on the ledger only when at least *t* custodians of its stream have acknowledged their
fragments, so that what the ledger grants can be opened. The state that knows of the share is saved before the consents
are sent, so that a crash in between loses nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from msgspec import Struct
from msgspec.structs import asdict

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Accept, Grant, OfferId, Scope
from caremesh.contracts.members.queries import Member
from caremesh.contracts.policy import queries as policies
from caremesh.contracts.policy.kinds import may_be_read
from caremesh.contracts.records import queries as records
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused
from caremesh.ledger.state import Reader
from caremesh.types import DAY_S, Bytes16, Code, ConsentId, Count, Did, Height, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.delegate import Delegation, delegate
from caremesh.wallet.errors import (
    GRANTEE_IS_CUSTODIAN,
    KIND_NOT_ALLOWED,
    NO_SUCH_SEGMENT,
    NOT_WHOLE_DAYS,
    NOTHING_GRANTED,
    NOTHING_THERE,
)
from caremesh.wallet.members import active_member
from caremesh.wallet.standing import Standing, standing
from caremesh.wallet.state import Located, PendingDeposit, SharedItem, ShareRecord, WalletState

Entropy = Callable[[int], bytes]


class Terms(Struct, frozen=True, kw_only=True):
    """What is granted, in one act, over all chosen streams.

    ``from_``, ``until``: seconds UTC, whole days; ``until`` is the first second after. ``explicit``: the person said
    yes in an express statement, not by mere use; there is no default, since nobody may assume it. ``future``: records
    still to come as well as those that are there. ``listed``: of the streams named here these segments and no others,
    whatever ``future`` says. ``offers``: of the streams named here, the request of the grantee that this accepts.
    """

    grantee: Did
    streams: list[StreamId]
    purposes: list[Code]
    actions: list[Code]
    from_: Seconds
    until: Seconds
    explicit: bool
    future: bool = True
    listed: dict[StreamId, list[Count]] = {}
    offers: dict[StreamId, OfferId] = {}


class Prepared(Struct, frozen=True, kw_only=True):
    """A share that has not left the wallet: its record, consents with the keys that sign them, sealed fragments.

    ``grants`` are in the order of the record's items.
    """

    record: ShareRecord
    grants: list[tuple[SigningKey, Grant]]
    thresholds: dict[ConsentId, Count]
    deposits: list[PendingDeposit]


def prepare(
    state: WalletState, terms: Terms, reader: Reader, height: Height, now: Seconds, entropy: Entropy = os.urandom
) -> Prepared:
    """Fragments, commitments and consents for these terms, as of ``height``; nothing is sent.

    Raises BadInput wallet.17, wallet.19; Refused wallet.11, wallet.13, wallet.14, wallet.20, wallet.21, wallet.25,
    wallet.27, wallet.31, wallet.33.
    """
    check_terms(terms)
    grantee = active_member(reader, terms.grantee)
    grants, deposits, thresholds, items = [], [], {}, []
    for stream in terms.streams:
        located = states.locate(state, stream)
        where = standing(reader, located)
        if terms.grantee in where.custodians:
            raise Refused(GRANTEE_IS_CUSTODIAN, located.stream.id.hex())
        check_kind(reader, located, grantee, terms.actions, terms.purposes, explicit=terms.explicit, now=now)
        scope = scope_of(terms, stream, reader, height)
        salt = entropy(16)
        consent = consents.consent_id(stream, salt)
        delegation = delegate(reader, located, where, grantee.keys.receiving, consent)
        grant = _grant(terms, where, stream, delegation, salt, scope)
        grants.append((located.keys.signing(where.rotation), grant))
        deposits += delegation.deposits
        thresholds[consent] = where.threshold
        items.append(SharedItem(category=located.stream.category, stream=stream, consent=consent))
    record = ShareRecord(id=entropy(16), grantee=terms.grantee, at=now, items=items)
    return Prepared(record=record, grants=grants, thresholds=thresholds, deposits=deposits)


def scope_of(terms: Terms, stream: StreamId, reader: Reader, height: Height) -> Scope:
    """The scope of one stream's consent. Raises Refused wallet.27, wallet.33."""
    if stream in terms.listed:
        return listed(reader, stream, terms.listed[stream])
    if terms.future:
        return Scope(kind="future")
    if not records.count(reader, stream):
        raise Refused(NOTHING_THERE, stream.hex())
    return Scope(kind="existing", height=height)


def listed(reader: Reader, stream: StreamId, segments: Sequence[Count]) -> Scope:
    """A scope of these segments, which must be there. Raises Refused wallet.33."""
    for index in segments:
        segment = records.segment(reader, stream, index)
        if segment is None or segment.status == "erased":
            raise Refused(NO_SUCH_SEGMENT, f"segment {index}")
    if not segments:
        raise Refused(NO_SUCH_SEGMENT, stream.hex())
    return Scope(kind="listed", segments=sorted(set(segments)))


def check_kind(
    reader: Reader,
    located: Located,
    grantee: Member,
    actions: Sequence[Code],
    purposes: Sequence[Code],
    *,
    explicit: bool,
    now: Seconds,
) -> None:
    """Whether the law on this kind of records lets them be granted so. Raises Refused wallet.31 with policies."""
    source = active_member(reader, located.member)
    for action in actions:
        for purpose in purposes:
            decision = may_be_read(
                category=located.stream.category,
                action=action,
                purpose=purpose,
                roles=grantee.roles,
                approvals=policies.approvals(reader, grantee.did, now),
                places=(source.jurisdiction, grantee.jurisdiction),
                explicit=explicit,
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
    if not set(terms.streams).issuperset([*terms.listed, *terms.offers]):
        raise BadInput(NOTHING_GRANTED)
    if terms.from_ % DAY_S or terms.until % DAY_S or terms.until <= terms.from_:
        raise BadInput(NOT_WHOLE_DAYS)


def _grant(
    terms: Terms, where: Standing, stream: StreamId, delegation: Delegation, salt: Bytes16, scope: Scope
) -> Grant:
    grant = Grant(
        stream=stream,
        grantee=terms.grantee,
        scope=scope,
        actions=terms.actions,
        purposes=terms.purposes,
        from_=terms.from_,
        until=terms.until,
        epoch=where.epoch,
        receiving_key=delegation.receiving,
        verifying_key=delegation.verifying,
        fragments=delegation.commitments,
        explicit=terms.explicit,
        salt=salt,
        permit=where.permit,
    )
    return Accept(**asdict(grant), offer=terms.offers[stream]) if stream in terms.offers else grant
