"""Who is let in: each rule of the guard, by a request that breaks this rule and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from caremesh.api import errors
from caremesh.api.nonces import NonceStore
from caremesh.api.routes import ANYONE, MEMBERS, SIGNED, Answer, Call, Caller, Route
from caremesh.api.signatures import MAX_SKEW_S, Head, SignatureGuard
from caremesh.client import signing, wire
from caremesh.client.signing import LIFE_S, Identity, Message, sign
from caremesh.contracts.identity.messages import Deactivate, Register
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of
from caremesh.errors import CareMeshError, Unavailable
from caremesh.gateway.ask import Requester
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.suspending import suspend

BODY = b"\xa0"
INPUT = "signature-input"


async def never(_: Call) -> Answer:
    raise AssertionError


def route(**changes: Any) -> Route:
    given: dict[str, Any] = {"name": "test.it", "method": "POST", "path": "/it", "summary": "", "handler": never}
    return Route(**(given | {"callers": SIGNED} | changes))


class Door:
    """The guard of the regulator, and requests to it."""

    def __init__(self, mesh: LocalMesh, folder: Path) -> None:
        self.mesh = mesh
        self.did = mesh.member("regulator").home.did
        self.nonces = NonceStore(folder, mesh.clock)
        self.guard = SignatureGuard(did=self.did, reader=mesh.engine.reader, nonces=self.nonces, clock=mesh.clock)
        self.hospital = mesh.member("hospital").home

    def head(
        self,
        identity: Identity | None = None,
        *,
        now: int = 0,
        method: str = "POST",
        url: str = "https://node:1/it?a=b",
        to: str = "",
        body: bytes = BODY,
        **headers: str,
    ) -> Head:
        """A request that is right, but for what is given."""
        held = {wire.TO: to or self.did, "content-type": wire.CBOR} | headers
        message = Message(method, url, held)
        who = identity or Identity.of_did(self.hospital.did, self.hospital.node_key)
        sign(message, body, who, now or self.mesh.clock())
        return Head(method, url, {name.lower(): value for name, value in message.headers.items()})

    def refusal(self, head: Head, wanted: Route | None = None) -> str:
        with pytest.raises(CareMeshError) as caught:
            self.guard.check(wanted or route(), head)
        return caught.value.code

    def certificate(self, name: str) -> bytes:
        home = self.mesh.member(name).home
        leaf = pins.make_leaf(home.did, home.node_key, self.mesh.clock())
        return pins.x509.load_pem_x509_certificate(leaf.certificate).public_bytes(pins.Encoding.DER)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("guard")
    with LocalMesh(folder / "mesh", SettableClock()) as mesh:
        made = Door(mesh, folder / "nonces")
        yield made
        made.nonces.close()


def test_a_member_a_practitioner_and_a_key_are_told_apart(door: Door) -> None:
    doctor = door.mesh.member("practice").home.practitioner(door.mesh.founding.document.chain)
    key = SigningKey.generate()
    node_key = door.hospital.node_key
    assert door.guard.check(route(), door.head()) == Caller("member", door.hospital.did, node_key.public)
    assert door.guard.check(route(), door.head(Identity.of_did(doctor.did, doctor.key))).kind == "practitioner"
    assert door.guard.check(route(), door.head(Identity.of_key(key))).key == key.public


def test_what_is_for_anyone_needs_no_signature_but_a_wrong_one_is_refused(door: Door) -> None:
    bare = Head("GET", "https://node:1/it", {})
    assert door.guard.check(route(callers=ANYONE), bare).kind == "anyone"
    assert door.refusal(bare) == errors.NOT_SIGNED.code
    head = door.head()
    wrong = replace(head, headers={**head.headers, "signature": "caremesh=:" + "A" * 86 + "==:"})
    assert door.refusal(wrong, route(callers=ANYONE)) == errors.BAD_SIGNATURE.code


def _without(head: Head, name: str) -> Head:
    return replace(head, headers={key: value for key, value in head.headers.items() if key != name})


def _with(head: Head, name: str, value: str) -> Head:
    return replace(head, headers={**head.headers, name: value})


@pytest.mark.parametrize(
    ("bend", "code"),
    [
        (lambda head: replace(head, method="PUT"), "api.02"),
        (lambda head: replace(head, url="https://node:1/it?a=c"), "api.02"),
        (lambda head: replace(head, url="https://node:1/other?a=b"), "api.02"),
        (lambda head: replace(head, url="https://other:1/it?a=b"), "api.02"),
        (lambda head: _with(head, "content-type", "application/json"), "api.02"),
        (lambda head: _with(head, "content-digest", "sha-256=:" + "A" * 43 + "=:"), "api.02"),
        (lambda head: _with(head, wire.IDEMPOTENCY_KEY, "added"), "api.01"),
        (lambda head: _without(head, "content-type"), "api.01"),
        (lambda head: _without(head, "content-digest"), "api.01"),
        (lambda head: _without(head, wire.TO), "api.01"),
        (lambda head: _without(head, "signature"), "api.01"),
        (lambda head: _with(head, "signature", "nonsense"), "api.01"),
        (lambda head: _with(head, "signature-input", "nonsense"), "api.01"),
        (lambda head: _with(head, INPUT, head.headers[INPUT] + "x" * 2_000), "api.01"),
        (lambda head: _with(head, INPUT, head.headers[INPUT].replace("/v1", "/v2")), "api.01"),
        (lambda head: _with(head, INPUT, head.headers[INPUT].replace("ed25519", "rsa")), "api.01"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_that_was_changed_is_refused(door: Door, bend: Callable[[Head], Head], code: str) -> None:
    assert door.refusal(bend(door.head())) == code


@pytest.mark.parametrize("left_out", ["@method", "@target-uri", "content-digest", "caremesh-to", "content-type"])
def test_everything_that_matters_must_be_covered(door: Door, left_out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller signs, correctly, less than it must."""
    whole = signing.covered

    def less(headers: Any) -> tuple[str, ...]:
        return tuple(name for name in whole(headers) if name != left_out)

    with monkeypatch.context() as patch:
        patch.setattr(signing, "covered", less)
        message = Message("POST", "https://node:1/it", {wire.TO: door.did, "content-type": wire.CBOR})
        identity = Identity.of_did(door.hospital.did, door.hospital.node_key)
        if left_out == "content-digest":
            _sign_without_digest(message, identity, door.mesh.clock())
        else:
            sign(message, BODY, identity, door.mesh.clock())
    head = Head("POST", message.url, {name.lower(): value for name, value in message.headers.items()})
    assert door.refusal(head) == errors.NOT_SIGNED.code


