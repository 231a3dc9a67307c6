"""A real S3 server for tests and benches: ``versitygw``, built once from the Go module proxy, started on loopback."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.blobs.s3 import S3Settings
from tools.go_programs import GoProgram, built

PROGRAM: Final = GoProgram(
    "github.com/versity/versitygw",
    "github.com/versity/versitygw/cmd/versitygw",
    "v1.8.0",
    "h1:au+wI+aybno/STsQiSm35Uu6Q6iK5MWReQxgO6SEMFc=",
)
BUCKET: Final = "blocks"
ACCESS, SECRET = "caremesh-test", "a secret of this test only"
_START_S: Final = 30


class S3Server(NamedTuple):
    """A running server: where, and where it keeps its objects."""

    settings: S3Settings
    folder: Path


@contextlib.contextmanager
def running(folder: Path, *, certificate: Path | None = None, key: Path | None = None) -> Iterator[S3Server]:
    """The server over a folder, with one bucket; ended by its process id."""
    program = built(PROGRAM)
    (folder / BUCKET).mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    options = ["--port", f"127.0.0.1:{port}", "--quiet", "--keep-alive"]
    if certificate is not None and key is not None:
        options += ["--cert", str(certificate), "--key", str(key)]
    process = subprocess.Popen(
        [str(program), *options, "posix", "--sidecar", str(_made(folder.parent / "metadata")), str(folder)],
        env={**os.environ, "ROOT_ACCESS_KEY": ACCESS, "ROOT_SECRET_KEY": SECRET},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait(port, process)
        endpoint = f"{'http' if certificate is None else 'https'}://127.0.0.1:{port}"
        settings = S3Settings(endpoint=endpoint, bucket=BUCKET, access_key=ACCESS, secret_key=SECRET, timeout_s=5)
        yield S3Server(settings, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"versitygw ended with {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise RuntimeError("versitygw did not start")
