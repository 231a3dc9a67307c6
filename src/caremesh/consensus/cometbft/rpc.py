"""What the engine asks of its own CometBFT, over its RPC: to take transactions, and for signed headers.

A connection for each question, by Python's own library: on this machine it costs nothing, and httpx leaves a unix
socket open when nobody listens yet.
"""

from __future__ import annotations

import base64
import json
import socket
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from caremesh.errors import ErrorCode, Unavailable
from caremesh.types import Count, Height

NO_ANSWER = ErrorCode(
    "consensus.25", "CometBFT does not answer, or not as it should.", "Ask again; when it stays so, look at its log."
)
PAGE: Final = 100
"""Validators of one answer: as many as CometBFT gives."""
_TIMEOUT_S: Final = 30.0
SOON_S: Final = 2.0
"""Who looks after the node does not wait longer than that."""


class Signed(NamedTuple):
    """CometBFT's answers at ``/commit`` and ``/validators`` for one height, as they came."""

    commit: bytes
    validators: list[bytes]


class Ordering(NamedTuple):
    """Where a CometBFT stands. ``height``: of the block that it is deciding, in its ``round``, 0 for the first;
    ``peers``: the height that each that it is connected with is deciding, by its word; ``waiting``: transactions in the
    mempool, and ``waiting_bytes`` of them."""

    height: Height
    round: Count
    peers: tuple[Height, ...]
    waiting: Count
    waiting_bytes: Count


class Rpc:
    """A client of CometBFT's RPC. Any thread may call any method."""

    def __init__(self, where: Path | int, timeout_s: float = _TIMEOUT_S) -> None:
        """``where``: a unix socket, or a port on loopback."""
        self._where: Final = where
        self._timeout_s: Final = timeout_s

    def soon(self) -> Rpc:
        """The same, for who does not wait for long."""
        return Rpc(self._where, SOON_S)

    def hand_over(self, raws: Sequence[bytes]) -> None:
        """Offer transactions to the mempool, which takes them, has them already, or has no room. Raises Unavailable
        consensus.25.

        ``broadcast_tx_sync`` would wait for the application's answer to each, 2.6 ms of waiting; the application is
        this process, and has been asked.
        """
        calls = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "broadcast_tx_async",
                "params": {"tx": base64.b64encode(raw).decode()},
            }
            for number, raw in enumerate(raws)
        ]
        self._ask("POST", "/", json.dumps(calls).encode())

    def signed(self, height: Height) -> Signed:
        """What is signed of a height, unread. Raises Unavailable consensus.25, also for heights that are not there."""
        commit = self._get("/commit", height=height)
        pages: list[bytes] = []
        total = 1
        while len(pages) * PAGE < total:
            pages.append(self._get("/validators", height=height, page=len(pages) + 1, per_page=PAGE))
            total = _total(pages[-1])
        return Signed(commit, pages)

    def connected(self) -> frozenset[str]:
        """The ids of the nodes that it is connected with. Raises Unavailable consensus.25."""
        try:
            return frozenset(each["node_info"]["id"] for each in _parsed(self._get("/net_info"))["result"]["peers"])
        except (KeyError, TypeError) as error:
            raise Unavailable(NO_ANSWER, "/net_info") from error

    def ordering(self) -> Ordering:
        """Where it stands. Raises Unavailable consensus.25."""
        try:
            mempool = _parsed(self._get("/num_unconfirmed_txs"))["result"]
            said = _parsed(self._get("/dump_consensus_state"))["result"]
            return Ordering(
                height=int(said["round_state"]["height"]),
                round=int(said["round_state"]["round"]),
                peers=tuple(int(_their_height(each)) for each in said["peers"]),
                waiting=int(mempool["total"]),
                waiting_bytes=int(mempool["total_bytes"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Unavailable(NO_ANSWER, "/dump_consensus_state") from error

    def fetch(self, path: str, query: Mapping[str, str]) -> bytes:
        """What it answers, a refusal too: see ``joining.Fetch``. Raises Unavailable consensus.25."""
        return self._ask("GET", f"{path}?{urlencode(query)}", b"", (200, 500))

    def _get(self, path: str, **query: int) -> bytes:
        content = self._ask("GET", f"{path}?{urlencode(query)}" if query else path, b"")
        if "error" in _parsed(content):
            raise Unavailable(NO_ANSWER, path)
        return content

    def _ask(self, method: str, target: str, body: bytes, good: Sequence[int] = (200,)) -> bytes:
        connection = _Connection(self._where, self._timeout_s)
        try:
            connection.request(method, target, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            raise Unavailable(NO_ANSWER, type(error).__name__) from error
        finally:
            connection.close()
        if answer.status not in good:
            raise Unavailable(NO_ANSWER, str(answer.status))
        return content


class _Connection(HTTPConnection):
    """To a unix socket, or to a port on loopback."""

    def __init__(self, where: Path | int, timeout_s: float) -> None:
        super().__init__("127.0.0.1", where if isinstance(where, int) else 80, timeout=timeout_s)
        self._path: Final = None if isinstance(where, int) else str(where)

    def connect(self) -> None:
        """Open the connection. Raises OSError."""
        if self._path is None:
            super().connect()
            return
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            opened.settimeout(self.timeout)
            opened.connect(self._path)
        except OSError:
            opened.close()
            raise
        self.sock = opened


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise Unavailable(NO_ANSWER, "json") from error


def _their_height(peer: Any) -> Any:
    return peer["peer_state"]["round_state"]["height"]


def _total(page: bytes) -> int:
    try:
        return int(_parsed(page)["result"]["total"])
    except (KeyError, TypeError, ValueError) as error:
        raise Unavailable(NO_ANSWER, "/validators") from error
