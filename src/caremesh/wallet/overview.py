"""What a person has granted, as it stands on the ledger now: share by share, stream by stream. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Scope
from caremesh.contracts.consent.queries import Consent
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.ledger.state import Reader
from caremesh.types import Bytes16, Code, ConsentId, Did, Seconds
from caremesh.wallet.delegate import is_current
from caremesh.wallet.state import WalletState

Status = Literal["active", "to come", "over", "revoked", "to be delegated anew", "not on the ledger"]


class Held(Struct, frozen=True, kw_only=True):
    """One consent of a share. What is not on the ledger has no terms."""

    category: Code
    consent: ConsentId
    status: Status
    scope: Scope | None = None
    purposes: list[Code] = []
    actions: list[Code] = []
    starts: Seconds = 0
    ends: Seconds = 0


class Standing(Struct, frozen=True, kw_only=True):
    """One share."""

    share: Bytes16
    grantee: Did
    at: Seconds
    consents: list[Held]


def look_at(state: WalletState, reader: Reader, now: Seconds) -> list[Standing]:
    """Every share of a wallet, oldest first."""
    return [
        Standing(
            share=record.id,
            grantee=record.grantee,
            at=record.at,
            consents=[_held(reader, item.category, item.consent, now) for item in record.items],
        )
        for record in state.shares
    ]


def _held(reader: Reader, category: Code, identity: ConsentId, now: Seconds) -> Held:
    consent = consents.consent(reader, identity)
    if consent is None:
        return Held(category=category, consent=identity, status="not on the ledger")
    return Held(
        category=category,
        consent=identity,
        status=_status(reader, consent, now),
        scope=consent.scope,
        purposes=consent.purposes,
        actions=consent.actions,
        starts=consent.starts,
        ends=consent.ends,
    )


def _status(reader: Reader, consent: Consent, now: Seconds) -> Status:
    if consent.status == "revoked":
        return "revoked"
    if consents.is_over(consent, now):
        return "over"
    stream, grantee = streams.stream(reader, consent.stream), members.member(reader, consent.grantee)
    if stream is not None and grantee is not None and not is_current(consent, grantee, stream.epoch, stream.custodians):
        return "to be delegated anew"
    return "active" if consents.is_active(consent, now) else "to come"
