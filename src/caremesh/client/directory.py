"""``/directory/v1`` of another member's node."""

from __future__ import annotations

from typing import Final

from caremesh.client.blocking import Portal
from caremesh.client.node import Node

PREFIX: Final = "/directory/v1"


class RemoteDirectory:
    """Another member's directory, for who does not wait in an event loop: see ``gateway.directories.DirectoryWay``."""

    def __init__(self, portal: Portal, node: Node) -> None:
        self._portal = portal
        self._node = node

    def answer(self, query: bytes) -> bytes:
        """See ``source.directory.Directory``; raises what ``Node.call`` raises besides."""
        return self._portal.call(lambda: self._node.call("POST", f"{PREFIX}/queries", query, safe=True)).body
