"""The crypto vectors, checked by the code under test and a second time without it."""

import hashlib
import hmac
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from caremesh.crypto.envelope import hpke_from_seed, hpke_open, open_aead, seal_aead, unlock
from caremesh.crypto.hashes import length_prefixed, tagged_hash
from caremesh.crypto.keys import SigningKey, derive
from caremesh.crypto.reencryption import (
    ReadingKey,
    Seal,
    check_fragment,
    check_reencryption,
    open_original,
    open_with,
    seal_hash,
)
from caremesh.crypto.signatures import did_of, multikey_text, parse_multikey, stream_of, verify

FOLDER = Path(__file__).parents[3] / "vectors" / "crypto"
# secp256k1 (SEC 2, section 2.4.1): the field, the order of the group.
P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
Point = tuple[int, int]


def load(name: str) -> Any:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def raw(text: str) -> bytes:
    return bytes.fromhex(text)


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def test_hashes() -> None:
    for row in load("hashes.json"):
        parts = [raw(part) for part in row["parts"]]
        assert prefixed(row["domain"].encode(), *parts) == raw(row["input"])
        assert hashlib.sha256(raw(row["input"])).digest() == raw(row["hash"])
        assert length_prefixed(row["domain"].encode(), *parts) == raw(row["input"])
        assert tagged_hash(row["domain"], *parts) == raw(row["hash"])


def test_keys() -> None:
    for row in load("keys.json"):
        seed, public, message = raw(row["seed"]), raw(row["public"]), raw(row["message"])
        key = SigningKey.from_seed(seed)
        assert key.public == public
        assert key.sign(message) == raw(row["signature"])
        verify(public, message, raw(row["signature"]))
        assert (multikey_text(public), parse_multikey(row["text"])) == (row["text"], public)
        assert (did_of("demo", public), stream_of(public)) == (row["did"], raw(row["stream"]))
        assert derive(seed, b"record", b"\0\0\0\1") == raw(row["derived"])
        other = Ed25519PrivateKey.from_private_bytes(seed)
        assert b"\xed\x01" + other.public_key().public_bytes_raw() == public
        extracted = hmac.digest(bytes(32), seed, "sha256")
        assert hmac.digest(extracted, prefixed(b"record", b"\0\0\0\1") + b"\1", "sha256") == raw(row["derived"])


def test_envelopes() -> None:
    vectors = load("envelopes.json")
    aead = {name: raw(value) for name, value in vectors["aead"].items()}
    assert seal_aead(aead["key"], aead["plaintext"], aead["aad"]) == aead["ciphertext"]
    assert open_aead(aead["key"], aead["ciphertext"], aead["aad"], "") == aead["plaintext"]
    assert unlock(vectors["lock"]["passphrase"], raw(vectors["lock"]["locked"])) == raw(vectors["lock"]["plaintext"])
    hpke = {name: raw(value) for name, value in vectors["hpke"].items()}
    assert hpke_from_seed(hpke["private"])[1] == hpke["public"]
    assert hpke_open(hpke["private"], hpke["sealed"], hpke["info"], hpke["aad"]) == hpke["plaintext"]


@pytest.fixture(scope="module")
def umbral() -> dict[str, Any]:
    vector: dict[str, Any] = load("reencryption.json")
    return vector


def test_reencryption(umbral: dict[str, Any]) -> None:
    patient = ReadingKey.from_secret(raw(umbral["delegating_secret"]))
    grantee = ReadingKey.from_secret(raw(umbral["receiving_secret"]))
    assert (patient.public, grantee.public) == (raw(umbral["delegating"]), raw(umbral["receiving"]))
    seal = Seal(raw(umbral["capsule"]), raw(umbral["ciphertext"]))
    keys = raw(umbral["verifying"]), patient.public, grantee.public
    secret, answers = raw(umbral["secret"]), [raw(answer) for answer in umbral["reencryptions"]]
    assert seal_hash(seal) == raw(umbral["seal_hash"])
    assert (
        hashlib.sha256(b"\x82\x58\x69" + seal.capsule + b"\x58\x48" + seal.ciphertext).hexdigest()
        == umbral["seal_hash"]
    )
    for fragment in umbral["fragments"]:
        check_fragment(raw(fragment), *keys)
    for answer in answers:
        check_reencryption(seal, answer, *keys, "vector")
    assert open_original(patient, seal) == secret
    for some in itertools.combinations(answers, umbral["threshold"]):
        assert open_with(grantee, patient.public, seal, some, keys[0]) == secret


