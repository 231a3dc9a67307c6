"""RFC 9421 (signatures), 9530 (digests) and 9457 (problems): examples of the standards, and what they demand."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from http_message_signatures import (
    ContentDigest,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
)

from caremesh.api import signatures as verifying
from caremesh.api.problems import BY_KIND, response_of
from caremesh.client import signing, wire
from caremesh.client.signing import Identity, Message
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import CareMeshError, ErrorCode

# RFC 9421, appendix B.1.4 (test-key-ed25519; the last 32 bytes of its DER) and B.2.6.
SECRET = base64.b64decode("MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF")[-32:]
PUBLIC = base64.b64decode("MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=")[-32:]
COVERED = ("date", "@method", "@path", "@authority", "content-type", "content-length")
SIGNATURE = "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw=="
NAMES = " ".join(f'"{name}"' for name in COVERED)
PARAMETERS = f'({NAMES});created=1618884473;keyid="test-key-ed25519"'


def message() -> Message:
    return Message(
        "POST",
        "https://example.com/foo?param=Value&Pet=dog",
        {
            "date": "Tue, 20 Apr 2021 02:07:55 GMT",
            "content-type": "application/json",
            "content-length": "18",
            "signature-input": f"sig-b26={PARAMETERS}",
            "signature": f"sig-b26=:{SIGNATURE}:",
        },
    )


class Keys(HTTPSignatureKeyResolver):
    def resolve_public_key(self, key_id: str) -> bytes:
        assert key_id == "test-key-ed25519"
        return ED25519_PREFIX + PUBLIC

    def resolve_private_key(self, key_id: str) -> Any:
        raise NotImplementedError(key_id)


class AnyTime(HTTPMessageVerifier):
    def validate_created_and_expires(self, sig_input: Any, max_age: timedelta | None = None) -> None:
        """The example is of 2021."""


def test_the_key_of_the_standard_is_one_of_ours() -> None:
    assert SigningKey(SECRET).public == ED25519_PREFIX + PUBLIC


def test_the_example_of_rfc_9421_verifies_under_the_rules_of_the_ledger() -> None:
    verifier = AnyTime(signature_algorithm=verifying._Ours, key_resolver=Keys())
    [result] = verifier.verify(message(), require_components=COVERED)
    assert result.parameters["keyid"] == "test-key-ed25519"
    for name, value in (("date", "Tue, 20 Apr 2021 02:07:56 GMT"), ("content-length", "19")):
        changed = message()
        changed.headers[name] = value
        with pytest.raises(InvalidSignature):
            verifier.verify(changed, require_components=COVERED)


def test_our_signer_makes_the_signature_of_the_example() -> None:
    """Ed25519 is deterministic: the same key signs the same base in the same way."""
    unsigned = message()
    signer = HTTPMessageSigner(signature_algorithm=signing._Ours, key_resolver=signing._One(SigningKey(SECRET)))
    prepared = signer.prepare(
        unsigned,
        key_id="test-key-ed25519",
        created=signing.datetime.fromtimestamp(1618884473, signing.UTC),
        label="sig-b26",
        include_alg=False,
        covered_component_ids=COVERED,
    )
    assert prepared.signature_params == PARAMETERS
    made = signing._Ours(private_key=SigningKey(SECRET)).sign(prepared.signature_base)
    assert base64.b64encode(made).decode() == SIGNATURE


def test_what_we_sign_another_verifier_of_rfc_9421_accepts() -> None:
    """That of the library, with its own keys and its own clock."""
    from datetime import UTC, datetime

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from http_message_signatures.algorithms import ED25519

    class Theirs(Keys):
        def resolve_public_key(self, key_id: str) -> Any:
            assert key_id.startswith("did:key:z6Mk")
            return Ed25519PublicKey.from_public_bytes(PUBLIC)

    sent = Message("POST", "https://node:8443/x?y=z", {wire.TO: "did:caremesh:n:x", "content-type": wire.CBOR})
    signing.sign(sent, b"body", Identity.of_key(SigningKey(SECRET)), int(datetime.now(UTC).timestamp()))
    verifier = HTTPMessageVerifier(signature_algorithm=ED25519, key_resolver=Theirs())
    [result] = verifier.verify(sent, expect_tag=signing.TAG, body=b"body", max_age=timedelta(seconds=60))
    assert set(result.covered_components) >= {'"@method"', '"@target-uri"', '"content-digest"', '"caremesh-to"'}


def test_the_digest_of_rfc_9530() -> None:
    """Appendix B.1."""
    body = b'{"hello": "world"}\n'
    assert ContentDigest.create(body) == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    sent = Message("POST", "https://node/", {wire.TO: "did"})
    signing.sign(sent, body, Identity.of_key(SigningKey(SECRET)), 1)
    assert sent.headers["Content-Digest"] == ContentDigest.create(body)


@pytest.mark.parametrize("kind", BY_KIND)
def test_a_problem_is_one_of_rfc_9457(kind: type[CareMeshError]) -> None:
    """Section 3.1: media type, a URI as type, title, the same status in both places; members of our own beside them."""
    got = response_of(kind(ErrorCode("test.01", "A sentence.", "A cure."), "place"))
    said = msgspec.json.decode(got.body)
    assert got.headers["content-type"] == "application/problem+json"
    assert said == {
        "type": "urn:caremesh:error:test.01",
        "title": "A sentence.",
        "status": got.status_code,
        "detail": "A cure.",
        "kind": kind.__name__,
        "code": "test.01",
        "place": "place",
    }
    assert 400 <= got.status_code < 600


def test_who_is_not_known_is_told_how_to_sign() -> None:
    """RFC 9110, section 15.5.2, and RFC 9421, section 5.1."""
    from caremesh.api import errors
    from caremesh.errors import Refused

    got = response_of(Refused(errors.NOT_SIGNED))
    assert got.status_code == 401
    assert got.headers["www-authenticate"]
    assert all(name in got.headers["accept-signature"] for name in signing.ALWAYS)


def test_who_asks_too_often_is_told_when_to_come_back() -> None:
    """RFC 6585, section 4."""
    from caremesh.api import errors
    from caremesh.errors import Refused

    got = response_of(Refused(errors.TOO_MANY))
    assert (got.status_code, got.headers["retry-after"]) == (429, "1")
