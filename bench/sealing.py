"""What sealing and custody cost above the primitives that they cannot do without, on the same bytes in the same run.

Opening: one stream's segment of 1,000 laboratory results, three custodians, each re-encryption verified.
Storing: the same 1,000 results sealed into a synced folder that holds others already.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import umbral_pre
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from caremesh import codec
from caremesh.blobs.filesystem import FilesystemBlocks
from caremesh.crypto.reencryption import ReadingKey, make_fragments, open_with, reencrypt_kept, seal_to
from caremesh.sealing.frames import LEVEL
from caremesh.sealing.segment import RecordToSeal, open_segment, seal_segment

RECORDS: Final = 1_000
SAMPLES: Final = 25
CUSTODIANS: Final = 3
FOLDERS: Final = 1_024
"""Of a block store: one for each pair of last characters of a CID."""
STREAM: Final = bytes(32)
SOURCE: Final = "did:caremesh:demo:" + "a" * 32


AREAS = ("custody",)


def laboratory_results() -> list[RecordToSeal]:
    """1,000 FHIR R4 Observations of about 1 kB, the same on every run."""
    dice = random.Random(7)  # noqa: S311 -- invented data, the same on every run
    records = []
    for number in range(RECORDS):
        identifier = f"{dice.getrandbits(128):032x}"
        observation = {
            "resourceType": "Observation",
            "id": identifier,
            "meta": {"profile": ["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]},
            "status": "final",
            "category": [
                {
                    "coding": [
                        {
                            "system": "http://terminology.hl7.org/CodeSystem/observation-category",
                            "code": "laboratory",
                            "display": "laboratory",
                        }
                    ]
                }
            ],
            "code": {
                "coding": [{"system": "http://loinc.org", "code": f"{dice.randrange(1000, 99999)}-{number % 10}"}]
            },
            "subject": {"reference": f"urn:uuid:{dice.getrandbits(128):032x}"},
            "encounter": {"reference": f"urn:uuid:{dice.getrandbits(128):032x}"},
            "effectiveDateTime": f"20{dice.randrange(10, 25)}-{dice.randrange(1, 13):02}-11T08:14:58+01:00",
            "issued": "2024-05-11T08:14:58.123+01:00",
            "valueQuantity": {
                "value": dice.randrange(10_000) / 100,
                "unit": "mg/dL",
                "system": "http://unitsofmeasure.org",
                "code": "mg/dL",
            },
        }
        data = msgspec.json.encode(observation)
        records.append(RecordToSeal(resource_type="Observation", id=identifier, version="1", data=data))
    return records


def alternating(ours: Callable[[], object], bare: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Milliseconds of both, taken in turns so that a busy machine is as unkind to one as to the other."""
    taken: tuple[list[float], list[float]] = ([], [])
    for turn in range(SAMPLES + 2):
        for call, samples in zip((ours, bare), taken, strict=True):
            start = time.perf_counter_ns()
            call()
            if turn >= 2:
                samples.append((time.perf_counter_ns() - start) / 1e6)
    return taken