def _sign_without_digest(message: Message, identity: Identity, now: int) -> None:
    from datetime import UTC, datetime, timedelta

    signer = signing.HTTPMessageSigner(signature_algorithm=signing._Ours, key_resolver=signing._One(identity.key))
    created = datetime.fromtimestamp(now, UTC)
    signer.sign(
        message,
        key_id=identity.keyid,
        created=created,
        expires=created + timedelta(seconds=LIFE_S),
        nonce=wire.text_of(os.urandom(16)),
        label=signing.LABEL,
        tag=signing.TAG,
        covered_component_ids=["@method", "@target-uri", wire.TO, "content-type"],
    )
    message.headers["content-digest"] = "sha-256=:" + "A" * 43 + "=:"


@pytest.mark.promise("P6")
def test_another_body_than_the_one_that_was_signed_is_named(door: Door) -> None:
    head = door.head()
    door.guard.check(route(), head)
    assert door.guard.check_body(head, BODY) == sha256(BODY).digest(), "who needs it does not work it out again"
    with pytest.raises(CareMeshError) as caught:
        door.guard.check_body(head, BODY + b"\0")
    assert caught.value.code == errors.WRONG_DIGEST.code


@pytest.mark.parametrize(
    ("offset", "kept"),
    [
        (0, True),
        (MAX_SKEW_S, True),
        (MAX_SKEW_S + 1, False),
        (-LIFE_S - MAX_SKEW_S, True),
        (-LIFE_S - MAX_SKEW_S - 1, False),
    ],
)
def test_a_request_counts_near_its_time(tmp_path: Path, door: Door, offset: int, kept: bool) -> None:
    now = door.mesh.clock()
    nonces = NonceStore(tmp_path / "nonces", lambda: now - 1_000)
    guard = SignatureGuard(did=door.did, reader=door.mesh.engine.reader, nonces=nonces, clock=lambda: now)
    head = door.head(now=now + offset)
    try:
        if kept:
            guard.check(route(), head)
        else:
            with pytest.raises(CareMeshError) as caught:
                guard.check(route(), head)
            assert caught.value.code == errors.WRONG_TIME.code
    finally:
        nonces.close()


@pytest.mark.parametrize(
    "bend",
    [
        lambda text, now: text.replace(f"expires={now + LIFE_S}", f"expires={now + LIFE_S + 1}"),
        lambda text, now: text.replace(f"expires={now + LIFE_S}", f"expires={now - 1}"),
        lambda text, now: text.replace(f";expires={now + LIFE_S}", ""),
        lambda text, now: text.replace(f";created={now}", ""),
    ],
    ids=["too long", "backwards", "no end", "no beginning"],
)
def test_the_time_of_a_request_has_bounds(door: Door, bend: Callable[[str, int], str]) -> None:
    now = door.mesh.clock()
    head = door.head(now=now)
    text = head.headers["signature-input"]
    assert bend(text, now) != text
    assert door.refusal(_with(head, "signature-input", bend(text, now))) == errors.WRONG_TIME.code


