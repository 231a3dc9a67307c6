"""Messages on a socket between CometBFT and its application: each has its length before it, as a base-128 varint."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from google.protobuf.message import DecodeError

from caremesh.consensus.cometbft.abci_pb2 import Request, Response
from caremesh.errors import BadInput, ErrorCode
from caremesh.ledger.comet import varint

MAX_MESSAGE_BYTES: Final = 100 * 2**20
"""As much as CometBFT itself reads in one message."""
_MAX_VARINT: Final = 10

BAD_MESSAGE = ErrorCode(
    "consensus.20",
    "What came on the application's socket is no ABCI message.",
    "Use a CometBFT that this was made for.",
)


class Frames:
    """The requests in what a socket gives, whatever pieces they come in."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, piece: bytes) -> Iterator[Request]:
        """Take in a piece; every request that is now whole. Raises BadInput consensus.20."""
        buffer = self._waiting
        buffer += piece
        at = 0
        try:
            while (found := _length_at(buffer, at)) is not None:
                length, start = found
                if len(buffer) - start < length:
                    return
                message = bytes(buffer[start : start + length])
                at = start + length
                try:
                    request = Request.FromString(message)
                except DecodeError as error:
                    raise BadInput(BAD_MESSAGE) from error
                yield request
        finally:
            del buffer[:at]


def framed(response: Response) -> bytes:
    """A response as it travels."""
    message = response.SerializeToString()
    return varint(len(message)) + message


def _length_at(buffer: bytearray, at: int) -> tuple[int, int] | None:
    """(length, where the message begins), None when the length is not whole yet."""
    number = 0
    for position, byte in enumerate(buffer[at : at + _MAX_VARINT]):
        number |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if number > MAX_MESSAGE_BYTES:
                raise BadInput(BAD_MESSAGE, "length")
            return number, at + position + 1
    if len(buffer) - at >= _MAX_VARINT:
        raise BadInput(BAD_MESSAGE, "length")
    return None
