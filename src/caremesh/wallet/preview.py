"""What a grantee would see: looked at before granting. Pure; nothing is made or sent."""

from __future__ import annotations

from msgspec import Struct

from caremesh.contracts.consent import queries as consents
from caremesh.contracts.records import queries as records
from caremesh.ledger.state import Reader
from caremesh.types import Code, ConsentId, Count, Did, Seconds, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.share import Terms, check_terms
from caremesh.wallet.state import WalletState


class Preview(Struct, frozen=True, kw_only=True):
    """One stream as the grantee would get it.

    ``segments``: numbers of those that are there and readable; ``future``: what comes will be readable too;
    ``already``: consents of the same grantee that are in force or to come.
    """

    category: Code
    source: Did
    stream: StreamId
    segments: list[Count]
    future: bool
    already: list[ConsentId]


def preview(state: WalletState, terms: Terms, reader: Reader, now: Seconds) -> list[Preview]:
    """One entry a stream, in the order of the terms. Raises BadInput wallet.17, wallet.19; Refused wallet.11."""
    check_terms(terms)
    found = []
    for stream in terms.streams:
        located = states.locate(state, stream)
        found.append(
            Preview(
                category=located.stream.category,
                source=located.member,
                stream=stream,
                segments=[
                    index
                    for index, segment in enumerate(records.segments(reader, stream))
                    if segment.status != "erased" and segment.epoch == located.stream.epoch
                ],
                future=terms.future,
                already=[
                    consent.id
                    for consent in consents.of_stream(reader, stream)
                    if consent.grantee == terms.grantee and consent.status == "granted" and now < consent.ends
                ],
            )
        )
    return found
