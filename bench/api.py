"""What a request costs a node, over TLS, in a process of its own: CPU of the server alone.

api.signed_per_s      the cheapest signed route (status of the ledger): requests per CPU second; beside an unsigned one
api.guard_checks      what a signature costs in all (the difference), to one bare Ed25519 verification
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, Final

from bench._api_server import DID, KEY
from bench._measure import check_s, entry
from caremesh.client import wire
from caremesh.client.signing import Identity, Message, sign
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey

AREAS = ("api",)
REQUESTS: Final = 400
ROUNDS: Final = 9


class Server:
    """The other process, and one connection to it."""

    def __init__(self, folder: str) -> None:
        command = [sys.executable, "-m", "bench._api_server", folder]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        port = int(self._line())
        self.url = f"https://127.0.0.1:{port}"
        self._tls = pins.client_context(None, pins.anchor(DID, KEY.public)).wrap_socket(
            socket.create_connection(("127.0.0.1", port))
        )

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def cpu_s(self) -> float:
        """Seconds of CPU that it has used."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._line())

    def ask(self, request: bytes) -> bytes:
        """The answer, whole."""
        self._tls.sendall(request)
        found = b""
        while b"\r\n\r\n" not in found:
            found += self._tls.recv(65_536)
        head, _, body = found.partition(b"\r\n\r\n")
        [length] = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        while len(body) < length:
            body += self._tls.recv(65_536)
        return head

    def close(self) -> None:
        """End it."""
        self._tls.close()
        self._process.communicate(timeout=30)


def _request(url: str, path: str, headers: dict[str, str]) -> bytes:
    named = {"host": url.removeprefix("https://")} | headers
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _signed(url: str, identity: Identity) -> bytes:
    headers = {wire.TO: DID}
    sign(Message("GET", f"{url}/ledger/v1/status", headers), b"", identity, int(time.time()))
    return _request(url, "/ledger/v1/status", headers)


def _cost_s(server: Server, make: Callable[[], bytes]) -> float:
    """CPU seconds of the server for one such request."""
    requests = [make() for _ in range(REQUESTS)]
    before = server.cpu_s()
    for request in requests:
        assert b" 200 " in server.ask(request).split(b"\r\n")[0]
    return (server.cpu_s() - before) / REQUESTS


def run() -> list[dict[str, Any]]:
    """All measurements, alternating what is compared."""
    key = SigningKey.generate()
    identity = Identity.of_key(key)
    message = bytes(300)
    checks = [(key.public, message, key.sign(message))] * REQUESTS
    signed, unsigned, bare = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        server = Server(folder)
        try:
            for _ in range(ROUNDS):
                unsigned.append(_cost_s(server, lambda: _request(server.url, "/healthz", {})))
                signed.append(_cost_s(server, lambda: _signed(server.url, identity)))
                bare.append(check_s(checks, time.process_time))
        finally:
            server.close()
    unsigned_per_s = sorted(1 / each for each in unsigned)[ROUNDS // 2]
    guards = [(one - other) / each for one, other, each in zip(signed, unsigned, bare, strict=True)]
    rates = [1 / each for each in signed]
    return [
        entry("api.signed_per_s", rates, "requests a CPU second", better="higher", baseline=round(unsigned_per_s, 1)),
        entry("api.guard_checks", guards, "× a bare verification", baseline=1),
    ]
