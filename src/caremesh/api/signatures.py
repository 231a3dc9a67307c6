"""Who asks: a signature checked against the ledger, once, near its time, for this member and this body.

In order: size and shape of the signature; what it covers; its time; whose key it is on this node's own copy of the
ledger; the signature and the digest; the member it is meant for; the certificate, where only a node may ask; and, last,
that its nonce is new. A request that fails any of them leaves nothing behind.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, Protocol

from http_message_signatures import (
    ContentDigest,
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)
from http_message_signatures.algorithms import ED25519
from msgspec import Struct

from caremesh.api import errors
from caremesh.api.routes import Caller, Route
from caremesh.client import signing, wire
from caremesh.contracts.identity import queries as identities
from caremesh.contracts.members import queries as members
from caremesh.crypto import pins, signatures
from caremesh.errors import CareMeshError, Refused, Tampered
from caremesh.ledger.state import Reader
from caremesh.types import Did, Multikey, Seconds

MAX_SKEW_S: Final[Seconds] = 10
"""How far ahead of this node's clock a caller's may be."""
MAX_SIGNATURE_HEADER: Final = 1_024
_DID: Final = re.compile(r"did:caremesh:[a-z0-9-]{1,32}:[a-z2-7]{32}")
_SHA_256: Final = re.compile(r"sha-256=:([A-Za-z0-9+/]{43}=):")
_NONCE: Final = re.compile(r"[A-Za-z0-9_-]{22}")


class Nonces(Protocol):
    """What was used already; one for all processes of a node."""

    def use(self, name: bytes, created: Seconds, until: Seconds) -> bool:
        """Whether this name was not used before; it is from now on. Forgotten some time after ``until``.

        False as well for what was created before this memory began. Raises Unavailable api.22 when it is full.
        """
        ...


class Head(Struct, frozen=True):
    """A request without its body. ``url``: absolute; ``certificate``: what the caller showed in TLS (DER)."""

    method: str
    url: str
    headers: Mapping[str, str]
    certificate: bytes | None = None


class Guard(Protocol):
    """Says who asks, or refuses."""

    def check(self, route: Route, head: Head) -> Caller:
        """The caller, before the body is read. Raises Refused, Tampered, Unavailable."""
        ...

    def check_body(self, head: Head, body: bytes) -> bytes | None:
        """Return when the body is the one that was signed: its SHA-256, when that was found. Raises Tampered api.08."""
        ...


class SignatureGuard:
    """The guard of a node's outer door."""

    def __init__(self, *, did: Did, reader: Callable[[], Reader], nonces: Nonces, clock: Callable[[], Seconds]) -> None:
        """``did``: this member. ``reader``: its own copy of the ledger, as it is now."""
        self._did = did
        self._reader = reader
        self._nonces = nonces
        self._clock = clock

    def check(self, route: Route, head: Head) -> Caller:
        """See ``Guard``. Raises Refused api.01 to api.07, api.09, api.10; Unavailable api.22."""
        if "signature-input" not in head.headers:
            if "anyone" in route.callers:
                return Caller("anyone", "")
            raise Refused(errors.NOT_SIGNED)
        for name in ("signature-input", "signature"):
            if len(head.headers.get(name, "")) > MAX_SIGNATURE_HEADER:
                raise Refused(errors.NOT_SIGNED, name)
        keys = _LedgerKeys(self._reader())
        signed = self._verified(head, keys)
        nonce = str(signed["nonce"])
        caller = keys.caller
        if caller is None or not _NONCE.fullmatch(nonce):
            raise Refused(errors.NOT_SIGNED, "nonce")
        if head.headers.get(wire.TO) != self._did:
            raise Refused(errors.NOT_FOR_US)
        if caller.kind not in route.callers:
            raise Refused(errors.NOT_ALLOWED, route.name)
        if route.pinned:
            self._check_certificate(caller, head.certificate, keys)
        if not self._nonces.use(caller.key + nonce.encode(), signed["created"], signed["expires"] + MAX_SKEW_S):
            raise Refused(errors.REPLAYED)
        return caller

    def check_body(self, head: Head, body: bytes) -> bytes | None:
        """See ``Guard``. The digest itself was signed."""
        if "signature-input" not in head.headers:
            return None
        digest = head.headers["content-digest"]
        try:
            ContentDigest.verify(digest, body)
        except HTTPMessageSignaturesException as error:
            raise Tampered(errors.WRONG_DIGEST) from error
        found = _SHA_256.fullmatch(digest)
        return base64.b64decode(found[1]) if found else None

    def _verified(self, head: Head, keys: _LedgerKeys) -> Mapping[str, Any]:
        message = signing.Message(head.method, head.url, dict(head.headers))
        try:
            results = _Verifier(keys, self._clock()).verify(
                message,
                max_age=timedelta(seconds=signing.LIFE_S),
                expect_tag=signing.TAG,
                require_components=signing.covered(head.headers),
            )
        except InvalidSignature as error:
            raise _reason(error) from error
        except HTTPMessageSignaturesException as error:
            raise Refused(errors.NOT_SIGNED) from error
        if len(results) != 1:
            raise Refused(errors.NOT_SIGNED, "one signature")
        return results[0].parameters

    def _check_certificate(self, caller: Caller, certificate: bytes | None, keys: _LedgerKeys) -> None:
        if certificate is None:
            raise Refused(errors.NO_CERTIFICATE)
        try:
            shown = pins.peer_of(certificate, keys.node_key)
        except Tampered as error:
            raise Refused(errors.NO_CERTIFICATE) from error
        if shown != caller.did:
            raise Refused(errors.NO_CERTIFICATE)


