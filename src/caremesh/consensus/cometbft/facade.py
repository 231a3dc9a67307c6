"""What CometBFT takes for the RPC of other members while it joins: a unix socket of this node, and behind it ``Fetch``.

CometBFT's light client wants RPC servers to ask. No member's RPC can be reached from another machine, and none should
be. So the calls that the light client makes, and no others, come here, and go on by whatever way the node has to other
members. Nothing is believed on the way: CometBFT verifies what it gets from the header that it was told to trust.

By Python's own library, like ``rpc.py``: one client, on this machine, for some dozen questions in the life of a node.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any, Final

from caremesh.consensus.cometbft.joining import Fetch
from caremesh.errors import CareMeshError

CALLS: Final = frozenset({"commit", "validators", "consensus_params"})
"""What the light client asks: all there is to headers, and nothing that changes anything."""
PARAMETERS: Final = frozenset({"height", "page", "per_page"})
PATIENCE_S: Final = 8.0
"""How long a member is asked again that has not got so far yet: CometBFT would refuse the snapshot for good."""
_AGAIN_S: Final = 0.5
_MAX_BODY_BYTES: Final = 2**16
_TIMEOUT_S: Final = 30.0
_NOT_YET: Final = re.compile(r"height \d+ must be less than or equal to")
_NO_METHOD, _NO_ANSWER = -32601, -32603
_VALUE: Final = re.compile(r"[0-9]{1,19}")


class Facade:
    """Listens for one member who is asked, until it is closed."""

    def __init__(self, path: Path, fetch: Fetch, patience_s: float = PATIENCE_S) -> None:
        """Listen on ``path``, in place of a socket that a process left behind. Raises OSError."""
        with suppress(FileNotFoundError):
            path.unlink()
        self._server: Final = _Server(str(path), lambda words: answer(fetch, words, patience_s))
        path.chmod(0o600)
        self._thread: Final = threading.Thread(
            target=self._server.serve_forever, args=[0.1], name="facade", daemon=True
        )

    def start(self) -> None:
        """Answer, in threads."""
        self._thread.start()

    def close(self) -> None:
        """Answer no more, and wait for what is being answered."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def answer(fetch: Fetch, words: Any, patience_s: float) -> dict[str, Any]:
    """The JSON-RPC answer to a call of the light client's."""
    call: Mapping[str, Any] = words if isinstance(words, dict) else {}
    method, params = call.get("method"), call.get("params") or {}
    head = {"jsonrpc": "2.0", "id": call.get("id")}
    if method not in CALLS or not isinstance(params, dict):
        return {**head, "error": {"code": _NO_METHOD, "message": "not answered here"}}
    query = {str(name): str(value) for name, value in params.items()}
    if not PARAMETERS.issuperset(query) or not all(_VALUE.fullmatch(value) for value in query.values()):
        return {**head, "error": {"code": _NO_METHOD, "message": "not answered here"}}
    until = time.monotonic() + patience_s
    while True:
        try:
            found = json.loads(fetch(f"/{method}", query))
        except (CareMeshError, ValueError):
            return {**head, "error": {"code": _NO_ANSWER, "message": "no answer"}}
        said = {name: found[name] for name in ("result", "error") if isinstance(found, dict) and name in found}
        if not _NOT_YET.search(str(said.get("error", ""))) or time.monotonic() > until:
            return {**head, **(said or {"error": {"code": _NO_ANSWER, "message": "no answer"}})}
        time.sleep(_AGAIN_S)


class _Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, path: str, answer_to: Callable[[Any], dict[str, Any]]) -> None:
        super().__init__(path, partial(_Handler, answer_to))

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection, whose other side has no address."""
        connection, _ = super().get_request()
        connection.settimeout(_TIMEOUT_S)
        return connection, ("local", 0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asks and goes away has gone."""


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, answer_to: Callable[[Any], dict[str, Any]], *connection: Any) -> None:
        self._answer_to: Final = answer_to
        super().__init__(*connection)  # which answers, too

    def do_POST(self) -> None:
        """One call of JSON-RPC. A connection for each, so that none is left open."""
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > _MAX_BODY_BYTES:
            self.send_error(413)
            return
        try:
            words = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            words = None
        body = json.dumps(self._answer_to(words)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing: what is asked is in CometBFT's log when it matters."""