@pytest.mark.promise("P2")
def test_the_documented_limit_t_custodians_with_the_grantee_recover_the_reading_key(umbral: dict[str, Any]) -> None:
    """A fragment is a value f(x) of a polynomial of degree t - 1 with f(0) = reading key / d.

    x and d are hashes that the grantee can compute (Nuñez 2018, section 3.2). t fragments give f(0), the
    grantee gives d. Fewer fragments, or no grantee, do not.
    """
    grantee = int(umbral["receiving_secret"], 16)
    public = raw(umbral["receiving"])
    fragments = [read_fragment(raw(fragment)) for fragment in umbral["fragments"]]
    precursor = fragments[0][2]
    shared = pack(multiply(grantee, unpack(precursor)))
    divisor = scalar(b"SHARED_SECRET", precursor, public, shared)
    points = [(scalar(b"POLYNOMIAL_ARG", precursor, public, shared, one), value) for one, value, _ in fragments]

    def recover(some: tuple[tuple[int, int], ...]) -> str:
        return f"{divisor * at_zero(some) % N:064x}"

    for two in itertools.combinations(points, 2):
        assert recover(two) == umbral["delegating_secret"]
    for one in points:
        assert recover((one,)) != umbral["delegating_secret"]
    wrong = pack(multiply(grantee + 1, unpack(precursor)))
    strangers = [(scalar(b"POLYNOMIAL_ARG", precursor, public, wrong, one), value) for one, value, _ in fragments]
    assert recover(tuple(strangers[:2])) != umbral["delegating_secret"]


def read_fragment(data: bytes) -> tuple[bytes, int, bytes]:
    """Id, value and precursor of a fragment, which is MessagePack: [[point], id, value, precursor, proof]."""
    assert (data[:4], data[37:39], data[71:73], data[105:107]) == (
        b"\x95\x91\xc4\x21",
        b"\xc4\x20",
        b"\xc4\x20",
        b"\xc4\x21",
    )
    return data[39:71], int.from_bytes(data[73:105], "big"), data[107:140]


def scalar(domain: bytes, *parts: bytes) -> int:
    """A hash to a scalar that is not zero, as the library computes it."""
    digest = hashlib.sha256(len(domain).to_bytes(4, "big") + domain + b"".join(parts)).digest()
    return int.from_bytes(digest, "big") % (N - 1) + 1


def at_zero(points: tuple[tuple[int, int], ...]) -> int:
    """The value at zero of the least polynomial through the points (Lagrange)."""
    total = 0
    for x, y in points:
        for other, _ in points:
            if other != x:
                y = y * other * pow(other - x, -1, N) % N  # noqa: PLW2901 -- the product grows
        total += y
    return total % N


def unpack(data: bytes) -> Point:
    x = int.from_bytes(data[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    return x, y if y % 2 == data[0] % 2 else P - y


def pack(point: Point) -> bytes:
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def add(one: Point | None, two: Point | None) -> Point | None:
    if one is None or two is None:
        return one or two
    if one[0] == two[0] and (one[1] + two[1]) % P == 0:
        return None
    rise, run = (3 * one[0] ** 2, 2 * one[1]) if one == two else (two[1] - one[1], two[0] - one[0])
    slope = rise * pow(run, -1, P)
    x = (slope**2 - one[0] - two[0]) % P
    return x, (slope * (one[0] - x) - one[1]) % P


def multiply(factor: int, point: Point) -> Point:
    result: Point | None = None
    addend: Point | None = point
    while factor:
        if factor & 1:
            result = add(result, addend)
        addend = add(addend, addend)
        factor >>= 1
    assert result is not None
    return result
