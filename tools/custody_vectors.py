"""Write vectors/crypto/*.json and vectors/sealing/*.json: fixed inputs and outputs for a second implementation.

    python tools/custody_vectors.py [FOLDER]

Seals, fragments, re-encryptions, HPKE messages and locks draw entropy, so a new run writes other bytes that open to
the same; do not run it to "refresh" what others check against. ``FOLDER`` is ``vectors`` unless given.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from caremesh.crypto.envelope import hpke_from_seed, hpke_seal, lock, seal_aead
from caremesh.crypto.hashes import length_prefixed, sha256, tagged_hash
from caremesh.crypto.keys import SigningKey, derive
from caremesh.crypto.reencryption import ReadingKey, make_fragments, reencrypt, seal_hash, seal_to
from caremesh.crypto.signatures import did_of, multikey_text, stream_of
from caremesh.sealing.segment import RecordToSeal, seal_segment

STREAM = bytes(range(32))
SOURCE = "did:caremesh:demo:" + "a" * 32
PATIENT, GRANTEE = bytes([1]) * 32, bytes([2]) * 32


def hashes() -> list[dict[str, Any]]:
    """Length prefixes and tagged hashes."""
    cases = [
        ("caremesh/v1/stream", [b""]),
        ("caremesh/v1/did", [b"ab", b"c"]),
        ("caremesh/v1/did", [b"a", b"bc"]),
        ("é", []),
    ]
    return [
        {
            "domain": domain,
            "parts": [part.hex() for part in parts],
            "input": length_prefixed(domain.encode(), *parts).hex(),
            "hash": tagged_hash(domain, *parts).hex(),
        }
        for domain, parts in cases
    ]


def keys() -> list[dict[str, Any]]:
    """Ed25519 keys, their texts and names, a signature, and a derived key."""
    rows = []
    for seed in (bytes(32), bytes(range(32)), b"\xff" * 32):
        key = SigningKey.from_seed(seed)
        rows.append(
            {
                "seed": seed.hex(),
                "public": key.public.hex(),
                "text": multikey_text(key.public),
                "did": did_of("demo", key.public),
                "stream": stream_of(key.public).hex(),
                "message": b"caremesh".hex(),
                "signature": key.sign(b"caremesh").hex(),
                "derived": derive(seed, b"record", b"\0\0\0\1").hex(),
            }
        )
    return rows


def envelopes() -> dict[str, Any]:
    """One envelope of each kind."""
    private, public = hpke_from_seed(bytes(range(32)))
    plaintext, aad, info = b"plaintext", b"place", b"caremesh/v1/example"
    return {
        "aead": {
            "key": bytes(range(32)).hex(),
            "plaintext": plaintext.hex(),
            "aad": aad.hex(),
            "ciphertext": seal_aead(bytes(range(32)), plaintext, aad).hex(),
        },
        "lock": {
            "passphrase": "Zürich ☂ correct horse",
            "plaintext": plaintext.hex(),
            "locked": lock("Zürich ☂ correct horse", plaintext).hex(),
        },
        "hpke": {
            "private": private.hex(),
            "public": public.hex(),
            "info": info.hex(),
            "aad": aad.hex(),
            "plaintext": plaintext.hex(),
            "sealed": hpke_seal(public, plaintext, info, aad).hex(),
        },
    }


def reencryption() -> dict[str, Any]:
    """A seal, three fragments of which two open it, and what each custodian answers."""
    patient, grantee = ReadingKey.from_secret(PATIENT), ReadingKey.from_secret(GRANTEE)
    secret = bytes(range(32))
    seal = seal_to(patient.public, secret)
    verifying, fragments = make_fragments(patient, grantee.public, 2, 3)
    answers = [reencrypt(seal, fragment, verifying, patient.public, grantee.public) for fragment in fragments]
    return {
        "delegating_secret": PATIENT.hex(),
        "delegating": patient.public.hex(),
        "receiving_secret": GRANTEE.hex(),
        "receiving": grantee.public.hex(),
        "verifying": verifying.hex(),
        "threshold": 2,
        "secret": secret.hex(),
        "capsule": seal.capsule.hex(),
        "ciphertext": seal.ciphertext.hex(),
        "seal_hash": seal_hash(seal).hex(),
        "fragments": [fragment.hex() for fragment in fragments],
        "reencryptions": [answer.hex() for answer in answers],
    }


def segment() -> dict[str, Any]:
    """A small segment with an empty record and another media type, and everything that opens it."""
    records = [
        RecordToSeal(resource_type="Observation", id="a", version="1", data=b'{"resourceType":"Observation","id":"a"}'),
        RecordToSeal(resource_type="Binary", id="b", media_type="text/plain", data=b""),
        RecordToSeal(resource_type="Binary", id="c", last_updated="2024-02-29T12:00:00Z", data=b"x" * 3000),
    ]
    sealed = seal_segment(STREAM, SOURCE, ReadingKey.from_secret(PATIENT).public, records, lambda n: bytes(range(n)))
    return {
        "stream": STREAM.hex(),
        "reading_secret": PATIENT.hex(),
        "segment_key": sealed.segment_key.hex(),
        "capsule": sealed.seal.capsule.hex(),
        "ciphertext": sealed.seal.ciphertext.hex(),
        "descriptor": sealed.descriptor.hex(),
        "descriptor_cid": sealed.descriptor_cid.encode(),
        "blocks": {cid.encode(): block.hex() for cid, block in sealed.blocks.items()},
        "records": [
            {
                "media_type": record.media_type,
                "resource_type": record.resource_type,
                "id": record.id,
                "version": record.version,
                "last_updated": record.last_updated,
                "data": record.data.hex(),
                "sha256": sha256(record.data).hex(),
            }
            for record in records
        ],
    }


def main() -> None:
    """Write every file."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "vectors")
    for name, content in {
        "crypto/hashes.json": hashes(),
        "crypto/keys.json": keys(),
        "crypto/envelopes.json": envelopes(),
        "crypto/reencryption.json": reencryption(),
        "sealing/segment.json": segment(),
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
