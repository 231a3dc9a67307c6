"""Read ahead: what an act will need of the ledger, in few requests. It changes how long an act takes, never its result.

All streams of one source are asked for in one request of that source (see ``proven``), wave by wave: bounds of lists,
their elements, what these name. A reader that is a copy of the ledger needs none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from caremesh.contracts.access import queries as access
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.identity import queries as identity
from caremesh.contracts.members import queries as members
from caremesh.contracts.network import queries as network
from caremesh.contracts.records import queries as records
from caremesh.contracts.streams import queries as streams
from caremesh.ledger import succession
from caremesh.ledger.state import Reader, read_value
from caremesh.types import Bytes32, Code, Did, StreamId
from caremesh.wallet import state as states
from caremesh.wallet.derive import relationship
from caremesh.wallet.proven import ProvenReader, bounds, elements
from caremesh.wallet.state import ShareRecord, WalletState

GAP: Final = 4
"""One more than ``restore.GAP``: what is there is followed by so many that are not."""
_COUNTS: Final[Sequence[Callable[[StreamId], bytes]]] = (
    consents.count_key,
    consents.offers_count_key,
    access.stream_count_key,
    records.count_key,
)


def streams_of(reader: Reader, state: WalletState, chosen: Iterable[StreamId] | None = None) -> None:
    """All that the ledger has of a wallet's streams: keys, consents, requests, segments, accesses, disputes."""
    if not isinstance(reader, ProvenReader):
        return
    members_of(reader)
    wanted = None if chosen is None else set(chosen)
    by_source: dict[Did, list[StreamId]] = {}
    for located in states.streams(state):
        if wanted is None or located.stream.id in wanted:
            by_source.setdefault(located.member, []).append(located.stream.id)
    for source, ids in by_source.items():
        for wave in (_begin, _elements, _named):
            reader.together(source, [wave(reader, stream) for stream in ids])


def revoking(reader: Reader, state: WalletState, record: ShareRecord, sponsor: Did) -> None:
    """What taking back a share needs, in one request a source, and the custodians' keys: it must not wait for more."""
    if not isinstance(reader, ProvenReader):
        return
    always = [network.params_key(), succession.KEY, identity.identity_key(sponsor)]
    by_source: dict[Did, list[list[bytes]]] = {}
    for item in record.items:
        keys = [*always, streams.stream_key(item.stream), consents.consent_key(item.consent)]
        by_source.setdefault(states.locate(state, item.stream).member, []).append(keys)
    for source, groups in by_source.items():
        reader.together(source, groups)
    known = [consents.consent(reader, item.consent) for item in record.items]
    custodians = {fragment.custodian for consent in known if consent is not None for fragment in consent.fragments}
    reader.fetch([members.member_key(did) for did in sorted(custodians)])


def members_of(reader: Reader) -> None:
    """Every member, in two requests: they are nobody's secret."""
    if isinstance(reader, ProvenReader):
        every = members.count_key()
        reader.fetch(bounds(every))
        listed = elements(reader, every.removesuffix(b"/count"))
        reader.fetch(listed)
        reader.fetch([members.member_key(read_value(reader.get(key) or b"", str)) for key in listed])


def restoring(reader: Reader, seed: Bytes32, categories: Sequence[Code]) -> None:
    """The streams that a seed could have with each member, asked of that member, who was told of those there are."""
    if not isinstance(reader, ProvenReader):
        return
    members_of(reader)
    for member in members.members(reader):
        reader.together(
            member.did,
            [
                [streams.stream_key(keys.stream(category, counter).id)]
                for keys in (relationship(seed, member.did, number) for number in range(GAP))
                for category in categories
                for counter in range(GAP)
            ],
        )


def _begin(_: ProvenReader, stream: StreamId) -> list[bytes]:
    lists = [key for count in _COUNTS for key in bounds(count(stream))]
    return [streams.stream_key(stream), streams.controllers_key(stream), consents.standing_key(stream), *lists]


def _elements(reader: ProvenReader, stream: StreamId) -> list[bytes]:
    return [key for count in _COUNTS for key in elements(reader, count(stream).removesuffix(b"/count"))]


def _named(reader: ProvenReader, stream: StreamId) -> list[bytes]:
    granted, offered, asked = (
        [read_value(reader.get(key) or b"", bytes) for key in elements(reader, count(stream).removesuffix(b"/count"))]
        for count in _COUNTS[:3]
    )
    found = [consents.consent_key(each) for each in granted] + [consents.offer_key(each) for each in offered]
    return found + [key for each in asked for key in access.record_keys(each)]
