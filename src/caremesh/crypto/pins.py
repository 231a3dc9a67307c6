"""TLS pinned to the keys on the ledger: no authority vouches for a node but the node key that the ledger names.

    leaf    = certificate of a throw-away key, short-lived, signed by the member's Ed25519 node key
    anchor  = what the other side makes of the ledger alone: a CA certificate of the member's name and node key
    name    = O=<network of the DID>, CN=<identifier of the DID>: a common name has at most 64 characters (RFC 5280)

An anchor's own signature says nothing and is not looked at (RFC 5280, section 6.1: a trust anchor is a name and a key).
Its path length is 0: a member may vouch for a leaf of its own, and for nobody who vouches for others.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import ED25519_PREFIX
from caremesh.errors import ErrorCode, Tampered
from caremesh.types import Did, Multikey, Seconds

LEAF_LIFE_S: Final[Seconds] = 7 * 86_400
DRIFT_S: Final[Seconds] = 3_600
"""How far two clocks may be apart before a fresh leaf is refused."""
_NODE: Final = x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "node")
"""In the name of every leaf: one that is named as its issuer is would count as signed by itself."""
_FIRST: Final = datetime(1970, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, tzinfo=UTC)

WRONG_PIN = ErrorCode(
    "pins.01", "This certificate is not that of a node whose key is on the ledger.", "Ask that member's operator."
)


class Leaf(NamedTuple):
    """A node's certificate and the key that belongs to it, both PEM. ``until``: seconds UTC."""

    certificate: bytes
    key: bytes
    until: Seconds

    def __repr__(self) -> str:
        return f"Leaf(until={self.until})"


def make_leaf(did: Did, node_key: SigningKey, now: Seconds, life_s: Seconds = LEAF_LIFE_S) -> Leaf:
    """A new certificate for a node, valid from an hour ago on. ``node_key``: the one that the ledger names."""
    own = Ed25519PrivateKey.generate()
    name = _name(did)
    begins = datetime.fromtimestamp(now - DRIFT_S, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([*name, _NODE]))
        .issuer_name(name)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(seconds=DRIFT_S + life_s))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(did)]), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(_public(node_key.public)),
            critical=False,
        )
    )
    certificate = builder.sign(Ed25519PrivateKey.from_private_bytes(node_key.seed), None)
    key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Leaf(certificate.public_bytes(Encoding.PEM), key, now + life_s)


def anchor(did: Did, node_key: Multikey) -> bytes:
    """The trust anchor (DER) of a member, from what the ledger says of it."""
    public, name = _public(node_key), _name(did)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(_FIRST)
        .not_valid_after(_LAST)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    return builder.sign(Ed25519PrivateKey.generate(), None).public_bytes(Encoding.DER)


def server_context(leaf: Leaf, anchors: Iterable[bytes]) -> ssl.SSLContext:
    """TLS 1.3 for a node: callers may show a certificate, and one that they show must be a member's."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # a resumed session would bring back a member that is one no longer
    return _prepared(context, leaf, anchors)


def client_context(leaf: Leaf | None, pin: bytes) -> ssl.SSLContext:
    """TLS 1.3 to one node, whose anchor ``pin`` (DER) is. ``leaf``: who calls, when it is a node."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # who answers is told by the key, wherever it is
    context.verify_mode = ssl.CERT_REQUIRED
    return _prepared(context, leaf, [pin])


def peer_of(der: bytes, node_key_of: Callable[[Did], Multikey | None]) -> Did:
    """The member whose node key, as the ledger has it now, signed this certificate. Raises Tampered pins.01.

    TLS has checked it when the connection was made; here it is checked against the ledger of this moment.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        did = _did(certificate.issuer)
        key = node_key_of(did)
        if key is None:
            raise Tampered(WRONG_PIN, did)
        _public(key).verify(certificate.signature, certificate.tbs_certificate_bytes)
    except (ValueError, InvalidSignature) as error:
        raise Tampered(WRONG_PIN) from error
    return did


def _prepared(context: ssl.SSLContext, leaf: Leaf | None, anchors: Iterable[bytes]) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if known := b"".join(anchors):
        context.load_verify_locations(cadata=known)
    if leaf is not None:
        with _file(leaf.certificate + leaf.key) as path:
            context.load_cert_chain(path)
    return context


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """A file for a library that reads nothing else: in memory where the system can, else gone at once."""
    if hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create("leaf"), "wb") as memory:
            memory.write(data)
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            yield file.name


def _public(key: Multikey) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(key.removeprefix(ED25519_PREFIX))


def _name(did: Did) -> x509.Name:
    _, _, network, identifier = did.split(":")
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, network), x509.NameAttribute(NameOID.COMMON_NAME, identifier)]
    )


def _did(name: x509.Name) -> Did:
    [network] = name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    [identifier] = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"did:caremesh:{network.value!s}:{identifier.value!s}"
