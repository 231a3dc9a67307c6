"""What a node's way has opened is closed when it ends: also a connection that waits for the other side's last word."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import time
import warnings

import pytest

from caremesh.client.node import Node, Patience, Target
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey

DID = "did:caremesh:x:" + "a" * 32
KEY = SigningKey.generate()


class Mute:
    """Answers one request on a thread of its own; then it neither reads nor writes nor closes until it is told to."""

    def __init__(self, *more: bytes) -> None:
        self._more = more
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Mute:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        context = pins.server_context(pins.make_leaf(DID, KEY, int(time.time())), [])
        with context.wrap_socket(self._listener.accept()[0], server_side=True) as end:
            asked = b""
            while not asked.endswith(b"\r\n\r\n"):
                asked += end.recv(4_096)
            end.sendall(b"\r\n".join([b"HTTP/1.1 200 x", b"content-length: 2", *self._more, b"", b"ok"]))
            self._over.wait()


async def _once(url: str) -> None:
    async with Node(Target(did=DID, node_key=KEY.public, url=url), None, patience=Patience(tries=1)) as node:
        assert (await node.call("GET", "/x")).body == b"ok"


@pytest.mark.parametrize("more", [(), (b"connection: close",)])
def test_nothing_is_left_open_and_no_last_word_is_waited_for(more: tuple[bytes, ...]) -> None:
    with warnings.catch_warnings(record=True) as told, Mute(*more) as mute:
        warnings.simplefilter("always", ResourceWarning)
        begun = time.monotonic()
        asyncio.run(_once(mute.url))
        gc.collect()
        assert time.monotonic() - begun < 25  # the event loop itself would wait 30 s for it
    assert [str(each.message) for each in told] == []