class _LedgerKeys(HTTPSignatureKeyResolver):
    """Finds the key of a ``keyid`` on the ledger, and remembers whose it is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.caller: Caller | None = None

    def resolve_public_key(self, key_id: str) -> Multikey:
        """See ``HTTPSignatureKeyResolver``. Raises Refused api.03, api.04."""
        self.caller = self._find(key_id)
        return self.caller.key

    def resolve_private_key(self, key_id: str) -> Any:
        """No node signs requests here."""
        raise NotImplementedError(key_id)

    def node_key(self, did: Did) -> Multikey | None:
        """The node key of an active member."""
        found = members.member(self._reader, did)
        return found.keys.node if found is not None and found.status == "active" else None

    def _find(self, keyid: str) -> Caller:
        if keyid.startswith(signing.DID_KEY):
            try:
                key = signing.key_of_did_key(keyid)
                signatures.check_key(key)
            except CareMeshError as error:
                raise Refused(errors.UNKNOWN_KEY) from error
            return Caller("key", keyid, key)
        did = keyid.removesuffix(signing.KEY)
        if not keyid.endswith(signing.KEY) or not _DID.fullmatch(did):
            raise Refused(errors.UNKNOWN_KEY)
        member = members.member(self._reader, did)
        if member is not None:
            if member.status != "active":
                raise Refused(errors.SUSPENDED)
            return Caller("member", did, member.keys.node)
        known = identities.identity(self._reader, did)
        if known is None or not known.active or known.kind != "practitioner":
            raise Refused(errors.UNKNOWN_KEY)
        return Caller("practitioner", did, known.key)


class _Ours(ED25519):
    """Ed25519 by the rules of the ledger (``crypto/signatures.py``)."""

    def __init__(self, public_key: Any = None, private_key: Any = None, password: Any = None) -> None:  # noqa: ARG002
        self._key: Multikey = public_key

    def verify(self, signature: bytes, message: bytes) -> None:
        signatures.verify(self._key, message, signature)


class _Verifier(HTTPMessageVerifier):
    def __init__(self, keys: _LedgerKeys, now: Seconds) -> None:
        super().__init__(signature_algorithm=_Ours, key_resolver=keys)
        self._now = now

    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:  # noqa: ARG002
        """By this node's clock, which tests can set. The longest life is that of ``signing.LIFE_S``."""
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        if type(created) is not int or type(expires) is not int:
            raise InvalidSignature(Refused(errors.WRONG_TIME))
        if not created <= expires <= created + signing.LIFE_S:
            raise InvalidSignature(Refused(errors.WRONG_TIME))
        if created > self._now + MAX_SKEW_S or expires + MAX_SKEW_S < self._now:
            raise InvalidSignature(Refused(errors.WRONG_TIME))
        if "nonce" not in sig_input.params:
            raise InvalidSignature(Refused(errors.NOT_SIGNED, "nonce"))


def _reason(error: InvalidSignature) -> CareMeshError:
    """Our own refusal, where the library wraps one; else that the signature is not right."""
    inner = error.args[0] if error.args else None
    if isinstance(inner, Tampered):
        return Refused(errors.BAD_SIGNATURE)
    if isinstance(inner, CareMeshError):
        return inner
    return Refused(errors.NOT_SIGNED)
