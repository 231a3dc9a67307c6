"""From the phrase: what three members keep of the index, and what the ledger has beyond it.

Without an index, derive the streams that this seed could have with every member, and keep those that exist: for each
member, counters of relationships and of streams are tried until ``GAP`` in a row are not on the ledger. What the ledger
has of a consent brings its share back; which consents were given in one act it does not say, so the consents of one
grantee with the same terms are shown as one share.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from msgspec.structs import replace

from caremesh import codec
from caremesh.contracts.consent import queries as consents
from caremesh.contracts.members import queries as members
from caremesh.contracts.streams import queries as streams
from caremesh.crypto.hashes import tagged_hash
from caremesh.ledger.state import Reader
from caremesh.types import Bytes32, Code, ConsentId, Did, Seconds
from caremesh.wallet.derive import RelationshipKeys, relationship
from caremesh.wallet.standing import caught_up
from caremesh.wallet.state import Relationship, SharedItem, ShareRecord, Stream, WalletState

GAP: Final = 3


def restore(
    chain: str, seed: Bytes32, reader: Reader, categories: Iterable[Code], kept: WalletState | None = None
) -> WalletState:
    """The state that the ledger bears out, and what an index (``kept``) adds to it: streams that were enrolled and
    never written to or shared, what was granted in one act, fragments still to be left, the words of requests.

    Where an index is older than the ledger, the ledger is right: in rotations, epochs, serials, and consents.
    """
    names = list(categories)
    relationships: list[Relationship] = []
    for member in members.members(reader):
        counter, missing = 0, 0
        while missing < GAP:
            found = _streams(reader, relationship(seed, member.did, counter), names)
            if found:
                relationships.append(Relationship(member=member.did, counter=counter, streams=found))
            missing = 0 if found else missing + 1
            counter += 1
    if kept is None:
        return WalletState(chain=chain, seed=seed, relationships=relationships, shares=_shares(reader, relationships))
    merged = _merged(reader, kept.relationships, relationships)
    state = replace(kept, relationships=merged, version=kept.version + 1)  # its keepers have the one before
    known = {item.consent for record in kept.shares for item in record.items}
    return replace(state, shares=[*kept.shares, *_shares(reader, state.relationships, known)])


def _merged(reader: Reader, kept: list[Relationship], found: list[Relationship]) -> list[Relationship]:
    """What either knows of. A permit of the index may be older than one that the lost wallet signed."""
    merged = {(entry.member, entry.counter): entry for entry in kept}
    for entry in found:
        known = merged.setdefault((entry.member, entry.counter), entry)
        ids = {stream.id for stream in known.streams}
        added = [stream for stream in entry.streams if stream.id not in ids]
        merged[entry.member, entry.counter] = replace(known, streams=[*known.streams, *added])
    return [
        replace(entry, streams=[_caught_up(reader, stream) for stream in entry.streams]) for entry in merged.values()
    ]


def _caught_up(reader: Reader, stream: Stream) -> Stream:
    current = caught_up(reader, stream)
    return replace(current, serial=current.serial + 1)


def _streams(reader: Reader, keys: RelationshipKeys, categories: list[Code]) -> list[Stream]:
    found = []
    for category in categories:
        counter, missing = 0, 0
        while missing < GAP:
            opened = streams.stream(reader, keys.stream(category, counter).id)
            if opened is None:
                missing += 1
            else:
                missing = 0
                found.append(
                    Stream(
                        category=category,
                        counter=counter,
                        id=opened.id,
                        rotation=opened.rotation,
                        epoch=opened.epoch,
                        serial=opened.serial + 1,  # the lost wallet may have signed one that the ledger has not seen
                    )
                )
            counter += 1
    return found


def _shares(reader: Reader, relationships: list[Relationship], known: Collection[ConsentId] = ()) -> list[ShareRecord]:
    """The ledger's consents that are not known, as shares."""
    together: dict[bytes, tuple[Seconds, Did, list[SharedItem]]] = {}
    for entry in relationships:
        for stream in entry.streams:
            for consent in consents.of_stream(reader, stream.id):
                if consent.id in known:
                    continue
                period = [consent.starts, consent.ends]
                limits = [consent.purposes, consent.actions, consent.explicit, consent.scope.kind, consent.status]
                terms = codec.encode([consent.grantee, period, limits])
                act = together.setdefault(terms, (consent.starts, consent.grantee, []))
                act[2].append(SharedItem(category=stream.category, stream=stream.id, consent=consent.id))
    return [
        ShareRecord(
            id=tagged_hash("caremesh/v1/restored-share", *(item.consent for item in items))[:16],
            grantee=grantee,
            at=starts,
            items=items,
        )
        for starts, grantee, items in sorted(together.values(), key=lambda act: (act[0], act[1]))
    ]
