"""What a block of 1 MiB costs to put at another member and to get from it, eight at a time, over HTTPS on loopback.

Against the same files behind the same HTTP server and the same TLS, where nobody asks who wants them: what signatures,
nonces, hashing, accounts and marks cost. And against ``versitygw`` through a client that its users have, ``obstore``.
Every server is a process of its own; a put is durable when it is answered, at ours and at the plain server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import obstore
from obstore.store import S3Store

from bench._block_server import PLAIN_DID, PLAIN_KEY
from bench._measure import entry
from caremesh import codec
from caremesh.client.blocks import BlocksClient
from caremesh.client.node import Node, Target
from caremesh.client.signing import Identity
from caremesh.codec import CID
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.node.mesh import LocalMesh
from caremesh.types import Did

AREAS: Final = ("blocks",)
BLOCKS: Final = 48
BLOCK_BYTES: Final = 2**20
AT_ONCE: Final = 8
ROUNDS: Final = 5
STREAM: Final = bytes(32)
VERSITYGW: Final = Path("build/go/versitygw-v1.8.0")
Block = tuple[CID, bytes]
Call = Callable[[Block], Awaitable[object]]


def blocks(round_: int) -> list[Block]:
    """Blocks that no round before had."""
    dice = random.Random(round_)  # noqa: S311 -- invented data, the same on every run
    return [(codec.cid_of_raw(data), data) for data in (dice.randbytes(BLOCK_BYTES) for _ in range(BLOCKS))]


async def rate(call: Call, some: Sequence[Block]) -> float:
    """MiB a second of one call a block."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(block: Block) -> None:
        async with gate:
            await call(block)

    start = time.perf_counter()
    await asyncio.gather(*[one(block) for block in some])
    return len(some) * BLOCK_BYTES / 2**20 / (time.perf_counter() - start)


@contextlib.contextmanager
def serving(kind: str, folder: Path) -> Iterator[int]:
    """One of our servers; its port."""
    command = [sys.executable, "-m", "bench._block_server", kind, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(json.loads(process.stdout.readline())["port"])
        assert process.stdin is not None
        process.stdin.close()


@contextlib.contextmanager
def versitygw(folder: Path, leaf: pins.Leaf) -> Iterator[int]:
    """The S3 server over a folder, with the same TLS; its port."""
    (folder / "served" / "blocks").mkdir(parents=True)
    (folder / "metadata").mkdir()
    (folder / "cert.pem").write_bytes(leaf.certificate)
    (folder / "key.pem").write_bytes(leaf.key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
    tls = ["--cert", str(folder / "cert.pem"), "--key", str(folder / "key.pem")]
    options = ["--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive", *tls]
    process = subprocess.Popen(
        [str(VERSITYGW), *options, "posix", "--sidecar", str(folder / "metadata"), str(folder / "served")],
        env={"ROOT_ACCESS_KEY": "bench", "ROOT_SECRET_KEY": "bench secret"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


def s3(port: int) -> S3Store:
    """versitygw as its users reach it."""
    return S3Store(
        "blocks",
        endpoint=f"https://127.0.0.1:{port}",
        access_key_id="bench",
        secret_access_key="bench secret",  # noqa: S106 -- of a server that lives for this bench
        region="us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_invalid_certificates": True, "timeout": timedelta(seconds=30)},
    )


async def measure(
    ports: dict[str, int], target: Callable[[int], Target], caller: tuple[Did, SigningKey]
) -> dict[str, list[float]]:
    """MiB/s of put and get at each, in turns."""
    leaf = pins.make_leaf(*caller, int(time.time()))
    found: dict[str, list[float]] = {}
    context = pins.client_context(None, pins.anchor(PLAIN_DID, PLAIN_KEY.public))
    async with (
        Node(target(ports["ours"]), Identity.of_did(*caller), leaf=leaf) as node,
        httpx.AsyncClient(base_url=f"https://127.0.0.1:{ports['plain']}", verify=context, trust_env=False) as http,
    ):
        client = BlocksClient(node)

        async def put_plain(block: Block) -> None:
            (await http.put(f"/{block[0].encode()}", content=block[1])).raise_for_status()

        async def get_plain(block: Block) -> None:
            assert len((await http.get(f"/{block[0].encode()}")).content) == BLOCK_BYTES

        calls: dict[str, Call] = {
            "ours put": lambda block: client.put(STREAM, *block),
            "plain put": put_plain,
            "ours get": lambda block: client.get(block[0]),
            "plain get": get_plain,
        }
        if "versitygw" in ports:
            store = s3(ports["versitygw"])

            async def get_s3(block: Block) -> None:
                got = await obstore.get_async(store, block[0].encode())
                assert len(await got.bytes_async()) == BLOCK_BYTES

            calls["versitygw put"] = lambda block: obstore.put_async(store, block[0].encode(), block[1])
            calls["versitygw get"] = get_s3
        for number in range(ROUNDS + 1):
            some = blocks(number)
            for name, call in calls.items():
                speed = await rate(call, some)
                if number:  # the first round warms everything up
                    found.setdefault(name, []).append(speed)
    return found


def results(found: dict[str, list[float]]) -> list[dict[str, Any]]:
    """Rates, and their ratios to the plain server and to versitygw."""
    made = []
    for action in ("put", "get"):
        mine = found[f"ours {action}"]
        made.append(entry(f"blocks.{action}_mib_s", mine, "MiB/s, 1 MiB blocks, 8 at a time", better="higher"))
        for name, goal in (("plain", 0.5), ("versitygw", None)):
            if theirs := found.get(f"{name} {action}"):
                ratios = [a / b for a, b in zip(mine, theirs, strict=True)]
                unit = "ratio to a plain HTTPS server of the same files" if name == "plain" else "ratio to versitygw"
                base = round(statistics.median(theirs), 3)
                made.append(entry(f"blocks.{action}_to_{name}", ratios, unit, goal, "higher", baseline=base))
    return made


def run() -> list[dict[str, Any]]:
    """``blocks.put_…`` and ``blocks.get_…``; those against versitygw where the tests have built it."""
    build = Path("build")
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as name, contextlib.ExitStack() as stack:
        folder = Path(name).resolve()
        with LocalMesh(folder / "ours") as mesh:
            served, caller = mesh.member("payer").home, mesh.member("hospital").home
            did, key, who = served.did, served.node_key.public, (caller.did, caller.node_key)
        ports = {kind: stack.enter_context(serving(kind, folder / kind)) for kind in ("ours", "plain")}
        if VERSITYGW.exists():
            leaf = pins.make_leaf(PLAIN_DID, PLAIN_KEY, int(time.time()))
            ports["versitygw"] = stack.enter_context(versitygw(folder / "s3", leaf))

        def target(port: int) -> Target:
            return Target(did=did, node_key=key, url=f"https://127.0.0.1:{port}")

        return results(asyncio.run(measure(ports, target, who)))
