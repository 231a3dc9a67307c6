"""Who may get which block: members, whoever has a link for it, and anyone where the operator opened the gateway."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from caremesh.api.errors import NOT_ALLOWED
from caremesh.api.routes import Call
from caremesh.blobs import links
from caremesh.blobs.errors import BAD_LINK
from caremesh.blobs.links import Action, BlockLink
from caremesh.client import wire
from caremesh.codec import CID
from caremesh.errors import BadInput, Refused
from caremesh.ledger.transactions import Signs
from caremesh.types import Did, Multikey, Seconds

LINK: Final = "link"
"""The parameter of an address that carries a link; ``Authorization: Bearer`` does as well."""
_BEARER: Final = "bearer "


class Reads(Protocol):
    """This member's own blocks."""

    def get(self, cid: CID) -> bytes:
        """See ``BlockStore``."""
        ...


class Capabilities:
    """Of one member."""

    def __init__(
        self,
        *,
        did: Did,
        key: Multikey,
        blocks: Reads,
        clock: Callable[[], Seconds],
        signer: Signs | None = None,
        is_open: bool = False,
    ) -> None:
        """``key``: the member's node key; ``signer``: where links are made; ``is_open``: anyone may get blocks."""
        self.did = did
        self.is_open = is_open
        self._key = key
        self._signer = signer
        self._blocks = blocks
        self._clock = clock

    def make(self, link: BlockLink) -> str:
        """A link as it stands in an address. Raises Refused api.05 where no links are made."""
        if self._signer is None:
            raise Refused(NOT_ALLOWED, "blocks.link")
        return wire.text_of(links.make(link, self._signer))

    def of(self, call: Call) -> BlockLink | None:
        """The link that a request carries, or None. Raises Refused blobs.10, blobs.11."""
        bearer = call.headers.get("authorization", "")
        text = call.query.get(LINK) or (bearer[len(_BEARER) :] if bearer.lower().startswith(_BEARER) else "")
        if not text:
            return None
        try:
            data = wire.bytes_of(text)
        except BadInput as error:
            raise Refused(BAD_LINK) from error
        return links.read(data, self.did, self._key, self._clock())

    def check_get(self, call: Call, link: BlockLink | None, cid: CID) -> None:
        """Return when this caller may get this block. Reads descriptors. Raises Refused api.05, blobs.12."""
        if self.is_open or call.caller.kind == "member":
            return
        self.check(link, "get", cid)

    def check(self, link: BlockLink | None, action: Action, cid: CID) -> BlockLink:
        """The link, when it is for this. Raises Refused api.05 without one, blobs.12."""
        if link is None:
            raise Refused(NOT_ALLOWED, "blocks")
        links.check(link, action, cid, self._blocks.get)
        return link
