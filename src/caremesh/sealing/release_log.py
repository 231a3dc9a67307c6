"""A custodian's release log, as its keeper writes it and a subject's client checks it. Pure.

    entry = DAG-CBOR {stream, index, previous, receipt, descriptor, at}
    link  = H("caremesh/v1/release-log/entry" ‖ entry)
    head  = count and link of the last entry of a stream
    leaf  = RFC 6962 leaf hash of DAG-CBOR [stream, head]
    root  = H("caremesh/v1/release-log/root" ‖ uint64 number of streams ‖ RFC 6962 root of the leaves, sorted by stream)

The root is anchored on the ledger with ``access/report``. Whoever holds the head of a stream under an anchored root can
check every entry before it, and that none is missing; that a stream had no entry is shown by its two neighbours.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

from msgspec import Meta, Struct

from caremesh import codec
from caremesh.codec import CID
from caremesh.crypto.hashes import tagged_hash
from caremesh.errors import ErrorCode, Tampered
from caremesh.ledger import history
from caremesh.types import Count, Digest, ReceiptId, Seconds, StreamId

START: Final = bytes(32)
"""What the first entry of a stream has for a link before it."""
_ENTRY_DOMAIN: Final = "caremesh/v1/release-log/entry"
_ROOT_DOMAIN: Final = "caremesh/v1/release-log/root"

BROKEN_CHAIN = ErrorCode(
    "custody.04", "The release log does not hold together.", "Keep it: the custodian that signed it has to explain it."
)


NOT_ANCHORED = ErrorCode(
    "custody.07",
    "The release log is not the one whose root the custodian anchored.",
    "Keep it: the custodian that signed it has to explain it.",
)


class LogEntry(Struct, frozen=True):
    """One release. ``previous`` is the link of the entry before it, 32 zero bytes for the first."""

    stream: StreamId
    index: Count
    previous: Digest
    receipt: ReceiptId
    descriptor: CID
    at: Seconds


class LogHead(Struct, frozen=True):
    """Where a stream's chain stands: how many entries, and the link of the last."""

    count: Count
    link: Digest


def link_of(entry: LogEntry) -> Digest:
    """The hash that the next entry, or the head, holds of this one."""
    return tagged_hash(_ENTRY_DOMAIN, codec.encode(entry))


def check_chain(stream: StreamId, entries: Sequence[LogEntry], head: LogHead) -> None:
    """Return when ``entries`` are all of the stream's, in order, up to ``head``.

    The place of an error is ``entry <index>`` or ``head``. Raises Tampered custody.04.
    """
    link = START
    for index, entry in enumerate(entries):
        if entry.stream != stream or entry.index != index or entry.previous != link:
            raise Tampered(BROKEN_CHAIN, f"entry {index}")
        link = link_of(entry)
    if len(entries) != head.count or link != head.link:
        raise Tampered(BROKEN_CHAIN, "head")


class Leaf(Struct, frozen=True):
    """A stream's head among those of a root, with its place and audit path."""

    stream: StreamId
    head: LogHead
    index: Count
    path: list[Digest]


class HeadProof(Struct, frozen=True):
    """That a stream had this head under a root (one leaf: its own), or none (the neighbours of where it would be)."""

    size: Count
    tree: Digest
    leaves: Annotated[list[Leaf], Meta(max_length=2)]


class Anchor:
    """All heads of a log at one moment."""

    def __init__(self, heads: Mapping[StreamId, LogHead]) -> None:
        self._heads: Final = sorted(heads.items())
        leaves = [_leaf_hash(stream, head) for stream, head in self._heads]
        frontier, made = history.append(history.NO_LEAVES, leaves)
        self._tree: Final = frontier.root
        self._nodes: Final = {(level, index): node for level, index, node in made}

    @property
    def root(self) -> Digest:
        """What ``access/report`` anchors."""
        return _root(len(self._heads), self._tree)

    @property
    def count(self) -> Count:
        """How many entries the log has."""
        return sum(head.count for _, head in self._heads)

    def heads(self) -> dict[StreamId, LogHead]:
        """The heads by stream."""
        return dict(self._heads)

    def prove(self, stream: StreamId) -> HeadProof:
        """What shows the head of a stream under this root, or that it had none."""
        at = bisect_left(self._heads, stream, key=lambda row: row[0])
        there = at < len(self._heads) and self._heads[at][0] == stream
        wanted = [at] if there else [index for index in (at - 1, at) if 0 <= index < len(self._heads)]
        return HeadProof(len(self._heads), self._tree, [self._leaf(index) for index in wanted])

    def _leaf(self, index: int) -> Leaf:
        stream, head = self._heads[index]
        path = history.path(lambda level, at: self._nodes[level, at], index, len(self._heads))
        return Leaf(stream, head, index, path)


def check_head(root: Digest, stream: StreamId, proof: HeadProof) -> LogHead:
    """The head of a stream under an anchored root; that of an empty log when it is shown to have none.

    Raises Tampered custody.07.
    """
    if root_of(proof) != root:
        raise Tampered(NOT_ANCHORED, "root")
    try:
        for leaf in proof.leaves:
            history.check_path(proof.tree, proof.size, leaf.index, _leaf_hash(leaf.stream, leaf.head), leaf.path)
    except Tampered as error:
        raise Tampered(NOT_ANCHORED, "path") from error
    match [(leaf.index, leaf.stream) for leaf in proof.leaves]:
        case [(_, here)] if here == stream:
            return proof.leaves[0].head
        case []:
            absent = not proof.size
        case [(0, after)] if stream < after:
            absent = True
        case [(last, before)]:
            absent = before < stream and last == proof.size - 1
        case [(one, before), (two, after)]:
            absent = before < stream < after and two == one + 1
        case _:
            absent = False
    if not absent:
        raise Tampered(NOT_ANCHORED, "neighbours")
    return LogHead(0, START)


def root_of(proof: HeadProof) -> Digest:
    """The root that a proof leads to."""
    return _root(proof.size, proof.tree)


def check_anchored(stream: StreamId, entries: Sequence[LogEntry], root: Digest, proof: HeadProof) -> LogHead:
    """The anchored head, when the log still begins with what was anchored. Raises Tampered custody.07."""
    head = check_head(root, stream, proof)
    link = START if not head.count else link_of(entries[head.count - 1]) if head.count <= len(entries) else b""
    if link != head.link:
        raise Tampered(NOT_ANCHORED, f"entry {head.count}")
    return head


def _leaf_hash(stream: StreamId, head: LogHead) -> Digest:
    return history.leaf_hash(codec.encode([stream, head]))


def _root(size: int, tree: Digest) -> Digest:
    return tagged_hash(_ROOT_DOMAIN, size.to_bytes(8), tree)
