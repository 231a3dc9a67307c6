"""Who holds a stream's blocks: the same answer at everyone who knows the same holders.

Highest random weight (Thaler and Ravishankar, "A name-based mapping scheme for rendezvous", 1996): each holder has a
weight for each stream, and the heaviest come first. When a holder comes or goes, only what it holds moves.
"""

from __future__ import annotations

from collections.abc import Iterable

from caremesh.crypto.hashes import tagged_hash
from caremesh.types import Did, StreamId


def preferred(stream: StreamId, holders: Iterable[Did]) -> list[Did]:
    """All holders, those that hold this stream's blocks first."""
    return sorted(holders, key=lambda did: tagged_hash("placement", stream, did.encode()), reverse=True)


def placed(stream: StreamId, source: Did, holders: Iterable[Did]) -> list[Did]:
    """As ``preferred``, but its source, if it holds blocks, comes first: it is at hand."""
    order = preferred(stream, holders)
    return [did for did in order if did == source] + [did for did in order if did != source]
