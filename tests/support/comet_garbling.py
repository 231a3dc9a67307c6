"""Stands between a CometBFT and its application, and changes what the application answers, as a faulty one would."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from caremesh.consensus.cometbft.abci_pb2 import Response
from caremesh.consensus.cometbft.engine import SOCKET
from caremesh.consensus.cometbft.framing import framed
from caremesh.consensus.cometbft.server import listening
from caremesh.ledger.comet import varint

Bend = Callable[[Response], bytes]


def _finalized(change: Callable[[Response], None]) -> Bend:
    def bend(response: Response) -> bytes:
        if response.WhichOneof("value") == "finalize_block":
            change(response)
        return framed(response)

    return bend


def _another_root(response: Response) -> None:
    found = response.finalize_block
    found.app_hash = found.app_hash[:-1] + bytes([found.app_hash[-1] ^ 1])


def _another_result(response: Response) -> None:
    for result in response.finalize_block.tx_results:
        result.code ^= 1


def _cut_short(response: Response) -> bytes:
    """Half of an answer; then the connection ends."""
    data = framed(response)
    return data[: len(data) // 2] if response.WhichOneof("value") == "finalize_block" else data


def _noise(response: Response) -> bytes:
    """A message that is none."""
    return varint(64) + b"\xff" * 64 if response.WhichOneof("value") == "finalize_block" else framed(response)


ROOT: Final = _finalized(_another_root)
RESULT: Final = _finalized(_another_result)
CUT_SHORT: Final[Bend] = _cut_short
NOISE: Final[Bend] = _noise


class Garbling:
    """Takes the place of an application that listens already; answers pass as they are until ``bend`` is set."""

    def __init__(self, folder: Path) -> None:
        """``folder``: the node's."""
        address = folder / "run" / SOCKET
        self._honest: Final = address.with_name("honest.sock")
        address.rename(self._honest)
        self._listener: Final = listening(address)
        self.bend: Bend = framed
        self.bent = 0
        self._open: Final[list[socket.socket]] = []
        self._threads: Final = [threading.Thread(target=self._accept, name="garbling")]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        for each in (self._listener, *self._open):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._listener, *self._open):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                asking, _ = self._listener.accept()
            except OSError:
                return
            answering = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._open += [asking, answering]
            try:
                answering.connect(str(self._honest))
            except OSError:
                _end(asking)
                continue
            for work in (self._ask, self._answer):
                thread = threading.Thread(target=work, args=[asking, answering], name="garbling")
                self._threads.append(thread)
                thread.start()

    def _ask(self, asking: socket.socket, answering: socket.socket) -> None:
        with suppress(OSError):
            while piece := asking.recv(2**16):
                answering.sendall(piece)
        _end(answering)

    def _answer(self, asking: socket.socket, answering: socket.socket) -> None:
        waiting = bytearray()
        with suppress(OSError):
            while piece := answering.recv(2**16):
                waiting += piece
                while (end := _whole(waiting)) is not None:
                    start, stop = end
                    honest = bytes(waiting[:stop])
                    said = self.bend(Response.FromString(honest[start:]))
                    self.bent += said != honest
                    asking.sendall(said)
                    del waiting[:stop]
                    if len(said) < len(honest):
                        _end(answering)
                        waiting.clear()
        _end(asking)


def _whole(data: bytes | bytearray) -> tuple[int, int] | None:
    """Where the first message begins and ends, None while it is not whole."""
    number = 0
    for position, byte in enumerate(data[:10]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            start = position + 1
            assert len(varint(number)) == start
            return (start, start + number) if len(data) >= start + number else None
    return None


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
