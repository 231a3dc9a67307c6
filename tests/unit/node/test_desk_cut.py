"""The desk of a node that ends while it is asked: nobody's fault who asks."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from caremesh.errors import BadInput, CareMeshError, Unavailable
from caremesh.node.desk import Desk

PATIENT_S = 60


@contextmanager
def answering(path: Path, said: bytes) -> Iterator[None]:
    """A server that is knocked at, and then says this to one who asks."""
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(PATIENT_S)

        def serve() -> None:
            listener.accept()[0].close()
            asked, _ = listener.accept()
            with asked:
                asked.settimeout(PATIENT_S)
                asked.recv(2**16)
                asked.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            thread.join()


@pytest.mark.parametrize(
    ("said", "kind", "code"),
    [
        (b"", Unavailable, "client.09"),
        (b"HTTP/1.1 200 x\r\ncontent-le", Unavailable, "client.09"),
        (b"HTTP/1.1 200 x\r\ncontent-length: 100\r\n\r\nhalf of", Unavailable, "client.09"),
        (b"HTTP/1.1 500 x\r\ncontent-length: 5\r\n\r\nfault", Unavailable, "client.02"),
        (b"HTTP/1.1 404 x\r\ncontent-length: 5\r\n\r\nwhere", BadInput, "client.01"),
    ],
    ids=["nothing", "head", "body", "server", "stranger"],
)
def test_a_desk_that_ends_is_not_there(tmp_path: Path, said: bytes, kind: type[CareMeshError], code: str) -> None:
    path = tmp_path / "desk.sock"
    with answering(path, said), closing(Desk(path)) as desk, pytest.raises(kind) as caught:
        desk.names()
    assert caught.value.code == code


def test_a_desk_that_is_not_there(tmp_path: Path) -> None:
    with closing(Desk(tmp_path / "desk.sock")) as desk, pytest.raises(Unavailable, match=r"node\.21"):
        desk.names()
