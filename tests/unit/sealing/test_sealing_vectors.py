"""The sealing vector, opened by the code under test and a second time with primitives only."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caremesh import codec
from caremesh.crypto.reencryption import ReadingKey, Seal, open_original, seal_hash
from caremesh.sealing.segment import open_segment

DICTIONARY = (Path(__file__).parents[3] / "src/caremesh/sealing/records.zdict").read_bytes()
FIELDS = ("media_type", "resource_type", "id", "version", "last_updated")


@pytest.fixture(scope="module")
def vector() -> dict[str, Any]:
    path = Path(__file__).parents[3] / "vectors" / "sealing" / "segment.json"
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def prefixed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def hkdf(secret: bytes, *info: bytes) -> bytes:
    return hmac.digest(hmac.digest(bytes(32), secret, "sha256"), prefixed(*info) + b"\1", "sha256")


def unframe(frame: bytes) -> bytes:
    length = int.from_bytes(frame[:4], "big")
    assert not any(frame[4 + length :])
    return zstandard.ZstdDecompressor(zstandard.ZstdCompressionDict(DICTIONARY)).decompress(frame[4 : 4 + length])


def test_it_opens(vector: dict[str, Any]) -> None:
    blocks = {codec.parse_cid(name): bytes.fromhex(block) for name, block in vector["blocks"].items()}
    descriptor = bytes.fromhex(vector["descriptor"])
    assert codec.cid_of_cbor(descriptor).encode() == vector["descriptor_cid"]
    seal = Seal(bytes.fromhex(vector["capsule"]), bytes.fromhex(vector["ciphertext"]))
    segment_key = open_original(ReadingKey.from_secret(bytes.fromhex(vector["reading_secret"])), seal)
    assert segment_key.hex() == vector["segment_key"]
    assert codec.decode(descriptor)["seal"] == seal_hash(seal)
    opened = open_segment(segment_key, descriptor, blocks.__getitem__)
    expected = [[*(row[name] for name in FIELDS), bytes.fromhex(row["data"])] for row in vector["records"]]
    assert [[*(getattr(record, name) for name in FIELDS), record.data] for record in opened] == expected


def test_it_opens_with_primitives_only(vector: dict[str, Any]) -> None:
    blocks = {name: bytes.fromhex(block) for name, block in vector["blocks"].items()}
    table = codec.decode(bytes.fromhex(vector["descriptor"]))
    key, stream = bytes.fromhex(vector["segment_key"]), bytes.fromhex(vector["stream"])
    assert table["commitment"] == hkdf(key, b"commit")
    aad = prefixed(stream, b"manifest", bytes(4), b"\1", b"application/json")
    manifest = AESGCM(hkdf(key, b"manifest")).decrypt(bytes(12), blocks[table["manifest"].encode()], aad)
    rows = json.loads(unframe(manifest))["records"]
    assert [row[:5] for row in rows] == [[record[name] for name in FIELDS] for record in vector["records"]]
    [name] = table["blocks"]
    aad = prefixed(stream, b"blocks")
    frames = AESGCM(hkdf(key, b"blocks")).decrypt(bytes(8) + b"\0\0\0\1", blocks[name.encode()], aad)
    for row, record in zip(rows, vector["records"], strict=True):
        ((block, offset, length),) = row[5]
        assert block == 0
        assert hashlib.sha256(unframe(frames[offset : offset + length])).hexdigest() == record["sha256"]
