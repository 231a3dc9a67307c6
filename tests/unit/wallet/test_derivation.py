"""Keys come from the seed alone, by the published recipe; neighbours in any input are strangers."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from caremesh.crypto import envelope
from caremesh.crypto.reencryption import ReadingKey
from caremesh.errors import BadInput
from caremesh.wallet.derive import relationship
from tests.support.recipes import hkdf, multikey, tagged

VECTORS = json.loads((Path(__file__).parents[3] / "vectors/wallet/derivation.json").read_bytes())["vectors"]
SEED = bytes(range(32))
MEMBER = "did:caremesh:vectors:" + "a" * 32
OTHER = "did:caremesh:vectors:" + "b" * 32


def u32(number: int) -> bytes:
    return number.to_bytes(4, "big")


@pytest.mark.parametrize("row", range(len(VECTORS)))
def test_the_project_derives_what_the_vectors_say(row: int) -> None:
    vector: dict[str, Any] = VECTORS[row]
    keys = relationship(bytes.fromhex(vector["seed"]), vector["member"], vector["relationship_counter"])
    stream = keys.stream(vector["category"], vector["stream_counter"])
    assert stream.id.hex() == vector["stream"]
    assert stream.signing(vector["rotation"]).public.hex() == vector["signing_public"]
    assert stream.signing(vector["rotation"]).seed.hex() == vector["signing_seed"]
    assert stream.reading(vector["epoch"]).public.hex() == vector["reading_public"]
    channel = keys.channel()
    assert channel.signing.public.hex() == vector["channel_signing_public"]
    assert channel.hpke_private.hex() == vector["channel_hpke_private"]
    assert hashlib.sha256(channel.hpke_public).hexdigest() == vector["channel_hpke_public_sha256"]


@pytest.mark.parametrize("row", range(len(VECTORS)))
def test_a_second_derivation_agrees_with_the_vectors(row: int) -> None:
    vector: dict[str, Any] = VECTORS[row]
    secret = hkdf(
        bytes.fromhex(vector["seed"]),
        b"caremesh/v1/relationship",
        vector["member"].encode(),
        u32(vector["relationship_counter"]),
    )
    assert multikey(hkdf(secret, b"channel", b"signing")).hex() == vector["channel_signing_public"]
    assert hkdf(secret, b"channel", b"hpke").hex() == vector["channel_hpke_private"]
    stream = hkdf(secret, b"stream", vector["category"].encode(), u32(vector["stream_counter"]))
    first = multikey(hkdf(stream, b"signing", u32(0)))
    assert tagged(b"caremesh/v1/stream", first).hex() == vector["stream"]
    assert hkdf(stream, b"signing", u32(vector["rotation"])).hex() == vector["signing_seed"]
    assert multikey(bytes.fromhex(vector["signing_seed"])).hex() == vector["signing_public"]
    reading = ReadingKey.from_secret(hkdf(stream, b"reading", u32(vector["epoch"])))
    assert reading.public.hex() == vector["reading_public"]


@pytest.mark.promise("P1")
def test_every_input_changes_every_key() -> None:
    base = relationship(SEED, MEMBER)
    others = [relationship(SEED, OTHER), relationship(SEED, MEMBER, 1), relationship(SEED[::-1], MEMBER)]
    streams = [base.stream("laboratory"), base.stream("laboratory", 1), base.stream("conditions")]
    streams += [other.stream("laboratory") for other in others]
    assert len({stream.id for stream in streams}) == len(streams)
    keys = [stream.signing(rotation).public for stream in streams for rotation in (0, 1)]
    keys += [relation.channel().signing.public for relation in [base, *others]]
    assert len(set(keys)) == len(keys)
    reading = [stream.reading(epoch).public for stream in streams for epoch in (0, 1)]
    assert len(set(reading)) == len(reading)
    assert len({relation.channel().hpke_public for relation in [base, *others]}) == 4


def test_the_stream_id_is_the_same_after_a_rotation() -> None:
    stream = relationship(SEED, MEMBER).stream("laboratory")
    assert stream.id == relationship(SEED, MEMBER).stream("laboratory", 0).id
    assert stream.signing(1).public != stream.signing(0).public


def test_the_channel_opens_what_is_sealed_to_it() -> None:
    channel = relationship(SEED, MEMBER).channel()
    sealed = envelope.hpke_seal(channel.hpke_public, b"hello", b"info", b"aad")
    assert envelope.hpke_open(channel.hpke_private, sealed, b"info", b"aad") == b"hello"


def test_the_text_of_keys_shows_no_secret() -> None:
    keys = relationship(SEED, MEMBER)
    stream = keys.stream("laboratory")
    texts = [repr(keys), repr(keys.channel()), repr(stream), str(stream.signing(0)), str(stream.reading(0))]
    assert texts == ["RelationshipKeys(…)", "Channel(…)", "StreamKeys(…)", "SigningKey(…)", "ReadingKey(…)"]


@pytest.mark.parametrize("number", [-1, 2**32])
def test_counters_are_uint32(number: int) -> None:
    with pytest.raises(BadInput, match=r"wallet\.10"):
        relationship(SEED, MEMBER, number)
    keys = relationship(SEED, MEMBER)
    with pytest.raises(BadInput, match=r"wallet\.10"):
        keys.stream("laboratory", number)
    with pytest.raises(BadInput, match=r"wallet\.10"):
        keys.stream("laboratory").signing(number)
    with pytest.raises(BadInput, match=r"wallet\.10"):
        keys.stream("laboratory").reading(number)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_only_a_seed_of_32_bytes_is_a_seed(length: int) -> None:
    with pytest.raises(BadInput, match=r"wallet\.04"):
        relationship(bytes(length), MEMBER)