def test_a_request_is_answered_once(door: Door) -> None:
    head = door.head()
    door.guard.check(route(), head)
    assert door.refusal(head) == errors.REPLAYED.code


@pytest.mark.parametrize("nonce", [';nonce=""', ';nonce="short"', ""])
def test_a_request_needs_a_nonce_of_its_length(door: Door, nonce: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "text_of", lambda _: nonce.partition('"')[2].rstrip('"') or "")
    head = door.head()
    if not nonce:
        text = head.headers["signature-input"]
        head = _with(head, "signature-input", text.replace(';nonce=""', ""))
    assert door.refusal(head) == errors.NOT_SIGNED.code


def test_a_request_is_for_one_member(door: Door) -> None:
    other = door.mesh.member("payer").home.did
    assert door.refusal(door.head(to=other)) == errors.NOT_FOR_US.code


def test_a_key_must_be_the_one_on_the_ledger(door: Door) -> None:
    did, chain = door.hospital.did, door.mesh.founding.document.chain
    other = SigningKey.generate()
    assert door.refusal(door.head(Identity.of_did(did, other))) == errors.BAD_SIGNATURE.code
    assert door.refusal(door.head(Identity.of_did(did, door.hospital.key))) == errors.BAD_SIGNATURE.code
    assert door.refusal(door.head(Identity.of_did(did_of(chain, other.public), other))) == errors.UNKNOWN_KEY.code
    for keyid in (did, "did:key:z6Mk", "did:web:example.com#key", "did:caremesh:x:y#key", ""):
        assert door.refusal(door.head(Identity(keyid, other))) == errors.UNKNOWN_KEY.code


def test_a_did_key_signs_as_itself_only(door: Door) -> None:
    mine, other = SigningKey.generate(), SigningKey.generate()
    assert door.refusal(door.head(Identity(Identity.of_key(other).keyid, mine))) == errors.BAD_SIGNATURE.code


def test_a_did_key_of_small_order_is_refused(door: Door) -> None:
    from caremesh.crypto.signatures import ED25519_PREFIX, multikey_text

    keyid = "did:key:" + multikey_text(ED25519_PREFIX + b"\x01" + bytes(31))
    assert door.refusal(door.head(Identity(keyid, SigningKey.generate()))) == errors.UNKNOWN_KEY.code


def test_a_route_is_for_the_kinds_that_it_names(door: Door) -> None:
    key = Identity.of_key(SigningKey.generate())
    assert door.refusal(door.head(key), route(callers=MEMBERS)) == errors.NOT_ALLOWED.code
    assert door.refusal(door.head(), route(callers=frozenset({"key"}))) == errors.NOT_ALLOWED.code


def test_what_only_nodes_may_ask_needs_the_certificate_of_the_same_member(door: Door) -> None:
    wanted = route(callers=MEMBERS, pinned=True)
    assert door.refusal(door.head(), wanted) == errors.NO_CERTIFICATE.code
    assert door.refusal(replace(door.head(), certificate=b"no"), wanted) == errors.NO_CERTIFICATE.code
    other = replace(door.head(), certificate=door.certificate("payer"))
    assert door.refusal(other, wanted) == errors.NO_CERTIFICATE.code
    right = replace(door.head(), certificate=door.certificate("hospital"))
    assert door.guard.check(wanted, right).did == door.hospital.did


def test_a_certificate_under_a_key_that_is_the_ledgers_no_more_is_refused(door: Door) -> None:
    old = pins.make_leaf(door.hospital.did, SigningKey.generate(), door.mesh.clock())
    der = pins.x509.load_pem_x509_certificate(old.certificate).public_bytes(pins.Encoding.DER)
    wanted = route(callers=MEMBERS, pinned=True)
    assert door.refusal(replace(door.head(), certificate=der), wanted) == errors.NO_CERTIFICATE.code


def test_a_device_or_a_guardian_is_no_practitioner(door: Door) -> None:
    chain, key = door.mesh.founding.document.chain, SigningKey.generate()
    device = Requester(did_of(chain, key.public), key)
    register = Register(did=device.did, key=key.public, kind="device")
    assert not door.mesh.send([device, door.hospital.requester], register).code
    assert door.refusal(door.head(Identity.of_did(device.did, key))) == errors.UNKNOWN_KEY.code


