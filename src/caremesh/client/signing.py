"""What a request's signature covers, on both sides (RFC 9421 with Content-Digest of RFC 9530).

    keyid  did:caremesh:…#key   a member's node key, or a practitioner's key, as the ledger has it
           did:key:z6Mk…        a key that proves nothing but that the caller has it
    covered  @method, @target-uri, content-digest, caremesh-to; content-type and idempotency-key where there are any
    parameters  created, expires (60 s later at most), nonce (16 bytes, base64url), alg="ed25519", tag="caremesh/v1"

``caremesh-to`` names the member that is called: nobody can hand a request on to another as its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver
from http_message_signatures.algorithms import ED25519

from caremesh.client.wire import IDEMPOTENCY_KEY, TO, text_of
from caremesh.crypto import signatures
from caremesh.ledger.transactions import Signs
from caremesh.types import Did, Multikey, Seconds

TAG: Final = "caremesh/v1"
LABEL: Final = "caremesh"
ALWAYS: Final = ("@method", "@target-uri", "content-digest", TO)
WHERE_THERE: Final = ("content-type", IDEMPOTENCY_KEY)
LIFE_S: Final[Seconds] = 60
NONCE_BYTES: Final = 16
KEY: Final = "#key"
DID_KEY: Final = "did:key:"


class Identity(NamedTuple):
    """Who calls: a key, and the name under which the other side finds it."""

    keyid: str
    key: Signs

    @classmethod
    def of_did(cls, did: Did, key: Signs) -> Identity:
        """A member with its node key, or a practitioner with theirs."""
        return cls(did + KEY, key)

    @classmethod
    def of_key(cls, key: Signs) -> Identity:
        """Whoever has this key: a channel key of a wallet, for example."""
        return cls(DID_KEY + signatures.multikey_text(key.public), key)

    def __repr__(self) -> str:
        return f"Identity({self.keyid})"


class Message(NamedTuple):
    """A request as its signature sees it. ``url``: absolute. ``headers``: their names in lower case."""

    method: str
    url: str
    headers: dict[str, str]


def covered(headers: Mapping[str, str]) -> tuple[str, ...]:
    """What must be signed of a request with these headers."""
    return ALWAYS + tuple(name for name in WHERE_THERE if name in headers)


class _Ours(ED25519):
    """Signs with keys of ours, which may be in a token: all they offer is ``sign``."""

    def __init__(self, public_key: Any = None, private_key: Any = None, password: Any = None) -> None:  # noqa: ARG002
        self._key: Signs = private_key

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


class _One(HTTPSignatureKeyResolver):
    def __init__(self, key: Signs) -> None:
        self._key = key

    def resolve_private_key(self, key_id: str) -> Any:  # noqa: ARG002
        return self._key

    def resolve_public_key(self, key_id: str) -> Any:
        raise NotImplementedError(key_id)


def sign(message: Message, body: bytes, identity: Identity, now: Seconds, nonce: bytes | None = None) -> None:
    """Put Content-Digest, Signature-Input and Signature into the headers. ``now``: seconds UTC."""
    signer = HTTPMessageSigner(signature_algorithm=_Ours, key_resolver=_One(identity.key))
    names: Sequence[str] = [name for name in covered(message.headers) if name != "content-digest"]
    created = datetime.fromtimestamp(now, UTC)
    signer.sign(
        message,
        key_id=identity.keyid,
        created=created,
        expires=created + timedelta(seconds=LIFE_S),
        nonce=text_of(nonce or os.urandom(NONCE_BYTES)),
        label=LABEL,
        tag=TAG,
        covered_component_ids=names,
        body=body,
    )


def key_of_did_key(keyid: str) -> Multikey:
    """The key that a ``did:key:`` is. Raises BadInput signatures.04, base58.01."""
    return signatures.parse_multikey(keyid.removeprefix(DID_KEY))


def signed(
    method: str, url: str, headers: Mapping[str, str], body: bytes, identity: Identity, now: Seconds
) -> dict[str, str]:
    """The headers that sign a request with these, under a new nonce. ``headers``: any case; ``now``: seconds UTC."""
    held = {name: headers[name] for name in (TO, *WHERE_THERE) if name in headers}
    message = Message(method, url, dict(held))
    sign(message, body, identity, now)
    return {name: value for name, value in message.headers.items() if name not in held}
