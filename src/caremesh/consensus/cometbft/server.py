"""The application's side of the socket: a thread for each of CometBFT's connections (consensus, mempool, queries,
snapshots), and no event loop, in which a block would queue behind ten thousand transactions that are only checked.

Answers go out in portions, and after each what has come meanwhile is taken off the socket: while a write of CometBFT's
waits for room there, its client winds a timer of 20 ns again and again, which was more than half of all the processor
time that CometBFT took. That the other side goes away is normal. An error in an answer is not: it is told to the other
side and to ``failed``, and nothing more is answered; an application that went on would be one that consensus waits for.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from caremesh.consensus.cometbft.abci_pb2 import Request, Response, ResponseException
from caremesh.consensus.cometbft.framing import Frames, framed
from caremesh.errors import CareMeshError

_READ_BYTES: Final = 2**18
_AHEAD_BYTES: Final = 2**24
"""As much is taken off a socket before what came first is answered; after that its other side waits."""
_PORTION: Final = 32
"""Requests whose answers go out together."""
_FAULT: Final = "fault"


class Server:
    """Answers on a listening socket until it is closed."""

    def __init__(
        self,
        listener: socket.socket,
        answer: Callable[[Request], Response],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._listener: Final = listener
        self._answer: Final = answer
        self._failed: Final = failed
        self._changed: Final = threading.Condition()
        self._open: Final[set[socket.socket]] = set()
        self._closed = False
        self._accepting: Final = threading.Thread(target=self._accept, name="abci", daemon=True)

    def start(self) -> None:
        """Take connections in threads."""
        self._accepting.start()

    def close(self) -> None:
        """Take no more connections, end those that there are, and wait for their threads."""
        with self._changed:
            self._closed = True
            for connection in self._open:
                _end(connection)
        _end(self._listener)
        self._listener.close()
        if self._accepting.is_alive() and self._accepting is not threading.current_thread():
            self._accepting.join()
        self.drain()

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until no connection is left; whether that came about in time. Not from within an answer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._open, timeout_s)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError as error:
                if not self._closed:  # as when there are no more file descriptors: nobody could reach us any more
                    self._failed(error)
                return
            with self._changed:
                if self._closed:
                    connection.close()
                    return
                self._open.add(connection)
            threading.Thread(target=self._serve, args=[connection], name="abci-connection", daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        frames, ahead = Frames(), bytearray()
        try:
            while piece := bytes(ahead) or _read(connection):
                ahead.clear()
                answers = bytearray()
                for number, request in enumerate(frames.feed(piece), 1):
                    answers += framed(self._answer(request))
                    if number % _PORTION == 0:
                        _send(connection, answers)
                        if len(ahead) < _AHEAD_BYTES:
                            ahead += _read(connection, socket.MSG_DONTWAIT)
                _send(connection, answers)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it ends the application
            self._give_up(connection, error)
        finally:
            with self._changed:
                self._open.discard(connection)
                self._changed.notify_all()
            connection.close()

    def _give_up(self, connection: socket.socket, error: BaseException) -> None:
        self._failed(error)  # before CometBFT hears of it, and says on its side that it takes part no more
        why = error.code if isinstance(error, CareMeshError) else _FAULT
        with suppress(OSError):
            connection.sendall(framed(Response(exception=ResponseException(error=why))))


def _read(connection: socket.socket, flags: int = 0) -> bytes:
    try:
        return connection.recv(_READ_BYTES, flags)
    except OSError:
        return b""


def _send(connection: socket.socket, answers: bytearray) -> None:
    with suppress(OSError):
        connection.sendall(answers)
    answers.clear()


def _end(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def listening(path: Path) -> socket.socket:
    """A unix socket for this user only, in place of one that a process left behind. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(16)
    except OSError:
        listener.close()
        raise
    return listener
