"""TLS pinned to ledger keys: who gets through, over real handshakes, and who does not."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.pins import Leaf
from caremesh.crypto.signatures import did_of
from caremesh.errors import Tampered

NETWORK = "n" * 32
NOW = int(time.time())


class Party(NamedTuple):
    did: str
    key: SigningKey

    @property
    def anchor(self) -> bytes:
        return pins.anchor(self.did, self.key.public)

    def leaf(self, now: int = NOW, life_s: int = 600) -> Leaf:
        return pins.make_leaf(self.did, self.key, now, life_s)


def party() -> Party:
    key = SigningKey.generate()
    return Party(did_of(NETWORK, key.public), key)


ONE, TWO = party(), party()


def der(leaf: Leaf) -> bytes:
    return x509.load_pem_x509_certificate(leaf.certificate).public_bytes(Encoding.DER)


def shake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[bytes | None, str]:
    """(the certificate that the client showed, the version). Raises ssl.SSLError at either side."""
    here, there = socket.socketpair()
    found: list[object] = []

    def serve() -> None:
        try:
            with server.wrap_socket(there, server_side=True) as tls:
                found.append((tls.getpeercert(binary_form=True), tls.version()))
                tls.sendall(b"x")
                tls.recv(1)
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(here) as tls:
            tls.recv(1)
    finally:
        here.close()
        thread.join(10)
    if isinstance(found[0], Exception):
        raise found[0]
    return found[0]  # type: ignore[return-value]


def test_a_node_and_a_node_know_each_other() -> None:
    server = pins.server_context(ONE.leaf(), [ONE.anchor, TWO.anchor])
    shown, version = shake(server, pins.client_context(TWO.leaf(), ONE.anchor))
    assert version == "TLSv1.3"
    assert shown is not None
    assert pins.peer_of(shown, {TWO.did: TWO.key.public}.get) == TWO.did


def test_who_is_no_node_gets_through_without_a_certificate() -> None:
    shown, _ = shake(pins.server_context(ONE.leaf(), [TWO.anchor]), pins.client_context(None, ONE.anchor))
    assert shown is None


def test_another_node_than_the_one_that_is_called_is_refused() -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(pins.server_context(TWO.leaf(), []), pins.client_context(None, ONE.anchor))


def test_who_shows_a_certificate_that_is_no_members_is_refused() -> None:
    server = pins.server_context(ONE.leaf(), [ONE.anchor])
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(server, pins.client_context(TWO.leaf(), ONE.anchor))


def test_a_node_key_that_was_replaced_opens_nothing() -> None:
    old = Party(ONE.did, SigningKey.generate())
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(pins.server_context(old.leaf(), []), pins.client_context(None, ONE.anchor))


@pytest.mark.parametrize(("begins", "life_s"), [(NOW - 10_000, 60), (NOW + 10_000, 60)], ids=["over", "not yet"])
def test_a_leaf_counts_in_its_time(begins: int, life_s: int) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(pins.server_context(ONE.leaf(begins, life_s), []), pins.client_context(None, ONE.anchor))


def test_a_clock_that_is_half_an_hour_behind_takes_a_fresh_leaf() -> None:
    shake(pins.server_context(ONE.leaf(NOW + 1_800), []), pins.client_context(None, ONE.anchor))


def test_a_caller_with_an_older_tls_is_refused() -> None:
    client = pins.client_context(None, ONE.anchor)
    client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(pins.server_context(ONE.leaf(), []), client)


def test_no_session_is_resumed() -> None:
    """A resumed session would bring back a peer that is a member no longer."""
    assert pins.server_context(ONE.leaf(), []).num_tickets == 0


def _chain(root: Party, claimed: str) -> Leaf:
    """A member vouches for a certificate authority in another member's name, which makes a leaf."""
    middle, own = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    begins = datetime.fromtimestamp(NOW - 60, UTC)

    def certificate(subject: x509.Name, issuer: x509.Name, public: object, signer: object, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)  # type: ignore[arg-type]
            .serial_number(7)
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        return builder.sign(signer, None).public_bytes(Encoding.PEM)  # type: ignore[arg-type]

    name = pins._name(claimed)
    root_key = Ed25519PrivateKey.from_private_bytes(root.key.seed)
    between = certificate(name, pins._name(root.did), middle.public_key(), root_key, ca=True)
    leaf = certificate(x509.Name([*name, pins._NODE]), name, own.public_key(), middle, ca=False)
    return Leaf(leaf + between, own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), NOW + 600)


