"""``/directory/v1``: the hospitals and practitioners that records name, for other members' nodes.

Entries carry the signature of the member whose directory it is: who asked checks it (``gateway/directories.py``).
"""

from __future__ import annotations

from typing import Final, Protocol

from caremesh.api.routes import MEMBERS, Answer, Call, Route
from caremesh.api.threads import Run, in_threads
from caremesh.client import wire
from caremesh.fhir.directory import MAX_QUERY_BYTES

PREFIX: Final = "/directory/v1"
_AT_ONCE: Final = 8


class Directory(Protocol):
    """A member's directory, as ``source.directory.Directory``. It may block."""

    def answer(self, query: bytes) -> bytes:
        """See ``Directory``."""
        ...


def routes(directory: Directory, run: Run | None = None) -> list[Route]:
    """Of every member."""
    in_thread = run or in_threads(_AT_ONCE)

    async def find(call: Call) -> Answer:
        return Answer(await in_thread(lambda: directory.answer(call.body)))

    return [
        Route(
            name="directory.find",
            method="POST",
            path=f"{PREFIX}/queries",
            summary="The entries of this member's directory that records name, by id or identifier",
            handler=find,
            media=wire.CBOR,
            body="DirectoryQuery (`fhir/directory.py`)",
            answer="DirectoryAnswer: for each that was wanted, the newest entries, each under the member's signature",
            callers=MEMBERS,
            pinned=True,
            max_bytes=MAX_QUERY_BYTES,
        )
    ]