@pytest.mark.parametrize("long", [INPUT, "signature"])
def test_what_is_said_of_a_signature_is_short(door: Door, long: str) -> None:
    """Another signature beside ours, under a name that nobody reads."""
    head = door.head()
    added = {INPUT: ', b=("@method");tag="' + "x" * (2_000 if long == INPUT else 1) + '"', "signature": ", b=:AA==:"}
    if long == "signature":
        added["signature"] = f", b=:{'AAAA' * 500}:"
    longer = {**head.headers, **{name: head.headers[name] + text for name, text in added.items()}}
    assert door.refusal(replace(head, headers=longer)) == errors.NOT_SIGNED.code


def test_two_signatures_are_one_too_many(door: Door) -> None:
    head = door.head()
    names = (INPUT, "signature")
    twice = {name: f"{head.headers[name]}, {head.headers[name].replace('caremesh=', 'b=', 1)}" for name in names}
    doubled = {**head.headers, **twice}
    assert door.refusal(replace(head, headers=doubled)) == errors.NOT_SIGNED.code


USES = """
import sys, pathlib
from caremesh.api.nonces import NonceStore
store = NonceStore(pathlib.Path(sys.argv[1]), lambda: 1_000)
print(store.use(b"name", 1_000, 1_060))
"""


def test_a_nonce_is_used_once_by_all_processes_of_a_node(tmp_path: Path) -> None:
    def other() -> str:
        command = [sys.executable, "-c", USES, str(tmp_path / "nonces")]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()

    assert other() == "True"
    store = NonceStore(tmp_path / "nonces", lambda: 1_000)
    try:
        assert not store.use(b"name", 1_000, 1_060)
        assert store.use(b"another", 1_000, 1_060)
    finally:
        store.close()


def test_nonces_are_forgotten_after_their_time_and_never_before(tmp_path: Path) -> None:
    now = 1_000
    store = NonceStore(tmp_path / "nonces", lambda: now)
    try:
        names = [number.to_bytes(4) for number in range(200)]
        assert all(store.use(name, now, now + 60) for name in names)
        now = 1_060
        assert not any(store.use(name, now, now + 60) for name in names)
        now = 1_061
        for number in range(50):
            store.use(b"new" + bytes([number]), now, now + 60)
        with store._env.begin() as txn:
            assert txn.stat(store._used)["entries"] == txn.stat(store._order)["entries"] == 50
    finally:
        store.close()


def test_what_was_signed_before_the_memory_began_is_refused(tmp_path: Path) -> None:
    store = NonceStore(tmp_path / "nonces", lambda: 1_000)
    try:
        assert not store.use(b"name", 999, 1_059)
    finally:
        store.close()


def test_a_memory_that_is_full_takes_no_more_and_says_so(tmp_path: Path) -> None:
    store = NonceStore(tmp_path / "nonces", lambda: 1_000, map_bytes=128 * 1024)
    try:
        with pytest.raises(Unavailable) as caught:
            all(store.use(number.to_bytes(4), 1_000, 1_060) for number in range(10_000))
        assert caught.value.code == errors.BUSY.code
        assert not store.use((0).to_bytes(4), 1_000, 1_060)
    finally:
        store.close()


def test_a_memory_that_a_crash_has_broken_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "nonces"
    store = NonceStore(folder, lambda: 1_000)
    store.use(b"name", 1_000, 1_060)
    store.close()
    (folder / "data.mdb").write_bytes(b"\xff" * 8_192)
    store = NonceStore(folder, lambda: 1_010)
    try:
        assert not store.use(b"name", 1_000, 1_060), "older than what is remembered"
    finally:
        store.close()


def test_who_was_suspended_or_deactivated_is_refused(tmp_path: Path) -> None:
    with LocalMesh(tmp_path / "mesh", SettableClock()) as mesh:
        door = Door(mesh, tmp_path / "nonces")
        doctor = mesh.member("practice").home.practitioner(mesh.founding.document.chain)
        suspend(mesh, "hospital")
        assert door.refusal(door.head()) == errors.SUSPENDED.code
        payer = mesh.member("payer").home
        mine = Identity.of_did(payer.did, payer.node_key)
        with_cert = replace(door.head(mine), certificate=door.certificate("hospital"))
        assert door.refusal(with_cert, route(callers=MEMBERS, pinned=True)) == errors.NO_CERTIFICATE.code
        assert not mesh.send([doctor, mesh.member("practice").home.requester], Deactivate(did=doctor.did)).code
        assert door.refusal(door.head(Identity.of_did(doctor.did, doctor.key))) == errors.UNKNOWN_KEY.code
        door.nonces.close()
