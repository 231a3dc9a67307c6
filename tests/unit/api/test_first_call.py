"""A real transaction, over TLS pinned to ledger keys, through a real server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from caremesh.client.ledger import LedgerClient
from caremesh.contracts.members import queries as members
from caremesh.contracts.members.messages import SetEndpoints
from caremesh.crypto import pins
from caremesh.errors import Refused, Unavailable
from caremesh.ledger.transactions import Signer, Tx, encode, sign
from caremesh.node.founding import CHAIN
from caremesh.node.mesh import LocalMesh
from caremesh.testing.clock import SettableClock
from tests.support.serving import Served, served
from tests.support.suspending import suspend


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalMesh]:
    with LocalMesh(tmp_path_factory.mktemp("mesh"), SettableClock()) as mesh:
        yield mesh


@pytest.fixture(scope="module")
def regulator(mesh: LocalMesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(mesh, "regulator", tmp_path_factory.mktemp("served")) as running:
        yield running


def test_a_member_submits_and_reads_the_status(regulator: Served, mesh: LocalMesh) -> None:
    home = mesh.member("hospital").home
    tx = encode(
        Tx(
            chain=CHAIN,
            expires_at=mesh.clock() + 60,
            salt=b"12345678",
            signers=[Signer(key=home.key.public, did=home.did)],
            msgs=[SetEndpoints(member=home.did, endpoints=["https://127.0.0.1:1"])],
        )
    )
    raw = sign(tx, [home.key])

    async def run() -> None:
        async with regulator.as_member("hospital") as node:
            client = LedgerClient(node)
            committed = await client.submit(raw)
            assert not committed.code
            assert await client.submit(raw) == committed
            assert (await client.status(verify=False)).height >= committed.height

    asyncio.run(run())
    found = members.member(mesh.engine.reader(), home.did)
    assert found is not None
    assert found.endpoints == ["https://127.0.0.1:1"]


def test_the_error_of_the_ledger_comes_back_as_itself(regulator: Served, mesh: LocalMesh) -> None:
    home = mesh.member("hospital").home
    tx = encode(
        Tx(
            chain="another",
            expires_at=mesh.clock() + 60,
            salt=b"12345678",
            signers=[Signer(key=home.key.public, did=home.did)],
            msgs=[SetEndpoints(member=home.did, endpoints=[])],
        )
    )

    async def run() -> None:
        async with regulator.as_key() as node:
            await LedgerClient(node).submit(sign(tx, [home.key]))

    with pytest.raises(Refused) as caught:
        asyncio.run(run())
    with pytest.raises(Refused) as direct:
        mesh.engine.submit(sign(tx, [home.key]))
    assert (caught.value.error, caught.value.place) == (direct.value.error, direct.value.place)


def test_anyone_asks_for_health_and_for_what_there_is(regulator: Served) -> None:
    context = pins.client_context(None, pins.anchor(regulator.target.did, regulator.target.node_key))
    with httpx.Client(base_url=regulator.url, verify=context, trust_env=False) as client:
        assert client.get("/healthz").json() == {"ready": True, "checks": {}}
        assert client.get("/readyz").json() == {"ready": True, "checks": {"ledger": True}}
        assert set(client.get("/openapi.json").json()["paths"]) >= {"/ledger/v1/status", "/ledger/v1/transactions"}
        refused = client.get("/ledger/v1/status")
        assert (refused.status_code, refused.json()["code"]) == (401, "api.01")
        assert refused.headers["content-type"] == "application/problem+json"


def test_a_suspended_member_is_out_on_connections_that_are_open(regulator: Served, mesh: LocalMesh) -> None:
    async def run() -> None:
        async with regulator.as_member("payer") as node:
            client = LedgerClient(node)
            assert await client.blocks(1, verify=False)
            suspend(mesh, "payer")
            with pytest.raises(Refused) as caught:
                await client.blocks(1, verify=False)
            assert caught.value.code == "api.04", "on the same connection: another would have ended in its handshake"
            with pytest.raises(Unavailable) as again:
                await client.blocks(1, verify=False)
            assert again.value.code == "client.02"

    asyncio.run(run())
