"""Blocks to as many members as the network wants: those that a stream is placed at, and for each that fails the next.

The source's own store, if it has one, is always among them. Durable at ``params.replicas`` members, or it is said which
streams are short of that and who did not take them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor

from msgspec import Struct

from caremesh.blobs.errors import TOO_FEW_COPIES
from caremesh.blobs.interface import Way
from caremesh.blobs.placement import placed
from caremesh.codec import CID
from caremesh.errors import CareMeshError, Unavailable
from caremesh.types import Count, Did, StreamId

Blocks = Mapping[CID, bytes]


class Short(Struct, frozen=True):
    """A stream's blocks at too few members. ``failed``: who did not take them, and why (codes)."""

    copies: Count
    failed: list[str]


class Copies:
    """The way to all members that hold blocks."""

    def __init__(self, source: Did, ways: Mapping[Did, Way], replicas: Callable[[], Count]) -> None:
        """``ways``: to each member that holds blocks, the source's own store with them; ``replicas``: how many must."""
        self._source = source
        self._ways = ways
        self._replicas = replicas

    def put(self, stream: StreamId, blocks: Blocks) -> None:
        """Blocks of one stream, durable at enough members. Raises Unavailable blobs.08, or why nobody took them."""
        with ThreadPoolExecutor(max(len(self._ways), 1)) as pool:
            short = self.put_many({stream: blocks}, pool)
        if short:
            raise Unavailable(TOO_FEW_COPIES, "; ".join(short[stream].failed))

    def put_many(self, held: Mapping[StreamId, Blocks], pool: Executor) -> dict[StreamId, Short]:
        """Blocks of several streams; those that are short of copies.

        Raises what the last one said when not one member took the blocks of a stream.
        """
        wanted = self._replicas()
        left = {stream: placed(stream, self._source, self._ways) for stream in held}
        copies = dict.fromkeys(held, 0)
        failed: dict[StreamId, list[str]] = {stream: [] for stream in held}
        last: dict[StreamId, CareMeshError] = {}
        while tries := self._next(left, copies, wanted):
            waiting = {
                did: pool.submit(self._bring, did, {stream: held[stream] for stream in streams})
                for did, streams in tries.items()
            }
            for did, future in waiting.items():
                try:
                    future.result()
                except CareMeshError as error:
                    for stream in tries[did]:
                        failed[stream].append(f"{did}: {error.code}")
                        last[stream] = error
                else:
                    for stream in tries[did]:
                        copies[stream] += 1
        for stream, count in copies.items():
            if not count:
                raise last.get(stream) or Unavailable(TOO_FEW_COPIES)
        return {stream: Short(count, failed[stream]) for stream, count in copies.items() if count < wanted}

    def get(self, stream: StreamId, cid: CID) -> bytes:
        """A block from whoever has it whole. Raises what the last one said; Unavailable blobs.08 when there is none."""
        last: CareMeshError = Unavailable(TOO_FEW_COPIES)
        for did in placed(stream, self._source, self._ways):
            try:
                return self._way(did).get(cid)
            except CareMeshError as error:
                last = error
        raise last

    def _bring(self, did: Did, held: Mapping[StreamId, Blocks]) -> None:
        self._way(did).put_many(held)

    def _way(self, did: Did) -> Way:
        way = self._ways.get(did)
        if way is None:  # it has left meanwhile
            raise Unavailable(TOO_FEW_COPIES, did)
        return way

    def _next(
        self, left: dict[StreamId, list[Did]], copies: Mapping[StreamId, Count], wanted: Count
    ) -> dict[Did, list[StreamId]]:
        """Who is to be tried now, with which streams: as many as are missing of each."""
        tries: dict[Did, list[StreamId]] = {}
        for stream, order in left.items():
            for did in order[: wanted - copies[stream]]:
                tries.setdefault(did, []).append(stream)
            del order[: wanted - copies[stream]]
        return tries
