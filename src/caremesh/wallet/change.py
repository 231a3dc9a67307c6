"""Change what a share allows: narrow it, extend it, delegate it anew. Each consent changes by a transaction of its own.

- Narrowing takes back: like a revocation it asks for nothing but the stream's key. What is left out altogether is
  revoked, and its fragments are destroyed.
- Extending allows more, so it is checked like a grant. The fragments that are there serve on.
- A delegation stands on three keys: the stream's reading key of the epoch, the grantee's receiving key, and a signer
  of its own. When one of the first two changes, or the custodians do, fragments are made and left anew, with a fresh
  signer, and only then does the ledger hear of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from msgspec import Struct

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Extend, Narrow, Redelegate, Revoke, Scope
from caremesh.contracts.consent.queries import Consent
from caremesh.crypto.keys import SigningKey
from caremesh.errors import BadInput, Refused
from caremesh.ledger.state import Reader
from caremesh.ledger.transactions import Message
from caremesh.types import DAY_S, Code, ConsentId, Count, Height, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.delegate import delegate, is_current
from caremesh.wallet.errors import GRANTEE_IS_CUSTODIAN, NOT_WHOLE_DAYS, NOTHING_GRANTED, NOTHING_TO_CHANGE
from caremesh.wallet.members import active_member
from caremesh.wallet.share import check_kind, listed
from caremesh.wallet.standing import Standing, standing
from caremesh.wallet.state import Located, PendingDeposit, SharedItem, ShareRecord, WalletState

Change = tuple[SigningKey, Message]
"""A message and the key that signs it."""


class Narrower(Struct, frozen=True, kw_only=True):
    """What is left of a share. What is None, or not named, stays as it is.

    ``categories``: those that stay, the others are revoked. ``until``: seconds UTC, a whole day, the first second
    after. ``existing``: nothing registered later than this height. ``listed``: of these streams these segments alone.
    """

    categories: list[Code] | None = None
    until: Seconds | None = None
    purposes: list[Code] | None = None
    actions: list[Code] | None = None
    existing: Height | None = None
    listed: dict[StreamId, list[Count]] = {}


class Renewal(NamedTuple):
    """Consents delegated anew: messages, of each consent how many must acknowledge, and sealed fragments."""

    changes: list[Change]
    thresholds: dict[ConsentId, Count]
    deposits: list[PendingDeposit]


class _InForce(NamedTuple):
    item: SharedItem
    consent: Consent
    located: Located
    where: Standing


def narrowings(state: WalletState, record: ShareRecord, reader: Reader, now: Seconds, less: Narrower) -> list[Change]:
    """What to send so that a share allows no more than this; nothing for a consent that allows no more already.

    Raises BadInput wallet.17, wallet.19; Refused wallet.11, wallet.25, wallet.32, wallet.33.
    """
    if less.until is not None and less.until % DAY_S:
        raise BadInput(NOT_WHOLE_DAYS, "until")
    if [] in (less.categories, less.purposes, less.actions) or {item.category for item in record.items}.isdisjoint(
        less.categories or {item.category for item in record.items}
    ):
        raise BadInput(NOTHING_GRANTED)
    found: list[Change] = []
    for item, consent, located, where in _in_force(state, record, reader, now):
        key = located.keys.signing(where.rotation)
        if less.categories is not None and item.category not in less.categories:
            found.append((key, Revoke(consent=consent.id)))
            continue
        purposes = None if less.purposes is None else [code for code in consent.purposes if code in less.purposes]
        actions = None if less.actions is None else [code for code in consent.actions if code in less.actions]
        if [] in (purposes, actions):
            found.append((key, Revoke(consent=consent.id)))
            continue
        scope = _narrower_scope(reader, consent, less)
        until = less.until if less.until is not None and less.until < consent.ends else None
        message = Narrow(
            consent=consent.id,
            scope=None if scope == consent.scope else scope,
            purposes=None if purposes == consent.purposes else purposes,
            actions=None if actions == consent.actions else actions,
            until=until,
        )
        if message != Narrow(consent=consent.id):
            found.append((key, message))
    if not found:
        raise Refused(NOTHING_TO_CHANGE)
    return found


def extensions(state: WalletState, record: ShareRecord, reader: Reader, now: Seconds, until: Seconds) -> list[Change]:
    """What to send so that every consent of a share that is in force lasts until then.

    Raises BadInput wallet.17; Refused wallet.11, wallet.13, wallet.14, wallet.25, wallet.31, wallet.32.
    """
    if until % DAY_S:
        raise BadInput(NOT_WHOLE_DAYS, "until")
    grantee = active_member(reader, record.grantee)
    found: list[Change] = []
    for _, consent, located, where in _in_force(state, record, reader, now):
        if consent.ends < until:
            terms = consent.actions, consent.purposes
            check_kind(reader, located, grantee, *terms, explicit=consent.explicit, now=now)
            found.append((located.keys.signing(where.rotation), Extend(consent=consent.id, until=until)))
    if not found:
        raise Refused(NOTHING_TO_CHANGE)
    return found


def renewals(
    state: WalletState, shares: Sequence[ShareRecord], reader: Reader, now: Seconds, streams: Sequence[StreamId] | None
) -> Renewal:
    """Delegations anew for the consents in force whose keys or custodians are no longer those of the ledger.

    ``streams``: of these streams only. Raises Refused wallet.11, wallet.13, wallet.14, wallet.20, wallet.21, wallet.25.
    """
    changes: list[Change] = []
    thresholds, deposits = {}, []
    for record in shares:
        for item, consent, located, where in _in_force(state, record, reader, now):
            grantee = active_member(reader, record.grantee)
            wanted = streams is None or item.stream in streams
            if not wanted or is_current(consent, grantee, where.epoch, where.custodians):
                continue
            if record.grantee in where.custodians:
                raise Refused(GRANTEE_IS_CUSTODIAN, item.stream.hex())
            made = delegate(reader, located, where, grantee.keys.receiving, consent.id)
            message = Redelegate(
                consent=consent.id,
                epoch=where.epoch,
                receiving_key=made.receiving,
                verifying_key=made.verifying,
                fragments=made.commitments,
            )
            changes.append((located.keys.signing(where.rotation), message))
            thresholds[consent.id] = where.threshold
            deposits += made.deposits
    return Renewal(changes, thresholds, deposits)


def _in_force(state: WalletState, record: ShareRecord, reader: Reader, now: Seconds) -> Iterator[_InForce]:
    for item in record.items:
        consent = consents.consent(reader, item.consent)
        if consent is not None and not consents.is_over(consent, now):
            located = states.locate(state, item.stream)
            yield _InForce(item, consent, located, standing(reader, located))


def _narrower_scope(reader: Reader, consent: Consent, less: Narrower) -> Scope:
    """The scope that is left: a list, or what there was at a height, or what it is; never more."""
    if consent.stream in less.listed:
        return listed(reader, consent.stream, less.listed[consent.stream])
    if less.existing is None or consent.scope.kind == "listed":
        return consent.scope
    before = less.existing if consent.scope.kind == "future" else min(less.existing, consent.scope.height)
    return Scope(kind="existing", height=before)