def opening(records: list[RecordToSeal]) -> tuple[list[float], list[float]]:
    """Release by three custodians, opening and parsing; against the primitives alone."""
    patient, grantee = ReadingKey.from_secret(bytes([1]) * 32), ReadingKey.from_secret(bytes([2]) * 32)
    segment = seal_segment(STREAM, SOURCE, patient.public, records)
    verifying, fragments = make_fragments(patient, grantee.public, 2, CUSTODIANS)
    keys = (verifying, patient.public, grantee.public)

    def ours() -> object:
        answers = [reencrypt_kept(segment.seal, fragment) for fragment in fragments]
        segment_key = open_with(grantee, patient.public, segment.seal, answers, verifying)
        opened = open_segment(segment_key, segment.descriptor, segment.blocks.__getitem__)
        return [msgspec.json.decode(record.data) for record in opened]

    seal = seal_to(patient.public, segment.segment_key)
    handles = [umbral_pre.KeyFrag.from_bytes(fragment).skip_verification() for fragment in fragments]
    public = [umbral_pre.PublicKey.from_compressed_bytes(key) for key in keys]
    cipher, unpack, pack = AESGCM(bytes(32)), zstandard.ZstdDecompressor(), zstandard.ZstdCompressor(level=LEVEL)
    sealed = [
        (number.to_bytes(12, "big"), cipher.encrypt(number.to_bytes(12, "big"), pack.compress(record.data), None))
        for number, record in enumerate(records)
    ]

    def bare() -> object:
        # Custodians and grantee are separate parties: what passes between them is bytes, here as there.
        sent = [bytes(umbral_pre.reencrypt(umbral_pre.Capsule.from_bytes(seal.capsule), handle)) for handle in handles]
        capsule = umbral_pre.Capsule.from_bytes(seal.capsule)
        answers = [umbral_pre.CapsuleFrag.from_bytes(answer).verify(capsule, *public) for answer in sent]
        umbral_pre.decrypt_reencrypted(grantee.handle, public[1], capsule, answers, seal.ciphertext)
        return [msgspec.json.decode(unpack.decompress(cipher.decrypt(nonce, data, None))) for nonce, data in sealed]

    return alternating(ours, bare)


def storing(records: list[RecordToSeal], folder: Path) -> tuple[list[float], list[float]]:
    """Sealing into a block store; against zstd, AES-GCM and a copy of the ciphertext that is synced."""
    reading = ReadingKey.from_secret(bytes([1]) * 32).public
    store = FilesystemBlocks(folder / "blocks")
    # A store in use: its folders are there already. Each is made once in the life of a store.
    others = {codec.cid_of_raw(block): block for block in (b"%d" % number for number in range(20 * FOLDERS))}
    store.put_all(STREAM, {cid: others[cid] for cid in {cid.encode()[-2:]: cid for cid in others}.values()})
    cipher, pack = AESGCM(bytes(32)), zstandard.ZstdCompressor(level=LEVEL)

    def ours() -> object:
        segment = seal_segment(STREAM, SOURCE, reading, records)
        store.put_all(STREAM, segment.blocks)
        return segment

    def bare() -> object:
        sealed = [
            cipher.encrypt(number.to_bytes(12, "big"), pack.compress(record.data), None)
            for number, record in enumerate(records)
        ]
        with (folder / "copy").open("wb") as file:
            file.write(b"".join(sealed))
            file.flush()
            os.fsync(file.fileno())
        return sealed

    return alternating(ours, bare)


def result(
    name: str, ours: list[float], bare: list[float], goal: float | None = None, baseline: str = ""
) -> list[dict[str, Any]]:
    """The ratio of medians, and the milliseconds of both."""
    fast, base = statistics.median(ours), statistics.median(bare)
    return [
        {
            "id": f"custody.{name}",
            "value": round(fast / base, 3),
            "unit": f"ratio to {baseline}",
            "goal": goal,
            "better": "lower",
            "baseline": round(base, 3),
            "samples": len(ours),
        },
        {
            "id": f"custody.{name}_ms",
            "value": round(fast, 3),
            "unit": "ms, median",
            "goal": None,
            "better": "lower",
            "baseline": round(base, 3),
            "samples": len(ours),
        },
    ]


def run() -> list[dict[str, Any]]:
    """``custody.open_1000`` and ``custody.seal_store_1000``: ratios and milliseconds."""
    records = laboratory_results()
    # Beside the build, not in /tmp, which may be memory: a sync must reach a disk.
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as folder:
        stored = storing(records, Path(folder))
    return [
        *result("open_1000", *opening(records), 1.5, "AES-GCM, zstd, JSON, three re-encryptions and checks"),
        *result("seal_store_1000", *stored, 1.5, "zstd, AES-GCM and one synced file"),
    ]