@pytest.mark.parametrize("anchors", [[TWO.anchor], [ONE.anchor, TWO.anchor]], ids=["unknown", "known"])
def test_a_member_cannot_vouch_for_another(anchors: list[bytes]) -> None:
    forged = _chain(TWO, ONE.did)
    server = pins.server_context(party().leaf(), anchors)
    client = pins.client_context(None, ONE.anchor)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    with pins._file(forged.certificate + forged.key) as path:
        client.load_cert_chain(path)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        shake(server, client)


def test_nor_would_the_second_look_believe_it() -> None:
    forged = _chain(TWO, ONE.did)
    with pytest.raises(Tampered):
        pins.peer_of(der(forged), {ONE.did: ONE.key.public, TWO.did: TWO.key.public}.get)


@pytest.mark.parametrize("known", [{}, {ONE.did: TWO.key.public}], ids=["unknown", "another key by now"])
def test_the_second_look_is_by_the_ledger_of_now(known: dict[str, bytes]) -> None:
    with pytest.raises(Tampered) as caught:
        pins.peer_of(der(ONE.leaf()), known.get)
    assert caught.value.code == "pins.01"


def test_what_is_no_certificate_of_ours_is_refused() -> None:
    own = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody")])
    begins = datetime.fromtimestamp(NOW, UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(own.public_key())
    builder = builder.serial_number(1).not_valid_before(begins).not_valid_after(begins + timedelta(days=1))
    for data in (b"", b"nonsense", builder.sign(own, None).public_bytes(Encoding.DER)):
        with pytest.raises(Tampered):
            pins.peer_of(data, {ONE.did: ONE.key.public}.get)


def test_a_leaf_shows_no_secret() -> None:
    leaf = ONE.leaf()
    assert "KEY" not in repr(leaf)
    assert leaf.key.decode() not in repr(leaf)


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "EST5")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
def test_a_leaf_says_what_it_is_and_what_it_is_for() -> None:
    """RFC 5280: what a reader must understand is critical, and nothing else."""
    leaf = ONE.leaf(life_s=600)
    made = x509.load_pem_x509_certificate(leaf.certificate)
    assert leaf.until == NOW + 600
    assert (made.not_valid_before_utc.timestamp(), made.not_valid_after_utc.timestamp()) == (NOW - 3_600, NOW + 600)
    extensions = {type(each.value): (each.value, each.critical) for each in made.extensions}
    assert extensions[x509.BasicConstraints] == (x509.BasicConstraints(ca=False, path_length=None), True)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(ONE.did)])
    assert extensions[x509.SubjectAlternativeName] == (names, False)
    uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    assert extensions[x509.ExtendedKeyUsage] == (uses, False)
    assert not extensions[x509.AuthorityKeyIdentifier][1]
    assert len(extensions) == 4


def test_an_anchor_vouches_for_leaves_alone() -> None:
    made = x509.load_der_x509_certificate(ONE.anchor)
    extensions = {type(each.value): (each.value, each.critical) for each in made.extensions}
    assert extensions[x509.BasicConstraints] == (x509.BasicConstraints(ca=True, path_length=0), True)
    assert not extensions[x509.SubjectKeyIdentifier][1]
    assert made.serial_number == 1


def test_a_member_that_the_ledger_does_not_know_is_named() -> None:
    with pytest.raises(Tampered) as caught:
        pins.peer_of(der(ONE.leaf()), {}.get)
    assert caught.value.place == ONE.did
