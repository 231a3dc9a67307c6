"""The bare TLS server of bench/far_release.py, a process of its own: ``python -m bench._tls_server ASKED ANSWERED``.

It reads as many bytes as it is told that a request has, and writes as many as an answer has, again and again, on one
connection; nothing else. The first line on standard output is its port; it ends with the connection.
"""

from __future__ import annotations

import socket
import sys
import time
from typing import Final

from caremesh.api.serving import listen
from caremesh.crypto import pins
from caremesh.crypto.keys import SigningKey
from caremesh.crypto.signatures import did_of

KEY: Final = SigningKey.from_seed(bytes(32))
DID: Final = did_of("bench", KEY.public)


def main() -> None:
    """One connection."""
    asked, answered = int(sys.argv[1]), bytes(int(sys.argv[2]))
    context = pins.server_context(pins.make_leaf(DID, KEY, int(time.time())), [])
    with listen("127.0.0.1", 0) as listener:
        listener.settimeout(30)
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else it waits for an acknowledgement
        with context.wrap_socket(connection, server_side=True) as tls:
            left = asked
            while data := tls.recv(left):
                left -= len(data)
                if not left:
                    tls.sendall(answered)
                    left = asked


if __name__ == "__main__":
    main()
