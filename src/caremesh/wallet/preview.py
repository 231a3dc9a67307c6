"""What a grantee would see: looked at before granting. Pure; nothing is made or sent."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.consent.messages import Scope
from caremesh.contracts.records import queries as records
from caremesh.ledger.state import Reader
from caremesh.types import Code, ConsentId, Count, Did, Height, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.share import Terms, check_terms, scope_of
from caremesh.wallet.standing import standing
from caremesh.wallet.state import WalletState

_ALL: Final[Height] = 2**63 - 1
"""Later than any block: what exists when it is granted."""


class Preview(Struct, frozen=True, kw_only=True):
    """One stream as the grantee would get it.

    ``segments``: numbers of those that are there and would be readable; ``size_bytes``: of these together, at most;
    ``future``: what comes will be readable too; ``already``: consents of the same grantee that are in force or to come.
    """

    category: Code
    source: Did
    stream: StreamId
    segments: list[Count]
    size_bytes: Count
    future: bool
    already: list[ConsentId]


class _Planned(NamedTuple):
    scope: Scope


def preview(state: WalletState, terms: Terms, reader: Reader, now: Seconds) -> list[Preview]:
    """One entry a stream, in the order of the terms.

    Raises BadInput wallet.17, wallet.19; Refused wallet.11, wallet.21, wallet.25, wallet.33.
    """
    check_terms(terms)
    found = []
    for stream in terms.streams:
        located = states.locate(state, stream)
        epoch = standing(reader, located).epoch
        planned = _Planned(_scope(terms, stream, reader))
        seen = {
            index: segment
            for index, segment in enumerate(records.segments(reader, stream))
            if segment.epoch == epoch and consents.covers(planned, index, segment)
        }
        found.append(
            Preview(
                category=located.stream.category,
                source=located.member,
                stream=stream,
                segments=list(seen),
                size_bytes=sum(1 << segment.size_class for segment in seen.values()),
                future=planned.scope.kind == "future",
                already=[
                    consent.id
                    for consent in consents.of_stream(reader, stream)
                    if consent.grantee == terms.grantee and consent.status == "granted" and now < consent.ends
                ],
            )
        )
    return found


def _scope(terms: Terms, stream: StreamId, reader: Reader) -> Scope:
    """What the grant will say; of a stream where nothing is, that it is empty, rather than a refusal."""
    if not terms.future and stream not in terms.listed and not records.count(reader, stream):
        return Scope(kind="existing")
    return scope_of(terms, stream, reader, _ALL)
